"""The task page's commands, verbatim, with a real istiod as its control plane."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.kubekit import Cluster
from tests.e2e.test_page_commands import run_page

pytestmark = pytest.mark.istio


def test_the_page_word_for_word(istiod: Path) -> None:
    cluster = Cluster(istiod=str(istiod))
    try:
        took = run_page(cluster)
        print(f"the page with istiod: 200 after {took['answered']:.1f} s")
        done = cluster.sh("simfleet-ps")
        (stack,) = json.loads(done.stdout)["stacks"]
        assert stack["control_plane"]["binary"] == str(istiod.resolve())
    finally:
        assert cluster.close() == 0
