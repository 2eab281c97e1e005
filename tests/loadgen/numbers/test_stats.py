"""Summaries, intervals that cover, and measures of spread with known values."""

import math

import numpy as np
import pytest

from loadgen.numbers import stats


def test_percentile_keys_are_the_benchmark_reports() -> None:
    assert [stats.percentile_key(q) for q in (0.1, 1, 50, 99.9)] == ["p0p1", "p1", "p50", "p99p9"]


def test_summary_of_known_values() -> None:
    summary = stats.summarize(range(1, 1001))
    assert summary is not None
    assert (summary.count, summary.mean, summary.min, summary.max) == (1000, 500.5, 1, 1000)
    assert summary.percentiles["p50"] == 500.5
    assert summary.percentiles["p99"] == pytest.approx(990.01)
    assert summary.as_dict()["ci"]["p50"][0] < 500.5 < summary.as_dict()["ci"]["p50"][1]
    assert stats.summarize([]) is None
    single = stats.summarize([3.0])
    assert single is not None
    assert single.stddev == 0
    assert single.intervals == {}  # one value says nothing of its scatter


def test_same_input_same_interval() -> None:
    values = np.random.default_rng(1).exponential(size=500)
    blocks = stats.time_blocks(np.arange(500))
    assert stats.summarize(values, blocks) == stats.summarize(values, blocks)


def test_independent_intervals_cover_the_median() -> None:
    rng = np.random.default_rng(2)
    covered = sum(
        math.log(2) in stats.bootstrap(rng.exponential(size=200), None, seed=trial)["p50"]
        for trial in range(400)
    )
    assert 0.91 < covered / 400 < 0.985


def _waves(rng: np.random.Generator, blocks: int) -> np.ndarray:
    """Values that share a level within each block, as requests of one moment share a queue."""
    return np.concatenate([rng.normal(rng.normal(0, 1), 0.2, size=20) for _ in range(blocks)])


def test_block_intervals_cover_where_independent_ones_do_not() -> None:
    rng = np.random.default_rng(3)
    by_block = alone = 0
    for _ in range(200):
        values = _waves(rng, 50)
        by_block += 0.0 in stats.bootstrap(values, stats.time_blocks(np.arange(values.size)))["mean"]
        alone += 0.0 in stats.bootstrap(values, None)["mean"]
    assert by_block / 200 > 0.88
    assert alone / 200 < 0.6


def test_time_blocks_are_equal_and_in_order() -> None:
    blocks = stats.time_blocks([5.0, 1.0, 3.0, 2.0] * 100)
    assert len(set(blocks.tolist())) == 50
    assert set(np.bincount(blocks).tolist()) == {8}
    assert stats.time_blocks([1.0, 2.0]).tolist() == [0, 0]


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


@pytest.mark.parametrize("size", [16, 24, 40])
def test_few_values_do_not_make_narrow_intervals(size: int) -> None:
    rng = np.random.default_rng(5)
    blocks = stats.time_blocks(np.arange(size))
    found = [stats.bootstrap(rng.exponential(size=size), blocks, resamples=200) for _ in range(150)]
    assert sum(math.log(2) in each["p50"] for each in found) >= 0.8 * len(found)
    assert sum(1.0 in each["mean"] for each in found) >= 0.8 * len(found)


def test_a_percentile_beyond_the_sample_has_no_interval() -> None:
    names = stats.bootstrap(np.arange(100.0), None).keys()
    assert {"mean", "p50", "p90", "p95"} <= names
    assert not {"p99", "p99p9", "p0p1", "p1"} & names
    assert stats.bounded(99, 368)
    assert not stats.bounded(99, 366)
