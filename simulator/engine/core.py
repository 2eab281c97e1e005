"""Engine: one vLLM engine as a state machine without I/O, clock or threads.

Everything happens at boundaries: where a step ends, or where something arrives at an idle engine. At a
boundary the engine takes in aborts, then the results of the step that ended, then arrivals, and schedules
what comes next, in vLLM's order (`v1/engine/core.py`, `step` and `step_with_batch_queue`).
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import Any, Literal

from simulator.engine.config import EngineConfig
from simulator.engine.frontend import Frontend
from simulator.engine.inbox import Arrivals, put, withdraw
from simulator.engine.inspection import check, described
from simulator.engine.kv.kv_cache import KVCacheManager
from simulator.engine.kv.transfer import Transfers
from simulator.engine.lora_slots import LoRAManager
from simulator.engine.outputs import RequestOutput, StepOutput
from simulator.engine.pace.latency import LatencyModel
from simulator.engine.pace.lockstep import Lockstep
from simulator.engine.pace.timelines import Timelines
from simulator.engine.request import FinishReason, LoRARequest, Request
from simulator.engine.spec.scheduler import make_scheduler
from simulator.engine.stats import EngineStats
from simulator.engine.step import ScheduledStep
from simulator.engine.text.text_source import TextSource
from simulator.engine.text.tokenizer import Tokenizer
from simulator.errors import EngineError, InvariantError


class Engine:
    """Scheduler, KV cache, LoRA slots, text and metrics of one replica.

    All times are monotonic seconds on the caller's clock. Requests and aborts take effect at the first step
    boundary at or after their `now`, however late `step` is called, so a late driver does not move the
    timeline. `tokenizer` None: outputs carry ids and no text.
    """

    def __init__(
        self,
        config: EngineConfig,
        latency: LatencyModel,
        text: TextSource,
        tokenizer: Tokenizer | None,
        custom_buckets: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        if not latency.lockstep and config.async_scheduling:
            config = replace(config, async_scheduling=False)
        self.config = config
        self.latency = latency
        self.stats = EngineStats(config.max_model_len, custom_buckets)
        self._text = text
        self._kv = KVCacheManager(config)
        self._loras = LoRAManager(config, latency.lora_load_seconds) if config.enable_lora else None
        self._transfers = Transfers(config, self._kv, latency, self.stats)
        self._scheduler = make_scheduler(config, self._kv, self._loras, self._transfers, self.stats)
        self._frontend = Frontend(
            self.stats, tokenizer, self._loras, count_whole_prompt=config.iteration_tokens == "prompt"
        )
        self._arrivals: Arrivals = deque()
        pacing = Lockstep if latency.lockstep else Timelines
        self._pace = pacing(self._scheduler, latency, self._frontend, self._arrivals)
        self._requests: dict[str, Request] = {}
        self._aborts: deque[tuple[float, str, bool]] = deque()  # (when, request id, counted)
        self._last_boundary = 0.0
        self._woken: float | None = None  # look at the queues again at this time
        self._ended: list[RequestOutput] = []  # of sequences that the server ended

    # -- what drivers call ----------------------------------------------------------------------------------

    def add_request(self, request: Request, now: float) -> None:
        """Queue a sequence. Raises EngineError: duplicate id, empty prompt, no room for an output token."""
        if request.request_id in self._requests:
            raise EngineError(f"request id {request.request_id!r} is already in use")
        num_prompt = len(request.prompt_token_ids)
        if not 0 < num_prompt < self.config.max_model_len:
            raise EngineError(
                f"the prompt has {num_prompt} tokens; it must have at least 1 and at most "
                f"max_model_len - 1 = {self.config.max_model_len - 1}"
            )
        try:  # the quickest look at them all; who brings their hashes has made them
            array("I", () if request.block_hashes else request.prompt_token_ids)
        except OverflowError:
            raise EngineError("token ids must fit an unsigned 32-bit integer") from None
        if request.kv_transfer_params is not None:
            self._transfers.used = True
        request.num_tokens = num_prompt
        request.arrival_time = request.arrival_time or now
        request.queued_time = now = now + self.config.api_overhead
        self._plan(request)
        self._requests[request.request_id] = request
        put(self._arrivals, (now, request))

    def abort(
        self, request_ids: Iterable[str], now: float, by: Literal["client", "server"] = "client"
    ) -> None:
        """End sequences at the next step boundary; unknown ids are ignored.

        A client's abort gives no output and does not count in request_success; a server's (shutdown, pause)
        gives a last output with FinishReason.ABORT and counts.
        """
        for request_id in request_ids:
            if request_id in self._requests:
                put(self._aborts, (now, request_id, by == "server"))

    def peek(self) -> float | None:
        """Absolute time at which `step` has something to do; None: idle."""
        ends = self._pace.next_time()
        if ends is not None and self.latency.lockstep:
            return ends
        due = self._next_event()
        if self._arrivals:
            due = min(due, self._arrivals[0][0])
        due = max(due, self._last_boundary)
        if ends is not None:
            return min(due, ends)
        return due if due < inf else None

    def step(self, now: float) -> StepOutput:
        """Complete the step that is due at peek() <= now and schedule the next.

        Raises EngineError when nothing is due, InvariantError where the configuration asks for checks.
        """
        due = self.peek()
        if due is None or due > now:
            raise EngineError(f"nothing is due at {now}: the next step is at {due}")
        output = self._boundary(due)
        if self.config.check_invariants:
            self._check_after(output)
        return output

    def fast_forward(self, until: float, max_steps: int = 100_000) -> list[StepOutput]:
        """Everything that is due up to and including `until`; the same results as calling `step` in a loop.

        Stretches of steady decode come as one StepOutput with `num_steps` > 1. Drivers may always call this
        instead of `step`. Stops early after `max_steps`. Raises as `step` does, but when nothing is due.
        """
        steps: list[StepOutput] = []
        while max_steps > 0 and (due := self.peek()) is not None and due <= until:
            step = self._pace.fast(until, self._next_event(), max_steps) or self._boundary(due)
            self._last_boundary = step.end
            if self.config.check_invariants:
                self._check_after(step)
            max_steps -= max(step.num_steps, 1)
            steps.append(step)
        return steps

    def catch_up(self, now: float) -> None:
        """Let work that takes no time go on at `now`.

        Steps without length all happen at one moment: whatever comes in later would wait for the last of
        them, however long a driver takes over them.
        """
        self._pace.catch_up(now)

    def _next_event(self) -> float:
        """Before this time nothing but arrivals comes in from outside, and nothing ends but steps."""
        if self._frontend.stopped:
            return -inf
        due = self._aborts[0][0] if self._aborts else inf
        if self._woken is not None:
            due = min(due, self._woken)
        if self._transfers.used:
            if self._transfers.instant:
                return min(due, self._last_boundary)
            due = min(due, *self._transfers.times(self._scheduler.holding, self._last_boundary), inf)
        return due

    def num_cached_tokens(self, request: Request) -> int:
        """Prompt tokens that the prefix cache would give a new request now; nothing is held or counted."""
        request.num_tokens = len(request.prompt_token_ids)
        return len(self._kv.find_cached(request)) * self._kv.block_size

    @property
    def num_unfinished(self) -> int:
        """Sequences that are queued or running, those not yet taken in included."""
        return len(self._requests)

    # -- one boundary ---------------------------------------------------------------------------------------

    def _boundary(self, at: float) -> StepOutput:
        self._last_boundary = at
        if self._frontend.stopped or self._aborts:
            self._take_aborts(at)
        self._transfers.instant = False
        if self._transfers.used:
            self._end_transfers(at)
        done = self._pace.complete(at)
        if done is not None:
            output = self._results(done, at)
            self._gauges(at)
        else:
            output = StepOutput(0, at, at, num_steps=0)
        if self._ended:
            output.outputs += self._ended
            self._ended = []
        arrivals = self._arrivals
        while arrivals and arrivals[0][0] <= at:
            self._scheduler.add(arrivals.popleft()[1])
        if self._woken is not None and self._woken <= at:
            self._woken = None
        if not self._requests:
            if done is None:
                self._gauges(at)
        elif not self._pace.fill(at):
            self._gauges(at)  # vLLM runs an empty step, and its statistics are published
        return output

    def _results(self, done: ScheduledStep, at: float) -> StepOutput:
        emitted, finished = self._scheduler.update(done, at)
        outputs = self._frontend.deliver(emitted, at, done.extra_tokens)
        for request in finished:
            del self._requests[request.request_id]
        self.stats.num_steps += 1
        output = StepOutput(done.index, done.start, at, done.scheduled, outputs)
        if done.new or done.resumed or done.preempted:
            output.new = _ids(done.new)
            output.resumed = _ids(done.resumed)
            output.preempted = _ids(done.preempted)
        if finished or self._frontend.stopped:
            output.finished = _ids(finished + self._frontend.stopped)
        if self._kv.events:
            output.kv_events = self._kv.take_events()
        return output

    def _take_aborts(self, at: float) -> None:
        for request in self._frontend.stopped:  # ended on a stop string; counted already
            self._drop(request, at)
        self._frontend.stopped.clear()
        aborts = self._aborts
        due: list[tuple[Request, bool]] = []
        while aborts and aborts[0][0] <= at:
            _when, request_id, counted = aborts.popleft()
            aborted = self._requests.get(request_id)
            if aborted is not None:
                due.append((aborted, counted))
        if not due:
            return
        for request in withdraw(self._arrivals, {request for request, _counted in due}):
            self._scheduler.add(request)  # no boundary has taken it in yet
        for request, counted in due:
            if request.request_id not in self._requests:
                continue  # aborted twice
            self._drop(request, at)
            if counted:
                self._ended.append(self._frontend.end(request, at))
            else:
                self._frontend.forget(request)

    def _drop(self, request: Request, at: float) -> None:
        if self._requests.pop(request.request_id, None) is not None:
            self._scheduler.abort(request, at)

    def _end_transfers(self, at: float) -> None:
        for request in self._transfers.settle(at):  # could not be loaded
            request.finish_reason = FinishReason.ERROR
            self._drop(request, at)
            self._ended.append(self._frontend.end(request, at))
        self._transfers.release(at)

    def _gauges(self, at: float) -> None:
        stats, scheduler = self.stats, self._scheduler
        stats.num_requests_running = len(scheduler.running)
        deferred = scheduler.num_deferred
        stats.num_requests_waiting_capacity = scheduler.num_waiting - deferred
        stats.num_requests_waiting_deferred = deferred
        stats.kv_cache_usage = self._kv.pool.usage
        if self._loras is not None:
            self._loras.report(stats, at)
        if self._transfers.used:
            self._transfers.report(stats, scheduler.waiting, scheduler.holding, at)

    def _plan(self, request: Request) -> None:
        request.plan_output(
            self._text.start(request), self.config.max_model_len, self.config.stop_order == "length-first"
        )
        self._scheduler.set_quiet(request)

    # -- control --------------------------------------------------------------------------------------------

    def pause(self, mode: Literal["new", "all"] = "all") -> None:
        """new: nothing is admitted, running sequences go on. all: nothing is scheduled."""
        self._scheduler.paused = mode

    def resume(self, now: float) -> None:
        """End `pause`."""
        self._scheduler.paused = "no"
        self._woken = now

    @property
    def is_paused(self) -> bool:
        return self._scheduler.paused != "no"

    def sleep(self, level: int, now: float) -> None:
        """vLLM's sleep: pauses, and from level 1 on drops the KV cache, preempting what runs.

        Level 0 only pauses. The gauge engine_sleep_state follows at once.
        """
        self.pause("all")
        if level > 0:
            self.reset_prefix_cache(now, reset_running_requests=True)
        self.stats.sleep_level = level

    def wake_up(self, now: float) -> None:
        """End `sleep`."""
        self.stats.sleep_level = 0
        self.resume(now)

    def stall(self, seconds: float, now: float) -> None:
        """A fault: the next step begins no earlier than `now + seconds`."""
        self._pace.not_before = max(self._pace.not_before, now + seconds)

    def reset_prefix_cache(self, now: float, reset_running_requests: bool = False) -> bool:
        """Forget all cached blocks. False, and nothing done, while blocks are in use.

        `reset_running_requests` preempts what runs first; it is computed again from the start.
        """
        if reset_running_requests:
            running = self._scheduler.running
            while running:
                self._scheduler.preempt(running.pop(), drop_stale_output=True)
            if self._scheduler.num_unfinished:
                self._woken = now
        return self._kv.pool.reset()

    def add_lora(self, lora: LoRARequest, now: float) -> float:
        """Load an adapter ahead of its requests; the engine stands still until the time that is returned.

        Raises EngineError where the engine has no adapters.
        """
        if self._loras is None:
            raise EngineError("this engine has no LoRA support: enable_lora is off")
        self.stall(self._loras.load(lora), now)
        return max(self._pace.not_before, now)

    @property
    def transfers(self) -> Transfers:
        """KV pulled from and handed to others; who links engines sets `link` and `engine_id`."""
        return self._transfers

    def kv_fetched(self, request_id: str, now: float) -> None:
        """A decode engine has pulled the blocks of this finished prefill: they are free from `now` on."""
        if self._transfers.let_go(request_id):
            self._woken = now

    def remove_lora(self, int_id: int) -> None:
        """Forget an adapter; requests in flight keep it until they end."""
        if self._loras is not None:
            self._loras.forget(int_id)

    def snapshot(self) -> dict[str, Any]:
        """The engine's state as JSON-able data, for people."""
        return {**described(self._scheduler), "next_step": self.peek()}

    def _check_after(self, step: StepOutput) -> None:
        try:
            self.check_invariants()
        except InvariantError as error:
            last = step.step + max(step.num_steps, 1) - 1
            raise InvariantError(f"after step {last}, at {step.end:.6f} s: {error}") from error

    def check_invariants(self) -> None:
        """Raise InvariantError where the state contradicts itself."""
        scheduler, arriving = self._scheduler, (request for _, request in self._arrivals)
        check(scheduler, self._requests, arriving)
        if scheduler.running and self._pace.check_idle() and self.peek() is None and not self.is_paused:
            raise InvariantError(f"{len(scheduler.running)} sequences run, but no step is due")


def _ids(requests: list[Request]) -> list[str]:
    return [request.request_id for request in requests]
