"""Helm against `simfleet cluster`: chart `lab` installed, upgraded, rolled back and uninstalled."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import httpx
import pytest

from tests.charts.conftest import CHARTS, Helm
from tests.e2e.kubekit import Cluster, running_cluster
from tests.waiting import until

pytestmark = pytest.mark.charts


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running_cluster() as made:
        yield made


def test_lab_lives_a_life(helm: Helm, cluster: Cluster) -> None:
    def run(*args: str) -> str:
        argv = [str(helm.path), *args, "-n", "lab"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False, env=cluster.env)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ready() -> int:
        found = cluster.get("deployment", "inference-model-server", "-n", "lab")
        return int(found["status"].get("readyReplicas", 0))

    lab = str(CHARTS / "lab")
    run("install", "lab", lab, "--create-namespace", "--wait", "--timeout", "60s")
    assert ready() == 3
    done = cluster.kubectl("wait", "-n", "lab", "--for=condition=programmed", "gtw", "gateway")
    assert done.returncode == 0, done.stderr
    address = cluster.get("gtw", "gateway", "-n", "lab")["status"]["addresses"][0]["value"]
    body = {"model": "reviews-1", "prompt": "x", "max_tokens": 1}
    answer = httpx.post(f"http://{address}/v1/completions", json=body, trust_env=False, timeout=10)
    assert answer.status_code == 200, answer.text

    run("upgrade", "lab", lab, "--set", "simulator.replicaCount=2", "--wait", "--timeout", "60s")
    assert ready() == 2
    run("rollback", "lab", "1", "--wait", "--timeout", "60s")
    assert ready() == 3
    assert [line.split()[0] for line in run("history", "lab").splitlines()[1:]] == ["1", "2", "3"]
    assert "inference-model-server" in run("get", "manifest", "lab")
    run("uninstall", "lab", "--wait")
    left = ("get", "all,secret,gtw,httproutes,inferencepools", "-n", "lab", "-o", "name")
    until(lambda: cluster.kubectl(*left).stdout == "", 30, "the end of the pods")
    assert cluster.kubectl("delete", "namespace", "lab").returncode == 0
