"""A picker that finds its endpoints in a file, as llm-d-router does: the reference picker as a binary."""

from __future__ import annotations

import time

import httpx
import pytest

from gateway.stack.pickers.go import with_file_discovery
from tests.e2e.labkit import Lab, Labs, completion
from tests.gateway.picker.test_against_router import dressed_up
from tests.waiting import until

POOL = "inference-pool"


@pytest.fixture(scope="module")
def lab(labs: Labs) -> Lab:
    config = labs.state / "files.yaml"
    config.write_text(with_file_discovery("", labs.state / "unused"))
    return labs.up("--epp", str(dressed_up(labs.state)), "--epp-config", str(config), name="files")


def ask(lab: Lab, http: httpx.Client) -> httpx.Response:
    return http.post(f"{lab.url}/v1/completions", json=completion())


def test_it_stands_where_a_binary_would(lab: Lab, http: httpx.Client) -> None:
    assert lab.picker["kind"].startswith("llm-d-router ")
    assert lab.picker["kube_api_url"] is None
    answer = ask(lab, http)
    assert (answer.status_code, answer.headers["x-went-into-resp-headers"]) == (200, "true")


def test_it_follows_the_pods(lab: Lab, http: httpx.Client) -> None:
    url = lab.picker["metrics_url"]

    def known() -> int:
        lines = http.get(url).text.splitlines()
        return int(float(next(x for x in lines if x.startswith("inference_pool_ready_pods{")).split()[-1]))

    assert known() == 3
    took: dict[int, list[float]] = {5: [], 3: []}
    for replicas in (5, 3) * 3:
        begin = time.monotonic()
        lab.ask("scale", target=POOL, replicas=replicas)
        until(lambda replicas=replicas: known() == replicas, 10, f"{replicas} pods")  # type: ignore[misc]
        took[replicas].append(time.monotonic() - begin)
    assert min(took[5]) < 0.5, took
    lab.ask("kill", name=lab.pods[0]["name"])
    until(lambda: known() == 2, 10, "two pods")
    assert {ask(lab, http).status_code for _ in range(10)} == {200}


def test_it_is_restarted_with_the_same_file(lab: Lab, http: httpx.Client) -> None:
    lab.ask("restart", name=lab.picker["name"])
    assert ask(lab, http).status_code == 200
