"""How full a pool is, by each release's reckoning."""

from __future__ import annotations

import pytest

from gateway.picker.errors import PickerConfigError
from gateway.picker.plugins.saturation import (
    ConcurrencyParameters,
    UtilizationLimits,
    any_has_room,
    concurrency,
    mean_utilization,
    within_concurrency,
    within_utilization,
)
from tests.gateway.picker.factories import candidate

NOW = 100.0
LIMITS = UtilizationLimits()


@pytest.mark.parametrize(
    ("waiting", "kv_usage", "age", "saturated"),
    [
        (5, 0.8, 0.125, 0.0),  # exactly at each limit there is room
        (6, 0.0, 0.0, 1.0),
        (0, 0.81, 0.0, 1.0),
        (0, 0.0, 0.25, 1.0),  # too old to be trusted
    ],
)
def test_one_endpoint_with_room_is_enough_up_to_v13(
    waiting: int, kv_usage: float, age: float, saturated: float
) -> None:
    full = candidate(waiting=99, updated_at=NOW)
    pod = candidate(waiting=waiting, kv_usage=kv_usage, updated_at=NOW - age)
    assert any_has_room([full, pod], LIMITS, NOW) == saturated


def test_never_scraped_is_stale() -> None:
    assert any_has_room([candidate()], LIMITS, NOW) == 1.0
    assert any_has_room([], LIMITS, NOW) == 1.0


def test_mean_of_the_fuller_resource_from_v14_on() -> None:
    pods = [
        candidate(waiting=10, kv_usage=0.4, updated_at=NOW),  # max(2, .5) = 2
        candidate(waiting=1, kv_usage=0.4, updated_at=NOW),  # max(.2, .5) = .5
        candidate(waiting=0, updated_at=NOW - 1),  # stale: 1
    ]
    assert mean_utilization(pods, LIMITS, NOW) == pytest.approx(3.5 / 3)
    assert mean_utilization([], LIMITS, NOW) == 1.0


def test_detector_as_a_filter() -> None:
    room = candidate("a", waiting=5, updated_at=NOW)
    full = candidate("b", waiting=6, updated_at=NOW)
    stale = candidate("c", updated_at=NOW - 1)
    relaxed = UtilizationLimits(headroom=0.2)
    assert within_utilization([room, full, stale], relaxed, NOW) == [room]
    assert within_utilization([room, full], LIMITS, NOW) == [room, full]  # none left: all


def test_concurrency_by_requests_tokens_or_the_fuller() -> None:
    pods = [candidate(inflight_requests=3, inflight_tokens=100), candidate(inflight_requests=1)]
    parameters = ConcurrencyParameters(max_concurrency=4, max_token_concurrency=50)
    assert concurrency(pods, parameters) == 0.5
    parameters.concurrency_mode = "tokens"
    assert concurrency(pods, parameters) == 1.0
    parameters.concurrency_mode = "hybrid"
    assert concurrency(pods, parameters) == 1.0
    assert concurrency([], parameters) == 1.0
    assert within_concurrency(pods, parameters) == [pods[1]]


def test_concurrency_parameters_are_checked() -> None:
    with pytest.raises(PickerConfigError, match="strictly positive"):
        ConcurrencyParameters(max_concurrency=0).check("d")
    with pytest.raises(PickerConfigError, match="not one of requests, tokens, hybrid"):
        ConcurrencyParameters(concurrency_mode="vibes").check("d")
