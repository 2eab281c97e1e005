"""Fixtures of the end-to-end tests; a stack is started once per module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.kubekit import Cluster, running_cluster
from tests.e2e.labkit import Labs

PAGE = Path(__file__).parents[3] / "shared" / "page"


@pytest.fixture(scope="module")
def labs() -> Iterator[Labs]:
    made = Labs()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="session")
def page_files() -> list[str]:
    """`-f` arguments of the page's two manifests, untouched."""
    if not PAGE.is_dir():
        pytest.skip(f"the page's manifests are not at {PAGE}")
    return ["-f", str(PAGE / "model-server.yaml"), "-f", str(PAGE / "endpoint-picker.yaml")]


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    limits = httpx.Limits(max_connections=300, max_keepalive_connections=300)
    with httpx.Client(timeout=15.0, limits=limits) as client:
        yield client


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running_cluster() as made:
        yield made
