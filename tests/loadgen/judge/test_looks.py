"""Looks of a sequential comparison: their alphas add up, and identical arms are rarely told apart at any."""

from __future__ import annotations

import numpy as np
import pytest

from loadgen.judge import paired
from loadgen.judge.looks import alpha_of, hopeless, told_apart

PATHS = [metric.path for metric in paired.METRICS if metric.judged]


@pytest.mark.parametrize("most", [3, 4, 5, 8, 10, 40])
def test_all_looks_together_spend_alpha(most: int) -> None:
    looks = [alpha_of(repeats, most) for repeats in range(1, most + 1)]
    assert looks[:2] == [0, 0]
    assert looks[2] == pytest.approx(0.05 * 9 / most**2)
    assert all(alpha > 0 for alpha in looks[2:])
    assert looks[3:] == sorted(looks[3:])
    assert sum(looks) == pytest.approx(paired.ALPHA)


def test_no_look_outside() -> None:
    assert (alpha_of(2, 8), alpha_of(9, 8), alpha_of(2, 2)) == (0, 0, 0)


def _sequence(rng: np.random.Generator, most: int, effect: float) -> int | None:
    """The look that tells two arms apart, or None."""
    figures: dict[str, list[dict[str, float]]] = {"a": [], "b": []}
    for repeats in range(1, most + 1):
        for arm, runs in figures.items():
            noise = 0.03 * rng.normal(size=len(PATHS)) + 0.02 * rng.normal()
            runs.append(dict(zip(PATHS, np.exp(noise + (arm == "a") * effect).tolist(), strict=True)))
        alpha = alpha_of(repeats, most)
        if alpha and told_apart(paired.compare("b", figures, alpha)):
            return repeats
    return None


def test_identical_arms_are_rarely_told_apart_at_any_look() -> None:
    rng = np.random.default_rng(21)
    assert sum(_sequence(rng, 6, 0.0) is not None for _ in range(200)) / 200 <= 0.05


def test_a_large_difference_stops_early_and_a_small_one_late() -> None:
    rng = np.random.default_rng(22)
    large = [_sequence(rng, 10, 0.4) for _ in range(20)]
    small = [_sequence(rng, 10, 0.1) for _ in range(20)]
    assert all(at is not None and at <= 6 for at in large)
    assert np.mean([at or 10 for at in small]) > np.mean([at or 10 for at in large])


def test_told_apart_needs_every_arm_and_hopeless_none() -> None:
    rng = np.random.default_rng(23)

    def runs(factor: float, count: int = 500) -> list[dict[str, float]]:
        return [
            {"ttft.p90": factor * float(np.exp(0.01 * rng.normal())), "ttft.count": count} for _ in range(5)
        ]

    both = paired.compare("c", {"a": runs(0.5), "b": runs(1.0), "c": runs(1.0)})
    assert [each.verdict for each in both] == ["beats", "is not told apart from"]
    assert not told_apart(both)
    assert told_apart(both[:1])
    assert not hopeless(both)
    assert hopeless(paired.compare("c", {"a": runs(0.5, 99), "c": runs(1.0, 99)}))
