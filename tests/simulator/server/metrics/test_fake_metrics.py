"""llm-d-inference-sim's --fake-metrics."""

from __future__ import annotations

import time
from typing import Any

import pytest

from simulator.errors import ConfigError
from simulator.server.metrics.fake_metrics import FUNCTIONS, FakeStats, parse_function
from tests.simulator.server.inprocess import replica, run

REASONS = ("stop", "length")


def fake(**given: Any) -> FakeStats:
    return FakeStats({key.replace("_", "-"): value for key, value in given.items()}, 1024, REASONS)


def test_constants_on_the_wire() -> None:
    given = (
        '{"running-requests": 16, "waiting-requests": 3, "kv-cache-usage": 0.3, '
        '"ttft-buckets-values": [10, 20], "tpot-buckets-values": [0, 0, 5], '
        '"request-success-total": {"stop": 20}, "total-prompt-tokens": 100, '
        '"request-params-max-tokens": [1, 2], "prefix-cache-hits": 3, "prefix-cache-queries": 9, '
        '"loras": [{"running": "l1,l2", "waiting": "l3", "timestamp": 1257894567}]}'
    )

    async def main() -> str:
        return replica("--fake-metrics", given).metrics().decode()

    body = run(main())
    both = 'engine="0",model_name="m"'
    for line in (
        f"vllm:num_requests_running{{{both}}} 16.0",
        f"vllm:num_requests_waiting{{{both}}} 3.0",
        f"vllm:kv_cache_usage_perc{{{both}}} 0.3",
        'vllm:time_to_first_token_seconds_bucket{engine="0",le="0.001",model_name="m"} 10.0',
        'vllm:time_to_first_token_seconds_bucket{engine="0",le="0.005",model_name="m"} 30.0',
        f"vllm:time_to_first_token_seconds_count{{{both}}} 30.0",
        f"vllm:inter_token_latency_seconds_count{{{both}}} 5.0",
        f"vllm:prompt_tokens_total{{{both}}} 100.0",
        'vllm:request_success_total{engine="0",finished_reason="stop",model_name="m"} 20.0',
        f"vllm:request_params_max_tokens_count{{{both}}} 3.0",
        f"vllm:request_generation_tokens_count{{{both}}} 0.0",
        f"vllm:prefix_cache_hits_total{{{both}}} 3.0",
        'vllm:lora_requests_info{max_lora="1",running_lora_adapters="l1,l2",waiting_lora_adapters="l3"} '
        "1.257894567e+09",
    ):
        assert line in body.splitlines()


def test_the_last_bucket_is_beyond_the_last_bound() -> None:
    stats = fake(ttft_buckets_values=[0] * 22 + [1])
    assert stats.time_to_first_token_seconds.counts[-1] == 1
    assert stats.time_to_first_token_seconds.total == 2561.0


@pytest.mark.parametrize(
    ("name", "positions"),
    [
        ("oscillate", {0: 0.5, 0.25: 1.0, 0.75: 0.0, 1.25: 1.0}),
        ("ramp", {0: 0.0, 0.5: 0.5, 1: 1.0, 7: 1.0}),
        ("rampreset", {0: 0.0, 0.5: 0.5, 1.5: 0.5}),
        ("squarewave", {0: 0.0, 0.4: 0.0, 0.6: 1.0, 1.1: 0.0}),
    ],
)
def test_functions(name: str, positions: dict[float, float]) -> None:
    for position, value in positions.items():
        assert FUNCTIONS[name](position) == pytest.approx(value)


def test_a_function_moves_and_counts_are_whole() -> None:
    stats = fake(running_requests="ramp:0:100:10s", kv_cache_usage="squarewave:0.2:0.8:1ms")
    stats._began = time.monotonic() - 5.01
    stats.refresh()
    assert stats.num_requests_running == 50
    assert stats.kv_cache_usage in (0.2, 0.8)
    assert parse_function("ramp:10:20:2s", "x").at(1.0) == 15.0


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"running-requests": -1}, "fake metrics request counters cannot be negative"),
        ({"running-requests": "ramp:-1:5:1s"}, "cannot be negative"),
        ({"kv-cache-usage": 1.5}, "fake metrics KV cache usage must be between 0 and 1"),
        ({"kv-cache-usage": "ramp:0:2:1s"}, "must be between 0 and 1"),
        ({"running-requests": "walk:0:1:1s"}, "invalid fake metrics generation function walk"),
        ({"running-requests": "ramp:0:1"}, "need func:start:end:period"),
        ({"running-requests": "ramp:0:x:1s"}, "must be numbers"),
        ({"running-requests": "ramp:0:1:0s"}, "must be positive"),
        ({"running-requests": []}, "neither a number nor a function"),
        ({"ttft-buckets-values": [0] * 24}, "array is too long: 24 counts for 23 buckets"),
        ({"ttft-buckets-values": [-1]}, "must be a list of counts"),
        ({"total-prompt-tokens": -5}, "cannot be negative"),
        ({"prefix-cache-hits": 1}, "must be given together"),
        ({"prefix-cache-hits": 2, "prefix-cache-queries": 1}, "cannot be more than"),
        ({"request-success-total": {"bored": 1}}, "invalid finish reason in request-success-total: bored"),
        ({"runing-requests": 1}, "unknown key 'runing-requests'"),
    ],
)
def test_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        FakeStats(given, 1024, REASONS)


def test_replace_changes_nothing_when_it_is_refused() -> None:
    stats = fake(running_requests=4)
    with pytest.raises(ConfigError):
        stats.replace({"running-requests": 5, "kv-cache-usage": 2}, REASONS)
    assert stats.num_requests_running == 4
    stats.replace({"running-requests": 5}, REASONS)
    assert stats.num_requests_running == 5
