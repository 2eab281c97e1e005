"""The page's manifests with a real endpoint picker: its curl, chat, streams, large bodies, its kubectl."""

from __future__ import annotations

import itertools
import json
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from gateway.stack.pickers.go import Binary
from tests.e2e.epp.conftest import Started, page_with_chat, start
from tests.e2e.labkit import Lab, Labs, completion
from tests.waiting import until

pytestmark = pytest.mark.epp
CHAT = {"host": "chat.example.com"}
COUNTERS = ("inference_objective_request_total{", "llm_d_epp_request_total{")
"""Names of GIE and of llm-d-router, which has both."""
Figure = Callable[[str], None]


def test_seconds_to_the_first_answer(started: Started, labs: Labs, figure: Figure) -> None:
    """Within 10 s; on a machine with other work within four times what the reference picker takes."""
    figure(f"{started.seconds:.1f} s from the command to the first 200")
    if started.seconds >= 10.0:
        base = start(labs, None, *page_with_chat(labs), name="base")
        base.lab.down()
        assert started.seconds < 4 * base.seconds


def test_the_page_s_curl(lab: Lab) -> None:
    printed = next(line for line in lab.text.splitlines() if line.startswith("  curl"))
    done = subprocess.run(shlex.split(printed), capture_output=True, text=True, timeout=10, check=True)
    head, _, body = done.stdout.partition("\n\n")
    lines = head.splitlines()
    assert lines[0] == "HTTP/1.1 200 OK"
    assert {"server: istio-envoy", "x-went-into-resp-headers: true"} <= set(lines)
    answer = json.loads(body)
    assert set(answer) == {"choices", "created", "id", "kv_transfer_params", "model", "object", "usage"}
    assert set(answer["choices"][0]) == {"finish_reason", "index", "text"}
    assert (answer["model"], answer["object"]) == ("reviews-1", "text_completion")
    usage = answer["usage"]
    assert usage["prompt_tokens"] == 10
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_the_picked_pod_answers(lab: Lab, http: httpx.Client) -> None:
    by_name = {pod["name"]: pod for pod in lab.pods}
    for i in range(10):
        answer = http.post(f"{lab.url}/v1/completions?picked={i}", json=completion())
        entry = lab.access_log(f"/v1/completions?picked={i}")
        pod = by_name[answer.headers["x-inference-pod"]]
        assert entry["picked"] == entry["served"] == entry["upstream_host"] == f"{pod['address']}:8000"


def test_a_chat_stream(lab: Lab, http: httpx.Client) -> None:
    body = {
        "model": "reviews-1",
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": 20,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    with http.stream("POST", f"{lab.url}/v1/chat/completions", json=body, headers=CHAT) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    assert chunks[-1]["usage"]["completion_tokens"] == 20
    assert len([c for c in chunks if c["choices"] and c["choices"][0]["delta"].get("content")]) >= 15


def test_forty_streams_at_once(lab: Lab, http: httpx.Client) -> None:
    body = completion(stream=True, max_tokens=30, ignore_eos=True)

    def count(_: int) -> int:
        with http.stream("POST", f"{lab.url}/v1/completions", json=body) as answer:
            return sum(line.startswith("data: {") for line in answer.iter_lines())

    with ThreadPoolExecutor(40) as threads:
        assert set(threads.map(count, range(40))) == {30}


@pytest.mark.parametrize("size", [2_000_000, 5_000_000])
def test_large_bodies(lab: Lab, http: httpx.Client, size: int) -> None:
    """Several of each, for an end of stream that is told twice shows now and then only."""
    text = {"user": "x" * size}
    chat = {"model": "reviews-1", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2, **text}
    for _ in range(5):
        answer = http.post(f"{lab.url}/v1/completions", json=completion(**text))
        assert answer.status_code == 200, answer.text
        answer = http.post(f"{lab.url}/v1/chat/completions", json=chat, headers=CHAT)
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("body", ["{", '{"prompt": "no model"}', '{"model": "reviews-1"}'])
def test_a_body_that_it_cannot_read(lab: Lab, http: httpx.Client, body: str) -> None:
    answer = http.post(f"{lab.url}/v1/completions", content=body)
    assert answer.status_code == 400
    assert answer.text.startswith(("inference gateway:", "inference error:"))


def test_it_counts_the_requests(lab: Lab, http: httpx.Client) -> None:
    def counted() -> float:
        lines = http.get(lab.picker["metrics_url"]).text.splitlines()
        families = ([x for x in lines if x.startswith(name)] for name in COUNTERS)
        return max(sum(float(line.split()[-1]) for line in family) for family in families)

    before = counted()
    for _ in range(3):
        assert http.post(f"{lab.url}/v1/completions", json=completion()).status_code == 200
    until(lambda: counted() == before + 3, 5.0, "three more requests")


def test_kubectl_lists_what_it_watches(lab: Lab, epp: Binary) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not on the PATH")
    shown = subprocess.run(
        [kubectl, "--server", lab.picker["kube_api_url"], "get", "pods,inferencepools", "-A"],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    ).stdout
    assert all(f"pod/{pod['name']}" in shown and pod["address"] in shown for pod in lab.pods)
    assert "inference-model-server-pool" in shown
    listing = subprocess.run(
        [kubectl, "--server", lab.picker["kube_api_url"], "get", "pods", "-A", "-o", "json"],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    ).stdout
    pods: list[dict[str, Any]] = json.loads(listing)["items"]
    assert {p["status"]["podIP"] for p in pods} == {p["address"] for p in lab.pods}


def test_events_pass_one_by_one(lab: Lab, http: httpx.Client) -> None:
    """The picker sees each chunk; none waits for the next."""
    pod = lab.pods[0]
    body = completion(stream=True, max_tokens=200, ignore_eos=True)
    times: dict[str, list[float]] = {}
    for name, url in (("direct", pod["urls"][0]), ("gateway", lab.url)):
        with http.stream("POST", f"{url}/v1/completions", json=body) as answer:
            seen = [time.perf_counter() for line in answer.iter_lines() if line.startswith("data: {")]
        assert len(seen) == 200
        times[name] = [b - a for a, b in itertools.pairwise(seen)]
    assert sum(times["gateway"]) < sum(times["direct"]) + 0.5
