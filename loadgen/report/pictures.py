"""The pictures of a run: which numbers of the report go into which kind of plot."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from loadgen.judge.report import Report
from loadgen.numbers.shortnames import short_names
from loadgen.records.bins import BinnedQuantiles
from loadgen.records.frame import natural_order
from loadgen.report import plots
from loadgen.report.plots import Line, colour
from loadgen.report.svg import number, percent

NAMED = 24
FEW = 8  # up to so many pods get a line of their own


@dataclass(frozen=True, slots=True)
class Picture:
    """A titled drawing that can be made at any width; keys are (css class, name) of its legend."""

    title: str
    draw: Callable[[int], str]
    note: str = ""
    keys: tuple[tuple[str, str], ...] = ()
    full: bool = False


def events(report: Report) -> list[tuple[float, str]]:
    return [(event.at, event.name) for event in report.events if event.source != "run"]


def _gaps(values: Sequence[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in values]


def _middles(edges: Sequence[float]) -> list[float]:
    return [(a + b) / 2 for a, b in pairwise(edges)]


def latency(report: Report) -> list[Picture]:
    """CDFs of TTFT and E2E, and both over time."""
    out = []
    for name, title in (("ttft", "Time to first token"), ("e2e", "End-to-end latency")):
        curves = [
            (f"{name}", "from intended start", "s0"),
            (f"{name}_sent", "from actual start", "s1 thin dashed"),
        ]
        found = [(label, report.curves[key], cls) for key, label, cls in curves if report.curves.get(key)]
        if found:
            keys = tuple((cls.split(" ", maxsplit=1)[0], label) for label, _, cls in found)
            out.append(
                Picture(
                    title,
                    _bind(plots.cdf, title, found),
                    "share of requests that were at least as fast",
                    keys,
                )
            )
    timeline = report.timeline
    if not timeline:
        return out
    xs = _middles(timeline.edges)
    for name, title, cls in (("ttft", "TTFT over time", "s0"), ("e2e", "E2E over time", "s4")):
        binned: BinnedQuantiles = getattr(timeline, name)
        quantiles = {"p50": _gaps(binned.p50), "p90": _gaps(binned.p90), "p99": _gaps(binned.p99)}
        if any(math.isfinite(v) for v in quantiles["p50"]):
            keys = ((cls, "p50"), (f"{cls} mid", "up to p90"), (f"{cls} lo", "up to p99"))
            draw = _bands(title, xs, quantiles, events(report), cls)
            out.append(Picture(title, draw, "by intended start", keys))
    return out


def _bind(plot: Callable[..., str], *args: Any, **options: Any) -> Callable[[int], str]:
    return lambda width: plot(width, *args, **options)


def _bands(
    title: str, xs: list[float], quantiles: dict[str, list[float]], marks: list[tuple[float, str]], cls: str
) -> Callable[[int], str]:
    return lambda width: plots.bands(width, title, xs, quantiles, events=marks, cls=cls)


def load(report: Report) -> list[Picture]:
    """Outcomes and requests in flight over time."""
    timeline = report.timeline
    if not timeline:
        return []
    edges, marks = timeline.edges, events(report)
    kinds = (("ok", "s0"), ("shed", "shed"), ("error", "bad"))
    columns = ((name, getattr(timeline.outcomes, name), cls) for name, cls in kinds)
    layers = [Line(name, [], column, cls) for name, column, cls in columns if any(column)]
    width = edges[1] - edges[0]
    flying = [Line("in flight", _middles(edges), timeline.in_flight, "s4")]
    note = f"requests per {width:g} s by intended start"
    return [
        Picture(
            "Outcomes",
            _bind(plots.stack, "Outcomes", edges, layers, marks),
            note,
            tuple((x.cls, x.name) for x in layers),
        ),
        Picture(
            "Requests in flight",
            _bind(plots.lines, "In flight", flying, events=marks),
            "mean of each interval",
        ),
    ]


def shares(report: Report) -> list[Picture]:
    """Shares of answers and of cached tokens per pod."""
    spread, card = report.spread, report.prefix
    if not spread or spread.pods < 2:
        return []
    out = [_by_pod("Share of answers", spread.shares, 1 / spread.pods, "dashed: an even share", "s0")]
    cached = {name: card.pods[name].hit_share for name in spread.shares if name in card.pods} if card else {}
    if card and cached:
        best = card.best_capacity or card.best_infinite
        note = "dashed: the best possible over all pods"
        out.append(_by_pod("Prompt tokens found cached", cached, best, note, "s2"))
    return out


def picks(report: Report) -> list[Picture]:
    """Which pod answered when."""
    spread, timeline = report.spread, report.timeline
    if not spread or not timeline or spread.pods < 2:
        return []
    names, edges = list(short_names(timeline.pods).values()), timeline.edges
    heat = _bind(
        plots.heat, "Requests by pod and time", names, edges, list(timeline.pods.values()),
        events=events(report),
    )  # fmt: skip
    return [
        Picture("Picks", heat, f"answers per pod and {edges[1] - edges[0]:g} s; darker is more", full=True)
    ]


def gauges(report: Report) -> list[Picture]:
    """Queue, running requests and KV cache of each scraped pod over time."""
    timeline = report.timeline
    if not timeline:
        return []
    marks = events(report)
    found = (
        _replicas(timeline.running or timeline.waiting, timeline.edges, marks),
        _gauge("Queue", timeline.waiting, timeline.edges, marks),
        _gauge("Running requests", timeline.running, timeline.edges, marks),
        _gauge("KV cache in use", timeline.kv, timeline.edges, marks, show=percent, top=1.0),
    )
    return [picture for picture in found if picture is not None]


def _replicas(
    columns: Mapping[str, Sequence[float | None]], edges: Sequence[float], marks: Sequence[tuple[float, str]]
) -> Picture | None:
    """How many pods answered scrapes over time, of a fleet that grew on the way."""
    rows = list(columns.values())
    numbers = [float(sum(c[i] is not None for c in rows)) or math.nan for i in range(len(edges) - 1)]
    known = [number for number in numbers if math.isfinite(number)]
    if not known or max(known) == known[0]:
        return None
    line = Line("pods", _middles(edges), numbers, colour(0))
    draw = _bind(plots.lines, "Pods", [line], number, events=marks, span=(edges[0], edges[-1]))
    return Picture("Pods", draw, "that answered scrapes")


def _by_pod(title: str, values: Mapping[str, float], mark: float, note: str, cls: str) -> Picture:
    """A named bar for each pod; of a large fleet nameless columns in order of size."""
    if len(values) > NAMED:
        draw = _bind(plots.columns, title, list(values.values()), percent, mark=mark, cls=cls)
        return Picture(title, draw, f"{note}; pods from the largest to the smallest")
    shown = short_names(values)
    rows = [(shown[name], value, cls) for name, value in values.items()]
    return Picture(title, _bind(plots.bars, title, rows, mark=mark), note)


def _gauge(
    title: str,
    columns: Mapping[str, Sequence[float | None]],
    edges: Sequence[float],
    marks: Sequence[tuple[float, str]],
    *,
    show: Callable[[float], str] = number,
    top: float | None = None,
) -> Picture | None:
    """One line per pod of a small fleet; of a large one a heat map."""
    shown = short_names(columns)
    table = {shown[name]: _gaps(values) for name, values in columns.items()}
    if not table:
        return None
    if len(table) > FEW:
        draw = _bind(
            plots.heat,
            title,
            list(table),
            edges,
            list(table.values()),
            show=show,
            events=marks,
            top=top,
        )
        return Picture(title, draw, "as scraped; darker is more, grey: no answer", full=True)
    series = [
        Line(name, _middles(edges), values, colour(i)) for i, (name, values) in enumerate(table.items())
    ]
    highest = max((v for line in series for v in line.ys if math.isfinite(v)), default=0)
    limit = None if top is None or highest < 0.5 * top else top
    draw = _bind(plots.lines, title, series, show, events=marks, span=(edges[0], edges[-1]), top=limit)
    return Picture(title, draw, "as scraped from each pod", tuple((line.cls, line.name) for line in series))


def prefix(report: Report) -> list[Picture]:
    """What was reused beside what could have been."""
    card = report.prefix
    if not card:
        return []
    rows = [("reused", card.hit_share, "s2")]
    if card.best_capacity is not None:
        rows.append(("best, real caches", card.best_capacity, "s7"))
    rows.append(("best, endless caches", card.best_infinite, "s7"))
    draw = _bind(plots.bars, "Prompt tokens from cache", rows, top=1.0)
    return [Picture("Prompt tokens from cache", draw, "share of all prompt tokens")]


def prefix_groups(report: Report) -> list[Picture]:
    """Which prefix group went to which pods, as far as answers name them."""
    table = report.prefix.group_pods if report.prefix else {}
    groups = sorted(table, key=lambda name: -sum(table[name].values()))[:24]
    pods = natural_order({pod for group in groups for pod in table[group]})
    if len(groups) < 2 or len(pods) < 2:
        return []
    values = [[table[group].get(pod, 0) for pod in pods] for group in groups]
    draw = _bind(plots.matrix, "Prefix groups by pod", groups, list(short_names(pods).values()), values)
    note = "requests; shade: share of the group"
    return [Picture("Where prefix groups went", draw, note, full=len(pods) > 8)]


def lora(report: Report) -> list[Picture]:
    """The adapter by pod matrix."""
    card = report.lora
    if not card:
        return []
    shown = short_names(card.pods)
    draw = _bind(plots.matrix, "Adapters by pod", card.adapters, list(shown.values()), card.matrix)
    loads = [(shown[pod], float(card.loads_by_pod[pod]), "s3") for pod in card.pods]
    return [
        Picture("Adapter by pod", draw, "requests; shade: share of the adapter", full=len(card.pods) > 8),
        Picture(
            "Adapter loads",
            _bind(plots.bars, "Adapter loads by pod", loads, show=number),
            "an adapter that was not there",
        ),
    ]
