"""Pickers: who wins, and that ties are really even."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from gateway.picker.compat import GIE_V12
from gateway.picker.plugins import pickers
from gateway.picker.plugins.base import PluginContext
from gateway.picker.plugins.builtin import LeastRequestPicker, RoundRobinPicker
from gateway.picker.pool.inflight import InflightLoad
from tests.gateway.picker.factories import candidate

DRAWS = 6000


def shares(draw: object, totals: list[float], count: int = 1) -> dict[int, float]:
    rng = random.Random(7)
    won = Counter(draw(totals, count, rng)[0] for _ in range(DRAWS))  # type: ignore[operator]
    return {index: won[index] / DRAWS for index in range(len(totals))}


def context(kind: str, **parameters: object) -> PluginContext:
    return PluginContext(kind, kind, dict(parameters), GIE_V12, random.Random(3), InflightLoad())


def test_max_score_takes_the_highest() -> None:
    assert pickers.max_score([1.0, 3.0, 2.0], 1, random.Random()) == [1]


def test_max_score_breaks_ties_evenly_among_exactly_equal_totals_only() -> None:
    won = shares(pickers.max_score, [2.0, 0.1 + 0.2, 2.0, 2.0 - 1e-15, 2.0])
    assert won[1] == won[3] == 0.0
    assert all(won[index] == pytest.approx(1 / 3, abs=0.03) for index in (0, 2, 4))


def test_max_score_gives_an_order_with_ties_shuffled() -> None:
    rng = random.Random(5)
    orders = Counter(tuple(pickers.max_score([1.0, 2.0, 1.0], 3, rng)) for _ in range(DRAWS))
    assert set(orders) == {(1, 0, 2), (1, 2, 0)}
    assert orders[(1, 0, 2)] / DRAWS == pytest.approx(0.5, abs=0.03)
    assert len(pickers.max_score([1.0, 2.0], 5, rng)) == 2


def test_random_ignores_totals() -> None:
    won = shares(pickers.uniform, [0.0, 100.0, 1.0, 3.0])
    assert all(share == pytest.approx(0.25, abs=0.03) for share in won.values())
    assert sorted(pickers.uniform([0.0] * 4, 4, random.Random())) == [0, 1, 2, 3]


def test_weighted_random_draws_in_proportion_to_totals() -> None:
    won = shares(pickers.weighted_random, [1.0, 3.0, 0.0, -2.0])
    assert won[0] == pytest.approx(0.25, abs=0.03)
    assert won[1] == pytest.approx(0.75, abs=0.03)
    assert won[2] == won[3] == 0.0


def test_weighted_random_is_uniform_without_any_score() -> None:
    won = shares(pickers.weighted_random, [0.0, -1.0])
    assert won[0] == pytest.approx(0.5, abs=0.03)


def test_least_request_takes_the_fewest_or_the_better_of_two() -> None:
    rng = random.Random(1)
    assert {pickers.least_request([3, 1, 2], 1, 0, rng)[0] for _ in range(50)} == {1}
    of_two = Counter(pickers.least_request([3, 1, 2], 1, 2, rng)[0] for _ in range(DRAWS))
    # Pairs {0,1}, {1,2} give 1; {0,2} gives 2.
    assert of_two[0] == 0
    assert of_two[1] / DRAWS == pytest.approx(2 / 3, abs=0.03)


def test_least_request_plugin_ties_are_even() -> None:
    picker = LeastRequestPicker(context("least-request-picker"))
    pods = [candidate(name, inflight_requests=n) for name, n in (("a", 1), ("b", 0), ("c", 0))]
    won = Counter(picker.pick(pods, [0.0] * 3)[0].endpoint.name for _ in range(DRAWS))
    assert won["a"] == 0
    assert won["b"] / DRAWS == pytest.approx(0.5, abs=0.03)


def test_round_robin_goes_on_where_it_was_when_endpoints_change() -> None:
    picker = RoundRobinPicker(context("round-robin-picker"))

    def turn(*names: str) -> str:
        return picker.pick([candidate(name) for name in names], [0.0] * len(names))[0].endpoint.name

    assert [turn("b", "a", "c") for _ in range(4)] == ["a", "b", "c", "a"]
    assert turn("a", "c") == "c"
    assert turn("a", "c", "d") == "d"
    assert turn("a", "c", "d") == "a"


def test_round_robin_gives_fallbacks_in_turn() -> None:
    picker = RoundRobinPicker(context("round-robin-picker", maxNumOfEndpoints=2))
    picked = picker.pick([candidate(name) for name in "abc"], [0.0] * 3)
    assert [c.endpoint.name for c in picked] == ["a", "b"]
