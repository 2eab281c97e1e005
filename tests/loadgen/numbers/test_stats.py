"""Summaries, intervals that cover, and measures of spread with known values."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import to_builtins

from loadgen.numbers import stats


def test_percentile_keys_are_the_benchmark_reports() -> None:
    assert [stats.percentile_key(q) for q in (0.1, 1, 50, 99.9)] == ["p0p1", "p1", "p50", "p99p9"]


def test_summary_of_known_values() -> None:
    summary = stats.summarize(range(1, 1001))
    assert summary is not None
    assert (summary.count, summary.mean, summary.min, summary.max) == (1000, 500.5, 1, 1000)
    assert summary.p50 == 500.5
    assert summary.p99 == pytest.approx(990.01)
    assert summary.ci == {}  # values that only rise say nothing of where they will stay
    assert stats.summarize([]) is None
    single = stats.summarize([3.0])
    assert single is not None
    assert single.stddev == 0
    assert single.ci == {}  # one value says nothing of its scatter


def _sojourns(rng: np.random.Generator, load: float, n: int) -> np.ndarray:
    """Times in an M/M/1 queue of service rate 1 that is in its steady state; their mean is 1 / (1 - load)."""
    service, gaps = rng.exponential(size=n), rng.exponential(1 / load, n)
    first = rng.exponential(1 / (1 - load)) if rng.random() < load else 0.0
    walk = np.cumsum(np.concatenate([[first], service[:-1] - gaps[1:]]))
    return walk - np.minimum(np.minimum.accumulate(walk), 0.0) + service


def _coverage(load: float, n: int, trials: int) -> dict[str, tuple[int, int]]:
    """By statistic, in how many trials it had an interval, and how many of these hold the truth."""
    rng = np.random.default_rng(3)
    mean = 1 / (1 - load)
    truth = {"mean": mean} | {f"p{q}": -mean * math.log(1 - q / 100) for q in (50, 90, 99)}
    found = dict.fromkeys(truth, (0, 0))
    for _ in range(trials):
        values = _sojourns(rng, load, n) if load else rng.exponential(size=n)
        for name, interval in stats.batch_intervals(values).items():
            if name in truth:
                given, held = found[name]
                found[name] = given + 1, held + (truth[name] in interval)
    return found


@pytest.mark.parametrize(("load", "n"), [(0.0, 300), (0.3, 1000), (0.3, 5000), (0.7, 5000)])
def test_intervals_cover_under_queueing(load: float, n: int) -> None:
    """90 to 97 % by bench/verdict.py; three standard errors of 300 trials wider here."""
    found = _coverage(load, n, 300)
    assert found["mean"][0] > 150
    for times, held in found.values():
        assert times < 100 or 0.86 < held / times <= 1.0


@pytest.mark.parametrize(("load", "n"), [(0.7, 1000), (0.9, 1000), (0.9, 5000)])
def test_runs_too_short_for_their_queue_have_no_interval(load: float, n: int) -> None:
    assert _coverage(load, n, 200)["mean"][0] <= 10


def test_p99_has_an_interval_where_enough_lies_beyond_it() -> None:
    assert _coverage(0.3, 1000, 50)["p99"][0] == 0
    assert _coverage(0.3, 5000, 50)["p99"][0] > 30


def test_an_interval_by_hand() -> None:
    """Sixteen stretches, each of one value throughout: worth about sixteen, too few; by turns, worth all."""
    assert stats.batch_intervals(np.repeat(np.arange(1.0, 17.0), 100)) == {}
    values = np.tile([1.0, 2.0, 3.0], 400)
    found = stats.batch_intervals(values)["mean"]
    assert 2.0 in found
    assert found.high - found.low < 0.3


def test_constant_few_or_negative_values() -> None:
    assert stats.batch_intervals(np.full(1000, 5.0)) == {}
    assert stats.batch_intervals(np.random.default_rng(1).exponential(size=stats.ENOUGH - 1)) == {}
    assert stats.batch_intervals(np.empty(0)) == {}
    found = stats.batch_intervals(np.random.default_rng(1).normal(size=2000))["mean"]
    assert found.low < 0 < found.high


def test_spread_of_known_counts() -> None:
    even = stats.spread({"a": 10, "b": 10})
    assert even is not None
    assert (even.jain, even.max_over_mean, even.chi_square, even.p_value) == (1, 1, 0, 1)
    one = stats.spread({"a": 30, "b": 0, "c": 0})
    assert one is not None
    assert one.jain == pytest.approx(1 / 3)
    assert (one.max_over_mean, one.min_over_mean, one.chi_square, one.degrees) == (3, 0, 60, 2)
    assert one.p_value == pytest.approx(math.exp(-30))
    assert stats.spread({"a": 0}) is None


def test_spread_against_expected_weights() -> None:
    found = stats.spread({"big": 200, "small": 100}, {"big": 2, "small": 1})
    assert found is not None
    assert found.chi_square == 0
    impossible = stats.spread({"a": 5, "b": 1}, {"a": 1, "b": 0})
    assert impossible is not None
    assert impossible.p_value == 0
    assert impossible.chi_square == math.inf


def test_chi_square_calls_chance_chance() -> None:
    rng = np.random.default_rng(4)
    low = 0
    for _ in range(400):
        found = stats.spread(dict(zip("abcd", rng.multinomial(400, [0.25] * 4).tolist(), strict=True)))
        low += found is not None and found.p_value < 0.05
    assert 0.02 < low / 400 < 0.09


def test_run_lengths() -> None:
    assert stats.run_lengths(["a", "a", "b", "a"]) == [2, 1, 1]
    assert stats.run_lengths([]) == []


def test_wilson_by_the_book() -> None:
    found = stats.wilson(8, 10)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((0.490162, 0.943318), abs=1e-5)
    assert stats.wilson(0, 0) is None


@pytest.mark.parametrize(
    ("values", "index"),
    [([1, 1, 1, 1], 1.0), ([1, 0, 0, 0], 0.25), ([3, 1], 0.8), ([0, 0], 1.0), ([], 1.0), ([5], 1.0)],
)
def test_jains_index(values: list[float], index: float) -> None:
    assert stats.jain(values) == pytest.approx(index, rel=1e-12)


@given(st.lists(st.floats(0.001, 1e6), min_size=1, max_size=30), st.floats(0.001, 1e3))
def test_jains_index_is_between_one_nth_and_one_whatever_the_unit(values: list[float], unit: float) -> None:
    index = stats.jain(values)
    assert 1 / len(values) - 1e-9 <= index <= 1 + 1e-9
    assert stats.jain([value * unit for value in values]) == pytest.approx(index, rel=1e-9)


@given(st.lists(st.sampled_from("abc"), max_size=40))
def test_runs_make_up_the_whole(labels: list[str]) -> None:
    lengths = stats.run_lengths(labels)
    assert sum(lengths) == len(labels)
    assert all(length >= 1 for length in lengths)
    changes = sum(a != b for a, b in itertools.pairwise(labels))
    assert len(lengths) == (changes + 1 if labels else 0)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (0, 10, 0.0, 0.277533),
        (10, 10, 0.722467, 1.0),
        (1, 2, 0.094531, 0.905469),
        (950, 1000, 0.934686, 0.961870),
    ],
)
def test_wilsons_interval(successes: int, trials: int, low: float, high: float) -> None:
    found = stats.wilson(successes, trials)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((low, high), abs=1.5e-6)
    assert successes / trials in found


@given(st.integers(0, 500), st.integers(1, 500))
def test_wilsons_interval_is_mirrored_and_inside(successes: int, trials: int) -> None:
    successes = min(successes, trials)
    found, mirrored = stats.wilson(successes, trials), stats.wilson(trials - successes, trials)
    assert found is not None
    assert mirrored is not None
    assert 0 <= found.low <= successes / trials + 1e-12
    assert successes / trials - 1e-12 <= found.high <= 1
    assert found.low == pytest.approx(1 - mirrored.high, abs=1e-9)


def test_spread_by_hand() -> None:
    # 12, 6, 6 of 24: mean 8, chi-square 16/8 + 4/8 + 4/8 = 3 with 2 degrees: p = exp(-1.5)
    found = stats.spread({"a": 12, "b": 6, "c": 6})
    assert found is not None
    assert (found.chi_square, found.degrees) == (3.0, 2)
    assert found.p_value == pytest.approx(math.exp(-1.5), rel=1e-11)
    assert (found.max_over_mean, found.min_over_mean) == (1.5, 0.75)
    assert found.jain == pytest.approx(24**2 / (3 * (144 + 36 + 36)))
    assert found.cv == pytest.approx(math.sqrt(8) / 8)


def test_spread_of_one_and_of_names_without_a_weight() -> None:
    alone = stats.spread({"a": 5})
    assert alone is not None
    assert (alone.degrees, alone.p_value, alone.jain, alone.cv) == (0, 1.0, 1.0, 0.0)
    found = stats.spread({"a": 20, "b": 10}, {"a": 2.0})  # b has weight 1
    assert found is not None
    assert found.chi_square == 0
    assert stats.spread({}) is None


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 10_000), min_size=1, max_size=8))
def test_spread_keeps_to_its_bounds(counts: dict[str, int]) -> None:
    found = stats.spread(counts)
    if not any(counts.values()):
        assert found is None
        return
    assert found is not None
    assert 1 - 1e-9 <= found.max_over_mean <= len(counts) + 1e-9
    assert 0 <= found.min_over_mean <= 1 + 1e-9
    assert 0 <= found.p_value <= 1
    assert found.cv**2 == pytest.approx(1 / found.jain - 1, abs=1e-6)


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=300))
def test_summaries_are_in_order_and_inside(values: list[float]) -> None:
    summary = stats.summarize(values, intervals=False)
    assert summary is not None
    points = [getattr(summary, stats.percentile_key(q)) for q in stats.PERCENTILES]
    assert points == sorted(points)
    assert summary.min <= points[0] <= points[-1] <= summary.max
    assert summary.min - 1e-9 <= summary.mean <= summary.max + 1e-9
    assert summary.stddev <= (summary.max - summary.min) + 1e-9
    assert summary.ci == {}
    assert list(to_builtins(summary)) == [
        "count", "mean", "stddev", "min", "p0p1", "p1", "p5", "p10", "p25", "p50", "p75", "p90", "p95", "p99",
        "p99p9", "max", "ci",
    ]  # fmt: skip


def test_a_summary_by_hand() -> None:
    summary = stats.summarize([4.0, 1.0, 3.0, 2.0])
    assert summary is not None
    assert (summary.count, summary.mean, summary.min, summary.max) == (4, 2.5, 1.0, 4.0)
    assert summary.stddev == pytest.approx(math.sqrt(5 / 3))  # of a sample
    assert (summary.p25, summary.p50, summary.p90) == (
        1.75,
        2.5,
        3.7,
    )


def test_an_interval_holds_its_ends() -> None:
    interval = stats.Interval(1.0, 2.0)
    assert 1.0 in interval
    assert 2.0 in interval
    assert 0.999 not in interval
    assert 2.001 not in interval
