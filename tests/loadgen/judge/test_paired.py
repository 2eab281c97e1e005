"""The statistics of a comparison: intervals that cover, luck not called a difference, plain sentences."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from loadgen.judge import paired
from loadgen.judge.paired import METRICS, Metric
from loadgen.numbers.stats import Interval
from loadgen.records.frame import Frame
from loadgen.records.records import Record

TTFT = next(m for m in METRICS if m.path == "ttft.p90")
OK = next(m for m in METRICS if m.path == "outcomes.ok")
PATHS = [metric.path for metric in METRICS if metric.judged]


def _run(rng: np.random.Generator, factor: float = 1.0) -> dict[str, float]:
    """A run's figures with the noise of a real machine: a common factor and one of its own per metric."""
    common = rng.normal(0, 0.03)
    values = {path: factor * math.exp(common + 0.04 * rng.standard_t(5)) for path in PATHS}
    return values | {"outcomes.ok": 1 - abs(rng.normal(0, 0.002)), "goodput.share": 0.9 + rng.normal(0, 0.01)}


def test_t_interval_by_hand() -> None:
    found = paired.difference(TTFT, [0.60, 0.55, 0.58], [1.0, 1.0, 1.0])
    assert found is not None
    logs = np.log([0.60, 0.55, 0.58])
    half = 4.302652730 * logs.std(ddof=1) / math.sqrt(3)
    assert found.effect == pytest.approx(math.expm1(logs.mean()))
    assert found.interval.low == pytest.approx(math.expm1(logs.mean() - half))
    assert found.interval.high == pytest.approx(math.expm1(logs.mean() + half))
    assert 0 < found.p_value < 0.01


def test_intervals_cover() -> None:
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(2000):
        base = [math.exp(rng.normal(0, 0.1)) for _ in range(5)]
        arm = [0.7 * b * math.exp(rng.normal(0, 0.05)) for b in base]
        found = paired.difference(TTFT, arm, base)
        assert found is not None
        covered += -0.3 in found.interval
    assert 0.935 < covered / 2000 < 0.965


def test_identical_arms_are_rarely_told_apart() -> None:
    rng = np.random.default_rng(11)
    wrong = 0
    for _ in range(600):
        figures = {name: [_run(rng) for _ in range(5)] for name in ("a", "b")}
        wrong += paired.compare("b", figures)[0].verdict != "is not told apart from"
    assert wrong / 600 < 0.05


def test_a_real_difference_is_found_and_said() -> None:
    rng = np.random.default_rng(3)
    figures = {"page": [_run(rng, 0.6) for _ in range(5)], "round-robin": [_run(rng) for _ in range(5)]}
    (comparison,) = paired.compare("round-robin", figures)
    assert comparison.verdict == "beats"
    assert comparison.sentence.startswith("page beats round-robin: TTFT p90 -")
    assert not comparison.worse
    (reverse,) = paired.compare("page", figures)
    assert reverse.verdict == "loses to"


def test_a_trade_names_both_sides() -> None:
    rng = np.random.default_rng(4)
    arm = [{k: v * (0.5 if k.startswith("ttft") else 1.5) for k, v in _run(rng).items()} for _ in range(6)]
    (comparison,) = paired.compare("rr", {"x": arm, "rr": [_run(rng) for _ in range(6)]})
    assert comparison.verdict == "trades with"
    assert comparison.sentence.startswith("x against rr is a trade: TTFT p90 -")
    assert ", but " in comparison.sentence


def test_too_small_to_matter() -> None:
    base = [1.0, 1.1, 0.9, 1.05, 0.95]
    figures = {"a": [{"ttft.p90": 0.99 * x} for x in base], "b": [{"ttft.p90": x} for x in base]}
    (comparison,) = paired.compare("b", figures)
    assert comparison.differences[0].p_value < 1e-6
    assert comparison.verdict == "is not told apart from"
    assert comparison.sentence == "no difference found between a and b: TTFT p90 -1.0 % [-1.0, -1.0]"


def test_shares_are_compared_in_points() -> None:
    figures = {"a": [{"outcomes.ok": 0.5}] * 5, "b": [{"outcomes.ok": 1.0}] * 5}
    (comparison,) = paired.compare("b", figures)
    assert comparison.sentence == "a loses to b: ok -50 points [-50, -50]"


def test_missing_and_zero_figures_are_left_out() -> None:
    assert paired.difference(TTFT, [0.0], [1.0]) is None
    assert paired.difference(TTFT, [math.nan], [1.0]) is None
    assert paired.difference(TTFT, [], []) is None
    same = paired.difference(OK, [1.0, 1.0, 1.0], [1.0, 1.0, 1.0])
    assert same is not None
    assert same.p_value == 1


def test_holm_by_hand() -> None:
    def one(p: float, judged: bool = True) -> paired.Difference:
        metric = Metric("x", "x", "lower", judged=judged)
        return paired.Difference(metric, 1, 1, -0.5, Interval(-0.6, -0.4), p, 5)

    adjusted = paired.holm([one(0.01), one(0.04), one(0.03), one(0.001, judged=False)])
    assert [d.p_adjusted for d in adjusted] == pytest.approx([0.03, 0.06, 0.06, 1.0])
    assert replace(adjusted[0], p_adjusted=1.0) == one(0.01)


def _frame(rng: np.random.Generator, scale: float) -> Frame:
    records = []
    for i in range(400):
        at = i / 40
        first = at + scale * float(rng.gamma(2, 0.05))
        records.append(
            Record(
                id=str(i),
                cls="c",
                intended=at,
                start=at,
                first_token=first,
                last_token=first,
                end=first,
                outcome="ok",
            )
        )
    return Frame(records)


def test_repeats_that_agree_by_luck_do_not_outdo_the_scatter_inside_them() -> None:
    rng = np.random.default_rng(12)
    frames = {name: [_frame(rng, 1.0) for _ in range(3)] for name in ("a", "b")}
    figures = {"a": [{"ttft.p90": 1.0871 + r * 1e-3} for r in range(3)], "b": [{"ttft.p90": 1.0}] * 3}
    assert paired.compare("b", figures)[0].verdict == "loses to"
    assert paired.compare("b", figures, frames)[0].verdict == "is not told apart from"


def test_one_repeat_draws_on_blocks_of_time() -> None:
    rng = np.random.default_rng(8)
    frames = {"a": [_frame(rng, 0.5)], "b": [_frame(rng, 1.0)]}
    figures = {
        name: [{"ttft.p90": runs[0].summaries(["ttft"])["ttft"].p90, "outcomes.ok": 1.0}]
        for name, runs in frames.items()
    }
    (comparison,) = paired.compare("b", figures, frames)
    assert comparison.verdict == "beats"
    interval = comparison.differences[0].interval
    assert interval.low < -0.5 < interval.high
    assert interval.high - interval.low < 0.5
    figures["a"] = figures["b"]
    assert (
        paired.compare("b", figures, {"a": frames["b"], "b": frames["b"]})[0].verdict
        == "is not told apart from"
    )
