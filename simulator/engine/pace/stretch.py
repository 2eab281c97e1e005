"""Stretches of steady decode in closed form, with results identical to stepping through them.

A stretch is possible while the steps under way decode every running sequence by one token and
nothing can change that: no sequence ends, nothing waiting can be admitted, and there are free
blocks for all. What arrives meanwhile lines up behind a head of the queue that cannot get in, or
ends the stretch. Each boundary then only appends one token to each sequence, and what it does to
blocks repeats with the block size as its period. What is not steady is left to the ordinary step.

Wanted: the cost of a step that does not grow with the batch, and results bit for bit those of
stepping. Plan: `take` asks first and touches nothing (`_is_steady` to `_blocks_at_once`), then learns
how many steps fit into time and free blocks (`_times`), then does everything once for all of them.

What holds during a stretch, and why it may be left alone:
- the running list, its order and every `scheduled` of a step: nobody ends, joins or is preempted;
- `token_limit` and `ahead_limit` are not read, and are renewed at the end (`_move_blocks`);
- `quiet_until` and `silent` hold: no sequence reaches its end, no token passes the frontend's look;
- jitter draws one duration a step, in order, so a model with jitter is asked as often as by steps;
- blocks are taken and cached in the order of the batch at each boundary: the free queue and the
  prefix cache come out the same. With a step in flight (depth 2) a full block is cached one
  boundary later.

Counters of the stats are added per stretch; sums of seconds keep the order of the steps, as floats
need it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import accumulate
from math import inf
from operator import itemgetter, sub

from simulator.engine.frontend import Frontend
from simulator.engine.inbox import Arrivals
from simulator.engine.outputs import RequestOutput, StepOutput
from simulator.engine.pace.batch_queue import BatchQueue
from simulator.engine.pace.latency import BatchShape
from simulator.engine.request import Request
from simulator.engine.scheduler import Scheduler

_SHORTEST = 2  # steps; below that stepping is cheaper


class Stretches:
    """Takes stretches on behalf of a lockstep engine."""

    def __init__(
        self, scheduler: Scheduler, pace: BatchQueue, frontend: Frontend, arrivals: Arrivals
    ) -> None:
        self._arrivals = arrivals
        self._scheduler = scheduler
        self._pace = pace
        self._frontend = frontend
        self._kv = scheduler.kv
        self._stats = scheduler.stats
        self._block_size = scheduler.kv.block_size

    def take(self, until: float, before: float, max_steps: int) -> StepOutput | None:
        """Complete as many steady steps as end at or before `until` and earlier than `before`.

        None: there is none worth it, and nothing was done. The gauges become those of the last step.
        """
        queue = self._scheduler.in_flight
        if not queue or queue[0].end > until or queue[0].end >= before or not self._is_steady():
            return None
        running = self._scheduler.running
        steps = self._steps_to_next_end(running, max_steps)
        if steps < _SHORTEST or not self._nobody_joins(running, steps):
            return None
        if self._arrivals and not self._queue_is_shut(running):
            before = min(before, self._arrivals[0][0])
            if queue[0].end >= before:
                return None
        if self._kv.pool.num_free < self._blocks_at_once(running):
            return None
        phases = self._phases(running)
        times, gaps = self._times(running, phases, steps, until, before)
        steps = len(gaps)
        if not steps:
            return None
        self._observe(running, times, gaps)
        outputs = self._append_tokens(running, times[:steps])
        usage = self._move_blocks(phases, steps)
        self._take_arrivals(times[steps - 2] if steps > 1 else -inf)
        self._gauges(usage, times[steps - 1])
        self._take_arrivals(times[steps - 1])
        return self._finish(times, steps, outputs)

    # -- may we ---------------------------------------------------------------------------------------------

    def _is_steady(self) -> bool:
        scheduler, pace = self._scheduler, self._pace
        queue, size = scheduler.in_flight, len(scheduler.running)
        if len(queue) != pace.depth or scheduler.paused != "no" or size > scheduler.token_budget:
            return False
        for step in queue:
            if step.shape.num_prefills or not size == len(step.sampling) == len(step.scheduled):
                return False
        return pace.not_before <= queue[0].end and not self._kv.events

    def _steps_to_next_end(self, running: list[Request], max_steps: int) -> int:
        """Steps until the first sequence may end; 0 where some sequence needs a look at every token."""
        depth = self._pace.depth
        least = max_steps + depth
        for request in running:
            left = request.finish_at - request.num_tokens
            least = min(least, left)
            if request.silent and request.quiet_until >= 0:
                continue  # nothing to look at, and nothing but its length ends it
            if request.sampling.repetition_detection is not None or (
                not request.silent and _needs_a_look(request)
            ):
                return 0
            if request.sampling.stop_token_ids:
                least = min(least, self._steps_to_stop_id(request, least) + depth)
        return least - depth

    def _steps_to_stop_id(self, request: Request, most: int) -> int:
        stop_ids, start = request.sampling.stop_token_ids, request.num_output_tokens
        script = request.lay_out(start + most)
        return next((i for i in range(most) if script[start + i] in stop_ids), most)

    def _nobody_joins(self, running: list[Request], steps: int) -> bool:
        """Whether no waiting request can be admitted, nor be deferred anew, during `steps` steps."""
        scheduler, config = self._scheduler, self._scheduler.config
        if not scheduler.num_waiting or len(running) >= scheduler.max_active:
            return True
        if len(running) >= scheduler.token_budget:
            return True
        if (
            len(scheduler.holding)
            or config.admission != "whole-prompt"
            or config.prefix_queries != "admission"
        ):
            return False
        head = scheduler.waiting.peek()
        if head.num_stale_output_tokens or (head.lora is not None and scheduler.loras is not None):
            return False
        return self._kv.stays_out(head, others_running=True) and not self._may_grow_hit(head, running, steps)

    def _queue_is_shut(self, running: list[Request]) -> bool:
        """Whether arrivals, if `_nobody_joins`, can only line up behind those that wait."""
        scheduler, config = self._scheduler, self._scheduler.config
        if config.scheduling_policy != "fcfs":
            return False
        return len(scheduler.waiting) > 0 or len(running) >= scheduler.max_active

    def _may_grow_hit(self, head: Request, running: list[Request], steps: int) -> bool:
        """Whether a running sequence may fill the very block that the head of the queue misses first."""
        hit, size = self._kv.refused_at, self._block_size
        if not self._kv.caching or hit >= self._kv.num_hashed(head):
            return False
        for request in running:
            filling = request.num_tokens // size
            if filling <= hit <= (request.num_tokens + steps) // size and _may_agree(request, head, filling):
                return True
        return False

    def _blocks_at_once(self, running: list[Request]) -> int:
        """Blocks that the first boundary takes, as far as that may be more than there are."""
        if self._kv.pool.num_free >= len(running):
            return 0
        size = self._block_size
        return sum([1 for request in running if request.num_computed_tokens % size == 0])

    # -- do it ----------------------------------------------------------------------------------------------

    def _phases(self, running: list[Request]) -> dict[int, list[tuple[int, int, Request]]]:
        """What each boundary does to blocks, by boundary index modulo the block size.

        Entries are (position in the batch, 0 take a block | 1 cache the full block, request), in order.
        """
        size, caching = self._block_size, self._kv.caching
        delay = (
            self._pace.depth - 1
        )  # with a step in flight, a block's last token is known one boundary later
        phases: dict[int, list[tuple[int, int, Request]]] = {}
        for position, request in enumerate(running):
            at = -request.num_computed_tokens % size
            phases.setdefault(at, []).append((position, 0, request))
            if caching:
                phases.setdefault((at - 1 + delay) % size, []).append((position, 1, request))
        for entries in phases.values():
            entries.sort(key=itemgetter(0, 1))
        return phases

    def _times(
        self,
        running: list[Request],
        phases: dict[int, list[tuple[int, int, Request]]],
        steps: int,
        until: float,
        before: float,
    ) -> tuple[list[float], list[float]]:
        """Ends of the steps completed and of those then under way, and the gap before each completed one.

        Fewer than `steps` where time or free blocks run out first.
        """
        times = [step.end for step in self._scheduler.in_flight]
        takes = sum([1 for entries in phases.values() for entry in entries if entry[1] == 0])
        turns = -(-steps // self._block_size)
        if self._kv.events is None and takes * turns <= self._kv.pool.num_free:
            line = self._pace.latency.decode_line(len(running))
            if line is not None:
                kv_tokens = _kv_tokens(running, line, steps, min(until, before) - times[0])
                return _times_on_line(times, line, kv_tokens, until, before)
        return self._times_one_by_one(running, phases, times, steps, until, before)

    def _times_one_by_one(  # noqa: PLR0917 - as `_times`, which has made `times`
        self,
        running: list[Request],
        phases: dict[int, list[tuple[int, int, Request]]],
        times: list[float],
        steps: int,
        until: float,
        before: float,
    ) -> tuple[list[float], list[float]]:
        """`_times` where blocks may run out, tell events, or a step's seconds are no line."""
        gaps: list[float] = []
        durations = self._durations(running)
        size, free = self._block_size, self._kv.pool.num_free
        wanted = {at: sum(1 for entry in entries if entry[1] == 0) for at, entries in phases.items()}
        has_events = self._kv.events is not None
        previous = 0.0  # the first gap is each sequence's own
        for k in range(steps):
            at = times[k]
            if at > until or at >= before:
                break
            phase = k % size
            if phase in phases:
                free -= wanted[phase]
                if free < 0:
                    break
            times.append(times[-1] + next(durations))
            gaps.append(at - previous)
            previous = at
            if has_events and phase in phases:
                break  # events go out with the step after this boundary
        return times, gaps

    def _durations(self, running: list[Request]) -> Iterator[float]:
        """Seconds of each step that is decided at a boundary, one after the other."""
        latency, size = self._pace.latency, len(running)
        kv_tokens = sum(request.num_computed_tokens for request in running)
        line = latency.decode_line(size)
        if line is None:
            shape = BatchShape(num_decodes=size, decode_kv_tokens=kv_tokens)
            while True:
                shape.decode_kv_tokens += size
                yield latency.step_seconds(shape)
        fixed, per_token = line
        while True:
            kv_tokens += size
            yield fixed + per_token * kv_tokens

    def _observe(self, running: list[Request], times: list[float], gaps: list[float]) -> None:
        stats, size, steps = self._stats, len(running), len(gaps)
        observe = stats.inter_token_latency_seconds.observe
        first: dict[float, int] = {}
        for request in running:
            last = request.last_token_time
            assert last is not None
            first[last] = first.get(last, 0) + 1
        for last, count in first.items():
            observe(times[0] - last, count)
        if any(gaps[1:]):
            stats.inter_token_latency_seconds.observe_all(gaps[1:], size)
        elif steps > 1:
            observe(0.0, size * (steps - 1))
        stats.generation_tokens += size * steps
        stats.iteration_tokens_total.observe(size, steps)
        stats.num_steps += steps

    def _append_tokens(self, running: list[Request], times: list[float]) -> list[RequestOutput]:
        steps, last = len(times), times[-1]
        outputs: list[RequestOutput] = []
        for request in running:
            start = request.num_tokens - len(request.prompt_token_ids)
            if len(request.script) < start + steps:
                request.lay_out(start + steps)
            request.num_tokens += steps
            request.num_computed_tokens += steps
            request.last_token_time = last
            if request.stream:
                outputs += self._frontend.stream(request, start, times)
        return outputs

    def _move_blocks(self, phases: dict[int, list[tuple[int, int, Request]]], steps: int) -> float:
        """Take and cache blocks in the order in which the steps would have; returns the usage that the last
        step's statistics saw."""
        pool, kv, size = self._kv.pool, self._kv, self._block_size
        usage = pool.usage
        for k in range(steps):
            if k == steps - 1:
                usage = pool.usage
            for _position, is_cache, request in phases.get(k % size, ()):
                if is_cache:
                    kv.cache_next(request)
                else:
                    request.block_ids.append(pool.take_one())
        for entries in phases.values():
            for _position, is_cache, request in entries:
                if not is_cache:
                    kv.set_limit(request)
        return usage

    def _take_arrivals(self, until: float) -> None:
        arrivals = self._arrivals
        while arrivals and arrivals[0][0] <= until:
            self._scheduler.add(arrivals.popleft()[1])

    def _gauges(self, usage: float, at: float) -> None:
        """What may have changed since the step before the stretch."""
        scheduler, stats = self._scheduler, self._stats
        stats.kv_cache_usage = usage
        stats.num_requests_waiting_capacity = scheduler.num_waiting - scheduler.num_deferred
        if scheduler.loras is not None:
            scheduler.loras.report(stats, at)

    def _finish(self, times: list[float], steps: int, outputs: list[RequestOutput]) -> StepOutput:
        queue, pace = self._scheduler.in_flight, self._pace
        size = len(self._scheduler.running)
        first = queue[0]
        result = StepOutput(
            step=first.index,
            start=first.start,
            end=times[steps - 1],
            scheduled=first.scheduled,
            outputs=outputs,
            num_steps=steps,
            times=times[:steps],
        )
        result.resumed = [r.request_id for step in queue for r in step.resumed]
        result.preempted = [r.request_id for step in queue for r in step.preempted]
        for offset, step in enumerate(queue):
            step.resumed, step.preempted = [], []
            step.index += steps
            step.start = times[steps + offset - 1]
            step.end = times[steps + offset]
            step.shape.decode_kv_tokens += size * steps
        pace.skip(steps)
        return result


def _kv_tokens(running: list[Request], line: tuple[float, float], steps: int, left: float) -> range:
    """KV tokens of each of at most `steps` steps; as many as may begin in `left` seconds, and a few more."""
    size = len(running)
    first = sum([request.num_computed_tokens for request in running]) + size
    shortest = line[0] + line[1] * first
    if left < shortest * steps:
        steps = min(steps, int(left / shortest) + 3)
    return range(first, first + size * steps, size)


def _times_on_line(
    times: list[float], line: tuple[float, float], kv_tokens: range, until: float, before: float
) -> tuple[list[float], list[float]]:
    """`_times` where blocks are enough and a step's seconds a line in its KV tokens: the same sums."""
    fixed, per_token = line
    depth = len(times)
    times += accumulate([fixed + per_token * each for each in kv_tokens], initial=times.pop())
    steps = min(len(kv_tokens), bisect_right(times, until), bisect_left(times, before))
    del times[depth + steps :]
    return times, [times[0], *map(sub, times[1:steps], times)] if steps else []


def _needs_a_look(request: Request) -> bool:
    """Whether the next token of a sequence has to pass the frontend."""
    return (
        bool(request.sampling.stop)
        or request.last_token_time is None
        or request.num_stale_output_tokens > 0
        or request.reported_preemptions != request.num_preemptions
    )


def _may_agree(request: Request, head: Request, filling: int) -> bool:
    """Whether the first `filling` blocks of both may be equal, and what there is of the next one too."""
    if filling:
        hashes = request.block_hashes
        return len(hashes) < filling or hashes[filling - 1] == head.block_hashes[filling - 1]
    known = request.prompt_token_ids + request.output_token_ids
    return head.prompt_token_ids[: len(known)] == known
