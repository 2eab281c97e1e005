"""One engine step as data: which sequences compute how many tokens, and what came of it.

`schedule` and `update` are vLLM's `Scheduler.schedule` and `update_from_output` (v1/core/sched/scheduler.py)
for a decoder without speculative decoding. Time enters as numbers and only where a remote KV transfer needs
it. This file does not know text, metrics of the frontend, or how long a step takes.

There is no prefill and no decode phase: a sequence has `num_computed_tokens`, which catch up with its
`num_tokens` (and, with async scheduling, the placeholders of tokens not seen yet).

Nearly every token of a long run changes nothing but counters. Four notes on a Request say how far that holds,
and the loops here and in `pace` go by them without a look at anything else. A note promises too little rather
than too much: 0, -1 or False only cost the long way round.

    token_limit   while num_computed_tokens is below, one more token needs no block, fills none and is not the
                  last. KVCacheManager.set_limit renews it whenever blocks or cached blocks change; 0 once
                  they are given back (free, detach).
    ahead_limit   the same while a token is in flight: what fills a block is not known yet, and not cached.
    quiet_until   while num_tokens is below, the next sampled token is laid out and wanted and ends nothing.
                  set_quiet renews it after every token that took the long way; -1 where tokens are in
                  flight at a preemption, and at the end.
    silent        the next token gives no output and may end on no stop string. The frontend sets it; False
                  on preemption and at the end.

Whoever changes a request's blocks, stop conditions, laid out tokens or place among the queues renews the
notes it touches, in the same call. The random workloads of tests/simulator/engine/runs.py are played by notes
and step by step, and must agree in everything.
"""

from __future__ import annotations

from collections.abc import Sequence

from simulator.engine.admission import Admission
from simulator.engine.config import EngineConfig
from simulator.engine.kv.kv_cache import KVCacheManager
from simulator.engine.kv.transfer import Transfers
from simulator.engine.lora_slots import LoRAManager
from simulator.engine.policy import pick_victim
from simulator.engine.queues import Queues
from simulator.engine.request import FinishReason, Request, RequestStatus
from simulator.engine.stats import EngineStats
from simulator.engine.step import ScheduledStep

RUNNING = RequestStatus.RUNNING
PREEMPTED = RequestStatus.PREEMPTED
FINISHED = RequestStatus.FINISHED


class Scheduler(Queues):
    """The queues of one engine, and the two halves of a step: `schedule` and `update`.

    `has_notes`: stretches of steps may go by the notes on requests.
    """

    has_notes = True

    def __init__(
        self,
        config: EngineConfig,
        kv: KVCacheManager,
        loras: LoRAManager | None,
        transfers: Transfers,
        stats: EngineStats,
    ) -> None:
        super().__init__(config, kv, loras, transfers, stats)
        self._admission = Admission(self)
        self._ahead = 1 if config.async_scheduling else 0
        self._length_first = config.stop_order == "length-first"

    # -- schedule -------------------------------------------------------------------------------------------

    def schedule(
        self, now: float, candidates: Sequence[Request] | None = None, *, admit: bool = True
    ) -> ScheduledStep:
        """Decide the next step. `candidates`: the running requests that may be scheduled; None: all."""
        step = ScheduledStep(self._ahead)
        config = self.config
        if self.paused == "all":
            return step
        cap = self._cap() if config.long_prefill_token_threshold else 0
        if candidates is None:
            candidates = self.running
        if config.scheduling_policy == "priority":
            candidates = list(candidates)
        budget = self._schedule_running(step, candidates, self.token_budget, cap)
        if admit and not step.preempted and budget > 0 and self._may_admit():
            self._admission.run(step, budget, cap, now)
        return step

    def _cap(self) -> int:
        """Most tokens of one prefill in a step; 0: no limit."""
        config, others = self.config, self.num_unfinished
        cap = config.long_prefill_token_threshold
        if not cap or (others <= 1 and not config.lone_prefill_is_capped):
            return 0
        if config.long_prefill_token_threshold_adaptive:
            cap = max(cap, config.max_num_batched_tokens // others)
        return cap

    def _may_admit(self) -> bool:
        return len(self.running) < self.max_active and (len(self.waiting) or len(self.holding)) > 0

    def _schedule_running(
        self, step: ScheduledStep, candidates: Sequence[Request], budget: int, cap: int
    ) -> int:
        ahead, shape = step.ahead, step.shape
        scheduled, sampling = step.scheduled, step.sampling
        num_decodes = decode_kv_tokens = 0
        for request in candidates:
            if budget <= 0:
                break
            computed = request.num_computed_tokens
            placeholders = request.num_output_placeholders
            if computed + 1 == request.num_tokens + placeholders and (
                computed < request.token_limit
                or (placeholders and computed < request.ahead_limit)
                or self._next_block(request)
            ):
                request.num_computed_tokens = computed + 1
                if ahead:
                    request.num_output_placeholders = placeholders + 1
                scheduled[request] = 1
                sampling.append(request)
                num_decodes += 1
                decode_kv_tokens += computed + 1
                budget -= 1
                continue
            shape.num_decodes += num_decodes
            shape.decode_kv_tokens += decode_kv_tokens
            num_decodes = decode_kv_tokens = 0
            left = self._schedule_one(step, request, budget, cap)
            if left is None:
                break
            budget, shape, scheduled, sampling = left, step.shape, step.scheduled, step.sampling
        shape.num_decodes += num_decodes
        shape.decode_kv_tokens += decode_kv_tokens
        return budget

    def _next_block(self, request: Request) -> bool:
        """See to the blocks of a sequence that decodes one token; False: there is more to it."""
        after = request.num_computed_tokens + 1
        if after > request.last_position or request.status is not RUNNING:
            return False
        kv = self.kv
        if after > len(request.block_ids) * kv.block_size:
            if not kv.pool.num_free:
                return False
            kv.extend(request, 1)
        kv.cache(request, after)
        return True

    def _schedule_one(self, step: ScheduledStep, request: Request, budget: int, cap: int) -> int | None:
        """Any running request, with all that may happen to it; returns the budget left, None: stop here."""
        if request.status is not RUNNING:
            return budget  # preempted earlier in this step
        computed, placeholders = request.num_computed_tokens, request.num_output_placeholders
        if placeholders and computed + 2 - placeholders >= request.max_total_tokens:
            return budget  # the step in flight reaches max_tokens
        n = self._wanted(request, budget, cap)
        if n <= 0:
            return budget
        kv = self.kv
        needed = self._blocks_wanted(request, computed + n) - len(request.block_ids)
        if needed > 0:
            if needed > kv.pool.num_free:
                budget += self._make_room(step, request, needed)
                if request.status is not RUNNING:
                    config = self.config
                    goes_on = config.scheduling_policy == "priority" and not config.self_preemption_ends_pass
                    return budget if goes_on else None
            kv.extend(request, needed)
        kv.cache(request, computed + n)
        step.place(request, n)
        return self._take_from_budget(budget, n)

    def _wanted(self, request: Request, budget: int, cap: int) -> int:
        """Tokens of a running request that the step takes in."""
        computed = request.num_computed_tokens
        n = request.num_tokens + request.num_output_placeholders - computed
        if 0 < cap < n:
            n = cap
        return min(n, budget, self.config.max_model_len - 1 - computed)

    def _blocks_wanted(self, request: Request, computed: int) -> int:
        """Blocks that it needs for its first `computed` tokens."""
        return self.kv.blocks_for(computed)

    def _take_from_budget(self, budget: int, n: int) -> int:
        return budget - n

    def _give_back(self, n: int) -> int:
        """Tokens of a victim that the step has room for again."""
        return n

    def _make_room(self, step: ScheduledStep, request: Request, needed: int) -> int:
        """Preempt until `needed` blocks are free or `request` itself is gone; returns tokens won back."""
        restored = 0
        while needed > self.kv.pool.num_free:
            victim = pick_victim(self.config.scheduling_policy, self.running)
            self.running.remove(victim)
            restored += self._give_back(step.remove(victim))
            self.preempt(victim)
            step.preempted.append(victim)
            if victim is request:
                break
        return restored

    def preempt(self, request: Request, drop_stale_output: bool = False) -> None:
        """Back to the waiting queue, to be computed again; the caller has taken it out of `running`."""
        self.kv.free(request)
        request.status = PREEMPTED
        request.num_computed_tokens = 0
        in_flight = sum(step.scheduled.get(request, 0) for step in self.in_flight)
        request.drop_stale_output = drop_stale_output or (
            request.drop_stale_output and request.num_stale_output_tokens > 0
        )
        request.num_stale_output_tokens = in_flight
        request.num_output_placeholders = 0
        request.num_preemptions += 1
        request.silent = False
        request.due = None
        if in_flight:
            request.quiet_until = -1
        if self.loras is not None and request.lora is not None:
            self.loras.stop(request.lora)
            self.loras.enter_waiting(request.lora)
        self.waiting.prepend(request)

    # -- update ---------------------------------------------------------------------------------------------

    def update(self, step: ScheduledStep, now: float) -> tuple[list[Request], list[Request]]:
        """Take in the tokens that `step` sampled.

        Returns the sequences that got one, in batch order, and those of them that finished with it: these
        have `finish_reason` set, hold no blocks and have left the running list.
        """
        emitted: list[Request] = []
        finished: list[Request] = []
        ahead = self._ahead
        if len(step.sampling) != len(step.scheduled):
            self._drain_chunks(step)
        for request in step.sampling:
            num_tokens = request.num_tokens
            if num_tokens < request.quiet_until:
                request.num_tokens = num_tokens + 1
                if ahead:
                    request.num_output_placeholders -= 1
                    if request.num_computed_tokens > request.token_limit:
                        self._cache_processed(request)
                emitted.append(request)
            elif self._take_token(step, request):
                emitted.append(request)
                if request.finish_reason is not None:
                    finished.append(request)
                    self._finish(request, now)
        if finished:
            self.running = [request for request in self.running if request.status is RUNNING]
        return emitted, finished

    def _take_token(self, step: ScheduledStep, request: Request) -> bool:
        """A sampled token with all that may come of it; False: nobody wants it any more."""
        if request.status is FINISHED:
            return False  # aborted while the step ran
        stale = request.num_stale_output_tokens > 0
        if stale:
            request.num_stale_output_tokens -= step.scheduled[request]
            if request.drop_stale_output:
                self.set_quiet(request)
                return False
        count = request.num_output_tokens
        token = request.lay_out(count + 1)[count]
        request.num_tokens += 1
        if self._ahead and not stale:
            request.num_output_placeholders -= 1
            self._cache_processed(request)
        self._check_stop(request, token)
        self.set_quiet(request)
        return True

    def set_quiet(self, request: Request) -> None:
        """Note how long tokens of the request can be taken in without `_take_token`."""
        if (
            request.num_stale_output_tokens
            or request.sampling.stop_token_ids
            or request.sampling.repetition_detection is not None
            or request.finish_reason is not None
        ):
            request.quiet_until = -1
        else:
            laid_out = request.num_prompt_tokens + len(request.script)
            request.quiet_until = min(request.finish_at - 1, laid_out)

    def _drain_chunks(self, step: ScheduledStep) -> None:
        """Prefill chunks give no token, but what was in flight at a preemption has to be counted down."""
        for request, n in step.scheduled.items():
            if request.num_stale_output_tokens and request not in step.sampling:
                request.num_stale_output_tokens -= n
                self.set_quiet(request)

    def _cache_processed(self, request: Request) -> None:
        """Async scheduling: cache what has really been computed, steps in flight aside."""
        in_flight = sum([step.scheduled.get(request, 0) for step in self.in_flight])
        self.kv.cache(request, request.num_computed_tokens - in_flight)

    def _finish(self, request: Request, now: float) -> None:
        was_running = request.status is RUNNING
        if not was_running:  # preempted, and its last token was still in flight
            self.drop_waiting(request)
        self.leave(request, now, was_running)

    def _check_stop(self, request: Request, token: int) -> None:
        at_end = request.num_tokens >= request.finish_at
        sampling = request.sampling
        is_stop_id = token in sampling.stop_token_ids and request.num_output_tokens > sampling.min_tokens
        if is_stop_id and not (at_end and (self._length_first or request.finish_as is FinishReason.STOP)):
            request.finish_reason = FinishReason.STOP
            request.stop_reason = token
        elif at_end:
            request.finish_reason = request.finish_as
        elif sampling.repetition_detection is not None and self.config.detects_repetition:
            count = request.num_output_tokens
            if count >= sampling.min_tokens and sampling.repetition_detection.ends(request.script, count):
                request.finish_reason = FinishReason.REPETITION
                request.stop_reason = "repetition_detected"
