"""The figures that expectations may name, with their dimensions: a report as a lookup for `expect`.

ttft.p99  outcomes.ok  count.shed_429  goodput.share  spread.jain  prefix.reached  recovery.seconds
class[chat].ttft.p99   pod[sim-0].outcomes.ok   adapter[a].e2e.p50   stage[1].goodput.share
refused[shed_429].p99  spread.share[sim-0]      recovery[kill sim-0].seconds
arm[page].ttft.p90 (mean over repeats)          delta[page].ttft.p90 (against the baseline)
"""

import difflib
import math
import re
from collections.abc import Mapping
from typing import Any, Final

from loadgen.judge.paired import Comparison
from loadgen.numbers.expect import Lookup
from loadgen.numbers.quantity import Dimension, Quantity
from loadgen.numbers.stats import PERCENTILES, percentile_key
from loadgen.records.frame import LATENCIES
from loadgen.records.records import OUTCOMES

_SUMMARY: Final[dict[str, Dimension]] = dict.fromkeys(
    ("mean", "stddev", "min", *map(percentile_key, PERCENTILES), "max"), "time"
)
_TIMES: Final[dict[str, Dimension]] = dict.fromkeys(("mean", "p50", "p90", "p99"), "time")
_EVEN: Final = ("mean", "peak", "max_minus_mean", "max_minus_min", "stddev")
_GROUPS: Final = ("ok", "shed", "error", "cancelled", "missed")

PLAIN: Final[dict[str, dict[str, Dimension]]] = {
    **{name: {**_SUMMARY, "count": "number"} for name in (*LATENCIES, "lateness")},
    "throughput": {
        "duration": "time",
        "requested_rate": "rate",
        "achieved_rate": "rate",
        "ok_rate": "rate",
        "prompt_tokens_rate": "tokens/s",
        "output_tokens_rate": "tokens/s",
        "total_tokens_rate": "tokens/s",
        "prompt_tokens": "number",
        "output_tokens": "number",
    },
    "goodput": {
        "share": "share",
        "share_admitted": "share",
        "share_ok": "share",
        "rate": "rate",
        "token_rate": "tokens/s",
        "good": "number",
    },
}
"""Figures that every split (class, pod, adapter, stage) has as well."""
ROUTING: Final[dict[str, dict[str, Dimension]]] = {
    "spread": dict.fromkeys(
        ("pods", "max_over_mean", "min_over_mean", "jain", "cv", "chi_square", "p_value"), "number"
    ),
    "herding": {
        "longest_run": "number",
        "mean_run": "number",
        "expected_run": "number",
        "index": "number",
        "whole_herds": "number",
        "crowded_intervals": "number",
        "largest_burst_on_one_pod": "number",
        "same_pod_pairs": "share",
    },
    "prefix": dict.fromkeys(
        ("hit_share", "reached", "reached_infinite", "best_infinite", "best_capacity", "hit_requests_share"),
        "share",
    ),
    "prefix.decisions": {"best_share": "share", "lost_share": "share", "judged": "number"},
    "lora": {
        **dict.fromkeys(("routed_loaded_share", "loaded_somewhere_share", "reached"), "share"),
        **dict.fromkeys(("loads", "evictions", "requests", "pods_per_adapter"), "number"),
    },
    "sessions": {
        **dict.fromkeys(("sticky_share", "same_as_previous_share", "whole_sessions_share"), "share"),
        **dict.fromkeys(("sessions", "turns", "moves", "rehomed"), "number"),
    },
    "picks": {"as_picked_share": "share", "served_elsewhere": "number", "on_a_later_choice": "number"},
    "queue": dict.fromkeys(_EVEN, "number"),
    "running": dict.fromkeys(_EVEN, "number"),
    "kv": dict.fromkeys(_EVEN, "share"),
    "staleness": {
        "load_error_mean": "number",
        "load_error_abs": "number",
        "highest_score_share": "share",
        "served_as_picked_share": "share",
        "decisions": "number",
    },
    "staleness.age": _TIMES,
    "staleness.took": _TIMES,
}
SPLITS: Final = ("class", "pod", "adapter", "stage")
_KEYED: Final = re.compile(r"([a-z]+)\[([^\]]*)\]\.(.+)")


def of_report(report: Mapping[str, Any]) -> Lookup:
    """The figures of one run."""

    def lookup(path: str) -> Quantity:
        match = _KEYED.fullmatch(path)
        if match and match[1] in SPLITS:
            part = _keyed(report.get("by", {}).get(match[1], {}), match[1], match[2])
            return _plain(part, match[3], path, PLAIN)
        if match and match[1] == "refused":
            known = match[2] in OUTCOMES or match[2] in report["refusals"]
            summary = (
                report["refusals"].get(match[2], {})
                if known
                else _keyed(report["refusals"], "refused", match[2])
            )
            return _leaf({"x": summary}, "x", match[3], {"x": _SUMMARY}, path)
        if path.startswith("recovery"):
            return _recovery(report, path)
        if path.startswith("spread.share["):
            return Quantity(
                _keyed((report.get("spread") or {}).get("shares", {}), "pod", path[13:-1]), "share"
            )
        return _plain(report, path, path, PLAIN | ROUTING)

    return lookup


def of_arms(runs: Mapping[str, list[Mapping[str, Any]]], comparisons: list[Comparison]) -> Lookup:
    """The figures of a comparison: reports by arm, and the differences against the baseline."""
    deltas = {c.arm: {d.metric.path: d for d in c.differences} for c in comparisons}

    def lookup(path: str) -> Quantity:
        match = _KEYED.fullmatch(path)
        if match and match[1] == "arm":
            found = [of_report(report)(match[3]) for report in _keyed(runs, "arm", match[2])]
            return Quantity(sum(q.value for q in found) / len(found), found[0].dimension)
        if match and match[1] == "delta":
            known = _keyed(deltas, "arm", match[2])
            difference = known.get(match[3])
            if difference is None and match[3] not in {m for table in deltas.values() for m in table}:
                raise KeyError(_unknown(match[3], known))
            return Quantity(difference.effect if difference else math.nan, "share")
        raise KeyError(f"{path}: in a comparison figures begin with arm[NAME]. or delta[NAME].")

    return lookup


def _plain(
    part: Mapping[str, Any], path: str, whole: str, tables: Mapping[str, Mapping[str, Dimension]]
) -> Quantity:
    section, _, leaf = path.rpartition(".")
    if section in ("outcomes", "count"):
        return _outcome(part["outcomes"], section, leaf, whole)
    if section == "goodput.attained":
        value = ((part.get("goodput") or {}).get("attained") or {}).get(leaf)
        return Quantity(math.nan if value is None else value, "share")
    inside = part["latency"] if section in (*LATENCIES, "lateness") else part
    return _leaf(inside, section, leaf, tables, whole)


def _leaf(
    part: Mapping[str, Any],
    section: str,
    leaf: str,
    tables: Mapping[str, Mapping[str, Dimension]],
    whole: str,
) -> Quantity:
    dimension = tables.get(section, {}).get(leaf)
    if dimension is None:
        names = [f"{name}.{key}" for name, table in tables.items() for key in table]
        names += [f"{name}.{group}" for name in ("outcomes", "count") for group in (*_GROUPS, *OUTCOMES)]
        raise KeyError(_unknown(whole, names))
    here: Any = part
    for key in section.split("."):
        here = (here or {}).get(key)
    value = (here or {}).get(leaf)
    return Quantity(math.nan if value is None else float(value), dimension)


def _outcome(outcomes: Mapping[str, Any], section: str, leaf: str, whole: str) -> Quantity:
    if leaf == "due" and section == "count":
        return Quantity(outcomes["due"])
    if leaf not in _GROUPS and leaf not in OUTCOMES:
        raise KeyError(_unknown(whole, [f"{section}.{name}" for name in (*_GROUPS, *OUTCOMES, "due")]))
    count = outcomes["groups"][leaf] if leaf in _GROUPS else outcomes["counts"].get(leaf, 0)
    if section == "count":
        return Quantity(count)
    return Quantity(count / outcomes["due"] if outcomes["due"] else math.nan, "share")


def _recovery(report: Mapping[str, Any], path: str) -> Quantity:
    """`recovery.seconds` is the slowest of all events; one that never recovered has no value."""
    rows = [row for row in report.get("recovery") or [] if row["judged"]]
    match = re.fullmatch(r"recovery(?:\[([^\]]*)\])?\.seconds", path)
    if match is None:
        raise KeyError(_unknown(path, ["recovery.seconds", "recovery[EVENT].seconds"]))
    if match[1] is not None:
        rows = [row for row in rows if row["event"] == match[1]]
    times = [row["seconds"] for row in rows]
    return Quantity(math.nan if not times or None in times else max(times), "time")


def _keyed(table: Mapping[str, Any], kind: str, name: str) -> Any:
    if name not in table:
        raise KeyError(f"no {kind} {name!r} in this run; there is {', '.join(table) or 'none'}")
    return table[name]


def _unknown(path: str, names: Any) -> str:
    near = difflib.get_close_matches(path, list(names), 3, 0.5)
    return f"no figure {path!r}" + (f"; did you mean {' or '.join(near)}?" if near else "")


def values(report: Mapping[str, Any], paths: list[str]) -> dict[str, float]:
    """Plain numbers of the named figures that have a value."""
    lookup = of_report(report)
    found = {path: lookup(path).value for path in paths}
    return {path: value for path, value in found.items() if not math.isnan(value)}
