"""Numbers about numbers: summaries with bootstrap intervals, and how evenly something is spread.

Everything here works on plain arrays and knows nothing of requests. Resampling is seeded, so the same
input gives the same interval. numpy is imported with this module, which nothing on the sending path imports.
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
RESAMPLES = 400
CONFIDENCE = 0.95
MAX_BLOCKS = 50
FEW_BLOCKS = 10
MOST_RANKS = 5000


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

    ci: intervals [low, high] of the mean and of those percentiles that so many values can bound.
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


def summarize(
    values: ArrayLike, blocks: Ints | None = None, *, intervals: bool = True, seed: int = 1
) -> Summary | None:
    """The summary of `values`, or None when there are none.

    `blocks` gives each value the number of its block: values close in time share queues and are alike, so
    whole blocks are resampled (block bootstrap). Without it values are taken as independent.
    """
    data = np.asarray(values, dtype=np.float64)
    if not data.size:
        return None
    points = np.percentile(data, PERCENTILES)
    found = bootstrap(data, blocks, seed=seed) if intervals else {}
    return Summary(
        count=int(data.size),
        mean=float(data.mean()),
        stddev=float(data.std(ddof=1)) if data.size > 1 else 0.0,
        min=float(data.min()),
        max=float(data.max()),
        ci={name: (ci.low, ci.high) for name, ci in found.items()},
        **{percentile_key(q): float(point) for q, point in zip(PERCENTILES, points, strict=True)},
    )


def time_blocks(order: ArrayLike, most: int = MAX_BLOCKS) -> Ints:
    """A block number for each value, cutting the sorted `order` (times) into runs of equal size.

    At least 8 values stand in a block, so a handful of requests does not pretend to be many blocks.
    """
    times = np.asarray(order, dtype=np.float64)
    count = max(1, min(most, times.size // 8))
    ranks = np.empty(times.size, dtype=np.int64)
    ranks[np.argsort(times, kind="stable")] = np.arange(times.size)
    return ranks * count // max(1, times.size)


def block_weights(count: int, resamples: int, seed: int) -> Ints:
    """How often each of `count` blocks is drawn in each resample; shape (resamples, count)."""
    return np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)


def bootstrap(
    values: Floats, blocks: Ints | None, *, resamples: int = RESAMPLES, seed: int = 1
) -> dict[str, Interval]:
    """Percentile-bootstrap intervals of the mean and of those PERCENTILES that so few values can bound.

    The scatter of fewer than FEW_BLOCKS blocks is itself little known: the wider of both kinds of interval
    then counts. Beyond the largest of n values there may be anything: p99 of 100 has no upper end, so it has
    no interval.
    """
    if values.size < 2:
        return {}
    order = np.argsort(values, kind="stable")
    ranked = values[order]
    number = 1 if blocks is None else int(blocks.max(initial=0)) + 1
    ends = []
    if number < FEW_BLOCKS:
        ends.append(_ends(_independent(ranked, resamples, seed)))
    if blocks is not None and number > 1:
        weights = block_weights(number, resamples, seed)
        ends.append(_ends(weighted_estimates(ranked, blocks[order], weights)))
    low, high = np.min([a for a, _ in ends], axis=0), np.max([b for _, b in ends], axis=0)
    given = [True, *(bounded(q, values.size) for q in PERCENTILES)]
    names = ("mean", *map(percentile_key, PERCENTILES))
    found = zip(names, low, high, given, strict=True)
    return {name: Interval(float(a), float(b)) for name, a, b, there in found if there}


def bounded(q: float, count: int) -> bool:
    """Whether `count` values are enough for a two-sided interval of percentile `q`.

    Else they may all lie on one side of it with more probability than an interval leaves out on a side.
    """
    share = max(q, 100 - q) / 100
    return bool(share**count < (1 - CONFIDENCE) / 2)


def _ends(estimates: Floats) -> tuple[Floats, Floats]:
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.nanpercentile(estimates, [tail, 100 - tail], axis=0)
    return low, high


def _independent(ranked: Floats, resamples: int, seed: int) -> Floats:
    """Mean and PERCENTILES of `resamples` i.i.d. resamples, without drawing them one value at a time.

    The r-th smallest of n uniform draws is Beta(r, n-r+1); mapped through the sample's own quantile
    function it is exactly the r-th smallest of a resample. The mean's law is taken as normal.
    """
    n = ranked.size
    rng = np.random.default_rng(seed)
    columns = [rng.normal(ranked.mean(), ranked.std() / math.sqrt(n), size=resamples)]
    for q in PERCENTILES:
        r = min(n, max(1, math.ceil(n * q / 100)))
        where = np.ceil(n * rng.beta(r, n - r + 1, size=resamples)).astype(np.int64) - 1
        columns.append(ranked[np.clip(where, 0, n - 1)])
    return np.stack(columns, axis=1)


def weighted_estimates(ranked: Floats, blocks: Ints, weights: Ints) -> Floats:
    """Mean and PERCENTILES of `ranked` (ascending) under each row of block weights.

    Shape (resamples, 1 + len(PERCENTILES)); a row in which nothing was drawn is NaN. More than MOST_RANKS
    values are taken in as many equal groups, each standing at its largest value.
    """
    groups = min(ranked.size, MOST_RANKS)
    group = np.arange(ranked.size) * groups // ranked.size
    tops = ranked[np.searchsorted(group, np.arange(groups), side="right") - 1]
    number = weights.shape[1]
    table = (
        np.bincount(blocks * groups + group, minlength=number * groups).reshape(number, groups).astype(float)
    )
    sums = np.bincount(blocks, weights=ranked, minlength=number)
    out = np.full((weights.shape[0], 1 + len(PERCENTILES)), np.nan)
    targets = np.asarray(PERCENTILES) / 100
    drawn = weights.astype(float)
    cumulative = np.cumsum(drawn @ table, axis=1)
    for row in np.flatnonzero(cumulative[:, -1]).tolist():
        total = cumulative[row, -1]
        out[row, 0] = float(drawn[row] @ sums) / total
        out[row, 1:] = tops[np.searchsorted(cumulative[row], np.maximum(targets * total, 1), side="left")]
    return out


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
