"""What has been told to an engine and waits for its boundary: queues of entries that begin with a time."""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Set
from typing import Any

from simulator.engine.request import Request

Arrivals = deque[tuple[float, Request]]  # (when, who), in order of time


def put(queue: deque[Any], entry: tuple[Any, ...]) -> None:
    """Append in order of time; entries of the same time keep the order in which they came."""
    if not queue or queue[-1][0] <= entry[0]:
        queue.append(entry)
    else:
        insort(queue, entry, key=_time)


def withdraw(arrivals: Arrivals, requests: Set[Request]) -> list[Request]:
    """Take out those of `requests` that still wait there, in their order; one pass, however many they are."""
    found = [request for _when, request in arrivals if request in requests]
    if found:
        others = [entry for entry in arrivals if entry[1] not in requests]
        arrivals.clear()  # in place: others hold the queue too
        arrivals.extend(others)
    return found


def _time(entry: tuple[float, Any]) -> float:
    return entry[0]
