"""What the routing scorecard says in words: short lines, each a figure with what it means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from loadgen.judge.report import Report
from loadgen.numbers.quantity import show_time
from loadgen.records.series import Evenness, ScrapeCost
from loadgen.report.tables import plain, share
from loadgen.score.decisions import Staleness
from loadgen.score.joined import Joined
from loadgen.score.lora import Lora
from loadgen.score.prefix import Prefix
from loadgen.score.routing import Herding, Picks, Sessions, Spread

SUCCEEDS = "a request succeeds"  # the expectation that every run has without writing it down


def verdict(report: Report) -> str:
    """The one sentence on top."""
    expected = report.expectations
    broken = [check.name for check in report.selfchecks if check.status == "fail"]
    if broken:
        return f"This run is not to be trusted: {', '.join(broken)}"
    for expectation in expected:
        if expectation.text == SUCCEEDS:
            return expectation.reason
    failed = sum(e.status != "passed" for e in expected)
    if failed:
        return f"{failed} of {len(expected)} expectations failed"
    words = f"{share(report.outcomes.shares.ok)} ok"
    ttft, e2e = report.latency.ttft, report.latency.e2e
    if ttft:
        words += f", TTFT p50 {show_time(ttft.p50)}, p99 {show_time(ttft.p99)}"
    elif e2e:
        words += f", E2E p50 {show_time(e2e.p50)}, p99 {show_time(e2e.p99)}"
    if expected:
        words = f"All {len(expected)} expectations hold: {words}"
    return f"Simulated: {words}" if any(check.name == "simulated" for check in report.selfchecks) else words


def scorecard(report: Report) -> list[tuple[str, str]]:
    """(what, words) for every part of the scorecard that this run can judge and that has a sentence."""
    cards = ((name, getattr(report, name)) for name in _MAKERS)
    return [(name, _MAKERS[name](card)) for name, card in cards if card is not None]


def _spread(s: Spread) -> str:
    chance = s.p_value
    even = "no more uneven than chance" if chance is not None and chance > 0.05 else "more uneven than chance"
    if s.pools:
        even = "within the pools " + even
    shares = "".join(f"{name} {share(part)}, " for name, part in s.pools.items())
    return (
        f"{s.pods} pods, {shares}the busiest at {s.max_over_mean:.2f} of the mean, Jain {s.jain:.3f}; "
        f"{even} (chi-square {plain(s.chi_square)}, p {plain(chance, 2)})"
    )


def _herding(h: Herding) -> str:
    words = f"longest run on one pod {h.longest_run}, mean {h.mean_run:.2f}"
    if h.expected_run:
        words += f" (independent picks: {h.expected_run:.2f})"
    if h.index is not None:
        within = f"{h.interval * 1000:.0f} ms"
        words += f"; picks within {within} share a pod {h.index:.2f} times as often as by chance"
    return words + f"; {h.whole_herds} of {h.crowded_intervals} crowded intervals went to one pod whole"


def _prefix(p: Prefix) -> str:
    words = f"{share(p.hit_share)} of prompt tokens were cached"
    if p.best_capacity is not None:
        words += f"; the best placement could have had {share(p.best_capacity)}"
    words += f" ({share(p.best_infinite)} with caches without end)"
    if p.reached is not None:
        words += f": {share(p.reached)} of it reached"
    decisions = p.decisions
    if decisions.best_share is not None:
        words += f"; {share(decisions.best_share)} of picks went where the longest prefix was known"
    return words


def _lora(lo: Lora) -> str:
    words = f"{share(lo.routed_loaded_share)} of {lo.requests} adapter requests met their adapter loaded"
    if lo.reached is not None:
        words += f" ({share(lo.reached)} of those for which some pod had it)"
    return words + (
        f"; {lo.loads} loads, {lo.evictions} evictions"
        f", {lo.pods_per_adapter:.1f} pods per adapter" + (f", {lo.slots} slots a pod" if lo.slots else "")
    )


def _sessions(s: Sessions) -> str:
    words = f"{share(s.sticky_share)} of {s.turns} later turns on the pod of turn 1, {s.moves} moves"
    return words + (f", {s.rehomed} of them from pods that were gone" if s.rehomed else "")


def _queue(q: Evenness) -> str:
    return f"{q.mean:.2f} waiting on average; the longest queue {q.max_minus_mean:.2f} above the mean"


def _kv(k: Evenness) -> str:
    return f"{share(k.mean)} in use on average; fullest and emptiest pod {share(k.max_minus_min)} apart"


def _picks(p: Picks) -> str:
    words = f"{share(p.as_picked_share)} of {p.judged} answers came from the endpoint that was picked"
    return words + (f"; {p.on_a_later_choice} from a later choice" if p.on_a_later_choice else "")


def _joined(j: Joined) -> str:
    """Where each request was found again."""
    parts = {
        "the access log": j.access_log,
        "the decision log": j.decision_log,
        "the pods' own names": j.pods,
    }
    known = [f"{share(value)} in {name}" for name, value in parts.items() if value is not None]
    words = f"of {j.records} requests " + ", ".join(known)
    return words + (f"; not found: {', '.join(j.unjoined)}" if j.unjoined else "")


def _staleness(s: Staleness) -> str:
    words = f"{s.decisions} decisions"
    if s.age:
        words += f", on metrics {show_time(s.age.p50)} old (p99 {show_time(s.age.p99)})"
    if s.load_error_abs is not None:
        words += f"; the picked pod's load was off by {s.load_error_abs:.2f} requests on average"
    if s.reasons:
        words += "; decided by " + ", ".join(f"{name} {share(part)}" for name, part in s.reasons.items())
    if s.took:
        words += f"; a decision took {show_time(s.took.p50)} (p99 {show_time(s.took.p99)})"
    return words


def _scraping(s: ScrapeCost) -> str:
    return f"{s.scrapes} scrapes, {show_time(s.mean)} each on average, {show_time(s.max)} at most"


_MAKERS: dict[str, Callable[[Any], str]] = {
    "spread": _spread,
    "herding": _herding,
    "prefix": _prefix,
    "lora": _lora,
    "sessions": _sessions,
    "queue": _queue,
    "kv": _kv,
    "picks": _picks,
    "joined": _joined,
    "staleness": _staleness,
    "scraping": _scraping,
}
