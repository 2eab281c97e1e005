"""A run cut into time bins: what was asked, what came back, what the pods stood at.

Bins are by intended start, because a stall must show up where the requests it delayed belong. The result is
plain lists (None where there was nothing), as report.json holds it and the pictures draw it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from loadgen.numbers.figure import Card
from loadgen.numbers.stats import Floats
from loadgen.records.frame import Frame, natural_order
from loadgen.records.series import PodSeries, grid
from loadgen.records.table import Mask

MOST_BINS = 60
_WIDTHS = (
    0.1,
    0.2,
    0.25,
    0.5,
    1.0,
    2.0,
    5.0,
    10.0,
    15.0,
    30.0,
    60.0,
    120.0,
    300.0,
    600.0,
    1800.0,
    3600.0,
)
_QUANTILES = (50, 90, 99)


class BinnedOutcomes(Card):
    """Requests of each bin by how they ended; cancelled and never due ones are in none."""

    ok: list[int]
    shed: list[int]
    error: list[int]


class BinnedQuantiles(Card):
    """Percentiles of a latency in each bin, seconds; None where no request has it."""

    p50: list[float | None]
    p90: list[float | None]
    p99: list[float | None]


class Timeline(Card):
    """Everything over time; `edges` (seconds of run time) has one entry more than the other lists."""

    edges: list[float]
    outcomes: BinnedOutcomes
    started: list[int]
    """Requests started in each bin, by actual start."""
    in_flight: list[float]
    """Mean number of requests under way."""
    ttft: BinnedQuantiles
    ttft_sent: BinnedQuantiles
    e2e: BinnedQuantiles
    pods: dict[str, list[int]]
    """Answers by pod."""
    waiting: dict[str, list[float | None]]
    running: dict[str, list[float | None]]
    kv: dict[str, list[float | None]]
    """Scraped gauges by pod."""


def timeline(frame: Frame, pods: Sequence[PodSeries], names: Sequence[str]) -> Timeline | None:
    """Everything over time; `names` are all pods, also those that answered nothing. None without requests."""
    if not len(frame):
        return None
    edges = bin_edges(frame)
    bins = np.clip(np.searchsorted(edges, frame.intended, side="right") - 1, 0, len(edges) - 2)
    size = len(edges) - 1
    lost = ~frame.ok & ~frame.shed & (frame.outcome != "skipped") & (frame.outcome != "client_cancel")
    masks = {"ok": frame.ok, "shed": frame.shed, "error": lost}
    return Timeline(
        edges=[round(float(edge), 6) for edge in edges],
        outcomes=BinnedOutcomes(**{name: _count(bins, mask, size) for name, mask in masks.items()}),
        started=_count_times(frame.start, edges),
        in_flight=_in_flight(frame, edges),
        ttft=_quantiles(frame, "ttft", bins, size),
        ttft_sent=_quantiles(frame, "ttft_sent", bins, size),
        e2e=_quantiles(frame, "e2e", bins, size),
        pods={name: _count(bins, np.asarray(frame.pod == name), size) for name in natural_order(names)},
        waiting=_gauges(pods, "waiting", edges),
        running=_gauges(pods, "running", edges),
        kv=_gauges(pods, "kv", edges),
    )


def bin_edges(frame: Frame) -> Floats:
    """At most MOST_BINS bins of a round width from the first intended start to the last end."""
    low = float(frame.intended[0])
    high = max(float(frame.intended[-1]), float(np.nanmax(np.append(frame.end, low))))
    width = next((w for w in _WIDTHS if (high - low) / w <= MOST_BINS), (high - low) / MOST_BINS)
    first = np.floor(low / width)
    count = max(1, int(np.ceil((high - first * width) / width + 1e-9)))
    return np.asarray((first + np.arange(count + 1)) * width)


def _count(bins: Any, mask: Mask, size: int) -> list[int]:
    return [int(n) for n in np.bincount(bins[mask], minlength=size)]


def _count_times(times: Floats, edges: Floats) -> list[int]:
    return [int(n) for n in np.histogram(times[np.isfinite(times)], edges)[0]]


def _in_flight(frame: Frame, edges: Floats) -> list[float]:
    """Mean number of requests under way in each bin."""
    known = np.isfinite(frame.start) & np.isfinite(frame.end)
    start, end = frame.start[known], frame.end[known]
    busy = [
        float(np.clip(np.minimum(end, b) - np.maximum(start, a), 0, None).sum() / (b - a))
        for a, b in pairwise(edges.tolist())
    ]
    return [round(value, 3) for value in busy]


def _quantiles(frame: Frame, name: str, bins: Any, size: int) -> BinnedQuantiles:
    values, rows = frame.latency(name)
    out: dict[str, list[float | None]] = {f"p{q}": [None] * size for q in _QUANTILES}
    owner = bins[rows]
    for index in np.unique(owner):
        inside = values[owner == index]
        for q, point in zip(_QUANTILES, np.percentile(inside, _QUANTILES), strict=True):
            out[f"p{q}"][int(index)] = round(float(point), 6)
    return BinnedQuantiles(**out)


def _gauges(pods: Sequence[PodSeries], column: str, edges: Floats) -> dict[str, list[float | None]]:
    rows: Mapping[str, Floats] = grid(pods, column, [float(edge) for edge in edges])
    return {
        name: [None if np.isnan(value) else round(float(value), 4) for value in rows[name]]
        for name in natural_order(rows)
        if np.isfinite(rows[name]).any()
    }


def curve(values: Floats, points: int = 200) -> list[float]:
    """A sorted sample thinned to `points` quantiles and its 20 largest values, for a picture of its CDF."""
    ranked = np.sort(values)
    if ranked.size <= points:
        return [round(float(v), 6) for v in ranked]
    ranks = np.unique(np.round(np.linspace(0, ranked.size - 1, points)).astype(int))
    return [round(float(ranked[rank]), 6) for rank in ranks]
