"""Sequences with timelines of their own: llm-d-inference-sim's constants."""

from __future__ import annotations

import pytest

from simulator.engine.pace.latency import ConstantLatency, ConstantTimes
from tests.simulator.engine.build import engine, request, run, times


def constant(first: float = 0.5, between: float = 0.1, **more: float) -> ConstantLatency:
    return ConstantLatency(ConstantTimes(first, inter_token_latency=between, **more))


def test_each_sequence_keeps_its_own_time() -> None:
    made = engine(constant())
    made.add_request(request("a", 10, 3), 0.0)
    made.add_request(request("b", 10, 3), 0.23)
    steps = run(made)
    assert times(steps, "a") == pytest.approx([0.5, 0.6, 0.7])
    assert times(steps, "b") == pytest.approx([0.73, 0.83, 0.93])


def test_an_arrival_does_not_wait_for_others() -> None:
    made = engine(constant(first=5.0))
    made.add_request(request("a", 10, 2), 0.0)
    run(made, until=0.0)
    made.add_request(request("b", 10, 1), 1.0)
    assert made.peek() == 1.0
    assert times(run(made), "b") == [6.0]


def test_sequences_that_are_not_due_still_run() -> None:
    made = engine(constant(), max_num_seqs=2)
    for name in ("a", "b", "c"):
        made.add_request(request(name, 10, 2), 0.0)
    run(made, until=0.55)
    assert (made.stats.num_requests_running, made.stats.num_requests_waiting) == (2, 1)
    assert made.snapshot()["waiting"][0]["request_id"] == "c"
    assert times(run(made), "c") == pytest.approx([1.1, 1.2])


def test_a_prompt_in_chunks_takes_as_long_as_in_one() -> None:
    made = engine(constant(first=1.0), max_num_batched_tokens=10)
    made.add_request(request("a", 40, 1), 0.0)
    assert times(run(made), "a") == pytest.approx([1.0])


def test_no_blocks_preempts_the_last_admitted() -> None:
    made = engine(constant(), block_size=4, num_gpu_blocks=8, max_model_len=64)
    made.add_request(request("a", 10, 16), 0.0)
    made.add_request(request("b", 10, 16), 0.0)
    steps = run(made)
    assert any(step.preempted == ["b"] for step in steps)
    assert len(times(steps, "a")) == len(times(steps, "b")) == 16
    assert times(steps, "b") == sorted(times(steps, "b"))


def test_a_stall_holds_every_sequence() -> None:
    made = engine(constant())
    made.add_request(request("a", 10, 2), 0.0)
    steps = run(made, until=0.1)
    made.stall(3.0, 0.2)
    steps += run(made)
    assert times(steps, "a") == pytest.approx([0.5, 3.3])


def test_many_at_once_are_one_boundary() -> None:
    made = engine(constant(), max_num_seqs=64, num_gpu_blocks=2000)
    for i in range(64):
        made.add_request(request(f"r{i}", 5, 20), 0.0)
    steps = made.fast_forward(100.0)
    assert made.stats.num_steps == 20
    assert len(steps) < 20
    assert made.stats.iteration_tokens_total.count == 20
    made.check_invariants()


def test_a_paused_engine_goes_on_where_it_was() -> None:
    made = engine(constant())
    made.add_request(request("a", 10, 4), 0.0)
    steps = run(made, until=0.55)
    made.pause()
    steps += run(made)
    made.resume(10.0)
    steps += run(made)
    assert times(steps, "a") == pytest.approx([0.5, 0.6, 10.1, 10.2])


def test_sleep_drops_what_is_under_way() -> None:
    made = engine(constant())
    made.add_request(request("a", 10, 3), 0.0)
    steps = run(made, until=0.55)
    made.sleep(1, 0.56)
    steps += run(made)
    assert made.stats.kv_cache_usage == 0.0
    made.wake_up(5.0)
    steps += run(made)
    assert times(steps, "a") == pytest.approx([0.5, 5.5, 5.6])
