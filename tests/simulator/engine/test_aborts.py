"""Clients that leave at any moment leave nothing behind."""

from __future__ import annotations

from random import Random

import pytest

from simulator.engine.pace.latency import ConstantLatency, ConstantTimes, LatencyModel
from simulator.engine.request import LoRARequest
from tests.simulator.engine.build import FixedSteps, engine, request

ABORTS = 10_000


@pytest.mark.parametrize("pace", ["sync", "async", "timelines"])
def test_ten_thousand_disconnects(pace: str) -> None:
    rng = Random(pace)
    latency: LatencyModel = FixedSteps(step=0.01, transfer=0.05, load=0.001)
    if pace == "timelines":
        times = ConstantTimes(0.02, inter_token_latency=0.01, inter_token_latency_std_dev=0.003)
        latency = ConstantLatency(times)
    made = engine(
        latency,
        async_scheduling=pace == "async",
        max_num_seqs=32,
        num_gpu_blocks=120,
        max_num_batched_tokens=128,
        enable_lora=True,
        max_loras=2,
    )
    now, done = 0.0, 0
    waiting: list[tuple[float, str]] = []
    for i in range(ABORTS):
        now += rng.expovariate(200)
        lora = LoRARequest(f"l{i % 3}", i % 3 + 1) if rng.random() < 0.3 else None
        params = {"do_remote_prefill": True} if rng.random() < 0.1 else None
        made.add_request(
            request(
                f"r{i}", rng.randint(1, 120), 800, lora=lora, kv_transfer_params=params, stream=i % 2 == 0
            ),
            now,
        )
        waiting.append((now + rng.expovariate(4), f"r{i}"))
        waiting.sort()
        while waiting and waiting[0][0] <= now:
            when, name = waiting.pop(0)
            made.fast_forward(when)
            made.abort([name], when)
            done += 1
        made.fast_forward(now)
        if i % 100 == 0:
            made.check_invariants()
    for when, name in waiting:
        made.fast_forward(when)
        made.abort([name], when)
        done += 1
    made.fast_forward(now + 1000)
    made.check_invariants()
    assert done == ABORTS
    assert made.num_unfinished == 0
    assert made.peek() is None
    stats = made.stats
    assert (stats.num_requests_running, stats.num_requests_waiting, stats.kv_cache_usage) == (0, 0, 0.0)
    assert stats.generation_tokens > ABORTS  # they were under way
    assert stats.request_success["abort"] == 0
