"""The report as tables of text: one content for terminal, Markdown and HTML.

Each function takes the report's dictionary and gives a Table, or None where there is nothing to tell.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from loadgen.numbers.quantity import digits, show, show_time

Report = Mapping[str, Any]
NOTHING: Final = "-"
_NAMES: Final = {
    "ttft": "TTFT",
    "e2e": "E2E",
    "ntpot": "NTPOT",
    "ttft_sent": "TTFT, sent",
    "e2e_sent": "E2E, sent",
    "ntpot_sent": "NTPOT, sent",
    "tpot": "TPOT",
    "itl": "ITL",
    "lateness": "lateness",
}
_MOST_ROWS: Final = 24


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


def interval(summary: Mapping[str, Any], key: str) -> str:
    """`41.2 ms [40.1, 43.0]`, the interval in the unit of the value."""
    value = show_time(summary[key])
    bounds = summary.get("ci", {}).get(key)
    if not bounds or None in bounds:
        return value
    unit = value.partition(" ")[2]
    scale = {"s": 1.0, "ms": 1e3, "us": 1e6}[unit]
    return f"{value} [{digits(bounds[0] * scale, 3)}, {digits(bounds[1] * scale, 3)}]"


def latency(report: Report) -> Table | None:
    """All latencies; intervals on the percentiles people quote."""
    found = report["latency"]
    rows = [
        (
            name,
            interval(found[key], "mean"),
            interval(found[key], "p50"),
            interval(found[key], "p90"),
            interval(found[key], "p99"),
            time(found[key]["p99p9"]),
            time(found[key]["max"]),
        )
        for key, name in _NAMES.items()
        if key in found
    ]
    note = "from the intended start; “sent”: from the actual start; [95 % interval, blocks of time resampled]"
    return (
        Table("Latency", ("", "mean", "p50", "p90", "p99", "p99.9", "max"), tuple(rows), note)
        if rows
        else None
    )


def percentiles(report: Report) -> Table | None:
    """The full list, for those who want the tails."""
    found = report["latency"]
    keys = ("p0p1", "p1", "p5", "p10", "p25", "p50", "p75", "p90", "p95", "p99", "p99p9")
    rows = tuple((name, *(time(found[key][p]) for p in keys)) for key, name in _NAMES.items() if key in found)
    heads = tuple(key.replace("p", "p", 1).replace("p0p1", "p0.1").replace("p99p9", "p99.9") for key in keys)
    return Table("All percentiles", ("", *heads), rows) if rows else None


def outcomes(report: Report) -> Table:
    """Every outcome class that occurred, sheds marked as such, with what they said and how long they took."""
    found = report["outcomes"]
    said: dict[str, str] = {}
    for cause in found["causes"]:
        said.setdefault(cause["outcome"], f"{cause['status'] or ''} {cause['text']}".strip())
    rows = []
    for name, count in found["counts"].items():
        refused = report["refusals"].get(name)
        kind = "shed" if name in ("shed_429", "ttl_503", "evicted") else ""
        part = count / found["due"] if found["due"] and name != "skipped" else None
        took = time(refused["p50"]) if refused else NOTHING
        rows.append((name, f"{count:,}", share(part), kind, took, said.get(name, "")))
    return Table("Outcomes", ("", "count", "share", "kind", "median time", "said"), tuple(rows))


def throughput(report: Report) -> Table:
    """Rates asked and achieved, and goodput where limits were given."""
    t = report["throughput"]
    rows = [
        ("requests asked", f"{t['requested_rate']:.2f} /s"),
        ("requests started", f"{t['achieved_rate']:.2f} /s"),
        ("requests ok", f"{t['ok_rate']:.2f} /s"),
        ("prompt tokens", show(t["prompt_tokens_rate"], "tokens/s")),
        ("output tokens", show(t["output_tokens_rate"], "tokens/s")),
        ("run time", time(t["duration"])),
    ]
    good = report.get("goodput")
    if good:
        limits = ", ".join(f"{name} ≤ {show_time(limit)}" for name, limit in good["slo"].items())
        rows.append(("goodput", f"{share(good['share'])} of due, {good['rate']:.2f} /s ({limits})"))
    return Table("Throughput", ("", ""), tuple(rows))


def split(report: Report, kind: str) -> Table | None:
    """Classes, adapters or stages side by side."""
    parts: Mapping[str, Any] = report["by"].get(kind, {})
    if not parts:
        return None
    good = any(part.get("goodput") for part in parts.values())
    heads = ("", "requests", "ok", "shed", "error", "TTFT p50", "TTFT p90", "TTFT p99", "TPOT p50", "E2E p90")
    rows = []
    for name, part in parts.items():
        shares, times = part["outcomes"]["shares"], part["latency"]
        cells = [f"{part['outcomes']['due']:,}", *(share(shares[group]) for group in ("ok", "shed", "error"))]
        for metric, point in (
            ("ttft", "p50"),
            ("ttft", "p90"),
            ("ttft", "p99"),
            ("tpot", "p50"),
            ("e2e", "p90"),
        ):
            cells.append(time(times.get(metric, {}).get(point)))
        if good:
            cells.append(share((part.get("goodput") or {}).get("share")))
        rows.append((name, *cells))
    return Table(f"By {kind}", (*heads, *(("goodput",) if good else ())), tuple(rows))


def pods(report: Report) -> Table | None:
    """One row per pod; of a large fleet the busiest and the idlest."""
    spread = report.get("spread")
    if not spread:
        return None
    hits = (report.get("prefix") or {}).get("pods", {})
    gauges, parts = report.get("pod_gauges", {}), report["by"].get("pod", {})
    names = list(spread["counts"])
    note = ""
    if len(names) > _MOST_ROWS:
        ranked = sorted(names, key=lambda name: -spread["counts"][name])
        names = ranked[: _MOST_ROWS // 2] + ranked[-_MOST_ROWS // 2 :]
        note = f"the {_MOST_ROWS // 2} busiest and the {_MOST_ROWS // 2} idlest of {len(ranked)} pods"
    rows = []
    for name in names:
        times = parts.get(name, {}).get("latency", {})
        gauge = gauges.get(name, {})
        rows.append(
            (
                name,
                f"{spread['counts'][name]:,}",
                share(spread["shares"][name]),
                time(times.get("ttft", {}).get("p50")),
                time(times.get("ttft", {}).get("p99")),
                share(hits.get(name, {}).get("hit_share")),
                plain(gauge.get("waiting", {}).get("mean"), 3),
                plain(gauge.get("waiting", {}).get("max"), 3),
                share(gauge.get("kv", {}).get("mean")),
            )
        )
    heads = (
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
    return Table("Pods", heads, tuple(rows), note)


def prefix_groups(report: Report) -> Table | None:
    """Prefix groups with their hit shares and the pods they went to."""
    card = report.get("prefix")
    groups = (card or {}).get("groups")
    if not card or not groups:
        return None
    ranked = sorted(groups, key=lambda name: -groups[name]["requests"])[:_MOST_ROWS]
    rows = tuple(
        (
            name,
            f"{groups[name]['requests']:,}",
            share(groups[name]["hit_share"]),
            str(len(card["group_pods"].get(name, {}))),
            max(card["group_pods"].get(name, {"": 0}).items(), key=lambda item: item[1])[0],
        )
        for name in ranked
    )
    note = f"the {_MOST_ROWS} largest of {len(groups)}" if len(groups) > _MOST_ROWS else ""
    return Table("Prefix groups", ("", "requests", "cache hits", "pods", "mostly on"), rows, note)


def recovery(report: Report) -> Table | None:
    """Events with what they did to latency and how long."""
    found = report.get("recovery")
    if not found:
        return None
    rows = []
    for row in found:
        if row["judged"]:
            back = "not in this run" if row["seconds"] is None else f"{row['seconds']:.2f} s"
            worst = f"{time(row['p90_before'])} → {time(row['p90_worst'])}"
            cells = (worst, f"{share(row['ok_before'])} → {share(row['ok_worst'])}", back)
        else:
            cells = (NOTHING, NOTHING, row["why"])
        rows.append((row["event"], f"{row['at']:.2f} s", *cells))
    return Table(
        "Events", ("", "at", "E2E p90, worst second", "ok, worst second", "recovered after"), tuple(rows)
    )


def selfchecks(report: Report) -> Table:
    rows = tuple((check["name"], check["status"], check["words"]) for check in report["selfchecks"])
    return Table("Self-checks", ("", "", ""), rows)


def expectations(report: Report) -> Table | None:
    rows = tuple((e["text"], e["status"], e["reason"]) for e in report.get("expectations", []))
    return Table("Expectations", ("", "", "found"), rows) if rows else None


SECTIONS: Final[tuple[Callable[[Report], Table | None], ...]] = (
    latency,
    outcomes,
    throughput,
    lambda report: split(report, "class") if len(report["by"].get("class", {})) > 1 else None,
    lambda report: split(report, "adapter"),
    lambda report: split(report, "stage"),
    pods,
    prefix_groups,
    recovery,
)


def all_tables(report: Report) -> Sequence[Table]:
    """The tables of figures in reading order."""
    return [table for table in (section(report) for section in SECTIONS) if table is not None]
