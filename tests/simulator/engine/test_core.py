"""The engine on a virtual clock: what happens when, exactly."""

from __future__ import annotations

import json

import pytest

from simulator.engine.request import FinishReason, SamplingParams
from simulator.errors import EngineError
from tests.simulator.engine.build import (
    FixedSteps,
    Says,
    engine,
    outputs,
    request,
    run,
    scheduled_tokens,
    times,
)


def test_a_request_alone_gets_a_token_per_step() -> None:
    made = engine()
    made.add_request(request("a", 10, 3), 100.0)
    assert made.peek() == 100.0
    steps = run(made)
    assert times(steps, "a") == [101.0, 102.0, 103.0]
    assert [scheduled_tokens(step) for step in steps if step.num_steps] == [{"a": 10}, {"a": 1}, {"a": 1}]
    assert [step.step for step in steps if step.num_steps] == [0, 1, 2]
    last = outputs(steps)["a"][-1]
    assert (last.finish_reason, last.stop_reason) == (FinishReason.LENGTH, None)
    assert made.peek() is None
    assert made.num_unfinished == 0


def test_an_arrival_joins_at_the_next_boundary() -> None:
    made = engine()
    made.add_request(request("a", 10, 4), 0.0)
    made.add_request(request("b", 10, 2), 0.5)
    steps = run(made)
    assert times(steps, "b") == [2.0, 3.0]
    assert scheduled_tokens(steps[2]) == {"a": 1, "b": 10}


def test_with_async_scheduling_an_arrival_waits_one_step_longer() -> None:
    made = engine(async_scheduling=True)
    made.add_request(request("a", 10, 6), 0.0)
    made.add_request(request("b", 10, 2), 0.5)
    steps = run(made)
    assert times(steps, "a") == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert times(steps, "b") == [3.0, 4.0]  # the step from 1 to 2 was decided at 0


@pytest.mark.parametrize("async_scheduling", [False, True])
def test_a_late_driver_does_not_move_the_timeline(async_scheduling: bool) -> None:
    made = engine(async_scheduling=async_scheduling)
    made.add_request(request("a", 10, 5), 0.0)
    steps = [made.step(now) for now in (0.7, 9.9, 9.9, 9.9)]
    made.add_request(request("b", 10, 2), 9.9)  # the boundaries that are overdue do not see it
    steps += run(made)
    assert times(steps, "a") == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert times(steps, "b") == [10.9, 11.9]


def test_step_before_it_is_due_is_an_error() -> None:
    made = engine()
    with pytest.raises(EngineError, match="nothing is due"):
        made.step(1.0)
    made.add_request(request("a"), 5.0)
    with pytest.raises(EngineError, match="the next step is at 5"):
        made.step(4.0)


def test_requests_that_cannot_be_taken() -> None:
    made = engine(max_model_len=64)
    made.add_request(request("a"), 0.0)
    with pytest.raises(EngineError, match="already in use"):
        made.add_request(request("a"), 0.0)
    with pytest.raises(EngineError, match="has 0 tokens"):
        made.add_request(request("b", []), 0.0)
    with pytest.raises(EngineError, match="at most max_model_len - 1 = 63"):
        made.add_request(request("c", 64), 0.0)
    with pytest.raises(EngineError, match="32-bit"):
        made.add_request(request("d", [-1]), 0.0)
    assert made.num_unfinished == 1


def test_the_context_ends_a_request() -> None:
    made = engine(max_model_len=16)
    made.add_request(request("a", 10, 100), 0.0)
    steps = run(made)
    assert len(times(steps, "a")) == 6
    assert outputs(steps)["a"][-1].finish_reason is FinishReason.LENGTH


@pytest.mark.parametrize("async_scheduling", [False, True])
def test_eos_ends_a_request(async_scheduling: bool) -> None:
    made = engine(text=Says([5, 6]), async_scheduling=async_scheduling)
    made.add_request(request("a", 10, 100), 0.0)
    steps = run(made)
    assert [output.new_token_ids for output in outputs(steps)["a"]] == [[5], [6], [2]]
    assert outputs(steps)["a"][-1].finish_reason is FinishReason.STOP
    assert outputs(steps)["a"][-1].stop_reason is None
    assert times(steps, "a") == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("order", "reason"), [("stop-first", FinishReason.STOP), ("length-first", FinishReason.LENGTH)]
)
def test_eos_as_the_last_allowed_token(order: str, reason: FinishReason) -> None:
    made = engine(text=Says([5, 6]), stop_order=order)
    made.add_request(request("a", 10, 3), 0.0)
    assert outputs(run(made))["a"][-1].finish_reason is reason


def test_stop_ids() -> None:
    made = engine(text=Says([5, 6, 8, 9]))
    sampling = SamplingParams(max_tokens=10, stop_token_ids=(6, 9), min_tokens=2)
    made.add_request(request("a", sampling=sampling), 0.0)
    last = outputs(run(made))["a"][-1]
    assert (last.finish_reason, last.stop_reason) == (FinishReason.STOP, 9)
    assert last.request.output_token_ids == [5, 6, 8, 9]  # the first two may not stop it


def test_without_stream_everything_comes_at_the_end() -> None:
    made = engine(text=Says([5, 6, 8]))
    made.add_request(request("a", 10, 10, stream=False), 0.0)
    (output,) = outputs(run(made))["a"]
    assert (output.new_token_ids, output.time) == ([5, 6, 8, 2], 4.0)


def test_a_client_that_leaves_is_gone_at_the_next_boundary() -> None:
    made = engine()
    made.add_request(request("a", 40, 100), 0.0)
    steps = run(made, until=3.0)
    made.abort(["a"], 3.5)
    assert made.num_unfinished == 1
    steps += run(made)
    assert times(steps, "a") == [1.0, 2.0, 3.0]  # the step until 4 ran for nothing
    assert steps[-1].end == 4.0
    assert made.stats.num_requests_running == 0
    assert made.stats.kv_cache_usage == 0.0
    assert made.stats.request_success["abort"] == 0


def test_a_request_that_is_aborted_before_a_boundary_has_seen_it() -> None:
    made = engine()
    made.add_request(request("a", 10, 100), 0.0)
    run(made, until=0.0)
    made.add_request(request("b"), 0.2)
    made.abort(["b", "unknown"], 0.3)
    steps = run(made, until=5.0)
    assert times(steps, "b") == []
    assert made.num_unfinished == 1


def test_the_server_ends_a_request() -> None:
    made = engine(text=Says([5] * 50))
    made.add_request(request("a", 10, 100, stream=False), 0.0)
    run(made, until=2.0)
    made.abort(["a"], 2.5, by="server")
    (output,) = outputs(run(made))["a"]
    assert (output.finish_reason, output.new_token_ids, output.time) == (FinishReason.ABORT, [5, 5], 3.0)
    assert made.stats.request_success["abort"] == 1
    assert made.stats.e2e_request_latency_seconds.count == 1


def test_paused_engines_schedule_nothing() -> None:
    made = engine()
    made.add_request(request("a", 10, 4), 0.0)
    steps = run(made, until=1.0)
    made.pause()
    steps += run(made)
    assert made.is_paused
    assert times(steps, "a") == [1.0, 2.0]  # what was under way is done
    made.resume(50.0)
    steps += run(made)
    assert times(steps, "a") == [1.0, 2.0, 51.0, 52.0]


def test_pause_for_new_requests_only() -> None:
    made = engine()
    made.add_request(request("a", 10, 4), 0.0)
    run(made, until=1.0)
    made.pause("new")
    made.add_request(request("b", 10, 1), 1.5)
    steps = run(made)
    assert times(steps, "a")[-1] == 4.0
    assert times(steps, "b") == []
    assert made.stats.num_requests_waiting == 1
    made.resume(10.0)
    assert times(run(made), "b") == [11.0]


def test_sleep_drops_the_cache_and_what_ran_starts_again() -> None:
    made = engine()
    made.add_request(request("a", 20, 5), 0.0)
    steps = run(made, until=2.0)
    made.sleep(1, 2.5)
    assert made.stats.sleep_level == 1
    steps += run(made)
    assert made.stats.kv_cache_usage == 0.0
    made.wake_up(100.0)
    steps += run(made)
    assert made.stats.sleep_level == 0
    assert times(steps, "a") == [1.0, 2.0, 101.0, 102.0, 103.0]  # the token under way was dropped


def test_reset_prefix_cache_is_refused_while_blocks_are_in_use() -> None:
    made = engine()
    made.add_request(request("a", 40, 2), 0.0)
    run(made, until=1.0)
    assert not made.reset_prefix_cache(1.5)
    run(made)
    assert made.snapshot()["kv_blocks"]["cached"] > 0
    assert made.reset_prefix_cache(9.0)
    assert made.snapshot()["kv_blocks"]["cached"] == 0


def test_a_stall_delays_the_next_step_and_what_follows() -> None:
    made = engine()
    made.add_request(request("a", 10, 3), 0.0)
    steps = run(made, until=0.0)
    made.stall(10.0, 0.5)
    steps += run(made)
    assert times(steps, "a") == [1.0, 11.5, 12.5]


def test_the_batch_is_what_the_latency_model_is_asked_about() -> None:
    latency = FixedSteps()
    made = engine(latency, max_num_batched_tokens=16)
    made.add_request(request("a", 20, 2), 0.0)
    made.add_request(request("b", 5, 3), 0.0)
    run(made)
    assert latency.shapes == [(16, 0), (9, 0), (0, 2), (0, 1)]


def test_the_snapshot_is_json() -> None:
    made = engine(enable_lora=True)
    made.add_request(request("a"), 0.0)
    run(made, until=1.0)
    told = json.loads(json.dumps(made.snapshot()))
    assert told["running"][0]["request_id"] == "a"
    assert told["next_step"] == 2.0


def test_the_same_inputs_give_the_same_run() -> None:
    def once() -> list[object]:
        made = engine(async_scheduling=True, num_gpu_blocks=12)
        for i in range(6):
            made.add_request(request(f"r{i}", 20 + i, 30), i * 0.3)
        return [(step.end, scheduled_tokens(step), step.preempted) for step in run(made)]

    assert once() == once()
