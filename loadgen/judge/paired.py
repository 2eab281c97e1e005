"""Two policies on one plan, several times each: how large is the difference, and could it be chance?

The unit of evidence is the repeat, not the request: requests of a run share queues and caches, and two runs
of the same policy differ by more than their requests' scatter suggests. Each repeat gives one difference of
each metric between the arms (same plan, same repeat: paired); Student's t over the repeats gives interval
and p-value. Latencies and rates are compared as log ratios, shares as differences.

A handful of repeats may agree by luck, so their scatter is never taken as less than what resampling blocks of
time inside the runs gives; with fewer than three repeats that is all there is, and the report says so.

Holm's correction over all metrics of the verdict (and all arms) holds the chance that any of them is called
different by luck to 5 %. A difference too small to matter is not called one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from loadgen.judge.figures import Figures
from loadgen.numbers import distributions, stats
from loadgen.numbers.figure import Better, named
from loadgen.numbers.quantity import Dimension
from loadgen.numbers.stats import Floats, Interval
from loadgen.records.frame import LATENCIES, Frame
from loadgen.score.scorecard import Scorecard

ALPHA = 0.05
ENOUGH_REPEATS = 3
Verdict = Literal["beats", "loses to", "trades with", "is not told apart from"]


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure that arms are compared by; `path` is where a report has it."""

    path: str
    label: str
    better: Better
    dimension: Dimension = "time"
    judged: bool = True
    """In the verdict's family; others are shown as explanation."""
    matters: float = 0.02
    """Smallest relative change (shares: difference) worth a verdict."""

    @property
    def relative(self) -> bool:
        return self.dimension != "share"


def _metrics() -> tuple[Metric, ...]:
    """Every figure whose field says that arms are compared by it: the judged ones first."""
    found = [*named(Figures).values(), *named(Scorecard).values()]
    place = {fields: index for index, fields in enumerate(dict.fromkeys(each.fields[:-1] for each in found))}
    compared = [each for each in found if each.role is not None and each.figure.better is not None]
    compared.sort(key=lambda each: (each.role != "judged", place[each.fields[:-1]], each.rank))
    return tuple(
        Metric(
            each.path,
            each.label,
            each.figure.better or "lower",
            each.unit,
            each.role == "judged",
            each.figure.matters,
        )
        for each in compared
    )


METRICS = _metrics()
PRIMARY = "ttft.p90"


@dataclass(frozen=True, slots=True)
class Difference:
    """One metric, one arm against the baseline.

    effect and interval are relative changes (-0.41 is 41 % less) or, for shares, differences of shares.
    """

    metric: Metric
    arm: float
    base: float
    effect: float
    interval: Interval
    p_value: float
    repeats: int
    p_adjusted: float = 1.0

    @property
    def significant(self) -> bool:
        return self.metric.judged and self.p_adjusted < ALPHA and abs(self.effect) >= self.metric.matters

    @property
    def improves(self) -> bool:
        return (self.effect < 0) == (self.metric.better == "lower")

    def words(self) -> str:
        """`TTFT p90 -41 % [-46, -35]`; shares in percentage points, what more than triples as a factor."""
        return f"{self.metric.label} {self.amount()}"

    def amount(self) -> str:
        """The effect and its interval alone."""
        bounds = (self.interval.low, self.interval.high)
        if not all(map(math.isfinite, bounds)):
            return f"{_percent(self.effect)} {'%' if self.metric.relative else 'points'}"
        if self.metric.relative and self.effect > 2:
            low, high = (f"{1 + bound:.3g}" for bound in bounds)
            return f"x {1 + self.effect:.3g} [{low}, {high}]"
        low, high = map(_percent, bounds)
        return f"{_percent(self.effect)} {'%' if self.metric.relative else 'points'} [{low}, {high}]"


def _percent(x: float) -> str:
    value = 100 * x
    if abs(value) < 0.05:
        return "0"
    digits = 0 if abs(value) >= 10 else 1
    return f"{value:+.{digits}f}" if math.isfinite(value) else str(value)


def difference(
    metric: Metric, arm: Sequence[float], base: Sequence[float], scatter: Sequence[float] = ()
) -> Difference | None:
    """Compare one metric over paired repeats; None when a repeat lacks a value.

    scatter: for each repeat the standard error of the (log) difference from inside the runs, infinite where
    that cannot be known.
    """
    a, b = np.asarray(arm, dtype=np.float64), np.asarray(base, dtype=np.float64)
    if a.size != b.size or not a.size or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return None
    if metric.relative and ((a <= 0).any() or (b <= 0).any()):
        return None
    deltas = np.log(a / b) if metric.relative else a - b
    mean = float(deltas.mean())
    error, degrees = _standard_error(deltas, np.asarray(scatter, dtype=np.float64))
    half = distributions.t_quantile(1 - ALPHA / 2, degrees) * error
    p_value = 2 * distributions.t_sf(abs(mean) / error, degrees) if error else float(mean == 0)
    ends = (mean, mean - half, mean + half) if math.isfinite(half) else (mean, -math.inf, math.inf)
    shown = [_expm1(x) if metric.relative else x for x in ends]
    return Difference(
        metric, float(a.mean()), float(b.mean()), shown[0], Interval(shown[1], shown[2]), p_value, a.size
    )


def _expm1(x: float) -> float:
    return math.expm1(x) if x < 700 else math.inf


def _standard_error(deltas: Floats, scatter: Floats) -> tuple[float, float]:
    """Standard error of the mean difference and its degrees of freedom.

    From inside the runs it rests on dozens of blocks, from the repeats on as many differences as there are.
    """
    n = deltas.size
    between = float(deltas.std(ddof=1)) / math.sqrt(n) if n > 1 else 0.0
    within = math.sqrt(float((scatter**2).mean()) / n) if scatter.size else math.inf
    if n >= ENOUGH_REPEATS and (between >= within or math.isinf(within)):
        return between, n - 1
    return max(between, within), stats.MAX_BLOCKS / 2


def scatter(metric: Metric, arm: Frame, base: Frame, resamples: int = 200, seed: int = 3) -> float:
    """Standard error of a metric's difference from resampling blocks of time, the same ones in both runs.

    Infinite for figures that no resampling of requests gives; they get an interval with more repeats.
    """
    name, _, statistic = metric.path.partition(".")
    columns = ("mean", *map(stats.percentile_key, stats.PERCENTILES))
    if metric.path == "outcomes.ok":
        return math.hypot(*(_share_scatter(frame) for frame in (arm, base)))
    if statistic not in columns or name not in LATENCIES:
        return math.inf
    count = int(min(arm.blocks.max(initial=0), base.blocks.max(initial=0))) + 1
    weights = stats.block_weights(count, resamples, seed)
    estimates = []
    for frame in (arm, base):
        values, rows = frame.latency(name)
        if not values.size:
            return math.inf
        order = np.argsort(values, kind="stable")
        blocks = np.minimum(frame.blocks[rows][order], count - 1)
        estimates.append(
            stats.weighted_estimates(values[order], blocks, weights)[:, columns.index(statistic)]
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.log(estimates[0] / estimates[1])
    known = ratios[np.isfinite(ratios)]
    return float(known.std()) if known.size else math.inf  # all zero: there is no ratio of nothing to nothing


def _share_scatter(frame: Frame) -> float:
    """Standard error of a share ok as if each request were on its own; never zero (Agresti and Coull)."""
    n = len(frame) + 4
    p = (int(frame.ok.sum()) + 2) / n
    return math.sqrt(p * (1 - p) / n)


def holm(differences: Sequence[Difference]) -> list[Difference]:
    """The same differences with p-values adjusted over the judged ones (Holm 1979); order is kept."""
    judged = sorted((d.p_value, i) for i, d in enumerate(differences) if d.metric.judged)
    adjusted: dict[int, float] = {}
    highest = 0.0
    for rank, (p_value, index) in enumerate(judged):
        highest = max(highest, min(1.0, p_value * (len(judged) - rank)))
        adjusted[index] = highest
    return [
        Difference(d.metric, d.arm, d.base, d.effect, d.interval, d.p_value, d.repeats, adjusted.get(i, 1.0))
        for i, d in enumerate(differences)
    ]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One arm against the baseline, all metrics; `verdict` and `sentence` say what came of it."""

    arm: str
    base: str
    differences: tuple[Difference, ...]

    @property
    def better(self) -> list[Difference]:
        return [d for d in self.differences if d.significant and d.improves]

    @property
    def worse(self) -> list[Difference]:
        return [d for d in self.differences if d.significant and not d.improves]

    @property
    def verdict(self) -> Verdict:
        if self.better and self.worse:
            return "trades with"
        return "beats" if self.better else "loses to" if self.worse else "is not told apart from"

    @property
    def sentence(self) -> str:
        better, worse = _lead(self.better), _lead(self.worse)
        match self.verdict:
            case "beats":
                return f"{self.arm} beats {self.base}: {_list(better)}"
            case "loses to":
                return f"{self.arm} loses to {self.base}: {_list(worse)}"
            case "trades with":
                return f"{self.arm} against {self.base} is a trade: {_list(better)}, but {_list(worse)}"
        shown = _lead([d for d in self.differences if d.metric.judged])[:1]
        return f"no difference found between {self.arm} and {self.base}" + (
            f": {_list(shown)}" if shown else ""
        )


def _lead(differences: list[Difference]) -> list[Difference]:
    """At most two to name in a sentence: the primary metric if it is among them, then the largest effect."""
    ranked = sorted(
        differences, key=lambda d: (d.metric.path != PRIMARY, not d.metric.relative, -abs(d.effect))
    )
    return (
        ranked[:1]
        + [
            d
            for d in ranked[1:]
            if d.metric.path.partition(".")[0] != ranked[0].metric.path.partition(".")[0]
        ][:1]
    )


def _list(differences: Sequence[Difference]) -> str:
    return ", ".join(d.words() for d in differences)


def compare(
    base: str,
    figures: Mapping[str, Sequence[Mapping[str, float]]],
    frames: Mapping[str, Sequence[Frame]] | None = None,
) -> list[Comparison]:
    """Every other arm against `base`, corrected together.

    figures: by arm, for each repeat, the value of each metric path (missing: no such figure).
    frames: the same runs' records; without them the scatter inside the runs stays out.
    """
    arms = [arm for arm in figures if arm != base]
    flat: list[Difference] = []
    owners: list[str] = []
    for arm in arms:
        for metric in METRICS:
            sides = [[run.get(metric.path, math.nan) for run in figures[name]] for name in (arm, base)]
            pairs = zip(frames[arm], frames[base], strict=True) if frames else ()
            noise = [scatter(metric, a, b) for a, b in pairs]
            found = difference(metric, sides[0], sides[1], noise)
            if found is not None:
                flat.append(found)
                owners.append(arm)
    corrected = holm(flat)
    return [
        Comparison(arm, base, tuple(d for d, owner in zip(corrected, owners, strict=True) if owner == arm))
        for arm in arms
    ]
