"""The second half of a schedule: which waiting requests join the running ones.

Source: the WAITING loop of vLLM's `Scheduler.schedule`. Requests that cannot be looked at (remote KV under
way, max_loras reached, output in flight from before a preemption) are deferred: set aside, so that others
overtake.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.engine.policy import WaitingQueue
from simulator.engine.request import Request, RequestStatus
from simulator.engine.step import ScheduledStep

if TYPE_CHECKING:
    from simulator.engine.scheduler import Scheduler

WAITING = RequestStatus.WAITING
REMOTE = RequestStatus.WAITING_FOR_REMOTE_KVS
PREEMPTED = RequestStatus.PREEMPTED


class Admission:
    """One pass over the waiting queues for `step`."""

    __slots__ = (
        "_budget",
        "_cap",
        "_loras",
        "_now",
        "_scheduler",
        "_set_aside",
        "_set_aside_holding",
        "_step",
    )

    def __init__(self, scheduler: Scheduler, step: ScheduledStep, budget: int, cap: int, now: float) -> None:
        self._scheduler = scheduler
        self._step = step
        self._budget = budget
        self._cap = cap
        self._now = now
        self._set_aside: list[Request] = []
        self._set_aside_holding: list[Request] = []
        self._loras = self._loras_in_use()

    def run(self) -> None:
        scheduler = self._scheduler
        max_num_seqs = scheduler.config.max_num_seqs
        while self._budget > 0 and len(scheduler.running) < max_num_seqs:
            queue = self._next_queue()
            if queue is None:
                break
            request = queue.peek()
            if self._is_blocked(request):
                self._skip(queue)
            elif not self._admit(queue, request):
                break
        if scheduler.config.rules == "0.11":
            self._set_aside.reverse()
        if self._set_aside_holding:
            scheduler.holding.prepend_all(self._set_aside_holding)
        if self._set_aside:
            scheduler.waiting.prepend_all(self._set_aside)

    def _next_queue(self) -> WaitingQueue | None:
        scheduler = self._scheduler
        if len(scheduler.holding):
            return scheduler.holding
        return scheduler.waiting if len(scheduler.waiting) and scheduler.paused == "no" else None

    def _loras_in_use(self) -> set[int]:
        """Adapters that count against max_loras before anything is admitted."""
        loras = self._scheduler.loras
        if loras is None:
            return set()
        if self._scheduler.config.lora_scope == "running":
            return set(loras.running)
        return {request.lora.int_id for request in self._step.scheduled if request.lora is not None}

    def _is_blocked(self, request: Request) -> bool:
        if request.status is REMOTE:
            if request.remote_ready_time is None or request.remote_ready_time > self._now:
                return True
            self._receive(request)
        if request.num_stale_output_tokens and not request.drop_stale_output:
            return True
        loras, lora = self._scheduler.loras, request.lora
        return (
            loras is not None
            and lora is not None
            and len(self._loras) == loras.max_loras
            and lora.int_id not in self._loras
        )

    def _receive(self, request: Request) -> None:
        """The remote KV has arrived: the request can be looked at again, with one token left to compute."""
        self._scheduler.kv.cache(request, request.num_computed_tokens)
        if request.num_computed_tokens == request.num_tokens:
            request.num_computed_tokens -= 1
        request.status = PREEMPTED if request.num_preemptions else WAITING

    def _skip(self, queue: WaitingQueue) -> None:
        request = queue.pop()
        scheduler = self._scheduler
        if not request.deferred:
            request.deferred = True
            scheduler.num_deferred += 1
        (self._set_aside_holding if request.block_ids else self._set_aside).append(request)

    def _admit(self, queue: WaitingQueue, request: Request) -> bool:
        """Admit the request, or start its remote prefill; False: it does not fit, and nobody may overtake."""
        scheduler = self._scheduler
        kv, config = scheduler.kv, scheduler.config
        hit: list[int] = []
        external = 0
        computed = request.num_computed_tokens
        is_fresh = not request.block_ids  # a prompt of one token has nothing computed after its pull either
        others = bool(scheduler.running)
        if is_fresh:
            if config.prefix_queries == "admission" and kv.stays_out(request, others):
                return False
            hit = kv.find_cached(request)
            computed = len(hit) * kv.block_size
            external = scheduler.transfers.external_tokens(request, computed)
            if config.prefix_queries == "lookup":
                scheduler.count_lookup(request, computed)
        n = 0
        if not external:
            n = request.num_tokens - computed
            if 0 < self._cap < n:
                n = self._cap
            if not config.enable_chunked_prefill and n > self._budget:
                if config.rules == "0.11":
                    self._skip(queue)
                    return True
                return False
            n = min(n, self._budget)
        total = computed + external + n
        reserved = scheduler.reserved_blocks() if external else 0
        if not kv.fits(request, hit, total, others_running=others, reserved=reserved):
            if is_fresh and not external:
                kv.refuse(request, hit)
            return False
        kv.admit(request, hit, total)
        if is_fresh:
            self._record(request, computed, external)
        if external:
            request.status = REMOTE
            request.num_computed_tokens = total
            scheduler.transfers.start(request, external, self._now)
            self._skip(queue)
            return True
        queue.pop()
        request.num_computed_tokens = computed
        self._start(request, n)
        return True

    def _record(self, request: Request, local: int, external: int) -> None:
        """Where the prompt's KV comes from: kept from the first admission, preemptions do not repeat it."""
        scheduler = self._scheduler
        if scheduler.config.prefix_queries == "admission":
            scheduler.count_lookup(request, local)
        if request.num_preemptions:
            return
        request.num_cached_tokens = local
        request.num_external_cached_tokens = external
        if external:
            scheduler.stats.external_prefix_cache_queries += request.num_tokens - local
            scheduler.stats.external_prefix_cache_hits += external

    def _start(self, request: Request, n: int) -> None:
        scheduler, step = self._scheduler, self._step
        if request.deferred:
            request.deferred = False
            scheduler.num_deferred -= 1
        (step.resumed if request.status is PREEMPTED else step.new).append(request)
        request.status = RequestStatus.RUNNING
        if request.scheduled_time is None:
            request.scheduled_time = self._now
        scheduler.enlist(request)
        if scheduler.loras is not None and request.lora is not None:
            self._loras.add(request.lora.int_id)
            step.load_seconds += scheduler.loras.start(request.lora)
        if (request.num_computed_tokens + n) // scheduler.kv.block_size > request.num_cached_blocks:
            scheduler.kv.cache(request, request.num_computed_tokens + n)
        step.place(request, n)
        self._budget -= n
