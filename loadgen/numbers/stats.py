"""Numbers about numbers: summaries with intervals, and how evenly something is spread.

Everything here works on plain arrays and knows nothing of requests. numpy is imported with this module, which
nothing on the sending path imports.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike, NDArray

from loadgen.numbers import distributions
from loadgen.numbers.figure import Card, Figure

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PERCENTILES = (0.1, 1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9)
CONFIDENCE = 0.95
BATCHES = (16, 32)  # into so many parts a run is cut to see how its values depend on their neighbours
ENOUGH = 140  # independent values that a run must be worth for an interval; measured by bench/verdict.py
# Independent values on either side of a percentile with an interval, and thrice as many counted ones.
ENOUGH_BEYOND = 10


def percentile_key(q: float) -> str:
    """p0p1, p1 ... p99, p99p9: the names of the Benchmark Report."""
    return "p" + f"{q:g}".replace(".", "p")


@dataclass(frozen=True, slots=True)
class Interval:
    """A two-sided confidence interval at `CONFIDENCE`."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


class Summary(Card):
    """A distribution in a few numbers, in the unit of its values.

    ci: intervals [low, high] of the mean and of those percentiles that so many values can bound; empty where
    they are too few, or too alike in time, for an interval.
    """

    count: Annotated[int, Figure("how many values", "number")]
    mean: Annotated[float, Figure("mean", None)]
    stddev: Annotated[float, Figure("standard deviation", None)]
    min: Annotated[float, Figure("smallest", None)]
    p0p1: Annotated[float, Figure("percentile 0.1", None)]
    p1: Annotated[float, Figure("percentile 1", None)]
    p5: Annotated[float, Figure("percentile 5", None)]
    p10: Annotated[float, Figure("percentile 10", None)]
    p25: Annotated[float, Figure("percentile 25", None)]
    p50: Annotated[float, Figure("percentile 50, the median", None)]
    p75: Annotated[float, Figure("percentile 75", None)]
    p90: Annotated[float, Figure("percentile 90", None)]
    p95: Annotated[float, Figure("percentile 95", None)]
    p99: Annotated[float, Figure("percentile 99", None)]
    p99p9: Annotated[float, Figure("percentile 99.9", None)]
    max: Annotated[float, Figure("largest", None)]
    ci: dict[str, tuple[float | None, float | None]]


def summarize(values: ArrayLike, *, intervals: bool = True) -> Summary | None:
    """The summary of `values`, or None when there are none; intervals need them in the order of time."""
    data = np.asarray(values, dtype=np.float64)
    if not data.size:
        return None
    points = np.percentile(data, PERCENTILES)
    found = batch_intervals(data) if intervals else {}
    return Summary(
        count=int(data.size),
        mean=float(data.mean()),
        stddev=float(data.std(ddof=1)) if data.size > 1 else 0.0,
        min=float(data.min()),
        max=float(data.max()),
        ci={name: (ci.low, ci.high) for name, ci in found.items()},
        **{percentile_key(q): float(point) for q, point in zip(PERCENTILES, points, strict=True)},
    )


def batch_intervals(values: Floats) -> dict[str, Interval]:
    """Intervals of the mean and of PERCENTILES of a series, from the means of batches and Student's t.

    Requests close in time share queues, so n of them are worth fewer: n by the ratio of the scatter of batch
    means to what independent values would have, at the batch length that gives the larger ratio. Where that
    is fewer than ENOUGH there is none at all: a run that short can be calm by luck, and its own correlation
    with it. The mean's interval is even on a log scale where values are positive, as latencies lean to the
    right; a percentile's is that of the share below it, read off the sample (Woodruff 1952).
    """
    n, variance = values.size, float(values.var()) if values.size else 0.0
    if n < ENOUGH or not variance:
        return {}
    worth = _worth(values, variance)
    if worth < ENOUGH:
        return {}
    # The larger of two scatters leans upwards; the degrees of the finer cut make up for that.
    t = distributions.t_quantile((1 + CONFIDENCE) / 2, max(BATCHES) - 1)
    found = {"mean": _around(float(values.mean()), t * math.sqrt(variance / worth), values)}
    for q in PERCENTILES:
        share = q / 100
        beyond = min(share, 1 - share)
        if n * beyond < 3 * ENOUGH_BEYOND:
            continue
        below = values <= np.percentile(values, q)
        scatter = (part := float(below.mean())) * (1 - part)
        worth = _worth(below, scatter) if scatter else 0.0
        half = t * math.sqrt(scatter / worth) if worth else 1.0
        if beyond * worth >= ENOUGH_BEYOND and half < beyond:
            low, high = np.quantile(values, [share - half, share + half])
            found[percentile_key(q)] = Interval(float(low), float(high))
    return found


def _worth(values: Floats | NDArray[np.bool_], variance: float) -> float:
    """How many independent values have a mean of the same scatter."""
    ratio = 0.0
    for batches in BATCHES:
        length = values.size // batches
        means = values[: batches * length].reshape(batches, length).mean(axis=1)
        ratio = max(ratio, length * float(means.var(ddof=1)) / variance)
    return values.size / ratio if ratio else float(values.size)


def _around(mean: float, half: float, values: Floats) -> Interval:
    if values.min() <= 0:
        return Interval(mean - half, mean + half)
    factor = math.exp(half / mean)
    return Interval(mean / factor, mean * factor)


@dataclass(frozen=True, slots=True)
class Spread:
    """How evenly counts fall over endpoints."""

    counts: Mapping[str, int]
    max_over_mean: float
    min_over_mean: float
    jain: float
    cv: float
    chi_square: float
    degrees: int
    p_value: float


def spread(
    counts: Mapping[str, int], expected: Mapping[str, float] | None = None, groups: int = 1
) -> Spread | None:
    """Evenness of `counts`, and Pearson's chi-square against `expected` weights (equal ones by default).

    groups: of how many groups of endpoints the weights take the sums from the counts themselves, each of
    which costs a degree of freedom. None when nothing was counted. Jain's index is 1 for an even spread and
    1/n when one has all.
    """
    values = np.array(list(counts.values()), dtype=np.float64)
    total = float(values.sum())
    if not total:
        return None
    mean = total / values.size
    weights = np.array([1.0 if expected is None else expected.get(name, 1.0) for name in counts])
    wanted = total * weights / weights.sum()
    used = wanted > 0
    chi = float(((values[used] - wanted[used]) ** 2 / wanted[used]).sum())
    degrees = max(0, int(used.sum()) - groups)
    impossible = bool((values[~used] > 0).any())
    return Spread(
        counts=dict(counts),
        max_over_mean=float(values.max()) / mean,
        min_over_mean=float(values.min()) / mean,
        jain=jain(values),
        cv=float(values.std()) / mean,
        chi_square=math.inf if impossible else chi,
        degrees=degrees,
        p_value=0.0 if impossible else distributions.chi2_sf(chi, degrees) if degrees > 0 else 1.0,
    )


def jain(values: ArrayLike) -> float:
    """Jain's fairness index (sum x)^2 / (n sum x^2); 1 when there is nothing to share."""
    x = np.asarray(values, dtype=np.float64)
    squares = float((x * x).sum())
    return float(x.sum()) ** 2 / (x.size * squares) if squares else 1.0


def run_lengths(labels: Sequence[str]) -> list[int]:
    """Lengths of the runs of equal neighbours: a a b a -> [2, 1, 1]."""
    lengths: list[int] = []
    previous: str | None = None
    for label in labels:
        if label == previous:
            lengths[-1] += 1
        else:
            lengths.append(1)
        previous = label
    return lengths


def wilson(successes: int, trials: int) -> Interval | None:
    """Wilson's interval of a proportion; None without trials."""
    if not trials:
        return None
    z = 1.959963984540054
    p, z2 = successes / trials, z * z / trials
    middle = (p + z2 / 2) / (1 + z2)
    half = z / (1 + z2) * math.sqrt(p * (1 - p) / trials + z2 / (4 * trials))
    # None and all have an end of their own exactly, which rounding would miss.
    return Interval(middle - half if successes else 0.0, middle + half if successes < trials else 1.0)
