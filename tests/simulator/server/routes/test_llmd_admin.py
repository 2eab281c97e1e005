"""llm-d-inference-sim's settings at run time, as its newest release has them."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.simulator.server.pods import Pod, pod

LLMD = ("--compat", "llm-d-0.10", "--latency", "constant", "--time-to-first-token", "1ms")
ASK = {"model": "m", "prompt": "a", "max_tokens": 1}


def seconds(one: Pod) -> float:
    begun = time.monotonic()
    assert one.post("/v1/completions", ASK).status == 200
    return time.monotonic() - begun


def test_settings_are_told_and_changed() -> None:
    with pod(*LLMD) as one:
        told = one.get("/admin/config").json()
        assert (told["time-to-first-token"], told["failure-injection-rate"]) == ("1ms", 0)
        assert (
            one.post("/admin/config", {"time-to-first-token": "300ms"}).json()["time-to-first-token"]
            == "300ms"
        )
        assert seconds(one) > 0.3
        one.post("/admin/config", {"time-to-first-token": 1, "failure-injection-rate": 100})
        assert one.post("/v1/completions", ASK).status >= 400
        one.post("/admin/config", {"failure-injection-rate": 0})
        assert min(seconds(one) for _ in range(3)) < 0.25


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"max-num-seqs": 3}, "field 'max-num-seqs' is not admin-configurable"),
        ({"failure-types": ["nope"]}, "invalid failure type 'nope'"),
        ({"fake-metrics": {"running-requests": 3}}, "reporting real metrics"),
        ({"inter-token-latency": "x"}, "inter-token-latency"),
        ({"image-emission-rate": 1}, "pictures are not simulated"),
        ({"failure-injection-rate": 50, "latency-calculator": "odd"}, "latency-calculator"),
    ],
)
def test_what_may_not_change(body: dict[str, Any], said: str) -> None:
    with pod(*LLMD) as one:
        reply = one.post("/admin/config", body)
        assert reply.status == 400
        assert said in reply.json()["error"]["message"]
        assert one.get("/admin/config").json()["failure-injection-rate"] == 0


def test_fake_metrics_change() -> None:
    with pod(*LLMD, "--fake-metrics", '{"running-requests": 3}') as one:
        assert one.post("/fake_metrics", {"running-requests": 7}).status == 200
        page = one.get("/metrics").body.decode()
        line = next(line for line in page.splitlines() if line.startswith("vllm:num_requests_running{"))
        assert float(line.rsplit(" ", 1)[1]) == 7


def test_ranks_have_ids() -> None:
    with pod(*LLMD, ranks=1) as one:
        assert one.get("/query").json() == one.get("/query").json()
        assert list(one.get("/query").json()) == ["0"]
    with pod() as one:
        assert one.get("/admin/config").status == one.get("/query").status == 404


def test_nobody_waits_where_the_queue_has_no_length() -> None:
    flags = ("--max-waiting-queue-length", "0", "--max-num-seqs", "1")
    with pod(*LLMD, *flags) as one:
        assert one.post("/v1/completions", ASK).status == 200
        both = one.post("/v1/completions", {**ASK, "n": 1})
        assert both.status == 200
