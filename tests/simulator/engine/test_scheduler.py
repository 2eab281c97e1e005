"""Rules of one schedule that the recordings do not show by themselves."""

from __future__ import annotations

from typing import Any

import pytest

from simulator.engine.outputs import StepOutput
from simulator.errors import InvariantError
from tests.simulator.engine.build import engine, request, run, scheduled_tokens, times


def scheduled(steps: list[StepOutput]) -> list[dict[str, int]]:
    return [scheduled_tokens(step) for step in steps if step.num_steps]


def test_running_first_then_waiting_within_the_budget() -> None:
    made = engine(max_num_batched_tokens=16)
    made.add_request(request("a", 20, 3), 0.0)
    made.add_request(request("b", 10, 2), 0.0)
    assert scheduled(run(made)) == [{"a": 16}, {"a": 4, "b": 10}, {"a": 1, "b": 1}, {"a": 1}]


def test_long_prefill_threshold_holds_only_beside_others() -> None:
    made = engine(long_prefill_token_threshold=8, max_num_batched_tokens=64)
    made.add_request(request("a", 40, 1), 0.0)
    assert scheduled(run(made)) == [{"a": 40}]
    made.add_request(request("b", 40, 1), 10.0)
    made.add_request(request("c", 4, 1), 10.0)
    assert scheduled(run(made)) == [{"b": 8, "c": 4}, {"b": 32}]


def test_without_chunked_prefill_a_prompt_waits_for_a_whole_budget() -> None:
    made = engine(enable_chunked_prefill=False, max_num_batched_tokens=64, max_model_len=64)
    made.add_request(request("a", 40, 3), 0.0)
    made.add_request(request("b", 40, 1), 0.0)
    assert scheduled(run(made)) == [{"a": 40}, {"a": 1, "b": 40}, {"a": 1}]


@pytest.mark.parametrize(("admission", "first"), [("whole-prompt", {"a": 8}), ("chunk", {"a": 8, "b": 8})])
def test_what_must_fit_to_be_admitted(admission: str, first: dict[str, int]) -> None:
    made = engine(
        block_size=4,
        num_gpu_blocks=9,
        max_model_len=64,
        max_num_batched_tokens=16,
        long_prefill_token_threshold=8,
        admission=admission,
    )
    made.add_request(request("a", 8, 2), 0.0)
    made.add_request(request("b", 28, 1), 0.0)
    assert scheduled(run(made, until=1.0)) == [first]


def test_the_watermark_is_kept_free_when_others_run() -> None:
    def b_starts(watermark: float) -> float:
        made = engine(block_size=4, num_gpu_blocks=11, max_model_len=64, watermark=watermark)
        made.add_request(request("a", 8, 4), 0.0)
        made.add_request(request("b", 28, 1), 0.0)
        return times(run(made), "b")[0]

    assert (b_starts(0.0), b_starts(0.2)) == (1.0, 5.0)


def test_max_num_seqs() -> None:
    made = engine(max_num_seqs=2)
    for name in "abc":
        made.add_request(request(name, 4, 2), 0.0)
    assert [list(step) for step in scheduled(run(made))] == [["a", "b"], ["a", "b"], ["c"], ["c"]]


def test_a_prompt_of_whole_blocks_computes_its_last_block_again() -> None:
    made = engine(block_size=16)
    asked = [request(name, [5] * 32, 1) for name in "ab"]
    for i, one in enumerate(asked):
        made.add_request(one, i * 10.0)
        run(made)
    assert [one.num_cached_tokens for one in asked] == [0, 16]


def test_without_prefix_caching_nothing_is_found_or_counted() -> None:
    made = engine(enable_prefix_caching=False)
    for i in range(2):
        made.add_request(request(f"r{i}", [5] * 40, 1), i * 10.0)
        run(made)
    assert (made.stats.prefix_cache_queries, made.stats.prefix_cache_hits) == (0, 0)
    assert made.stats.prompt_tokens_local_compute == 80


def test_a_preempted_request_finds_its_own_blocks() -> None:
    made = engine(block_size=4, num_gpu_blocks=10, max_model_len=64)
    made.add_request(request("a", 10, 16), 0.0)
    made.add_request(request("b", 10, 16), 0.0)
    steps = run(made)
    resumed = next(step for step in steps if step.resumed)
    assert scheduled_tokens(resumed)["b"] < 10  # less than its prompt


@pytest.mark.parametrize("broken", ["running", "deferred", "blocks"])
def test_invariants_are_checked(broken: str) -> None:
    made: Any = engine()
    made.add_request(request("a", 40, 5), 0.0)
    run(made, until=1.0)
    scheduler = made._scheduler
    if broken == "running":
        scheduler.running.append(scheduler.running[0])
    elif broken == "deferred":
        scheduler.num_deferred = 1
    else:
        scheduler.running[0].block_ids.pop()
    with pytest.raises(InvariantError):
        made.check_invariants()
