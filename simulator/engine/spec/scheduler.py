"""The scheduler of engines whose every token takes a look: speculative decoding, and a cadence of prefills.

The same two halves of a step as in `engine.scheduler`, of which this is the long way round: no notes on
requests are gone by. Source: vLLM 0.33, `Scheduler.schedule`, `update_from_output`, `update_draft_token_ids`
and `AsyncScheduler._update_after_schedule`.

Without async scheduling a drafter proposes after each step; with it the next step already holds placeholders
for its tokens, and the worker fills them in. Rejected tokens are taken back when the step's results are in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from simulator.engine.config import EngineConfig
from simulator.engine.kv.kv_cache import KVCacheManager
from simulator.engine.kv.transfer import Transfers
from simulator.engine.lora_slots import LoRAManager
from simulator.engine.request import Request, RequestStatus
from simulator.engine.scheduler import Scheduler
from simulator.engine.spec.settings import SpecStats
from simulator.engine.spec.step import SpecStep
from simulator.engine.stats import EngineStats
from simulator.engine.step import ScheduledStep

RUNNING = RequestStatus.RUNNING
FINISHED = RequestStatus.FINISHED


def make_scheduler(
    config: EngineConfig,
    kv: KVCacheManager,
    loras: LoRAManager | None,
    transfers: Transfers,
    stats: EngineStats,
) -> Scheduler:
    """The scheduler of an engine: the long way round only where it must be."""
    if config.spec is not None:
        stats.spec = SpecStats(config.spec.num_tokens)
    if config.spec is not None or config.prefill_schedule_interval > 1:
        return SpecScheduler(config, kv, loras, transfers, stats)
    return Scheduler(config, kv, loras, transfers, stats)


class SpecScheduler(Scheduler):
    """`accept(request, drafted)` says how many draft tokens the target model accepts."""

    has_notes = False

    def __init__(
        self,
        config: EngineConfig,
        kv: KVCacheManager,
        loras: LoRAManager | None,
        transfers: Transfers,
        stats: EngineStats,
    ) -> None:
        super().__init__(config, kv, loras, transfers, stats)
        spec = config.spec
        self._num_drafts = spec.num_tokens if spec is not None else 0
        self._draft_slots = spec.draft_slots if spec is not None else 0
        self._prefill_lookahead = spec.prefill_lookahead if spec is not None else 0
        self._lookahead = spec.lookahead if spec is not None else 0
        self._rng = Random(config.seed ^ 0x5BEC)
        self.accept: Callable[[Request, int], int] = self._draw
        self._interval = config.prefill_schedule_interval
        self._executed_steps = 0
        self._last_prefill_step = -self._interval  # an interval back: the first step is never held
        self._capacity_bound = False
        self._prefilled = False  # by the schedule under way

    def _draw(self, request: Request, drafted: int) -> int:
        spec = self.config.spec
        return spec.draw(self._rng, drafted) if spec is not None else 0

    # -- schedule -------------------------------------------------------------------------------------------

    def schedule(
        self, now: float, candidates: Sequence[Request] | None = None, *, admit: bool = True
    ) -> ScheduledStep:
        step = SpecStep(self._ahead)
        if self.paused == "all":
            return step
        if candidates is None:
            candidates = list(self.running)
        elif self.config.scheduling_policy == "priority":
            candidates = list(candidates)
        held = self._prefills_are_held()
        admission = self._admission
        admission.input_budget = self.config.max_num_batched_tokens
        self._prefilled = False
        budget = self._schedule_all(step, candidates, self._cap(), held)
        prefilled = self._prefilled
        if admit and not step.preempted:
            if budget > 0 and self._may_admit():
                admission.held, admission.pads = held, bool(self._num_drafts) and not prefilled
                admission.run(step, budget, self._cap(), now)
                prefilled |= admission.prefilled
            if not held:
                self._capacity_bound = self.num_waiting > self.num_deferred
        if step.scheduled:
            self._executed_steps += 1
        if self._interval > 1 and prefilled:
            self._last_prefill_step = self._executed_steps
        if self._ahead:
            for request in step.sampling:
                request.num_drafts = self._num_drafts
        return step

    def _prefills_are_held(self) -> bool:
        """--prefill-schedule-interval: prefills wait while decodes have their stretch of steps."""
        return (
            self._interval > 1
            and not self._capacity_bound
            and self._executed_steps + 1 - self._last_prefill_step < self._interval
            and any(not request.is_prefill_chunk for request in self.running)
        )

    def _schedule_all(self, step: SpecStep, candidates: Sequence[Request], cap: int, held: bool) -> int:
        budget = self.token_budget
        for request in candidates:
            if budget <= 0 or self._admission.input_budget <= self._draft_slots:
                break
            was_chunk = request.is_prefill_chunk
            if held and was_chunk:
                continue
            left = self._schedule_one(step, request, budget, cap)
            if left is None:
                break
            self._prefilled |= request in step.scheduled and was_chunk
            budget = left
        return budget

    def _wanted(self, request: Request, budget: int, cap: int) -> int:
        computed = request.num_computed_tokens
        n = request.num_tokens + request.num_drafts + request.num_output_placeholders - computed
        if 0 < cap < n:
            n = cap
        room = self._admission.input_budget - self._draft_slots
        n = min(n, budget, room, self.config.max_model_len - 1 - computed)
        return self._admission.keep_lookahead(request, computed, n)

    def _blocks_wanted(self, request: Request, computed: int) -> int:
        return self.kv.blocks_for(min(computed + self._lookahead, self.config.max_model_len))

    def _take_from_budget(self, budget: int, n: int) -> int:
        self._admission.input_budget -= n + self._draft_slots
        return budget - n

    def _give_back(self, n: int) -> int:
        if n:
            self._admission.input_budget += n + self._draft_slots
        return n

    def preempt(self, request: Request, drop_stale_output: bool = False) -> None:
        super().preempt(request, drop_stale_output)
        request.num_drafts = 0

    # -- update ---------------------------------------------------------------------------------------------

    def update(self, step: ScheduledStep, now: float) -> tuple[list[Request], list[Request]]:
        emitted: list[Request] = []
        finished: list[Request] = []
        if len(step.sampling) != len(step.scheduled):
            self._drain_chunks(step)
        for request in step.sampling:
            if request.status is FINISHED:
                continue  # aborted while the step ran
            stale = request.num_stale_output_tokens > 0
            if stale:
                request.num_stale_output_tokens -= step.scheduled[request]
                if request.drop_stale_output:
                    continue
            self._take_tokens(step, request, stale)
            emitted.append(request)
            if request.finish_reason is not None:
                finished.append(request)
                self._finish(request, now)
        if finished:
            self.running = [request for request in self.running if request.status is RUNNING]
        if not self._ahead and self._num_drafts:
            for request in step.sampling:
                if request.status is RUNNING:
                    request.num_drafts = self._num_drafts
        return emitted, finished

    def _take_tokens(self, step: ScheduledStep, request: Request, stale: bool) -> None:
        """A sampled token and the draft tokens accepted before it; those rejected are taken back."""
        drafts = accepted = 0
        if isinstance(step, SpecStep):
            drafts = step.drafts.get(request, 0)
            accepted = 0 if request in step.padded or not drafts else self.accept(request, drafts)
        if drafts:
            if not stale:
                _take_back(request, drafts - accepted)
            self._observe(request, drafts, accepted)
        tokens = 1 + accepted
        count = request.num_output_tokens
        script = request.lay_out(count + tokens)
        for i in range(tokens):
            request.num_tokens += 1
            self._check_stop(request, script[count + i])
            if request.finish_reason is not None:
                if not stale:
                    request.num_computed_tokens -= tokens - (i + 1)
                step.extra_tokens += i
                break
        else:
            step.extra_tokens += accepted
        if not stale:
            if request.num_output_placeholders > 0:
                request.num_output_placeholders -= tokens
            if request.status is RUNNING and (self._ahead or self._num_drafts):
                self._cache_processed(request)

    def _observe(self, request: Request, drafts: int, accepted: int) -> None:
        if self.stats.spec is not None:
            self.stats.spec.observe(drafts, accepted)
        if request.spec_steps is not None:
            request.spec_steps.append((drafts, accepted))


def _take_back(request: Request, rejected: int) -> None:
    """Draft tokens that were computed and are not kept."""
    if request.num_computed_tokens > 0:
        request.num_computed_tokens -= rejected
    if request.num_output_placeholders > 0:
        request.num_output_placeholders -= rejected
