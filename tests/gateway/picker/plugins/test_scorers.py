"""Scores worked out by hand from the formulas of the EPP."""

from __future__ import annotations

import pytest

from gateway.picker.plugins import scorers
from gateway.picker.plugins.scorers import NoParameters
from tests.gateway.picker.factories import candidate, request

NONE = NoParameters()


@pytest.mark.parametrize(
    ("queues", "expected"),
    [
        ([0, 0, 0], [1.0, 1.0, 1.0]),
        ([7, 7], [1.0, 1.0]),
        ([0, 10], [1.0, 0.0]),
        ([3, 0, 10], [0.7, 1.0, 0.0]),
        ([5, 15, 10], [1.0, 0.0, 0.5]),
        ([4], [1.0]),
    ],
)
def test_queue(queues: list[int], expected: list[float]) -> None:
    candidates = [candidate(waiting=queue) for queue in queues]
    assert scorers.queue(request(), candidates, NONE) == expected


def test_running_requests_is_the_same_of_running() -> None:
    candidates = [candidate(running=8, waiting=0), candidate(running=2, waiting=9)]
    assert scorers.running_requests(request(), candidates, NONE) == [0.0, 1.0]


def test_kv_cache_utilization() -> None:
    candidates = [candidate(kv_usage=usage) for usage in (0.0, 0.25, 1.0)]
    assert scorers.kv_cache_utilization(request(), candidates, NONE) == [1.0, 0.75, 0.0]


@pytest.mark.parametrize(
    ("active", "waiting", "limit", "expected"),
    [
        ({"lora"}, set(), 1, 1.0),  # loaded, even though full
        ({"x"}, set(), 2, 0.8),  # a slot is free
        ({"x"}, {"lora"}, 3, 0.8),  # a free slot counts more than waiting
        ({"x"}, {"lora"}, 2, 0.6),  # full, but queued to be loaded
        ({"x", "y"}, set(), 2, 0.0),
        (set(), set(), 0, 0.0),  # no LoRA metric at all
    ],
)
def test_lora_affinity(active: set[str], waiting: set[str], limit: int, expected: float) -> None:
    pod = candidate(
        active_models=frozenset(active), waiting_models=frozenset(waiting), max_active_models=limit
    )
    assert scorers.lora_affinity(request("lora"), [pod], NONE) == [expected]


def test_hermetic_example_of_the_epp() -> None:
    """GIE's integration case: (queue, kv) = (3, .2), (0, .1), (10, .2); all weights 1: the second wins."""
    pods = [candidate(waiting=q, kv_usage=kv) for q, kv in ((3, 0.2), (0, 0.1), (10, 0.2))]
    totals = [
        q + kv
        for q, kv in zip(
            scorers.queue(request(), pods, NONE),
            scorers.kv_cache_utilization(request(), pods, NONE),
            strict=True,
        )
    ]
    assert totals == [0.7 + 0.8, 1.0 + 0.9, 0.0 + 0.8]


@pytest.mark.parametrize(
    ("counts", "idle", "ceiling", "expected"),
    [
        ([0, 2, 4], 0, 1.0, [1.0, 0.5, 0.0]),
        ([0, 2, 4], 2, 0.5, [1.0, 1.0, 0.0]),
        ([1, 2, 4], 0, 0.5, [0.375, 0.25, 0.0]),
        ([0, 0], 0, 1.0, [1.0, 1.0]),
        ([3, 3], 0, 1.0, [0.0, 0.0]),
        ([0, 4], 0, 7.0, [1.0, 0.0]),  # a ceiling out of range is 1
    ],
)
def test_active_request(counts: list[int], idle: int, ceiling: float, expected: list[float]) -> None:
    pods = [candidate(inflight_requests=count) for count in counts]
    parameters = scorers.ActiveRequestParameters(idle, ceiling)
    assert scorers.active_request(request(), pods, parameters) == expected


def test_load_aware() -> None:
    pods = [candidate(waiting=waiting) for waiting in (0, 32, 64, 128, 500)]
    parameters = scorers.LoadAwareParameters()
    assert scorers.load_aware(request(), pods, parameters) == [0.5, 0.375, 0.25, 0.0, 0.0]


def test_token_load() -> None:
    pods = [candidate(inflight_tokens=tokens) for tokens in (0, 1048576, 4194304, 10**9, -5)]
    assert scorers.token_load(request(), pods, scorers.TokenLoadParameters()) == [1.0, 0.75, 0.0, 0.0, 1.0]


def test_prefix_cache_share() -> None:
    pods = [candidate(prefix_matched=m, prefix_total=8) for m in (0, 2, 8)]
    parameters = scorers.PrefixScoreParameters()
    assert scorers.prefix_cache(request(), pods, parameters) == [0.0, 0.25, 1.0]
    assert scorers.prefix_cache(request(), [candidate()], parameters) == [0.0]


def test_prefix_cache_with_length() -> None:
    """llm-d: 0.4 * min(1, 16*64/8192)**2 + 0.6 * 16/32 = 0.4 * 0.015625 + 0.3."""
    pod = candidate(prefix_matched=16, prefix_total=32, prefix_block_tokens=64)
    parameters = scorers.PrefixScoreParameters(match_length_weight=0.4)
    assert scorers.prefix_cache(request(), [pod], parameters) == [0.4 * 0.125 * 0.125 + 0.6 * 0.5]


@pytest.mark.parametrize("token", ["", "%%%", "not base64"])
def test_a_token_that_cannot_be_read_is_none(token: str) -> None:
    assert scorers.decode_session(token) == ""
    assert scorers.decode_session(scorers.encode_session("ns/a")) == "ns/a"


def test_no_hit_lru_ranks_cold_requests() -> None:
    pods = [candidate(name) for name in ("a", "b", "c", "d")]
    # Never used: b and d, in the order of the candidates; then a, longest unused; then c.
    assert scorers.no_hit_lru(["ns/a", "ns/c"], pods) == [1 - 2 / 3, 1.0, 0.0, 1 - 1 / 3]


def test_no_hit_lru_is_neutral_on_a_hit_and_sure_of_one() -> None:
    assert scorers.no_hit_lru([], [candidate(prefix_matched=1), candidate()]) == [0.5, 0.5]
    assert scorers.no_hit_lru(["ns/a"], [candidate("a")]) == [1.0]
