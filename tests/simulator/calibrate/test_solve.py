"""Least squares with coefficients of 0 or more."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.calibrate.solve import Normal, linear


def test_a_system_is_solved_with_pivots() -> None:
    assert linear([[0.0, 2.0], [3.0, 1.0]], [4.0, 5.0]) == [1.0, 2.0]
    assert linear([[1.0, 2.0], [2.0, 4.0]], [1.0, 2.0]) is None


def system(beta: list[float], rows: int, seed: int) -> Normal:
    rng, found = Random(seed), Normal(len(beta))
    for _ in range(rows):
        x = [rng.uniform(0, 10) for _ in beta]
        found.add(x, sum(a * b for a, b in zip(x, beta, strict=True)), rng.uniform(0.1, 2))
    return found


@given(beta=st.lists(st.floats(0, 5), min_size=1, max_size=5), seed=st.integers(0, 99))
def test_exact_rows_give_their_coefficients(beta: list[float], seed: int) -> None:
    made = system(beta, 30, seed)
    assert made.solve([0.0] * len(beta), 0.0) == pytest.approx(beta, abs=1e-6)
    assert made.loss(beta) == pytest.approx(0.0, abs=1e-6)


def test_none_is_below_zero_and_no_other_choice_is_better() -> None:
    made = system([3.0, -1.0, 2.0], 40, 1)
    found = made.solve([0.0] * 3, 0.0)
    assert min(found) >= 0
    assert found[1] == 0.0
    rng = Random(2)
    for _ in range(300):
        other = [max(0.0, value + rng.gauss(0, 0.2)) for value in found]
        assert made.loss(other) >= made.loss(found) - 1e-9


def test_a_ridge_holds_what_no_row_tells() -> None:
    made = Normal(2)
    made.add([1.0, 1.0], 10.0, 1.0)  # only their sum is known
    found = made.solve([8.0, 2.0], 0.1)
    assert found == pytest.approx([8.0, 2.0], abs=1e-9)


def test_what_no_row_holds_stays_at_zero() -> None:
    made = Normal(2)
    made.add([2.0, 0.0], 6.0, 1.0)
    assert made.solve([1.0, 7.0], 0.0) == [3.0, 0.0]
