"""Overlays of every field that is built here come out as `kubectl kustomize` prints them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.manifests.kustomize.build import build
from tests.gateway.manifests.kustomize.record import (
    EXPECTED,
    OVERLAYS,
    RECORDED,
    Loader,
    kubectl,
    version,
    write,
)


def recorded(name: str) -> list[Any]:
    return list(yaml.load_all((EXPECTED / f"{name}.yaml").read_text(), Loader))


def by_identity(objects: list[Any]) -> dict[tuple[str, str, str], Any]:
    found = {(o["kind"], o["metadata"].get("namespace", ""), o["metadata"]["name"]): o for o in objects}
    assert len(found) == len(objects)
    return found


@pytest.mark.parametrize("name", OVERLAYS)
def test_as_recorded_from_kubectl(name: str, tmp_path: Path) -> None:
    where = write(OVERLAYS[name], tmp_path)
    ours = by_identity([document.data for document in build(where / "kustomization.yaml")])
    theirs = by_identity(recorded(name))
    assert ours == theirs


def test_the_records_are_kubectl_s(tmp_path: Path) -> None:
    """Every tenth one: kubectl takes a third of a second for each."""
    if version() != RECORDED:
        pytest.skip(f"no kubectl with kustomize {RECORDED} is installed: the records stand for it")
    for name in list(OVERLAYS)[::10]:
        assert kubectl(write(OVERLAYS[name], tmp_path / name)) == recorded(name), name
