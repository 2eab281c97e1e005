"""Orderings: who is next in the waiting queue, and who is preempted. The only place where policies differ.

Source: vLLM `v1/core/sched/request_queue.py` and the victim choice in `scheduler.py`.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Protocol

from simulator.engine.config import SchedulingPolicyName
from simulator.engine.request import Request


class WaitingQueue(Protocol):
    """Requests that wait, in the order in which they are looked at."""

    def push(self, request: Request) -> None:
        """A request that has just arrived."""

    def prepend(self, request: Request) -> None:
        """A request that goes before all others, as far as the policy knows such a place."""

    def prepend_all(self, requests: Sequence[Request]) -> None:
        """Several, the first of them foremost."""

    def peek(self) -> Request: ...

    def pop(self) -> Request: ...

    def remove(self, request: Request) -> None: ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Request]: ...


class FCFSQueue(deque[Request]):
    """First come, first served; preempted requests come back to the front."""

    push = deque.append
    prepend = deque.appendleft

    def pop(self) -> Request:  # type: ignore[override]  # of the front: this is a queue
        return self.popleft()

    def prepend_all(self, requests: Sequence[Request]) -> None:
        self.extendleft(reversed(requests))

    def peek(self) -> Request:
        return self[0]


class PriorityQueue:
    """Smaller `priority` first, then earlier arrival, then request id. There is no front to prepend to."""

    __slots__ = ("_gone", "_heap")

    def __init__(self) -> None:
        self._heap: list[tuple[int, float, str, Request]] = []
        self._gone: set[Request] = set()  # removed, and still in the heap below its top

    def push(self, request: Request) -> None:
        heapq.heappush(self._heap, (request.priority, request.arrival_time, request.request_id, request))

    prepend = push

    def prepend_all(self, requests: Sequence[Request]) -> None:
        for request in requests:
            self.push(request)

    def peek(self) -> Request:
        return self._heap[0][3]

    def pop(self) -> Request:
        request = heapq.heappop(self._heap)[3]
        self._prune()
        return request

    def remove(self, request: Request) -> None:
        """For good: a request that has been removed does not come back."""
        self._gone.add(request)
        self._prune()

    def _prune(self) -> None:
        while self._gone and self._heap[0][3] in self._gone:
            self._gone.remove(heapq.heappop(self._heap)[3])

    def __len__(self) -> int:
        return len(self._heap) - len(self._gone)

    def __iter__(self) -> Iterator[Request]:
        entries = sorted(self._heap, key=lambda entry: entry[:3])
        return (entry[3] for entry in entries if entry[3] not in self._gone)


def make_queue(policy: SchedulingPolicyName) -> WaitingQueue:
    return FCFSQueue() if policy == "fcfs" else PriorityQueue()


def pick_victim(policy: SchedulingPolicyName, running: list[Request]) -> Request:
    """Who gives way when a running request gets no block; may be that request itself."""
    if policy == "fcfs":
        return running[-1]
    return max(running, key=lambda request: (request.priority, request.arrival_time))
