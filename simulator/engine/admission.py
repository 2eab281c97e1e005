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
        "_draft_slots",
        "_loras",
        "_now",
        "_num_drafts",
        "_others",
        "_prefill_lookahead",
        "_queues",
        "_set_aside",
        "_set_aside_holding",
        "_step",
        "held",
        "input_budget",
        "pads",
        "prefilled",
    )

    def __init__(self, queues: Queues) -> None:
        self._queues = queues
        spec = queues.config.spec
        self._num_drafts = spec.num_tokens if spec is not None else 0
        self._draft_slots = spec.draft_slots if spec is not None else 0
        self._prefill_lookahead = spec.prefill_lookahead if spec is not None else 0
        # Set by schedulers that speculate or hold prefills back, before each run.
        self.input_budget = 1 << 62  # tokens that the batch has room for, slots of drafts included
        self.held = False  # prefills wait for a later step
        self.pads = False  # sequences that only decode come with room for drafts
        self.prefilled = False  # the run has admitted a prefill

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
        self.prefilled = False
        self._others = bool(step.scheduled)
        max_active = queues.max_active
        while self._budget > 0 and len(queues.running) < max_active:
            queue = self._next_queue()
            if queue is None or self.input_budget <= self._draft_slots:
                break
            request = queue.peek()
            if request.remote_failed and request.status is REMOTE and self._has_arrived(request):
                self._give_up_pull(queue)
            elif self._is_blocked(request):
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
            if not self._has_arrived(request):
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

    def _has_arrived(self, request: Request) -> bool:
        return request.remote_ready_time is not None and request.remote_ready_time <= self._now

    def _give_up_pull(self, queue: WaitingQueue) -> None:
        """A pull has failed and left nothing: the prompt is computed here, and first."""
        request = queue.pop()
        self._queues.kv.free(request)
        request.num_computed_tokens = 0
        request.status = PREEMPTED if request.num_preemptions else WAITING
        self._queues.waiting.prepend(request)

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
            if not request.sampling.skip_reading_prefix_cache:
                external = queues.transfers.external_tokens(request, computed)
            if config.prefix_queries == "lookup":
                queues.count_lookup(request, computed)
        if external:
            n, reserved, ahead = 0, queues.reserved_blocks(), 0  # a drafter's KV is not pulled
        else:
            chunk = self._tokens_now(request, computed)
            if not chunk:
                if chunk is None:
                    return False
                self._skip(queue)
                return True
            n, reserved, ahead = chunk, 0, kv.lookahead
        total = computed + external + n
        if not kv.fits(request, hit, total + ahead, others_running=others, reserved=reserved):
            if is_fresh and not external:
                kv.refuse(request, hit)
            return False
        kv.admit(request, hit, total + ahead)
        if is_fresh or not computed:  # a pulled prompt of one token is looked up a second time
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

    def _tokens_now(self, request: Request, computed: int) -> int | None:
        """Tokens to compute first; 0: none now, and others may overtake; None: nobody may."""
        if self.held and computed < request.num_tokens - 1:
            return None
        chunk = self._first_chunk(request, computed)
        if chunk is None and self._queues.config.long_prompt_is_overtaken:
            return 0
        return chunk

    def _first_chunk(self, request: Request, computed: int) -> int | None:
        """Tokens to compute first; 0: a drafter needs more of them; None: the budget is too small."""
        n = request.num_tokens - computed
        budget = min(self._budget, self.input_budget - self._draft_slots)
        if n == 1 and self.pads and self._is_padded(request, computed):
            n += self._num_drafts
            return n if n <= budget else None
        if 0 < self._cap < n:
            n = self._cap
        if n > budget and not self._queues.config.enable_chunked_prefill:
            return None
        return self.keep_lookahead(request, computed, min(n, budget))

    def _is_padded(self, request: Request, computed: int) -> bool:
        """Whether a sequence that only decodes gets placeholders for drafts, so that all are of one size."""
        return (
            computed > 0 or self._others
        ) and computed + self._num_drafts + 2 <= self._queues.config.max_model_len

    def keep_lookahead(self, request: Request, computed: int, n: int) -> int:
        """`n` or fewer tokens, so that what is left of a prompt is nothing, or enough for the drafter."""
        left = request.num_tokens - computed - n
        if 0 < left < self._prefill_lookahead:
            return max(n - (self._prefill_lookahead - left), 0)
        return n

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
        self.prefilled |= request.num_computed_tokens < request.num_tokens - 1
        if n > request.num_tokens - request.num_computed_tokens:
            request.num_drafts = self._num_drafts
            step.pad(request)
        step.place(request, n)
        self._budget -= n
        self.input_budget -= n + self._draft_slots
