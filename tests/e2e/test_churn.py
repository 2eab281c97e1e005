"""Pods killed, added and drained under 200 requests a second; pickers and Envoy killed."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.commands.up import preset
from tests.e2e.labkit import Lab, Labs, completion
from tests.e2e.loader import Load
from tests.waiting import until

RATE = 200.0
POOL = "inference-pool"
BODY = completion(max_tokens=10, ignore_eos=True)


def manifests(labs: Labs, **changes: str) -> str:
    """The lab preset with replicas that take 150 ms for a request, and other texts exchanged."""
    text = Path(preset()[0]).read_text()
    flags = (("time-to-first-token", "50ms"), ("inter-token-latency", "10ms"), ("max-num-seqs", "128"))
    lines = "".join(f'- --{name}\n            - "{value}"\n            ' for name, value in flags)
    text = text.replace("- --model\n", f"{lines}- --model\n", 1)
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    return labs.manifests(text, f"{len(changes)}.yaml")


@pytest.fixture(scope="module")
def lab(labs: Labs) -> Lab:
    return labs.up("-f", manifests(labs))


def settled(load: Load, more: int = 100) -> None:
    """That many more requests were answered."""
    goal = len(load.outcomes) + more
    until(lambda: len(load.outcomes) >= goal, 10.0, "answers")


def test_churn_under_load(lab: Lab) -> None:
    victim, leaver, _ = [p["name"] for p in lab.pods]
    address = lab.pods[0]["address"]
    with Load(lab.url + "/v1/completions", BODY, RATE) as load:
        settled(load)

        until(lambda: next(p for p in lab.pods if p["name"] == victim)["running"] >= 3, what="work to lose")
        killed = time.monotonic()
        lab.ask("kill", name=victim)
        settled(load)

        added = time.monotonic()
        lab.ask("scale", target=POOL, replicas=5)
        new = {p["name"] for p in lab.pods[3:]}
        settled(load, 200)

        lab.ask("drain", name=leaver)
        drained = time.monotonic()
        settled(load)

        restarted = time.monotonic()
        lab.ask("restart", name=victim)
        settled(load, 200)
    # Only what was in flight at the killed pod fails, and nobody else.
    # Times allow for a machine that stalls; half a second is held by the next test.
    assert 0 < len(load.failed) < len(load.outcomes) / 4, load.failed
    for outcome in load.failed:
        assert outcome.start < killed + 5, outcome
        assert killed < outcome.end < killed + 5, outcome
        assert lab.access_log(f"/v1/completions?n={outcome.number}")["picked"] == f"{address}:8000"
    assert len(new) == 2
    for pod in new:
        first = min(o.start for o in load.served_by(pod))
        assert first < added + 5
    assert max(o.start for o in load.served_by(leaver)) < drained
    assert min(o.start for o in load.served_by(victim) if o.start > restarted) < restarted + 5
    states = {p["name"]: p["state"] for p in lab.pods}
    assert states[leaver] == "drained"
    assert states[victim] == "ready"


def test_changes_reach_envoy_and_picker_within_half_a_second(lab: Lab, http: httpx.Client) -> None:
    def known() -> tuple[int, int]:
        clusters = http.get(lab.gateway("gateway")["admin_url"] + "/clusters?format=json").json()
        pool = next(c for c in clusters["cluster_statuses"] if "|54321||" in c["name"])
        metrics = http.get(lab.picker["metrics_url"]).text
        ready = next(x for x in metrics.splitlines() if x.startswith("inference_pool_ready_pods{"))
        return len(pool.get("host_statuses", ())), int(float(ready.split()[-1]))

    pods = len([p for p in lab.pods if p["state"] == "ready"])
    victim = next(p["name"] for p in lab.pods if p["state"] == "ready")
    took: dict[str, list[float]] = {"kill": [], "restart": []}
    for command, count in (("kill", pods - 1), ("restart", pods)) * 4:
        begin = time.monotonic()
        lab.ask(command, name=victim)
        wanted = (count, count)
        until(lambda wanted=wanted: known() == wanted, 10, f"{command}: {wanted}")  # type: ignore[misc]
        took[command].append(time.monotonic() - begin)
    assert all(min(times) < 0.5 for times in took.values()), took


def test_kill_after_tokens_cuts_a_stream(lab: Lab, http: httpx.Client) -> None:
    pod = next(p for p in lab.pods if p["state"] == "ready")
    name = pod["name"]
    lab.ask("kill", name=name, after_tokens=5)
    body = completion(stream=True, max_tokens=100, ignore_eos=True)
    seen: list[str] = []
    with pytest.raises(httpx.HTTPError):
        _read_stream(http, pod["urls"][0] + "/v1/completions", body, seen)
    assert len(seen) == 5
    until(lambda: {p["name"]: p["state"] for p in lab.pods}[name] == "killed", what="noticed")
    lab.ask("restart", name=name)


def _read_stream(http: httpx.Client, url: str, body: dict[str, Any], seen: list[str]) -> None:
    with http.stream("POST", url, json=body) as answer:
        seen.extend(line for line in answer.iter_lines() if line.startswith("data: {"))


@pytest.mark.parametrize(("mode", "status"), [("FailClose", 500), ("FailOpen", 200)])
def test_a_picker_that_dies_leaves_its_failure_mode(
    labs: Labs, http: httpx.Client, mode: str, status: int
) -> None:
    text = manifests(labs, **{"failureMode: FailClose": f"failureMode: {mode}"})
    lab = labs.up("-f", text, name=mode.lower())
    url = lab.url + "/v1/completions"
    assert http.post(url, json=completion()).status_code == 200
    os.kill(lab.picker["pid"], signal.SIGKILL)
    until(lambda: lab.picker["state"] == "dead")
    until(lambda: _picker_addresses(lab, http) == 0, what="Envoy knows")
    seen: list[Any] = [http.post(url, json=completion(), timeout=5).status_code for _ in range(20)]
    assert set(seen) == {status}
    until(lambda: f"was ended by SIGKILL: {mode} rules" in lab.text, what="the reason")
    lab.ask("restart", name=lab.picker["name"])
    assert "x-went-into-resp-headers" in http.post(url, json=completion()).headers


def _picker_addresses(lab: Lab, http: httpx.Client) -> int:
    clusters = http.get(lab.gateway("gateway")["admin_url"] + "/clusters?format=json").json()
    picker = next(c for c in clusters["cluster_statuses"] if "|9002||" in c["name"])
    return len(picker.get("host_statuses", ()))


def test_envoy_s_death_ends_the_stack_and_says_so(labs: Labs) -> None:
    lab = labs.up("-f", manifests(labs), name="envoyless")
    children = [lab.gateway("gateway")["pid"], lab.picker["pid"]]
    os.kill(children[0], signal.SIGKILL)
    assert lab.process.wait(10) == 1
    assert "Envoy of gateway-istio was ended by SIGKILL" in lab.text
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)
    assert not (labs.state / "envoyless").exists()
