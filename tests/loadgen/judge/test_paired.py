"""The statistics of a comparison: intervals that cover, luck not called a difference, plain sentences."""

from __future__ import annotations

import math

import numpy as np
import pytest

from loadgen.judge import paired
from loadgen.judge.paired import METRICS, Metric

TTFT = next(m for m in METRICS if m.path == "ttft.p90")
OK = next(m for m in METRICS if m.path == "outcomes.ok")
PATHS = [metric.path for metric in METRICS if metric.judged]


def _run(rng: np.random.Generator, factor: float = 1.0) -> dict[str, float]:
    """A run's figures with the noise of a real machine: a common factor and one of its own per metric."""
    common = rng.normal(0, 0.03)
    values = {path: factor * math.exp(common + 0.04 * rng.standard_t(5)) for path in PATHS}
    return values | {"outcomes.ok": 1 - abs(rng.normal(0, 0.002)), "goodput.share": 0.9 + rng.normal(0, 0.01)}


def _alone(metric: Metric, arm: list[float], base: list[float]) -> paired.Difference:
    found = paired.difference(metric, arm, base)
    assert found is not None
    return paired.corrected([found])[0]


def test_t_interval_by_hand() -> None:
    found = _alone(TTFT, [0.60, 0.55, 0.58], [1.0, 1.0, 1.0])
    assert found.interval is not None
    assert found.p_value is not None
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
        found = _alone(TTFT, arm, base)
        assert found.interval is not None
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
    arm = [0.99, 0.9901, 0.9899, 0.99005, 0.98995]
    figures = {"a": [{"ttft.p90": x} for x in arm], "b": [{"ttft.p90": 1.0}] * 5}
    (comparison,) = paired.compare("b", figures)
    p_value = comparison.differences[0].p_value
    assert p_value is not None
    assert p_value < 1e-6
    assert comparison.verdict == "is not told apart from"
    assert comparison.sentence == "no difference found between a and b: TTFT p90 -1.0 % [-1.0, -1.0]"


def test_shares_are_compared_in_points() -> None:
    figures = {
        "a": [{"outcomes.ok": 0.5, "count.due": 1000}] * 5,
        "b": [{"outcomes.ok": 1.0, "count.due": 1000}] * 5,
    }
    (comparison,) = paired.compare("b", figures)
    assert comparison.sentence == "a loses to b: ok -50 points [-52, -48]"


def test_missing_and_zero_figures_are_left_out() -> None:
    assert paired.difference(TTFT, [0.0], [1.0]) is None
    assert paired.difference(TTFT, [math.nan], [1.0]) is None
    assert paired.difference(TTFT, [], []) is None


def test_repeats_without_scatter_are_no_evidence() -> None:
    """Goodput of 100 % in all runs, a figure that is the same to the last bit: a p of 0 would be none."""
    for metric in (TTFT, OK):
        found = _alone(metric, [0.6, 0.6, 0.6], [1.0, 1.0, 1.0])
        assert (found.p_value, found.p_adjusted, found.interval) == (None, None, None)
        assert not found.significant
    counted = paired.difference(OK, [1.0] * 3, [1.0] * 3, [500] * 6)
    assert counted is not None
    assert counted.p_value == 1
    assert counted.error > 0


def test_a_share_is_not_known_better_than_it_is_counted() -> None:
    arm, base = [0.90, 0.9001, 0.8999], [0.91, 0.91, 0.91]
    sure, counted = (paired.difference(OK, arm, base, counts) for counts in ([], [200] * 6))
    assert sure is not None
    assert counted is not None
    assert sure.error < 1e-4
    assert counted.error == pytest.approx(math.sqrt((0.9 * 0.1 + 0.91 * 0.09) / 204 / 3), rel=0.1)


def test_corrected_by_hand() -> None:
    """Bonferroni over the judged and tested; the interval leaves zero out where p_adjusted is below 5 %."""

    def one(t: float, judged: bool = True) -> paired.Difference:
        metric = Metric("x", "x", "lower", judged=judged)
        p = 2 * paired.distributions.t_sf(t, 4)
        return paired.Difference(metric, 1, 1, t / 10, 5, p_value=p, mean=t / 10, error=0.1)

    untested = paired.Difference(Metric("y", "y", "lower"), 1, 1, 0.5, 5)
    found = paired.corrected([one(4.9), one(4.2), one(2.0), one(2.9, judged=False), untested])
    raw = [2 * paired.distributions.t_sf(t, 4) for t in (4.9, 4.2, 2.0)]
    assert [d.p_adjusted for d in found[:3]] == pytest.approx([3 * p for p in raw])
    assert [d.significant for d in found] == [True, True, False, False, False]
    for d in found[:3]:
        assert d.interval is not None
        assert (0.0 not in d.interval) == d.significant
    shown = found[3]
    assert shown.p_adjusted is None
    assert shown.interval is not None
    assert shown.interval.low == pytest.approx(math.expm1(0.29 - 2.776445 * 0.1))
    assert found[4] == untested


def test_an_alpha_that_is_partly_spent_asks_for_more() -> None:
    whole, part = (
        paired.corrected([paired.difference(TTFT, [0.6, 0.61, 0.6], [1.0] * 3)], a) for a in (0.05, 0.01)
    )
    assert part[0].p_adjusted == pytest.approx(5 * whole[0].p_adjusted)
    assert part[0].interval.low < whole[0].interval.low


@pytest.mark.parametrize(("repeats", "words"), [(1, "1: TTFT p90 -50 %"), (2, "2: TTFT p90 -48 %")])
def test_fewer_than_three_repeats_show_and_do_not_judge(repeats: int, words: str) -> None:
    figures = {"a": [{"ttft.p90": 0.5 + r / 25} for r in range(repeats)], "b": [{"ttft.p90": 1.0}] * repeats}
    (comparison,) = paired.compare("b", figures)
    assert comparison.verdict == "is not judged against"
    assert comparison.sentence == f"a is not judged against b, for a verdict needs 3 repeats, not {words}"
    assert comparison.differences[0].interval is None


def test_runs_of_few_requests_show_and_do_not_judge() -> None:
    def runs(scale: float, count: int) -> list[dict[str, float]]:
        return [{"ttft.p90": scale * (1 + r / 100), "ttft.count": count} for r in range(4)]

    few = {"a": runs(0.5, 127), "b": [{"ttft.p90": 1.0, "ttft.count": 500}] * 4}
    assert paired.compare("b", few)[0].verdict == "is not judged against"
    assert "128 requests" in paired.compare("b", few)[0].sentence
    few["a"] = runs(0.5, 128)
    assert paired.compare("b", few)[0].verdict == "beats"


@pytest.mark.parametrize("ratio", [0.0, 0.3, 1.0, 3.0, 10.0])
def test_false_verdicts_at_three_repeats_whatever_lies_between_runs(ratio: float) -> None:
    """Correlated metrics of identical arms; `ratio` is scatter between repeats by that inside them."""
    rng = np.random.default_rng(int(10 * ratio))
    wrong = 0
    for _ in range(400):
        figures: dict[str, list[dict[str, float]]] = {"a": [], "b": []}
        for runs in figures.values():
            for _ in range(3):
                between, common = 0.03 * ratio * rng.normal(), 0.02 * rng.normal()
                noise = between + common + 0.03 * rng.normal(size=len(PATHS))
                runs.append(dict(zip(PATHS, np.exp(noise).tolist(), strict=True)))
        wrong += paired.compare("b", figures)[0].verdict != "is not told apart from"
    assert wrong / 400 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 400)  # 5 % and the luck of 400 trials


@pytest.mark.parametrize(
    ("effect", "low", "high", "words"),
    [
        (-0.41, -0.46, -0.35, "-41 % [-46, -35]"),
        (0.5, -0.2, 7.75, "+50 % [-20, +775]"),
        (0.69, -0.999, 749981.7, "x 1.69 [0.001, 7.5e+05]"),
        (3.0, 2.0, 4.5, "x 4 [3, 5.5]"),
    ],
)
def test_amounts_are_readable(effect: float, low: float, high: float, words: str) -> None:
    found = paired.Difference(TTFT, 1, 1, effect, 3, paired.Interval(low, high))
    assert found.amount() == words
