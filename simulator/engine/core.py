"""Engine: one vLLM engine as a state machine without I/O, clock or threads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from simulator.engine.config import EngineConfig
from simulator.engine.latency import LatencyModel
from simulator.engine.outputs import RequestOutput, StepOutput
from simulator.engine.request import LoRARequest, Request
from simulator.engine.stats import EngineStats
from simulator.engine.text import TextSource
from simulator.engine.tokenizer import Tokenizer

__all__ = ["Engine", "RequestOutput", "StepOutput"]


class Engine:
    """Scheduler, KV cache, LoRA slots, text and metrics of one replica.

    All times are monotonic seconds on the caller's clock. Requests and aborts take effect at the first step
    boundary at or after their `now`, however late `step` is called, so a late driver does not move the
    timeline.
    """

    config: EngineConfig
    latency: LatencyModel  # its `factor` may be changed while running
    stats: EngineStats

    def __init__(
        self,
        config: EngineConfig,
        latency: LatencyModel,
        text: TextSource,
        tokenizer: Tokenizer,
        custom_buckets: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        raise NotImplementedError

    def add_request(self, request: Request, now: float) -> None:
        """Queue a sequence. Raises EngineError: duplicate id, empty prompt, prompt that can never fit."""
        raise NotImplementedError

    def abort(
        self, request_ids: Iterable[str], now: float, by: Literal["client", "server"] = "client"
    ) -> None:
        """End sequences at the next step boundary; unknown ids are ignored.

        A client's abort gives no output and does not count in request_success; a server's (shutdown, pause)
        gives a last output with FinishReason.ABORT and counts.
        """
        raise NotImplementedError

    def peek(self) -> float | None:
        """Absolute time at which `step` has something to do; None: idle."""
        raise NotImplementedError

    def step(self, now: float) -> StepOutput:
        """Complete the step that is due at peek() <= now and schedule the next.

        Raises EngineError when nothing is due.
        """
        raise NotImplementedError

    def fast_forward(self, until: float, max_steps: int = 100_000) -> list[StepOutput]:
        """Everything that is due up to and including `until`; the same results as calling `step` in a loop.

        Stretches of steady decode come as one StepOutput with `num_steps` > 1. Drivers may always call this
        instead of `step`. Stops early after `max_steps`.
        """
        raise NotImplementedError

    @property
    def num_unfinished(self) -> int:
        """Sequences that are queued or running, those not yet taken in included."""
        raise NotImplementedError

    def pause(self, mode: Literal["new", "all"] = "all") -> None:
        """new: nothing is admitted, running sequences go on. all: nothing is scheduled."""
        raise NotImplementedError

    def resume(self, now: float) -> None:
        raise NotImplementedError

    @property
    def is_paused(self) -> bool:
        raise NotImplementedError

    def sleep(self, level: int, now: float) -> None:
        """vLLM's sleep: pauses and drops the prefix cache; running sequences are preempted. Level 0 only pauses."""
        raise NotImplementedError

    def wake_up(self, now: float) -> None:
        raise NotImplementedError

    def stall(self, seconds: float, now: float) -> None:
        """A fault: the next step begins no earlier than `now + seconds`."""
        raise NotImplementedError

    def reset_prefix_cache(self, now: float, reset_running_requests: bool = False) -> bool:
        """Forget all cached blocks; False (and nothing done) while blocks are in use, unless preempted first."""
        raise NotImplementedError

    def add_lora(self, lora: LoRARequest, now: float) -> None:
        """Load an adapter ahead of its requests (host and GPU slot if one is free)."""
        raise NotImplementedError

    def remove_lora(self, int_id: int) -> None:
        """Forget an adapter; requests in flight keep it until they end."""
        raise NotImplementedError

    def snapshot(self) -> dict[str, Any]:
        """The engine's state as JSON-able data, for people."""
        raise NotImplementedError

    def check_invariants(self) -> None:
        """Raise InvariantError where the state contradicts itself."""
        raise NotImplementedError
