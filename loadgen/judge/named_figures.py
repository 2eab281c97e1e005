"""The figures that expectations may name, with their dimensions: a report as a lookup for `expect`.

ttft.p99  outcomes.ok  count.shed_429  goodput.share  spread.jain  prefix.reached  recovery.seconds
class[chat].ttft.p99   pod[sim-0].outcomes.ok   adapter[a].e2e.p50   stage[1].goodput.share
pool[canary].e2e.p90   spread.pool[canary]
refused[shed_429].p99  spread.share[sim-0]      recovery[kill sim-0].seconds
arm[page].ttft.p90 (mean over repeats)          delta[page].ttft.p90 (against the baseline)

The names are those of the cards' fields; only counts of outcomes, refusals and recovery have names of their
own.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from loadgen.judge.figures import Figures, Groups, Outcomes, Shares
from loadgen.judge.paired import Comparison
from loadgen.judge.report import Report
from loadgen.numbers.expect import Lookup
from loadgen.numbers.figure import Card, Named, named
from loadgen.numbers.outcomes import OUTCOMES
from loadgen.numbers.quantity import Dimension, Quantity
from loadgen.numbers.stats import Summary

T = TypeVar("T")
NOTHING = Outcomes(
    due=0,
    counts={},
    groups=Groups(ok=0, shed=0, error=0, cancelled=0, missed=0),
    shares=Shares(ok=0.0, shed=0.0, error=0.0, cancelled=0.0, missed=0.0),
    causes=[],
)
SPLITS = ("class", "pod", "pool", "adapter", "stage")
GROUPS = Groups.__struct_fields__
KEYED = re.compile(r"([a-z]+)\[([^\]]*)\]\.(.+)")
RECOVERY = re.compile(r"recovery(?:\[([^\]]*)\])?\.seconds")
# A figure that has a value for each name in the run, and the name: `x.name` or `x[name]`.
_TAIL = re.compile(r"(.+?)(?:\.([^.\[\]]+)|\[([^\]]*)\])")


def of_report(report: Report) -> Lookup:
    """The figures of one run."""

    def lookup(path: str) -> Quantity:
        match = KEYED.fullmatch(path)
        if match and match[1] in SPLITS:
            part = _keyed(report.by.get(match[1], {}), match[1], match[2])
            return _plain(part, match[3], path)
        if match and match[1] == "refused":
            if match[2] not in OUTCOMES:
                _keyed(report.refusals, "refused", match[2])
            return _statistic(report.refusals.get(match[2]), match[3], path)
        if path.startswith("recovery"):
            return _recovery(report, path)
        return _plain(report, path, path)

    return lookup


def of_arms(runs: Mapping[str, Sequence[Report]], comparisons: Sequence[Comparison]) -> Lookup:
    """The figures of a comparison: reports by arm, and the differences against the baseline."""
    deltas = {c.arm: {d.metric.path: d for d in c.differences} for c in comparisons}

    def lookup(path: str) -> Quantity:
        match = KEYED.fullmatch(path)
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


def _plain(card: Figures | Report, path: str, whole: str) -> Quantity:
    """A figure of a run or of a part of it; `whole` is the name as it was written."""
    section, _, leaf = path.rpartition(".")
    if section in ("outcomes", "count"):
        return _outcome(card.outcomes, section, leaf, whole)
    figure, tail = _figure(type(card), path, whole)
    if tail is None:
        return _quantity(figure.of(card), figure.unit)
    values: Mapping[str, float] = figure.of(card) or {}
    value = values.get(tail[2]) if tail[3] is None else _keyed(values, tail[1], tail[3])
    return _quantity(value, figure.unit)


def _figure(kind: type[Card], path: str, whole: str) -> tuple[Named, re.Match[str] | None]:
    """The figure of a kind of card; of one that has a value for each name, the split of its path too."""
    known = named(kind)
    figure = known.get(path)
    if figure is not None and not figure.keyed:
        return figure, None
    tail = _TAIL.fullmatch(path)
    table = known.get(tail[1]) if tail else None
    if tail is None or table is None or not table.keyed:
        raise KeyError(_unknown(whole, [*known, *_outcome_names("outcomes"), *_outcome_names("count")]))
    return table, tail


def unit_of(kind: type[Card], path: str, whole: str) -> Dimension:
    """The unit of a figure of such a card; KeyError, with words for the user, when it has none."""
    section, _, leaf = path.rpartition(".")
    if section in ("outcomes", "count"):
        return _outcome(NOTHING, section, leaf, whole).dimension
    return _figure(kind, path, whole)[0].unit


def _quantity(value: float | None, unit: Dimension) -> Quantity:
    return Quantity(math.nan if value is None else float(value), unit)


def _statistic(summary: Summary | None, leaf: str, whole: str) -> Quantity:
    """Of how long refusals took."""
    unit = statistic_unit(leaf, whole)
    return _quantity(named(Summary)[leaf].of(summary), unit)


def statistic_unit(leaf: str, whole: str) -> Dimension:
    """The unit of a statistic of times; KeyError, with words for the user, for one that there is not."""
    known = named(Summary)
    if leaf not in known:
        raise KeyError(_unknown(whole, [whole.removesuffix(leaf) + name for name in known]))
    return "number" if leaf == "count" else "time"


def _outcome_names(section: str) -> list[str]:
    return [f"{section}.{name}" for name in (*GROUPS, *OUTCOMES)]


def _outcome(outcomes: Outcomes, section: str, leaf: str, whole: str) -> Quantity:
    if leaf == "due" and section == "count":
        return Quantity(outcomes.due)
    if leaf not in GROUPS and leaf not in OUTCOMES:
        raise KeyError(_unknown(whole, [*_outcome_names(section), "count.due"]))
    count = getattr(outcomes.groups, leaf) if leaf in GROUPS else outcomes.counts.get(leaf, 0)
    if section == "count":
        return Quantity(count)
    return Quantity(count / outcomes.due if outcomes.due else math.nan, "share")


def _recovery(report: Report, path: str) -> Quantity:
    """`recovery.seconds` is the slowest of all events; one that never recovered has no value."""
    match = RECOVERY.fullmatch(path)
    if match is None:
        raise KeyError(_unknown(path, ["recovery.seconds", "recovery[EVENT].seconds"]))
    rows = [row for row in report.recovery or [] if row.judged and match[1] in (None, row.event)]
    times = [math.nan if row.seconds is None else row.seconds for row in rows]
    return Quantity(math.nan if not times or any(map(math.isnan, times)) else max(times), "time")


def _keyed(table: Mapping[str, T], kind: str, name: str) -> T:
    if name not in table:
        raise KeyError(f"no {kind} {name!r} in this run; there is {', '.join(table) or 'none'}")
    return table[name]


def _unknown(path: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(path, list(dict.fromkeys(names)), 3, 0.5)
    return f"no figure {path!r}" + (f"; did you mean {' or '.join(near)}?" if near else "")


def values(report: Report, paths: Iterable[str]) -> dict[str, float]:
    """Plain numbers of the named figures that have a value."""
    lookup = of_report(report)
    found = {path: lookup(path).value for path in paths}
    return {path: value for path, value in found.items() if not math.isnan(value)}
