"""The picker's own decision log against what happened: how old and how wrong was what a pick was made of?

One JSON line for each request, as the reference endpoint picker writes it: `time` (wall clock), `request_id`,
`client_id`, `pick` [host:port ...], `duration_us`, `weights` {scorer: weight}, `candidates` [{endpoint, name,
age_ms, waiting, running, scores, total ...}]. Lines of other runs in the same file are told apart by time.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np

from loadgen.errors import RecordError
from loadgen.numbers.figure import Card, Figure
from loadgen.numbers.jsonl import read_lines
from loadgen.records.table import REQUEST_ID_HEADER, Records

UNSCORED, ONLY, TIE, NOT_HIGHEST = "unscored", "only candidate", "tie", "not the highest"
SAME = 1e-9  # totals that are closer are the same
_RANK = re.compile(r"-rank-[0-9]+$")  # what the picker appends to a pod's name for each of its ports


class Candidate(msgspec.Struct):
    """A pod as one decision saw it."""

    endpoint: str
    name: str = ""
    age_ms: float | None = None
    waiting: float | None = None
    running: float | None = None
    total: float | None = None
    scores: dict[str, float] = {}


class Decision(msgspec.Struct):
    """One line of the log."""

    time: float
    request_id: str = ""
    client_id: str | None = None
    pick: list[str] = []
    reason: str | None = None
    """Why nothing was scored."""
    duration_us: float | None = None
    weights: dict[str, float] = {}
    """Of the scorers, with which their scores add up to the total."""
    candidates: list[Candidate] = []


def read_decisions(path: Path, t0: float, duration: float) -> list[Decision]:
    """The decisions made within a run that began at wall-clock `t0`; RecordError for an unreadable log."""
    try:
        return [line for line in read_lines(path, Decision) if t0 - 1 <= line.time <= t0 + duration + 1]
    except OSError as error:
        raise RecordError(f"decision log {path}: {error.strerror}") from error


class Quantiles(Card):
    """A distribution in few numbers."""

    mean: Annotated[float, Figure("mean", None)]
    p50: Annotated[float, Figure("percentile 50", None)]
    p90: Annotated[float, Figure("percentile 90", None)]
    p99: Annotated[float, Figure("percentile 99", None)]


class Staleness(Card):
    """How old and how wrong was what the picker decided by."""

    decisions: Annotated[int, Figure("lines of the decision log that fall into the run")]
    age: Annotated[
        Quantiles | None, Figure("age of the picked pod's metrics when it was picked", "time", "lower")
    ]
    took: Annotated[Quantiles | None, Figure("time of a decision", "time", "lower")]
    load_error_mean: Annotated[
        float | None,
        Figure("mean of requests the picked pod had in flight - waiting - running it was believed to have"),
    ]
    load_error_abs: Annotated[float | None, Figure("mean of the same without its sign", better="lower")]
    highest_score_share: Annotated[
        float | None, Figure("picks that had the highest total of all candidates", "share")
    ]
    reasons: Annotated[
        dict[str, float],
        Figure(
            "picks decided by one scorer: where what it added put the pick furthest ahead of the best other "
            "candidate; or `tie`, `only candidate`, `not the highest`, `unscored`",
            "share",
            name="reason",
        ),
    ]
    joined: Annotated[int, Figure("decisions whose request is in the records")]
    served_as_picked_share: Annotated[
        float | None, Figure("of these, answered by the picked pod", "share", "higher")
    ]


def reason_of(decision: Decision) -> str:
    """What decided a pick: a scorer's name, or one of the words for picks that no scorer decided."""
    first = decision.pick[0] if decision.pick else None
    chosen = next((c for c in decision.candidates if c.endpoint == first and c.scores), None)
    if chosen is None or chosen.total is None:
        return UNSCORED
    totals = {id(c): c.total for c in decision.candidates if c.total is not None and c is not chosen}
    rival = max(decision.candidates, key=lambda c: totals.get(id(c), -math.inf))
    if not totals:
        return ONLY
    lead = chosen.total - totals[id(rival)]
    if abs(lead) <= SAME:
        return TIE
    return NOT_HIGHEST if lead < 0 else _furthest_ahead(chosen, rival, decision.weights)


def _furthest_ahead(chosen: Candidate, rival: Candidate, weights: Mapping[str, float]) -> str:
    """The scorer that put one candidate furthest ahead of the other."""

    def ahead(name: str) -> float:
        return weights.get(name, 1.0) * (chosen.scores[name] - rival.scores.get(name, 0.0))

    return max(chosen.scores, key=ahead)


def staleness(
    decisions: Sequence[Decision],
    records: Records,
    t0: float,
    addresses: Mapping[str, str],
    record_of: Callable[[Decision], str | None] | None = None,
) -> Staleness | None:
    """The log's part of the scorecard; None for an empty log. addresses: pod name by host:port.

    record_of: the id of the record that a decision was about; without it, names that stand in both.

    The load error: requests that the picked pod truly had in flight (as the client saw it) minus what the
    pick believed (waiting + running), both for the picked pod.
    """
    if not decisions:
        return None
    picked = _Picked(records, t0, addresses)
    reasons: Counter[str] = Counter()
    for decision in decisions:
        if decision.pick:
            reasons[reason_of(decision)] += 1
        picked.read(decision, record_of(decision) if record_of else decision.request_id)
    took = [decision.duration_us / 1e6 for decision in decisions if decision.duration_us is not None]
    errors = picked.errors
    return Staleness(
        decisions=len(decisions),
        age=_quantiles(picked.ages),
        took=_quantiles(took),
        load_error_mean=float(np.mean(errors)) if errors else None,
        load_error_abs=float(np.mean(np.abs(errors))) if errors else None,
        highest_score_share=picked.best / picked.scored if picked.scored else None,
        reasons={name: count / reasons.total() for name, count in reasons.most_common()},
        joined=picked.joined,
        served_as_picked_share=picked.matched / picked.joined if picked.joined else None,
    )


class _Picked:
    """What the decisions tell of the pods they picked, summed up line by line."""

    def __init__(self, records: Records, t0: float, addresses: Mapping[str, str]) -> None:
        self.t0 = t0
        self.flying = _InFlight(records)
        self.names = dict(addresses)
        pods = records.labels("pod").tolist()
        self.served = dict(zip(records.ids, pods, strict=True))
        self.served |= {
            id_: pod for id_, pod in zip(records.labels(REQUEST_ID_HEADER), pods, strict=True) if id_
        }
        self.ages: list[float] = []
        self.errors: list[float] = []
        self.best = self.scored = self.matched = self.joined = 0

    def read(self, decision: Decision, name: str | None) -> None:
        """A line, and the name of its request."""
        self.names |= {
            c.endpoint: _RANK.sub("", c.name.rpartition("/")[2])
            for c in decision.candidates
            if c.endpoint not in self.names and c.name
        }
        first = decision.pick[0] if decision.pick else None
        served = self.served.get(name or "")
        if first is not None and served:
            self.joined += 1
            self.matched += served == self.names.get(first)
        chosen = next((c for c in decision.candidates if c.endpoint == first), None)
        if chosen is not None:
            self._believed(chosen, decision)

    def _believed(self, chosen: Candidate, decision: Decision) -> None:
        if chosen.age_ms is not None:
            self.ages.append(chosen.age_ms / 1000)
        totals = [c.total for c in decision.candidates if c.total is not None]
        if chosen.total is not None and totals:
            self.scored += 1
            self.best += chosen.total >= max(totals) - SAME
        if chosen.waiting is not None and chosen.running is not None:
            # The request that is being picked for is under way already, and no load yet.
            pod = self.names.get(chosen.endpoint, "")
            truth = max(0, self.flying.count(pod, decision.time - self.t0) - 1)
            self.errors.append(truth - chosen.waiting - chosen.running)


class _InFlight:
    """How many requests a pod had under way at a moment, from the records."""

    def __init__(self, records: Records) -> None:
        start, end = records.numbers("start"), records.numbers("end")
        known = np.isfinite(start) & np.isfinite(end)
        masks = {pod: known & records.among("pod", (pod,)) for pod in records.distinct("pod") - {""}}
        self._starts = {pod: np.sort(start[mask]) for pod, mask in masks.items()}
        self._ends = {pod: np.sort(end[mask]) for pod, mask in masks.items()}

    def count(self, pod: str, t: float) -> int:
        return bisect_right(self._starts.get(pod, ()), t) - bisect_right(self._ends.get(pod, ()), t)


def _quantiles(values: Sequence[float]) -> Quantiles | None:
    if not values:
        return None
    p50, p90, p99 = map(float, np.percentile(values, (50, 90, 99)))
    return Quantiles(mean=float(np.mean(values)), p50=p50, p90=p90, p99=p99)
