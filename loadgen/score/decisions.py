"""The picker's own decision log against what happened: how old and how wrong was what a pick was made of?

One JSON line for each request, as the reference endpoint picker writes it: `time` (wall clock), `request_id`,
`pick` [host:port ...], `duration_us`, `candidates` [{endpoint, name, age_ms, waiting, running, total ...}].
Lines of other runs in the same file are told apart by their time.
"""

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from loadgen.errors import RecordError
from loadgen.numbers.stats import percentile_key
from loadgen.records.records import Record, read_lines

_SHOWN = (50, 90, 99)
_RANK = re.compile(r"-rank-[0-9]+$")
"""What the picker appends to a pod's name for each of its ports."""


class Candidate(msgspec.Struct):
    """A pod as one decision saw it."""

    endpoint: str
    name: str = ""
    age_ms: float | None = None
    waiting: float | None = None
    running: float | None = None
    total: float | None = None


class Decision(msgspec.Struct):
    """One line of the log."""

    time: float
    request_id: str = ""
    pick: list[str] = []
    duration_us: float | None = None
    candidates: list[Candidate] = []


def read_decisions(path: Path, t0: float, duration: float) -> list[Decision]:
    """The decisions made within a run that began at wall-clock `t0`; RecordError for an unreadable log."""
    try:
        return [line for line in read_lines(path, Decision) if t0 - 1 <= line.time <= t0 + duration + 1]
    except OSError as error:
        raise RecordError(f"decision log {path}: {error.strerror}") from error


def staleness(
    decisions: Sequence[Decision], records: Sequence[Record], t0: float, addresses: Mapping[str, str]
) -> dict[str, Any] | None:
    """The log's part of the scorecard; None for an empty log. addresses: pod name by host:port.

    `error`: requests that the picked pod truly had in flight (as the client saw it) minus what the pick
    believed (waiting + running), both for the picked pod.
    """
    if not decisions:
        return None
    flying = _InFlight(records)
    names = dict(addresses)
    served = {record.id: record.pod for record in records} | {
        record.headers["x-request-id"]: record.pod for record in records if "x-request-id" in record.headers
    }
    ages, errors, took = [], [], []
    best = scored = matched = joined = 0
    for decision in decisions:
        if decision.duration_us is not None:
            took.append(decision.duration_us / 1e6)
        names |= {
            c.endpoint: _RANK.sub("", c.name.rpartition("/")[2])
            for c in decision.candidates
            if c.endpoint not in names and c.name
        }
        first = decision.pick[0] if decision.pick else None
        chosen = next((c for c in decision.candidates if c.endpoint == first), None)
        if first is not None and served.get(decision.request_id):
            joined += 1
            matched += served[decision.request_id] == names.get(first)
        if chosen is None:
            continue
        if chosen.age_ms is not None:
            ages.append(chosen.age_ms / 1000)
        totals = [c.total for c in decision.candidates if c.total is not None]
        if chosen.total is not None and totals:
            scored += 1
            best += chosen.total >= max(totals) - 1e-9
        if chosen.waiting is not None and chosen.running is not None:
            # The request that is being picked for is under way already, and no load yet.
            truth = max(0, flying.count(names.get(chosen.endpoint, ""), decision.time - t0) - 1)
            errors.append(truth - chosen.waiting - chosen.running)
    return {
        "decisions": len(decisions),
        "age": _quantiles(ages),
        "took": _quantiles(took),
        "load_error_mean": float(np.mean(errors)) if errors else None,
        "load_error_abs": float(np.mean(np.abs(errors))) if errors else None,
        "highest_score_share": best / scored if scored else None,
        "joined": joined,
        "served_as_picked_share": matched / joined if joined else None,
    }


class _InFlight:
    """How many requests a pod had under way at a moment, from the records."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._starts: dict[str, list[float]] = defaultdict(list)
        self._ends: dict[str, list[float]] = defaultdict(list)
        for record in records:
            if record.pod and record.start is not None and record.end is not None:
                self._starts[record.pod].append(record.start)
                self._ends[record.pod].append(record.end)
        for times in (*self._starts.values(), *self._ends.values()):
            times.sort()

    def count(self, pod: str, t: float) -> int:
        return bisect_right(self._starts.get(pod, ()), t) - bisect_right(self._ends.get(pod, ()), t)


def _quantiles(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    points = np.percentile(values, _SHOWN)
    return {
        "mean": float(np.mean(values)),
        **{percentile_key(q): float(p) for q, p in zip(_SHOWN, points, strict=True)},
    }
