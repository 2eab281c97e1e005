"""The second half of a schedule: which waiting requests join the running ones.

Source: the WAITING loop of vLLM's `Scheduler.schedule`. Requests that cannot be looked at (remote KV under
way, max_loras reached, output in flight from before a preemption) are deferred: set aside, so that others
overtake.
"""

from __future__ import annotations

from simulator.engine.policy import WaitingQueue
from simulator.engine.queues import Queues
from simulator.engine.request import Request, RequestStatus
from simulator.engine.step import ScheduledStep

WAITING = RequestStatus.WAITING
REMOTE = RequestStatus.WAITING_FOR_REMOTE_KVS
PREEMPTED = RequestStatus.PREEMPTED


class Admission:
    """One pass over the waiting queues at a time, on behalf of a step."""

    __slots__ = (
        "_budget",
        "_cap",
        "_loras",
        "_now",
        "_queues",
        "_set_aside",
        "_set_aside_holding",
        "_step",
    )

    def __init__(self, queues: Queues) -> None:
        self._queues = queues

    def run(self, step: ScheduledStep, budget: int, cap: int, now: float) -> None:
        """Put whom there is room for into `step`: `budget` tokens at most, `cap` a prompt (0: no limit)."""
        queues = self._queues
        self._step = step
        self._budget = budget
        self._cap = cap
        self._now = now
        self._set_aside: list[Request] = []
        self._set_aside_holding: list[Request] = []
        self._loras = self._loras_in_use()
        max_num_seqs = queues.config.max_num_seqs
        while self._budget > 0 and len(queues.running) < max_num_seqs:
            queue = self._next_queue()
            if queue is None:
                break
            request = queue.peek()
            if self._is_blocked(request):
                self._skip(queue)
            elif not self._admit(queue, request):
                break
        if queues.config.deferred_order == "reversed":
            self._set_aside.reverse()
        if self._set_aside_holding:
            queues.holding.prepend_all(self._set_aside_holding)
        if self._set_aside:
            queues.waiting.prepend_all(self._set_aside)

    def _next_queue(self) -> WaitingQueue | None:
        queues = self._queues
        if len(queues.holding):
            return queues.holding
        return queues.waiting if len(queues.waiting) and queues.paused == "no" else None

    def _loras_in_use(self) -> set[int]:
        """Adapters that count against max_loras before anything is admitted."""
        loras = self._queues.loras
        if loras is None:
            return set()
        if self._queues.config.lora_scope == "running":
            return set(loras.running)
        return {request.lora.int_id for request in self._step.scheduled if request.lora is not None}

    def _is_blocked(self, request: Request) -> bool:
        if request.status is REMOTE:
            if request.remote_ready_time is None or request.remote_ready_time > self._now:
                return True
            self._receive(request)
        if request.num_stale_output_tokens and not request.drop_stale_output:
            return True
        loras, lora = self._queues.loras, request.lora
        return (
            loras is not None
            and lora is not None
            and len(self._loras) == loras.max_loras
            and lora.int_id not in self._loras
        )

    def _receive(self, request: Request) -> None:
        """The remote KV has arrived: the request can be looked at again, with one token left to compute."""
        self._queues.kv.cache(request, request.num_computed_tokens)
        if request.num_computed_tokens == request.num_tokens:
            request.num_computed_tokens -= 1
        request.status = PREEMPTED if request.num_preemptions else WAITING

    def _skip(self, queue: WaitingQueue) -> None:
        request = queue.pop()
        queues = self._queues
        if not request.deferred:
            request.deferred = True
            queues.num_deferred += 1
        (self._set_aside_holding if request.block_ids else self._set_aside).append(request)

    def _admit(self, queue: WaitingQueue, request: Request) -> bool:
        """Admit the request, or start its remote prefill; False: it does not fit, and nobody may overtake."""
        queues = self._queues
        kv, config = queues.kv, queues.config
        hit: list[int] = []
        external = 0
        computed = request.num_computed_tokens
        is_fresh = not request.block_ids  # a prompt of one token has nothing computed after its pull either
        others = bool(queues.running)
        if is_fresh:
            if config.prefix_queries == "admission" and kv.stays_out(request, others):
                return False
            hit = kv.find_cached(request)
            computed = len(hit) * kv.block_size
            external = queues.transfers.external_tokens(request, computed)
            if config.prefix_queries == "lookup":
                queues.count_lookup(request, computed)
        n = 0
        if not external:
            n = self._first_chunk(request, computed)
            if not n:
                if not config.long_prompt_is_overtaken:
                    return False
                self._skip(queue)
                return True
        total = computed + external + n
        reserved = queues.reserved_blocks() if external else 0
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
            queues.transfers.start(request, external, self._now)
            self._skip(queue)
            return True
        queue.pop()
        request.num_computed_tokens = computed
        self._start(request, n)
        return True

    def _first_chunk(self, request: Request, computed: int) -> int:
        """Tokens to compute first; 0: without chunked prefill the whole of it is beyond the budget."""
        n = request.num_tokens - computed
        if 0 < self._cap < n:
            n = self._cap
        if n > self._budget and not self._queues.config.enable_chunked_prefill:
            return 0
        return min(n, self._budget)

    def _record(self, request: Request, local: int, external: int) -> None:
        """Where the prompt's KV comes from: kept from the first admission, preemptions do not repeat it."""
        queues = self._queues
        if queues.config.prefix_queries == "admission":
            queues.count_lookup(request, local)
        if request.num_preemptions:
            return
        request.num_cached_tokens = local
        request.num_external_cached_tokens = external
        if external:
            queues.stats.external_prefix_cache_queries += request.num_tokens - local
            queues.stats.external_prefix_cache_hits += external

    def _start(self, request: Request, n: int) -> None:
        queues, step = self._queues, self._step
        if request.deferred:
            request.deferred = False
            queues.num_deferred -= 1
        (step.resumed if request.status is PREEMPTED else step.new).append(request)
        request.status = RequestStatus.RUNNING
        if request.scheduled_time is None:
            request.scheduled_time = self._now
        queues.enlist(request)
        if queues.loras is not None and request.lora is not None:
            self._loras.add(request.lora.int_id)
            step.load_seconds += queues.loras.start(request.lora)
        if (request.num_computed_tokens + n) // queues.kv.block_size > request.num_cached_blocks:
            queues.kv.cache(request, request.num_computed_tokens + n)
        step.place(request, n)
        self._budget -= n
