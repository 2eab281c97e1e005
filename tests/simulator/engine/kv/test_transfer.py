"""P/D disaggregation: pulled prompts and handed-off blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from simulator.engine.request import FinishReason
from tests.simulator.engine.build import FixedSteps, engine, outputs, request, run, times

PULL = {
    "do_remote_prefill": True,
    "remote_engine_id": "p",
    "remote_block_ids": [1, 2, 3],
    "remote_host": "127.0.0.2",
    "remote_port": 5600,
}


def test_a_prefill_server_says_where_its_blocks_are() -> None:
    made = engine(kv_engine_id="p0", kv_host="10.0.0.1", kv_port=5601, kv_tp_size=2, block_size=16)
    made.add_request(request("a", 40, 1, kv_transfer_params={"do_remote_decode": True}), 0.0)
    steps = run(made, until=1.0)
    (output,) = outputs(steps)["a"]
    assert output.finish_reason is FinishReason.LENGTH
    assert output.kv_transfer_params == {
        "do_remote_prefill": True,
        "do_remote_decode": False,
        "remote_block_ids": [[1, 2, 3]],
        "remote_engine_id": "p0",
        "remote_request_id": "a",
        "remote_host": "10.0.0.1",
        "remote_port": 5601,
        "tp_size": 2,
        "dcp_size": 1,
        "pp_size": 1,
        "remote_num_tokens": 40,
        "remote_blocks_expiry_time": None,
        "remote_registration_generation": 0,
        "transfer_mode": "pull",
        "remote_prefill_cached_tokens": 0,
    }


def test_older_servers_hand_over_one_list() -> None:
    made = engine(kv_hand_off="flat", block_size=16)
    made.add_request(request("a", 40, 1, kv_transfer_params={"do_remote_decode": True}), 0.0)
    told = outputs(run(made, until=1.0))["a"][0].kv_transfer_params
    assert told is not None
    assert told["remote_block_ids"] == [1, 2, 3]
    assert "transfer_mode" not in told


class Wire:
    """A link between engines that remembers what was said on it."""

    def __init__(self, holds: bool = True) -> None:
        self.holds = holds
        self.said: list[tuple[Any, float]] = []

    def has_blocks(self, params: Mapping[str, Any], now: float) -> bool:
        return self.holds

    def fetched(self, params: Mapping[str, Any], now: float) -> None:
        self.said.append((params["remote_request_id"], now))


def test_blocks_stay_until_they_are_fetched() -> None:
    made = engine(kv_lease_seconds=30.0)
    made.transfers.link = Wire()
    for name in "ab":
        made.add_request(request(name, 40, 1, kv_transfer_params={"do_remote_decode": True}), 0.0)
    run(made, until=1.0)
    assert made.peek() == 31.0
    made.kv_fetched("a", 7.0)
    run(made, until=7.0)
    assert made.stats.kv_cache_usage == pytest.approx(0.03)  # those of b
    run(made)
    assert made.stats.kv_cache_usage == 0.0
    assert made.stats.nixl_kv_expired == 1
    made.kv_fetched("b", 40.0)
    assert made.stats.nixl_notifications_after_expiry == 1


def test_who_has_pulled_says_so() -> None:
    made, wire = engine(FixedSteps(transfer=5.0)), Wire()
    made.transfers.link = wire
    params = {**PULL, "remote_request_id": "a-p"}
    made.add_request(request("a", 40, 1, kv_transfer_params=params), 0.0)
    run(made)
    assert wire.said == [("a-p", 5.0)]
    assert made.stats.nixl_bytes_transferred.total == 40 * 131072
    assert made.stats.nixl_xfer_time_seconds.total == 5.0


def test_a_failed_pull_ends_the_request_or_is_computed_here() -> None:
    for policy in ("fail", "recompute"):
        made = engine(FixedSteps(transfer=5.0), kv_load_failure_policy=policy)
        made.transfers.link = Wire(holds=False)
        pulled = request("a", 40, 2, kv_transfer_params=dict(PULL))
        made.add_request(pulled, 0.0)
        steps = run(made)
        assert made.stats.nixl_failed_transfers == 1
        assert made.stats.kv_cache_usage == 0.0
        if policy == "fail":
            (last,) = outputs(steps)["a"]
            assert (last.finish_reason, last.time) == (FinishReason.ERROR, 5.0)
            assert made.stats.request_success["error"] == 1
        else:
            assert times(steps, "a") == [6.0, 7.0]
            assert (pulled.num_cached_tokens, pulled.num_external_cached_tokens) == (0, 0)


def test_the_blocks_are_kept_as_long_as_a_pull_takes() -> None:
    made = engine(FixedSteps(transfer=5.0))
    made.add_request(request("a", 40, 1, kv_transfer_params={"do_remote_decode": True}), 0.0)
    run(made, until=1.0)
    assert made.num_unfinished == 0
    assert made.stats.kv_cache_usage > 0
    assert made.peek() == 6.0
    run(made)
    assert made.stats.kv_cache_usage == 0.0
    made.check_invariants()


def test_an_aborted_prefill_hands_nothing_off() -> None:
    made = engine()
    made.add_request(request("a", 40, 5, kv_transfer_params={"do_remote_decode": True}), 0.0)
    run(made, until=1.0)
    made.abort(["a"], 1.5)
    run(made)
    assert made.stats.kv_cache_usage == 0.0


@pytest.mark.parametrize("async_scheduling", [False, True])
def test_a_pulled_prompt_waits_deferred_and_is_not_computed(async_scheduling: bool) -> None:
    latency = FixedSteps(transfer=5.0)
    made = engine(latency, async_scheduling=async_scheduling, block_size=16)
    pulled = request("a", 40, 3, kv_transfer_params=dict(PULL))
    made.add_request(pulled, 0.0)
    steps = run(made, until=0.0)
    stats = made.stats
    assert (stats.num_requests_waiting_deferred, stats.num_requests_running) == (1, 0)
    assert stats.kv_fetch_by_stage == {"waiting_to_start": 0, "in_progress": 1, "completed_waiting": 0}
    assert stats.kv_cache_usage == pytest.approx(0.03)  # the blocks are there already
    assert made.peek() == 5.0
    steps += run(made)
    assert times(steps, "a") == [6.0, 7.0, 8.0]
    assert latency.shapes[0] == (0, 1)  # one token to compute
    assert (pulled.num_cached_tokens, pulled.num_external_cached_tokens) == (0, 40)
    assert (stats.prompt_tokens_local_compute, stats.prompt_tokens_external) == (0, 40)
    assert (stats.external_prefix_cache_queries, stats.external_prefix_cache_hits) == (40, 40)
    assert stats.kv_fetch_by_stage == {"waiting_to_start": 0, "in_progress": 0, "completed_waiting": 0}


def test_a_local_hit_is_not_pulled() -> None:
    made = engine(block_size=16)
    made.add_request(request("a", [5] * 40, 1), 0.0)
    run(made)
    pulled = request("b", [5] * 40, 1, kv_transfer_params=dict(PULL))
    made.add_request(pulled, 10.0)
    run(made)
    assert (pulled.num_cached_tokens, pulled.num_external_cached_tokens) == (32, 8)
    assert made.stats.external_prefix_cache_queries == 8


def test_others_overtake_a_pull() -> None:
    made = engine()
    made.add_request(request("a", 40, 1, kv_transfer_params=dict(PULL)), 0.0)
    made.add_request(request("b", 10, 2), 0.0)
    steps = run(made)
    assert times(steps, "b") == [1.0, 2.0]
    assert times(steps, "a") == [6.0]


def test_a_pull_that_is_aborted_keeps_its_blocks_until_it_is_done() -> None:
    made = engine()
    made.add_request(request("a", 40, 1, kv_transfer_params=dict(PULL)), 0.0)
    run(made, until=0.0)
    made.abort(["a"], 1.0)
    run(made, until=2.0)
    assert made.num_unfinished == 0
    assert made.stats.kv_cache_usage > 0
    run(made)
    assert made.stats.kv_cache_usage == 0.0


@pytest.mark.parametrize("params", [{"do_remote_decode": True}, PULL])
def test_without_a_connector_the_parameters_mean_nothing(params: dict[str, Any]) -> None:
    made = engine(kv_connector=False)
    made.add_request(request("a", 40, 1, kv_transfer_params=dict(params)), 0.0)
    (output,) = outputs(run(made))["a"]
    assert (output.kv_transfer_params, output.time) == (None, 1.0)
