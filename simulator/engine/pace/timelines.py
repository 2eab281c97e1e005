"""Pacing of sequences that each have a timeline of their own (llm-d-inference-sim's constants).

A step at time t takes in the sequences whose work is done at t and schedules them again, together with what
waits; the others count as running, hold their slots and blocks, and are not looked at.

The law of `_work`, a heap of (due, admission number, request, ...): an entry counts while the request's `due`
and `order` are its own (`_is_current`). Preemption, aborts and ends only set `due` to None or give a new
order; nobody searches the heap, stale entries fall out when their time comes. A running request is either in
the heap with a current entry or in `_idle`, never in both.

`fast` takes boundaries at which sequences only decode on, as `complete` and `fill` would, but without a
ScheduledStep for each: the group of a moment is popped, checked, and pushed again where anything else is due
(`_group` gives None, and nothing has changed). Order of admission within a moment is part of the result.
"""

from __future__ import annotations

import heapq

from simulator.engine.frontend import Frontend
from simulator.engine.inbox import Arrivals
from simulator.engine.outputs import RequestOutput, StepOutput
from simulator.engine.pace.latency import LatencyModel
from simulator.engine.request import Request, RequestStatus
from simulator.engine.scheduler import Scheduler
from simulator.engine.step import ScheduledStep

RUNNING = RequestStatus.RUNNING

_NEVER = 1 << 62  # more blocks than there are

# (due, admission number, request, tokens, whether they give a token)
Work = tuple[float, int, Request, int, bool]


class Timelines:
    """`not_before`: no work is done earlier (a stall)."""

    def __init__(
        self, scheduler: Scheduler, latency: LatencyModel, frontend: Frontend, arrivals: Arrivals
    ) -> None:
        self._arrivals = arrivals
        self.scheduler = scheduler
        self.latency = latency
        self._frontend = frontend
        self.not_before = 0.0
        self._work: list[Work] = []
        self._idle: list[Request] = []  # running, with nothing under way
        self._decided = ScheduledStep()  # gathers whom schedules admitted and preempted until a step is done
        self._index = 0
        self._start = 0.0
        self._preempted_at = -1.0

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
        step, self._decided = self._decided, ScheduledStep()
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
        step = self._schedule(at)
        while step.preempted and not step.scheduled:  # nobody was admitted beside them: they are next
            step = self._schedule(at)
        return bool(step.scheduled)

    def _schedule(self, at: float) -> ScheduledStep:
        scheduler = self.scheduler
        candidates = [request for request in self._idle if request.status is RUNNING and request.due is None]
        candidates.sort(key=_order)
        step = scheduler.schedule(at, candidates, admit=at > self._preempted_at or not self._time_goes_on(at))
        if step.preempted:
            self._preempted_at = at
        self._idle = [r for r in candidates if r not in step.scheduled and r.status is RUNNING]
        if step.new or step.resumed or step.preempted:
            self._decided.new += step.new
            self._decided.resumed += step.resumed
            self._decided.preempted += step.preempted
        begin = max(at, self.not_before) + step.load_seconds
        gives_token = set(step.sampling)
        for request, n in step.scheduled.items():
            self.start(request, n, request in gives_token, begin)
        return step

    def _time_goes_on(self, at: float) -> bool:
        """Whether something under way may free blocks later.

        Who was preempted waits for that: prefills without latency could take turns in one moment for ever.
        """
        transfers = self.scheduler.transfers
        return self.next_time() is not None or bool(transfers.times(self.scheduler.holding, at))

    def start(self, request: Request, n: int, gives_token: bool, begin: float) -> None:
        """Begin work on `n` tokens of a sequence."""
        num_running = len(self.scheduler.running)
        is_prefill = n > 1 or not request.num_output_tokens
        seconds = self.latency.sequence_seconds(request, n, is_prefill, num_running)
        request.due = due = begin + seconds
        heapq.heappush(self._work, (due, request.order, request, n, gives_token))

    def catch_up(self, now: float) -> None:
        """The work that is next, and should have been done, is done at `now`."""
        late, work = self.next_time(), self._work
        if late is None or late >= now:
            return
        for position, item in enumerate(work):
            if item[0] == late and _is_current(item):
                item[2].due = now
                work[position] = (now, *item[1:])
        heapq.heapify(work)

    def fast(self, until: float, before: float, max_steps: int) -> StepOutput | None:
        """Boundaries at or before `until` and earlier than `before` at which sequences only decode on.

        As if each were taken by `complete` and `fill`; stops where a sequence may end, needs a block that is
        not free, or could let a waiting one in. None: the next boundary is not of that kind.
        """
        if self._idle or self.scheduler.kv.events is not None or not self._nobody_joins():
            return None
        if not self.scheduler.has_notes:
            return None
        if self._arrivals:
            before = min(before, self._arrivals[0][0])
        result = StepOutput(self._index, self._start, self._start, num_steps=0)
        gauge = None
        while result.num_steps < max_steps:
            at = self.next_time()
            if at is None or at > until or at >= before:
                break
            group = self._group(at)
            if group is None:
                break
            gauge = self.scheduler.kv.pool.usage
            self._decode(group, at, result.outputs)
            result.num_steps += 1
            result.times.append(at)
        if gauge is None:
            return None
        result.end = self._start = result.times[-1]
        self._index += result.num_steps
        self.scheduler.stats.num_steps += result.num_steps
        self.scheduler.stats.kv_cache_usage = gauge
        if self.scheduler.loras is not None:
            self.scheduler.loras.report(self.scheduler.stats, result.end)
        return result

    def _nobody_joins(self) -> bool:
        scheduler = self.scheduler
        if scheduler.paused != "no":
            return False
        return not scheduler.num_waiting or len(scheduler.running) >= scheduler.max_active

    def _group(self, at: float) -> list[Work] | None:
        """The work that is done at `at`, out of the queue, in order of admission; None, and nothing is taken
        out, where any of it is more than a decode that goes on."""
        work, group = self._work, []
        size, needed = self.scheduler.kv.block_size, 0
        while work and work[0][0] == at:
            item = heapq.heappop(work)
            if not _is_current(item):
                continue
            group.append(item)
            request = item[2]
            needed += request.num_computed_tokens == len(request.block_ids) * size
            if (
                item[3] != 1
                or request.num_tokens + 1 >= request.finish_at
                or request.last_token_time is None
                or request.reported_preemptions != request.num_preemptions
                or request.sampling.stop_token_ids
                or request.sampling.repetition_detection is not None
                or request.sampling.stop
            ):
                needed = _NEVER
                break
        if needed > self.scheduler.kv.pool.num_free or len(group) > self.scheduler.token_budget:
            for item in group:
                heapq.heappush(work, item)
            return None
        return group

    def _decode(self, group: list[Work], at: float, outputs: list[RequestOutput]) -> None:
        """Each sequence of the group gets a token and goes on with the next."""
        scheduler, frontend, latency = self.scheduler, self._frontend, self.latency
        kv, size = scheduler.kv, scheduler.kv.block_size
        stats, num_running = scheduler.stats, len(scheduler.running)
        begin = max(at, self.not_before)
        gaps: dict[float, int] = {}
        for _due, order, request, _n, _gives_token in group:
            count = request.num_output_tokens
            request.lay_out(count + 1)
            request.num_tokens += 1
            last = request.last_token_time
            assert last is not None
            gaps[last] = gaps.get(last, 0) + 1
            request.last_token_time = at
            if request.stream:
                outputs += frontend.stream(request, count, [at])
            computed = request.num_computed_tokens
            request.num_computed_tokens = computed + 1
            if computed >= request.token_limit:
                if computed == len(request.block_ids) * size:
                    kv.extend(request, 1)
                kv.cache(request, computed + 1)
            request.due = due = begin + latency.sequence_seconds(request, 1, False, num_running)
            heapq.heappush(self._work, (due, order, request, 1, True))
        for last, times in gaps.items():
            stats.inter_token_latency_seconds.observe(at - last, times)
        stats.generation_tokens += len(group)
        stats.iteration_tokens_total.observe(len(group))

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
