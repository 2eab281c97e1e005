"""What the pods said of themselves over time: the scrapes of a run as one series per pod.

The reader of scrapes fills `PodSeries`; the scorecard reads it. Times are run times in seconds. A scrape that
failed is a gap (NaN), never a zero: a pod that does not answer is not an idle one.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Annotated

import numpy as np

from loadgen.numbers.figure import Card, Figure
from loadgen.numbers.stats import Floats


class Evenness(Card):
    """How unevenly a gauge stood over pods, averaged over time."""

    mean: Annotated[float, Figure("over pods and time", None)]
    peak: Annotated[float, Figure("the most that one pod ever had", None)]
    max_minus_mean: Annotated[float, Figure("the largest minus the mean, averaged over time", None)]
    max_minus_min: Annotated[float, Figure("the largest minus the smallest, averaged over time", None)]
    stddev: Annotated[float, Figure("standard deviation over pods, averaged over time", None)]
    pods: dict[str, float]
    """Mean over time of each pod."""


class ScrapeCost(Card):
    """What scraping itself took."""

    scrapes: Annotated[int, Figure("looks at a /metrics page")]
    mean: Annotated[float, Figure("mean time of a look", "time")]
    max: Annotated[float, Figure("the longest look", "time")]
    total: Annotated[float, Figure("all looks together", "time")]


@dataclass(slots=True)
class PodSeries:
    """One pod's scrapes in order of time; every column is as long as `times`."""

    name: str
    times: list[float] = field(default_factory=list)
    columns: dict[str, list[float]] = field(default_factory=dict)
    adapters: list[frozenset[str]] = field(default_factory=list)
    """Adapters that had a running request at each scrape."""
    took: list[float] = field(default_factory=list)
    max_lora: int | None = None
    block_size: int | None = None
    num_gpu_blocks: int | None = None
    address: str = ""
    pod: str | None = None
    """Whose page it is, where that was known when it was read."""
    labels: frozenset[str] = frozenset()
    """Pods that the labels of its series name."""
    phases: frozenset[str] = frozenset()
    """Phases of the run in which it was read."""

    def add(self, t: float, values: Mapping[str, float], adapters: frozenset[str], took: float) -> None:
        """Append one scrape; a column that appears late is NaN before."""
        for name in {*self.columns, *values}:
            column = self.columns.setdefault(name, [math.nan] * len(self.times))
            column.append(values.get(name, math.nan))
        self.times.append(t)
        self.adapters.append(adapters)
        self.took.append(took)

    def grew(self, name: str) -> float | None:
        """How much a counter grew over the run; a reset (a restarted pod) counts from zero again."""
        values = [v for v in self.columns.get(name, ()) if math.isfinite(v)]
        if len(values) < 2:
            return None
        return sum(b - a if b >= a else b for a, b in pairwise(values))

    def at(self, t: float) -> int | None:
        """Index of the last scrape at or before `t`."""
        index = bisect_right(self.times, t) - 1
        return index if index >= 0 else None

    @property
    def cache_tokens(self) -> int | None:
        """KV capacity in tokens, when the pod says it."""
        return self.block_size * self.num_gpu_blocks if self.block_size and self.num_gpu_blocks else None


ALIGNED = 0.05  # seconds by which looks at the pages of one pod may differ


def together(name: str, parts: Sequence[PodSeries]) -> PodSeries:
    """The pages of one pod (its data-parallel ranks) as one: counts add up, the fullest KV cache counts.

    Times are those of the first page; a page that failed makes a gap of all.
    """
    first = parts[0]
    if len(parts) == 1:
        return replace(first, name=name)
    out = replace(
        first, name=name, times=[], columns={}, adapters=[], took=[],
        phases=frozenset.intersection(*(part.phases for part in parts)),
    )  # fmt: skip
    sizes = [part.num_gpu_blocks for part in parts]
    out.num_gpu_blocks = sum(size for size in sizes if size) if all(sizes) else None
    for t in first.times:
        rows = [(part, row) for part in parts if (row := part.at(t + ALIGNED)) is not None]
        if len(rows) < len(parts):
            continue
        values = {column: _joined(column, rows) for column in first.columns}
        adapters = frozenset[str]().union(*(part.adapters[row] for part, row in rows))
        out.add(t, values, adapters, sum(part.took[row] for part, row in rows))
    return out


def _joined(column: str, rows: Sequence[tuple[PodSeries, int]]) -> float:
    """A column of several pages at one time (page, row); NaN where one of them lacks it."""
    each = [part.columns[column][row] if column in part.columns else math.nan for part, row in rows]
    if any(map(math.isnan, each)):
        return math.nan
    return max(each) if column == "kv" else sum(each)


def grid(pods: Iterable[PodSeries], column: str, edges: Sequence[float]) -> dict[str, Floats]:
    """The mean of a gauge in each time bin by pod; between two scrapes a bin keeps the last value."""
    out = {}
    for pod in pods:
        times = np.asarray(pod.times)
        values = np.asarray(pod.columns.get(column, [math.nan] * len(pod.times)))
        bins = np.searchsorted(edges, times, side="right") - 1
        row = np.full(len(edges) - 1, np.nan)
        for index in range(len(row)):
            inside = values[(bins == index) & np.isfinite(values)]
            if inside.size:
                row[index] = float(inside.mean())
        gap = float(np.median(np.diff(times))) if times.size > 1 else 0.0
        out[pod.name] = _filled(row, max(2, math.ceil(1.5 * gap / (edges[1] - edges[0]))))
    return out


def _filled(row: Floats, most: int) -> Floats:
    age = most + 1
    for index, value in enumerate(row):
        if math.isnan(value):
            age += 1
            if index and age <= most:
                row[index] = row[index - 1]
        else:
            age = 0
    return row


def evenness(pods: Sequence[PodSeries], column: str, edges: Sequence[float]) -> Evenness | None:
    """How unevenly a gauge stood over pods, averaged over time: max - mean, max - min, standard deviation."""
    rows = grid(pods, column, edges)
    table = np.array(list(rows.values())) if rows else np.empty((0, 0))
    known = np.isfinite(table)
    columns = known.sum(axis=0) >= max(1, min(2, len(pods))) if table.size else np.empty(0, dtype=bool)
    if not columns.any():
        return None
    table = table[:, columns]
    peak, floor, mean = (f(table, axis=0) for f in (np.nanmax, np.nanmin, np.nanmean))
    return Evenness(
        mean=float(mean.mean()),
        peak=float(peak.max()),
        max_minus_mean=float((peak - mean).mean()),
        max_minus_min=float((peak - floor).mean()),
        stddev=float(np.nanstd(table, axis=0).mean()),
        pods={name: float(np.nanmean(row)) for name, row in rows.items() if np.isfinite(row).any()},
    )


def scrape_cost(pods: Iterable[PodSeries]) -> ScrapeCost | None:
    """What scraping itself took; None without a scrape that came back."""
    took = [value for pod in pods for value in pod.took if math.isfinite(value)]
    if not took:
        return None
    return ScrapeCost(scrapes=len(took), mean=float(np.mean(took)), max=max(took), total=sum(took))
