"""Running totals: buckets 1 % wide, quantiles to half a bucket, and sums in any order."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.numbers.progress import FLOOR, Histogram, Progress, Report, bucket, bucket_value

SECONDS = st.floats(0, 1e5)


def histogram(values: list[float]) -> Histogram:
    made = Histogram()
    for value in values:
        made.add(value)
    return made


@given(st.floats(2e-7, 1e6))
def test_a_bucket_holds_what_it_says_to_half_a_percent(seconds: float) -> None:
    assert bucket_value(bucket(seconds)) == pytest.approx(seconds, rel=0.00501)


@given(SECONDS, SECONDS)
def test_buckets_ascend(a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert bucket(low) <= bucket(high)


@pytest.mark.parametrize(
    ("seconds", "index"),
    [(-1.0, 0), (0.0, 0), (FLOOR, 0), (FLOOR * 1.005, 0), (FLOOR * 1.015, 1), (FLOOR * 1.01**10 * 1.001, 10)],
)
def test_the_first_buckets(seconds: float, index: int) -> None:
    assert bucket(seconds) == index


def test_nothing_was_measured() -> None:
    empty = Histogram()
    assert (empty.count, empty.mean(), empty.quantile(0.5), empty.most) == (0, None, None, 0.0)


def test_sum_mean_and_maximum_are_exact() -> None:
    made = histogram([0.001, 0.002, 0.006])
    assert (made.count, made.most) == (3, 0.006)
    assert made.total == pytest.approx(0.009, rel=1e-15)
    assert made.mean() == pytest.approx(0.003, rel=1e-15)


@given(st.lists(st.floats(1e-6, 1e4), min_size=1, max_size=60), st.floats(0, 1))
def test_a_quantile_is_the_value_of_its_rank(values: list[float], share: float) -> None:
    ranked = sorted(values)
    wanted = share * len(values)
    rank = next(index for index in range(len(values)) if index + 1 >= wanted)
    assert histogram(values).quantile(share) == pytest.approx(ranked[rank], rel=0.0101)


@given(st.lists(SECONDS, max_size=30))
def test_no_quantile_is_above_the_maximum(values: list[float]) -> None:
    made = histogram(values)
    for share in (0.0, 0.5, 0.99, 1.0):
        found = made.quantile(share)
        assert found is None if not values else found is not None and found <= max(values)


@given(st.lists(SECONDS, max_size=40), st.integers(1, 5))
def test_parts_merge_to_the_whole(values: list[float], parts: int) -> None:
    whole, joined = histogram(values), Histogram()
    for part in range(parts):
        joined.merge(histogram(values[part::parts]))
    assert (joined.counts, joined.most) == (whole.counts, whole.most)
    assert joined.total == pytest.approx(whole.total, rel=1e-9, abs=1e-12)


def test_histograms_share_nothing() -> None:
    one, other = Histogram(), Histogram()
    one.add(1.0)
    assert other.counts == {}
    other.merge(one)
    one.add(1.0)
    assert other.count == 1


def progress(worker: int) -> Progress:
    made = Progress(
        worker=worker, time=float(worker), sent=3 * worker, done=2 * worker, attempts=worker, missed=1,
        opened=2, reused=worker, output_tokens=10 * worker, cpu=0.5,
        outcomes={"ok": worker, f"only {worker}": 1}, pods={"p": 1},
    )  # fmt: skip
    for name in ("late", "ttft", "tpot", "latency"):
        getattr(made, name).add(0.001 * (worker + 1))
    return made


def test_reports_add_up_in_any_order() -> None:
    order = list(range(6))
    first = Progress()
    for worker in order:
        first.merge(progress(worker))
    random.Random(1).shuffle(order)
    again = Progress()
    for worker in order:
        again.merge(progress(worker))
    assert (first.sent, first.done, first.attempts, first.missed) == (45, 30, 15, 6)
    assert (first.opened, first.reused, first.output_tokens, first.cpu) == (12, 15, 150, 3.0)
    assert first.time == 5.0
    assert first.outcomes == {"ok": 15, **{f"only {worker}": 1 for worker in range(6)}}
    assert first.pods == {"p": 6}
    assert first.latency.most == 0.006
    assert again.outcomes == first.outcomes
    assert again.ttft.counts == first.ttft.counts


def test_levels_are_not_summed() -> None:
    total = Progress(in_flight=1, waiting=2)
    total.merge(Progress(in_flight=5, waiting=7))
    assert (total.in_flight, total.waiting) == (1, 2)


def test_a_report_goes_over_the_line_and_back() -> None:
    sent = Report(progress(3), final=True, error="why", first_errors={"reset": "gone"})
    line = msgspec.json.encode(sent)
    assert b'"kind":"progress"' in line
    assert msgspec.json.decode(line, type=Report) == sent
