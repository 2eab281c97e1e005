"""Two policies on the same plans, several times each: how large is the difference, could it be chance?

The unit of evidence is the repeat, not the request: requests of a run share queues and caches, and two runs
of the same policy differ by more than their requests' scatter suggests. Each repeat gives one difference of
each metric between the arms (same plan, same repeat: paired); Student's t with one degree of freedom fewer
than repeats gives interval and p-value, which holds whatever the scatter between runs is beside that inside
them. Latencies and rates are compared as log ratios, shares as differences.

A verdict needs ENOUGH_REPEATS repeats, and a metric ENOUGH_VALUES values in each run; below that differences
are shown without interval and p, and nobody beats. Repeats without any scatter tell nothing of chance; a
share is never taken as known better than counting allows.

Few metrics are judged, and they are declared with their figures, before any run: each one more asks more of
all others. The rest explain, with intervals of their own.

Bonferroni's correction over all judged metrics of all arms holds the chance that any of them is called
different by luck to 5 %. Unlike a stepwise correction it has intervals that say the same: a judged metric's
interval leaves zero out exactly where its corrected p is below 5 %. A difference too small to matter is not
called one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from loadgen.judge.figures import Figures
from loadgen.numbers import distributions
from loadgen.numbers.figure import Better, named
from loadgen.numbers.quantity import Dimension
from loadgen.numbers.stats import Floats, Interval
from loadgen.score.scorecard import Scorecard

ALPHA = 0.05
ENOUGH_REPEATS = 3
ENOUGH_VALUES = 128  # 16 blocks of 8 requests
NO_SCATTER = 1e-9  # of a log ratio or a share: what rounding makes of repeats that are all alike
Verdict = Literal["beats", "loses to", "trades with", "is not told apart from", "is not judged against"]


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

    @property
    def counted(self) -> str:
        """The figure that says how many values of a run it rests on."""
        name, _, _ = self.path.partition(".")
        return "count.due" if self.dimension == "share" else f"{name}.count"


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
    A judged metric's interval is simultaneous with those of all others. None: too little to tell.
    """

    metric: Metric
    arm: float
    base: float
    effect: float
    repeats: int
    interval: Interval | None = None
    p_value: float | None = None
    p_adjusted: float | None = None
    mean: float = 0.0
    error: float = 0.0
    """Mean and standard error of the difference on the scale of the test; no error: it is not known."""

    @property
    def tested(self) -> bool:
        return self.p_value is not None

    @property
    def significant(self) -> bool:
        adjusted = self.p_adjusted
        return adjusted is not None and adjusted < ALPHA and abs(self.effect) >= self.metric.matters

    @property
    def improves(self) -> bool:
        return (self.effect < 0) == (self.metric.better == "lower")

    def words(self) -> str:
        """`TTFT p90 -41 % [-46, -35]`; shares in points; a factor beyond x 3, or where x 11 is possible."""
        return f"{self.metric.label} {self.amount()}"

    def amount(self) -> str:
        """The effect and its interval alone."""
        bounds = (self.interval.low, self.interval.high) if self.interval else (math.inf, math.inf)
        if not all(map(math.isfinite, bounds)):
            return f"{_percent(self.effect)} {'%' if self.metric.relative else 'points'}"
        if self.metric.relative and (self.effect > 2 or bounds[1] > 10):
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
    metric: Metric, arm: Sequence[float], base: Sequence[float], counts: Sequence[float] = ()
) -> Difference | None:
    """One metric over paired repeats, with its own p-value; None when a repeat lacks a value.

    counts: how many values each run's figure rests on, where that is known. `corrected` gives the interval.
    """
    a, b = np.asarray(arm, dtype=np.float64), np.asarray(base, dtype=np.float64)
    if not _can_be_compared(a, b, as_ratio=metric.relative):
        return None
    deltas = np.log(a / b) if metric.relative else a - b
    mean, repeats = float(deltas.mean()), a.size
    found = Difference(
        metric,
        float(a.mean()),
        float(b.mean()),
        _expm1(mean) if metric.relative else mean,
        repeats,
        mean=mean,
    )
    if repeats < ENOUGH_REPEATS or any(count < ENOUGH_VALUES for count in counts):
        return found
    spread = float(deltas.std(ddof=1))
    if not metric.relative and len(counts) == 2 * repeats:
        spread = max(spread, _counting_error(np.concatenate([a, b]), np.asarray(counts)))
    if spread <= NO_SCATTER:
        return found
    error = spread / math.sqrt(repeats)
    p_value = 2 * distributions.t_sf(abs(mean) / error, repeats - 1)
    return replace(found, error=error, p_value=p_value)


def _can_be_compared(a: Floats, b: Floats, *, as_ratio: bool) -> bool:
    if a.size != b.size or not a.size or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return False
    return not as_ratio or bool((a > 0).all() and (b > 0).all())


def _counting_error(shares: Floats, counts: Floats) -> float:
    """Standard error of a difference of two shares by counting alone; never zero (Agresti and Coull)."""
    n = counts + 4
    p = (shares * counts + 2) / n
    return math.sqrt(2 * float((p * (1 - p) / n).mean()))


def _expm1(x: float) -> float:
    return math.expm1(x) if x < 700 else math.inf


def corrected(differences: Sequence[Difference], alpha: float = ALPHA) -> list[Difference]:
    """The same differences with intervals, and with p-values adjusted over the judged ones (Bonferroni).

    alpha: what of ALPHA may be spent on these; p is adjusted such that ALPHA stays what it is held against.
    """
    family = sum(d.metric.judged and d.tested for d in differences)
    return [_corrected(d, family if d.metric.judged else 1, alpha) for d in differences]


def _corrected(found: Difference, family: int, alpha: float) -> Difference:
    if found.p_value is None:
        return found
    judged = found.metric.judged
    level = alpha / family if judged else ALPHA
    half = distributions.t_quantile(1 - level / 2, found.repeats - 1) * found.error
    ends = (found.mean - half, found.mean + half)
    low, high = map(_expm1, ends) if found.metric.relative else ends
    adjusted = min(1.0, found.p_value * family * ALPHA / alpha) if judged else None
    return replace(found, interval=Interval(low, high), p_adjusted=adjusted)


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
        if not any(d.metric.judged and d.tested for d in self.differences):
            return "is not judged against"
        if self.better and self.worse:
            return "trades with"
        return "beats" if self.better else "loses to" if self.worse else "is not told apart from"

    @property
    def decided(self) -> list[Difference]:
        """What the sentence names of that which is told apart."""
        return [*_lead(self.better), *_lead(self.worse)]

    @property
    def lack(self) -> str:
        """Why nothing could be judged."""
        repeats = max((d.repeats for d in self.differences), default=0)
        if repeats < ENOUGH_REPEATS:
            return f"a verdict needs {ENOUGH_REPEATS} repeats, not {repeats}"
        return f"a verdict needs {ENOUGH_VALUES} requests in each run, and repeats that differ at all"

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
            case "is not judged against":
                shown = _lead([d for d in self.differences if d.metric.judged])
                words = f": {_list(shown)}" if shown else ""
                return f"{self.arm} is not judged against {self.base}, for {self.lack}{words}"
        shown = _lead([d for d in self.differences if d.metric.judged and d.tested])[:1]
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
    base: str, figures: Mapping[str, Sequence[Mapping[str, float]]], alpha: float = ALPHA
) -> list[Comparison]:
    """Every other arm against `base`, corrected together.

    figures: by arm, for each repeat, the value of each metric path (missing: no such figure), and of what
    `Metric.counted` names (missing: it is not known, and taken as enough). alpha: see `corrected`.
    """
    arms = [arm for arm in figures if arm != base]
    flat: list[Difference] = []
    owners: list[str] = []
    for arm in arms:
        for metric in METRICS:
            found = _difference_of_runs(metric, figures[arm], figures[base])
            if found is not None:
                flat.append(found)
                owners.append(arm)
    all_of_them = corrected(flat, alpha)
    return [
        Comparison(arm, base, tuple(d for d, owner in zip(all_of_them, owners, strict=True) if owner == arm))
        for arm in arms
    ]


def _difference_of_runs(
    metric: Metric, arm: Sequence[Mapping[str, float]], base: Sequence[Mapping[str, float]]
) -> Difference | None:
    sides = [[run.get(metric.path, math.nan) for run in runs] for runs in (arm, base)]
    counts = [run[metric.counted] for run in (*arm, *base) if metric.judged and metric.counted in run]
    return difference(metric, sides[0], sides[1], counts)
