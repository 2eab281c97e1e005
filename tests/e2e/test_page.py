"""The page's two manifests, untouched, from `up` to its curl: what the Istio task promises."""

from __future__ import annotations

import itertools
import json
import shlex
import statistics
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.commands.up import preset
from tests.e2e.labkit import CHAT_ROUTE, Lab, Labs, completion
from tests.waiting import until


@pytest.fixture(scope="module")
def lab(labs: Labs, page_files: list[str]) -> Lab:
    route = labs.manifests(CHAT_ROUTE)
    return labs.up(*page_files, "-f", route)


def post(http: httpx.Client, lab: Lab, path: str, body: dict[str, Any], **headers: str) -> httpx.Response:
    return http.post(lab.url + path, json=body, headers=headers)


def test_the_printed_curl_works_as_it_stands(lab: Lab) -> None:
    printed = until(
        lambda: next((line for line in lab.text.splitlines() if line.startswith("  curl")), ""), what="curl"
    )
    done = subprocess.run(shlex.split(printed), capture_output=True, text=True, timeout=10, check=True)
    head, _, body = done.stdout.partition("\n\n")
    lines = head.splitlines()
    assert lines[0] == "HTTP/1.1 200 OK"
    assert "server: istio-envoy" in lines
    assert "x-went-into-resp-headers: true" in lines
    answer = json.loads(body)
    # The page's answer, key by key; sorted, because the picker marshals it again.
    assert list(answer) == [
        "choices", "created", "id", "kv_transfer_params", "model", "object", "usage"
    ]  # fmt: skip
    assert list(answer["choices"][0]) == ["finish_reason", "index", "text"]
    assert answer["model"] == "reviews-1"
    assert answer["object"] == "text_completion"
    assert answer["usage"]["prompt_tokens"] == 10


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/completions", 200),
        ("/v1/chat/completions", 404),
        ("/v1/models", 404),
        ("/v1/completionsX", 404),
    ],
)
def test_only_the_page_s_path_is_routed(lab: Lab, http: httpx.Client, path: str, status: int) -> None:
    assert post(http, lab, path, completion()).status_code == status


def test_a_route_for_chat_makes_chat_work(lab: Lab, http: httpx.Client) -> None:
    body = {"model": "reviews-1", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}
    answer = post(http, lab, "/v1/chat/completions", body, host="chat.example.com")
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["role"] == "assistant"
    assert http.get(lab.url + "/v1/models", headers={"host": "chat.example.com"}).status_code == 200


def test_picked_served_and_answering_pod_agree(lab: Lab, http: httpx.Client) -> None:
    by_name = {p["name"]: p for p in lab.pods}
    for i in range(5):
        answer = post(http, lab, f"/v1/completions?n={i}", completion())
        entry = lab.access_log(f"/v1/completions?n={i}")
        pod = by_name[answer.headers["x-inference-pod"]]
        assert entry["picked"] == entry["served"] == entry["upstream_host"] == f"{pod['address']}:8000"
        assert answer.headers["x-inference-port"] == "8000"
        assert entry["details"] == "via_upstream"


def test_five_megabytes_go_through(lab: Lab, http: httpx.Client) -> None:
    answer = post(http, lab, "/v1/completions", completion(user="x" * 5_000_000))
    assert answer.status_code == 200, answer.text


def chunks(http: httpx.Client, url: str, tokens: int) -> Iterator[float]:
    """Arrival times of the SSE events that carry a token."""
    body = completion(stream=True, max_tokens=tokens, ignore_eos=True)
    with http.stream("POST", url + "/v1/completions", json=body) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("data: {") and json.loads(line[6:])["choices"]:
                yield time.perf_counter()


@pytest.fixture(scope="module")
def paced(labs: Labs) -> Lab:
    """Three replicas that emit a token every 20 ms."""
    return labs.up(*_paced_files(labs), name="paced")


def _paced_files(labs: Labs) -> list[str]:
    text = Path(preset()[0]).read_text()
    flags = (
        "- --time-to-first-token\n            - 20ms\n            - --inter-token-latency\n            - 20ms"
    )
    flags += '\n            - --max-num-seqs\n            - "256"\n            - --model'
    changed = text.replace("- --model\n", f"{flags}\n", 1)
    assert changed != text
    return ["-f", labs.manifests(changed, "paced.yaml")]


def test_stream_events_pass_one_by_one_without_delay(paced: Lab, http: httpx.Client) -> None:
    pod = paced.pods[0]["urls"][0]
    gaps = {}
    for name, url in (("direct", pod), ("gateway", paced.url)):
        times = [list(chunks(http, url, 30)) for _ in range(3)]
        assert all(len(t) == 30 for t in times), "each token in an event of its own"
        gaps[name] = [b - a for t in times for a, b in itertools.pairwise(t)]
    assert statistics.median(gaps["gateway"]) == pytest.approx(statistics.median(gaps["direct"]), abs=0.002)
    clumped = sum(gap < 0.005 for gap in gaps["gateway"])
    assert clumped < len(gaps["gateway"]) / 4, "events arrive in clumps, and not only when the machine stalls"


def test_two_hundred_parallel_streams(paced: Lab, http: httpx.Client) -> None:
    url = paced.url
    with ThreadPoolExecutor(200) as threads:
        counts = list(threads.map(lambda _: sum(1 for _ in chunks(http, url, 5)), range(200)))
    assert counts == [5] * 200
    served = {p["name"]: p["requests"] for p in paced.pods}
    assert all(served.values()), served
