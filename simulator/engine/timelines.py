"""Pacing of sequences that each have a timeline of their own (llm-d-inference-sim's constants).

A step at time t takes in the sequences whose work is done at t and schedules them again, together with what
waits; the others count as running, hold their slots and blocks, and are not looked at.
"""

from __future__ import annotations

import heapq

from simulator.engine.frontend import Frontend
from simulator.engine.latency import LatencyModel
from simulator.engine.outputs import StepOutput
from simulator.engine.request import Request, RequestStatus
from simulator.engine.scheduler import Scheduler
from simulator.engine.step import ScheduledStep

RUNNING = RequestStatus.RUNNING

# (due, admission number, request, tokens, whether they give a token)
Work = tuple[float, int, Request, int, bool]


class Timelines:
    """`not_before`: no work is done earlier (a stall)."""

    def __init__(self, scheduler: Scheduler, latency: LatencyModel, frontend: Frontend) -> None:
        self.scheduler = scheduler
        self.latency = latency
        self._frontend = frontend
        self.not_before = 0.0
        self._work: list[Work] = []
        self._idle: list[Request] = []  # running, with nothing under way
        self._index = 0
        self._start = 0.0

    def next_time(self) -> float | None:
        work = self._work
        while work and not _is_current(work[0]):
            heapq.heappop(work)
        return work[0][0] if work else None

    def complete(self, at: float) -> ScheduledStep | None:
        """All work that is done at or before `at`, in order of admission, as one step."""
        work = self._work
        done: list[Work] = []
        while work and work[0][0] <= at:
            item = heapq.heappop(work)
            if _is_current(item):
                done.append(item)
        if not done:
            return None
        done.sort(key=_admission)
        step = ScheduledStep()
        for _due, _order, request, n, gives_token in done:
            request.due = None
            step.scheduled[request] = n
            if gives_token:
                step.sampling.append(request)
            self._idle.append(request)
        step.index, step.start, step.end = self._index, self._start, at
        self._index += 1
        self._start = at
        return step

    def fill(self, at: float) -> bool:
        """Schedule what is due and what waits; False: there was nothing."""
        scheduler = self.scheduler
        candidates = [request for request in self._idle if request.status is RUNNING and request.due is None]
        candidates.sort(key=_order)
        step = scheduler.schedule(at, candidates)
        self._idle = [r for r in candidates if r not in step.scheduled and r.status is RUNNING]
        begin = max(at, self.not_before) + step.load_seconds
        gives_token = set(step.sampling)
        for request, n in step.scheduled.items():
            self.start(request, n, request in gives_token, begin)
        return bool(step.scheduled)

    def start(self, request: Request, n: int, gives_token: bool, begin: float) -> None:
        """Begin work on `n` tokens of a sequence."""
        num_running = len(self.scheduler.running)
        is_prefill = not request.output_token_ids or n > 1
        seconds = self.latency.sequence_seconds(
            request, n, gives_token and is_prefill, is_prefill, num_running
        )
        request.due = due = begin + seconds
        heapq.heappush(self._work, (due, request.order, request, n, gives_token))

    def fast(self, until: float, before: float, max_steps: int) -> StepOutput | None:
        """Nothing to gain: sequences do not share their boundaries."""
        return None

    def check_idle(self) -> bool:
        """Nothing is under way."""
        return self.next_time() is None and not self._idle


def _is_current(item: Work) -> bool:
    """False for work of a sequence that was aborted or preempted since."""
    return item[2].due == item[0] and item[2].order == item[1]


def _admission(item: Work) -> int:
    return item[1]


def _order(request: Request) -> int:
    return request.order
