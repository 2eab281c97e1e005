"""What the routing scorecard says in words: short lines, each a figure with what it means."""

from collections.abc import Mapping
from typing import Any, Final

from loadgen.numbers.quantity import show_time
from loadgen.report.tables import plain, share

Report = Mapping[str, Any]
SUCCEEDS: Final = "a request succeeds"
"""The expectation that every run has without writing it down."""


def verdict(report: Report) -> str:
    """The one sentence on top."""
    failed = [e["text"] for e in report.get("expectations", []) if e["status"] != "passed"]
    broken = [check["name"] for check in report["selfchecks"] if check["status"] == "fail"]
    if broken:
        return f"This run is not to be trusted: {', '.join(broken)}"
    for expectation in report.get("expectations", []):
        if expectation["text"] == SUCCEEDS:
            return str(expectation["reason"])
    if failed:
        return f"{len(failed)} of {len(report['expectations'])} expectations failed"
    shares, latency = report["outcomes"]["shares"], report["latency"]
    words = f"{share(shares['ok'])} ok"
    if "ttft" in latency:
        words += f", TTFT p50 {show_time(latency['ttft']['p50'])}, p99 {show_time(latency['ttft']['p99'])}"
    elif "e2e" in latency:
        words += f", E2E p50 {show_time(latency['e2e']['p50'])}, p99 {show_time(latency['e2e']['p99'])}"
    if report.get("expectations"):
        words = f"All {len(report['expectations'])} expectations hold: {words}"
    return words


def scorecard(report: Report) -> list[tuple[str, str]]:
    """(what, words) for every part of the scorecard that this run can judge."""
    makers = {
        "spread": _spread,
        "herding": _herding,
        "prefix": _prefix,
        "lora": _lora,
        "sessions": _sessions,
        "queue": _queue,
        "kv": _kv,
        "picks": _picks,
        "staleness": _staleness,
        "scraping": _scraping,
    }
    return [(name, make(report[name])) for name, make in makers.items() if report.get(name)]


def _spread(s: Report) -> str:
    chance = s["p_value"]
    even = "no more uneven than chance" if chance is not None and chance > 0.05 else "more uneven than chance"
    return (
        f"{s['pods']} pods, the busiest at {s['max_over_mean']:.2f} of the mean, Jain {s['jain']:.3f}; "
        f"{even} (chi-square {plain(s['chi_square'])}, p {plain(chance, 2)})"
    )


def _herding(h: Report) -> str:
    words = f"longest run on one pod {h['longest_run']}, mean {h['mean_run']:.2f}"
    if h["expected_run"]:
        words += f" (independent picks: {h['expected_run']:.2f})"
    if h["index"] is not None:
        within = f"{h['interval'] * 1000:.0f} ms"
        words += f"; picks within {within} share a pod {h['index']:.2f} times as often as by chance"
    return words + f"; {h['whole_herds']} of {h['crowded_intervals']} crowded intervals went to one pod whole"


def _prefix(p: Report) -> str:
    words = f"{share(p['hit_share'])} of prompt tokens were cached"
    if p["best_capacity"] is not None:
        words += f"; the best placement could have had {share(p['best_capacity'])}"
    words += f" ({share(p['best_infinite'])} with caches without end)"
    if p["reached"] is not None:
        words += f": {share(p['reached'])} of it reached"
    decisions = p["decisions"]
    if decisions["best_share"] is not None:
        words += f"; {share(decisions['best_share'])} of picks went where the longest prefix was known"
    return words


def _lora(lo: Report) -> str:
    words = (
        f"{share(lo['routed_loaded_share'])} of {lo['requests']} adapter requests met their adapter loaded"
    )
    if lo["reached"] is not None:
        words += f" ({share(lo['reached'])} of those for which some pod had it)"
    return words + (
        f"; {lo['loads']} loads, {lo['evictions']} evictions"
        f", {lo['pods_per_adapter']:.1f} pods per adapter"
        + (f", {lo['slots']} slots a pod" if lo["slots"] else "")
    )


def _sessions(s: Report) -> str:
    words = f"{share(s['sticky_share'])} of {s['turns']} later turns on the pod of turn 1, {s['moves']} moves"
    return words + (f", {s['rehomed']} of them from pods that were gone" if s["rehomed"] else "")


def _queue(q: Report) -> str:
    return f"{q['mean']:.2f} waiting on average; the longest queue {q['max_minus_mean']:.2f} above the mean"


def _kv(k: Report) -> str:
    return f"{share(k['mean'])} in use on average; fullest and emptiest pod {share(k['max_minus_min'])} apart"


def _picks(p: Report) -> str:
    words = f"{share(p['as_picked_share'])} of {p['judged']} answers came from the endpoint that was picked"
    return words + (f"; {p['on_a_later_choice']} from a later choice" if p["on_a_later_choice"] else "")


def _staleness(s: Report) -> str:
    words = f"{s['decisions']} decisions"
    if s["age"]:
        words += f", on metrics {show_time(s['age']['p50'])} old (p99 {show_time(s['age']['p99'])})"
    if s["load_error_abs"] is not None:
        words += f"; the picked pod's load was off by {s['load_error_abs']:.2f} requests on average"
    if s["took"]:
        words += f"; a decision took {show_time(s['took']['p50'])} (p99 {show_time(s['took']['p99'])})"
    return words


def _scraping(s: Report) -> str:
    return f"{s['scrapes']} scrapes, {show_time(s['mean'])} each on average, {show_time(s['max'])} at most"
