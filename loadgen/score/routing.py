"""What the picker did, read from the answers: spread over pods, herding, sessions, picked against served.

A "pick" is a request that some pod answered, in order of actual start. Formulas: docs/scorecard.md.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np

from loadgen.numbers import stats
from loadgen.records.frame import Frame, natural_order
from loadgen.records.podnames import SERVED_HEADERS
from loadgen.records.records import Record

PICK_INTERVAL: Final = 0.05
"""Seconds between an endpoint picker's scrapes of a pod (its default): picks closer than this are blind."""
PICKED_HEADER: Final = "x-gateway-destination-endpoint"


def picks(frame: Frame) -> list[Record]:
    """The requests that a pod answered, in order of actual start."""
    return sorted((r for r in frame.records if r.pod and r.start is not None), key=lambda r: r.start or 0.0)


def spread_card(
    ordered: Sequence[Record], pods: Sequence[str], weights: Mapping[str, float] | None
) -> dict[str, Any] | None:
    """Shares of picks per pod; `pods` adds those that served nothing, `weights` the expected shares."""
    counts = Counter(record.pod or "" for record in ordered)
    names = natural_order({*pods, *counts})
    found = stats.spread({name: counts[name] for name in names}, weights)
    if found is None:
        return None
    total = sum(found.counts.values())
    return {
        "pods": len(names),
        "counts": dict(found.counts),
        "shares": {name: count / total for name, count in found.counts.items()},
        "expected": "by lifetime" if weights else "even",
        "max_over_mean": found.max_over_mean,
        "min_over_mean": found.min_over_mean,
        "jain": found.jain,
        "cv": found.cv,
        "chi_square": found.chi_square,
        "degrees": found.degrees,
        "p_value": found.p_value,
    }


def herding(ordered: Sequence[Record], interval: float = PICK_INTERVAL) -> dict[str, Any] | None:
    """Runs of one pod, and picks of one pod by several requests within one scrape interval.

    index: how often two picks of one interval fell on one pod, over how often two picks drawn by the pods'
    overall shares would. 1 is independent picking, above it a herd, below it deliberate alternation.
    """
    if len(ordered) < 2:
        return None
    labels = [record.pod or "" for record in ordered]
    runs = stats.run_lengths(labels)
    shares = np.array(list(Counter(labels).values())) / len(labels)
    chance = float((shares**2).sum())
    windows: dict[int, Counter[str]] = defaultdict(Counter)
    for record in ordered:
        windows[int((record.start or 0.0) / interval)][record.pod or ""] += 1
    same = sum(n * (n - 1) // 2 for window in windows.values() for n in window.values())
    pairs = sum(total * (total - 1) // 2 for total in (sum(window.values()) for window in windows.values()))
    crowded = [window for window in windows.values() if sum(window.values()) >= 3]
    return {
        "interval": interval,
        "longest_run": max(runs),
        "mean_run": len(labels) / len(runs),
        "expected_run": 1 / (1 - chance) if chance < 1 else None,
        "same_pod_pairs": same / pairs if pairs else None,
        "expected_pairs": chance,
        "index": same / pairs / chance if pairs and chance < 1 else None,
        "crowded_intervals": len(crowded),
        "whole_herds": sum(1 for window in crowded if len(window) == 1),
        "largest_burst_on_one_pod": max(max(window.values()) for window in windows.values()),
    }


def sessions(
    ordered: Sequence[Record], last_seen: Mapping[str, float] | None = None
) -> dict[str, Any] | None:
    """How far the turns of a session stayed on one pod; None without sessions of two turns.

    A move away from a pod that answered nobody afterwards counts as re-homed: the pod was gone.
    """
    seen = last_seen or last_answers(ordered)
    turns: dict[str, list[Record]] = defaultdict(list)
    for record in ordered:
        if record.session is not None:
            turns[record.session].append(record)
    followed = moved = rehomed = on_first = whole = many = 0
    for records in turns.values():
        if len(records) < 2:
            continue
        many += 1
        whole += len({record.pod for record in records}) == 1
        for previous, record in pairwise(records):
            followed += 1
            on_first += record.pod == records[0].pod
            if record.pod != previous.pod:
                moved += 1
                rehomed += seen.get(previous.pod or "", 0.0) <= (previous.end or 0.0)
    if not followed:
        return None
    return {
        "sessions": many,
        "turns": followed,
        "sticky_share": on_first / followed,
        "same_as_previous_share": 1 - moved / followed,
        "whole_sessions_share": whole / many,
        "moves": moved,
        "rehomed": rehomed,
    }


def last_answers(ordered: Sequence[Record]) -> dict[str, float]:
    """When each pod last began to answer something."""
    last: dict[str, float] = {}
    for record in ordered:
        if record.pod and record.first_byte is not None:
            last[record.pod] = max(last.get(record.pod, 0.0), record.first_byte)
    return last


def picked_and_served(ordered: Sequence[Record], addresses: Mapping[str, str]) -> dict[str, Any] | None:
    """The endpoint that the picker named against the pod that answered; None when no answer names it.

    addresses: pod name by `ip:port`. A picker may name several in order of preference; the first is its pick.
    """
    judged = served_elsewhere = fell_back = 0
    examples: list[dict[str, str]] = []
    for record in ordered:
        picked = record.headers.get(PICKED_HEADER)
        if not picked:
            continue
        named = [name.strip() for name in picked.split(",") if name.strip()]
        served = next((record.headers[h] for h in SERVED_HEADERS if h in record.headers), None)
        actual = {
            record.pod or "",
            served or "",
            *(a for a, pod in addresses.items() if pod == record.pod),
        } - {""}
        if not any(name in addresses for name in named) and served is None:
            continue
        judged += 1
        if named[0] in actual or addresses.get(named[0]) == record.pod:
            continue
        fell_back += any(name in actual for name in named[1:])
        served_elsewhere += 1
        if len(examples) < 5:
            examples.append({"id": record.id, "picked": picked, "served": record.pod or served or ""})
    if not judged:
        return None
    return {
        "judged": judged,
        "as_picked_share": 1 - served_elsewhere / judged,
        "served_elsewhere": served_elsewhere,
        "on_a_later_choice": fell_back,
        "examples": examples,
    }
