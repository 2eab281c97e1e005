"""The report as tables of text: one content for terminal, Markdown and HTML.

Each function takes the report and gives a Table, or None where there is nothing to tell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loadgen.judge.figures import Figures
from loadgen.judge.report import Expected, Report
from loadgen.numbers.figure import named
from loadgen.numbers.outcomes import SHEDS
from loadgen.numbers.quantity import digits, show, show_time
from loadgen.numbers.shortnames import common_beginning, short_names
from loadgen.numbers.stats import PERCENTILES, Summary, percentile_key
from loadgen.score.recovery import Recovery
from loadgen.score.scorecard import Scorecard

NOTHING = "-"
ALL_FIGURES = "All figures of the routing"
# In the order of rows.
_LATENCIES = (
    "ttft", "ttfc", "e2e", "ntpot", "ttft_sent", "e2e_sent", "ntpot_sent", "tpot", "itl", "lateness"
)  # fmt: skip
_MOST_ROWS = 24


@dataclass(frozen=True, slots=True)
class Table:
    """Cells are finished text; the first column names the row, all others are numbers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def time(value: float | None) -> str:
    return NOTHING if value is None else show_time(value)


def share(value: float | None) -> str:
    return NOTHING if value is None else f"{100 * value:.1f} %"


def plain(value: float | None, digits: int = 4) -> str:
    return NOTHING if value is None else f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.{digits}g}"


def interval(summary: Summary, key: str) -> str:
    """`41.2 ms [40.1, 43.0]`, the interval in the unit of the value."""
    value = show_time(getattr(summary, key))
    low, high = summary.ci.get(key, (None, None))
    if low is None or high is None:
        return value
    scale = {"s": 1.0, "ms": 1e3, "us": 1e6}[value.partition(" ")[2]]
    return f"{value} [{digits(low * scale, 3)}, {digits(high * scale, 3)}]"


def _latencies(report: Report) -> list[tuple[str, Summary]]:
    """The latencies that the report has, under the names that people read."""
    given, known = report.latency.given(), named(Report)
    labels = {name: known[f"{name}.mean"].label.removesuffix(" mean") for name in given}
    return [(labels[name], given[name]) for name in _LATENCIES if name in given]


def latency(report: Report) -> Table | None:
    """All latencies; intervals on the percentiles people quote."""
    rows = [
        (name, *(interval(s, key) for key in ("mean", "p50", "p90", "p99")), time(s.p99p9), time(s.max))
        for name, s in _latencies(report)
    ]
    note = "from the intended start; “sent”: from the actual start; [95 % interval, means of batches in time]"
    bare = [name for name, s in _latencies(report) if not s.ci and name != "lateness"]
    if bare:
        note += f"; too short a run for an interval: {', '.join(bare)}"
    heads = ("", "mean", "p50", "p90", "p99", "p99.9", "max")
    return Table("Latency", heads, tuple(rows), note) if rows else None


def percentiles(report: Report) -> Table | None:
    """The full list, for those who want the tails."""
    keys = [percentile_key(q) for q in PERCENTILES]
    rows = tuple((name, *(time(getattr(s, key)) for key in keys)) for name, s in _latencies(report))
    return Table("All percentiles", ("", *(f"p{q:g}" for q in PERCENTILES)), rows) if rows else None


def figures(report: Report) -> Table | None:
    """Every figure of the routing by the name that expectations call it, with its meaning."""
    rows = []
    for path, figure in named(Scorecard).items():
        value = None if figure.keyed else figure.of(report)
        if value is not None:
            rows.append((path, show(value, figure.unit), figure.meaning))
    return Table(ALL_FIGURES, ("", "", "what it is"), tuple(rows)) if rows else None


def outcomes(report: Report) -> Table:
    """Every outcome class that occurred, sheds marked as such, with what they said and how long they took."""
    found = report.outcomes
    said: dict[str, str] = {}
    for cause in found.causes:
        said.setdefault(cause.outcome, f"{cause.status or ''} {cause.text}".strip())
    rows = []
    for name, count in found.counts.items():
        refused = report.refusals.get(name)
        kind = "shed" if name in SHEDS else ""
        part = count / found.due if found.due and name != "skipped" else None
        took = time(refused.p50) if refused else NOTHING
        rows.append((name, f"{count:,}", share(part), kind, took, said.get(name, "")))
    return Table("Outcomes", ("", "count", "share", "kind", "median time", "said"), tuple(rows))


def throughput(report: Report) -> Table:
    """Rates asked and achieved, and goodput where limits were given."""
    t = report.throughput
    rows = [
        ("requests asked", f"{t.requested_rate:.2f} /s"),
        ("requests started", f"{t.achieved_rate:.2f} /s"),
        ("requests ok", f"{t.ok_rate:.2f} /s"),
        ("prompt tokens", show(t.prompt_tokens_rate, "tokens/s")),
        ("output tokens", show(t.output_tokens_rate, "tokens/s")),
        ("run time", time(t.duration)),
    ]
    good = report.goodput
    if good:
        limits = ", ".join(f"{name} ≤ {show_time(limit)}" for name, limit in good.slo.items())
        rows.append(("goodput", f"{share(good.share)} of due, {good.rate:.2f} /s ({limits})"))
    return Table("Throughput", ("", ""), tuple(rows))


def split(report: Report, kind: str) -> Table | None:
    """Classes, adapters or stages side by side."""
    parts = report.by.get(kind, {})
    if not parts:
        return None
    good = any(part.goodput for part in parts.values())
    heads = ("", "requests", "ok", "shed", "error", "TTFT p50", "TTFT p90", "TTFT p99", "TPOT p50", "E2E p90")
    rows = [(name, *_part(part, good)) for name, part in parts.items()]
    return Table(f"By {kind}", (*heads, *(("goodput",) if good else ())), tuple(rows))


def _part(part: Figures, good: bool) -> list[str]:
    shares, times = part.outcomes.shares, part.latency
    ttft, tpot, e2e = times.ttft, times.tpot, times.e2e
    shown = (
        *((ttft.p50, ttft.p90, ttft.p99) if ttft else (None, None, None)),
        tpot.p50 if tpot else None,
        e2e.p90 if e2e else None,
    )
    cells = [f"{part.outcomes.due:,}", share(shares.ok), share(shares.shed), share(shares.error)]
    cells += map(time, shown)
    if good:
        cells.append(share(part.goodput.share if part.goodput else None))
    return cells


_PODS = (
    "",
    "answers",
    "share",
    "TTFT p50",
    "TTFT p99",
    "cache hits",
    "queue mean",
    "queue max",
    "KV mean",
)


def pods(report: Report) -> Table | None:
    """One row per pod; of a large fleet the busiest and the idlest."""
    spread = report.spread
    if not spread:
        return None
    names = list(spread.counts)
    note = ""
    if len(names) > _MOST_ROWS:
        ranked = sorted(names, key=lambda name: -spread.counts[name])
        names = ranked[: _MOST_ROWS // 2] + ranked[-_MOST_ROWS // 2 :]
        note = f"the {_MOST_ROWS // 2} busiest and the {_MOST_ROWS // 2} idlest of {len(ranked)} pods"
    shown = short_names(spread.counts)
    if whole := common_beginning(spread.counts):
        note = "; ".join(filter(None, (note, f"all of them begin with {whole}")))
    rows = [
        (shown[name], f"{spread.counts[name]:,}", share(spread.shares[name]), *_pod(report, name))
        for name in names
    ]
    return Table("Pods", _PODS, tuple(rows), note)


def _pod(report: Report, name: str) -> list[str]:
    """What the report knows of a pod beside its share."""
    part, gauges = report.by.get("pod", {}).get(name), report.pod_gauges.get(name)
    hits = report.prefix.pods.get(name) if report.prefix else None
    ttft = part.latency.ttft if part else None
    waiting, kv = (gauges.waiting, gauges.kv) if gauges else (None, None)
    return [
        time(ttft.p50 if ttft else None),
        time(ttft.p99 if ttft else None),
        share(hits.hit_share if hits else None),
        plain(waiting.mean if waiting else None, 3),
        plain(waiting.max if waiting else None, 3),
        share(kv.mean if kv else None),
    ]


def roles(report: Report) -> Table | None:
    """Pods that prefill and pods that decode, with the requests that each counted itself."""
    scraped = {name: pod for name, pod in report.pod_gauges.items() if pod.role is not None}
    if not scraped:
        return None
    answers = report.spread.counts if report.spread else {}
    shown = short_names(scraped)
    rows = sorted((pod.role or "", name, f"{answers.get(name, 0):,}", pod) for name, pod in scraped.items())
    cells = tuple(
        (shown[name], role, answered, *map(plain, (pod.requests, pod.prompt_tokens, pod.output_tokens)))
        for role, name, answered, pod in rows
    )
    note = "requests and tokens as the pods counted them; a request is answered by the pod that decodes it"
    if whole := common_beginning(scraped):
        note = f"{note}; all of them begin with {whole}"
    heads = ("", "role", "answers", "requests", "prompt tokens", "output tokens")
    return Table("Prefill and decode", heads, cells[:_MOST_ROWS], note)


def prefix_groups(report: Report) -> Table | None:
    """Prefix groups with their hit shares and the pods they went to."""
    card = report.prefix
    if not card or not card.groups:
        return None
    groups = card.groups
    ranked = sorted(groups, key=lambda name: -groups[name].requests)[:_MOST_ROWS]
    rows = tuple(
        (
            name,
            f"{groups[name].requests:,}",
            share(groups[name].hit_share),
            str(len(card.group_pods.get(name, {}))),
            max(card.group_pods.get(name, {"": 0}).items(), key=lambda item: item[1])[0],
        )
        for name in ranked
    )
    note = f"the {_MOST_ROWS} largest of {len(groups)}" if len(groups) > _MOST_ROWS else ""
    return Table("Prefix groups", ("", "requests", "cache hits", "pods", "mostly on"), rows, note)


def recovery(report: Report) -> Table | None:
    """Events with what they did to latency and how long."""
    if not report.recovery:
        return None
    rows = tuple((row.event, f"{row.at:.2f} s", *_felt(row)) for row in report.recovery)
    return Table("Events", ("", "at", "E2E p90, worst second", "ok, worst second", "recovered after"), rows)


def _felt(row: Recovery) -> tuple[str, str, str]:
    if not row.judged:
        return NOTHING, NOTHING, row.why or ""
    back = "not in this run" if row.seconds is None else f"{row.seconds:.2f} s"
    worst = f"{time(row.p90_before)} → {time(row.p90_worst)}"
    return worst, f"{share(row.ok_before)} → {share(row.ok_worst)}", back


def selfchecks(report: Report) -> Table:
    rows = tuple((check.name, check.status, check.words) for check in report.selfchecks)
    return Table("Self-checks", ("", "", ""), rows)


def expectations(expected: Sequence[Expected]) -> Table | None:
    rows = tuple((e.text, e.status, e.reason) for e in expected)
    return Table("Expectations", ("", "", "found"), rows) if rows else None


SECTIONS: tuple[Callable[[Report], Table | None], ...] = (
    latency,
    outcomes,
    throughput,
    lambda report: split(report, "class") if len(report.by.get("class", {})) > 1 else None,
    lambda report: split(report, "pool"),
    lambda report: split(report, "adapter"),
    lambda report: split(report, "stage"),
    pods,
    roles,
    prefix_groups,
    recovery,
)


def all_tables(report: Report) -> Sequence[Table]:
    """The tables of figures in reading order."""
    return [table for table in (section(report) for section in SECTIONS) if table is not None]
