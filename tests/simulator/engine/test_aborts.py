"""Clients that leave at any moment leave nothing behind."""

from __future__ import annotations

from random import Random

import pytest

from simulator.engine.pace.latency import ConstantLatency, ConstantTimes, LatencyModel, ZeroLatency
from simulator.engine.request import LoRARequest
from tests.simulator.engine.build import FixedSteps, engine, request

MANY = pytest.param(10_000, marks=pytest.mark.slow)


@pytest.mark.parametrize("aborts", [1_500, MANY])
@pytest.mark.parametrize("pace", ["sync", "async", "timelines"])
def test_disconnects_at_any_moment(pace: str, aborts: int) -> None:
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
    for i in range(aborts):
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
    assert done == aborts
    assert made.num_unfinished == 0
    assert made.peek() is None
    stats = made.stats
    assert (stats.num_requests_running, stats.num_requests_waiting, stats.kv_cache_usage) == (0, 0, 0.0)
    assert stats.generation_tokens > aborts  # they were under way
    assert stats.request_success["abort"] == 0


OWN_ZERO = ConstantTimes(0.0, inter_token_latency=0.0)


@pytest.mark.parametrize("policy", ["fcfs", "priority"])
@pytest.mark.parametrize("pace", ["sync", "async", "timelines"])
def test_an_abort_at_the_engines_clock_is_taken_before_anything_else(pace: str, policy: str) -> None:
    """Without time, at one moment: nothing that has left gets another token, in whatever order they leave."""
    rng = Random(pace + policy)
    latency: LatencyModel = ConstantLatency(OWN_ZERO) if pace == "timelines" else ZeroLatency()
    made = engine(
        latency,
        async_scheduling=pace == "async",
        scheduling_policy=policy,
        max_num_seqs=16,
        num_gpu_blocks=4000,
        max_model_len=4000,
    )
    names = [f"r{i}" for i in range(300)]
    for i, name in enumerate(names):
        made.add_request(request(name, rng.randint(1, 50), 3000, priority=rng.randrange(3)), i // 200 * 1.0)
    rng.shuffle(names)
    while names:
        made.fast_forward(0.0, max_steps=rng.randint(1, 40))
        made.check_invariants()
        leaving, names = names[:30], names[30:]
        due = made.peek()
        assert due is not None
        made.abort(leaving, due)
        before = made.stats.generation_tokens
        step = made.step(due)
        assert made.num_unfinished == len(names)
        assert not {output.request.request_id for output in step.outputs} & set(leaving)
        assert made.stats.generation_tokens - before <= 16, "one batch"
        made.check_invariants()
    made.fast_forward(0.0)
    stats = made.stats
    assert (stats.num_requests_running, stats.num_requests_waiting, stats.kv_cache_usage) == (0, 0, 0.0)
    assert made.peek() is None


@pytest.mark.parametrize("pace", ["sync", "async", "timelines"])
def test_who_arrives_beside_work_that_takes_no_time(pace: str) -> None:
    """`catch_up` moves the engine's clock on, and with it comes the arrival."""
    latency: LatencyModel = ConstantLatency(OWN_ZERO) if pace == "timelines" else ZeroLatency()
    made = engine(latency, async_scheduling=pace == "async", num_gpu_blocks=4000, max_model_len=4000)
    made.add_request(request("long", 10, 3000), 0.0)
    made.fast_forward(0.0, max_steps=20)
    made.add_request(request("short", 10, 1), 5.0)
    made.fast_forward(7.0, max_steps=20)
    assert made.num_unfinished == 2, "the clock stands still"
    made.catch_up(7.0)
    steps = made.fast_forward(7.0, max_steps=5)
    ends = [o for step in steps for o in step.outputs if o.request.request_id == "short"]
    answered = 5.0 if pace == "timelines" else 7.0  # own timelines need not wait
    assert [(o.time, o.finish_reason) for o in ends] == [(answered, "length")]
    made.catch_up(6.0)
    made.fast_forward(7.0)
    made.check_invariants()
    assert made.num_unfinished == 0
    assert made.stats.generation_tokens == 3001
    assert made.stats.time_to_first_token_seconds.total == answered - 5.0
