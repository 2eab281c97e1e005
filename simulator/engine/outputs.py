"""What a step of the engine gives back. A step is data; drivers deliver it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from simulator.engine.kv.events import KVEvent
from simulator.engine.request import FinishReason, Request


@dataclass(slots=True)
class RequestOutput:
    """Tokens of one sequence that became visible at `time`.

    A request with `stream` set gets one output for each token. One without gets a single output with
    everything, when it finishes (vLLM's FINAL_ONLY). `text` is the delta, already detokenised and cut at a
    stop string. `finish_reason` is None until the last output. `cached_tokens` stands on the request
    (`num_cached_tokens`, `num_external_cached_tokens`).
    """

    request: Request
    new_token_ids: list[int]
    text: str
    time: float
    finish_reason: FinishReason | None = None
    stop_reason: int | str | None = None
    kv_transfer_params: dict[str, Any] | None = None


@dataclass(slots=True)
class StepOutput:
    """One engine step, or a stretch of `num_steps` decode steps that was taken at once.

    `step` is the index of the (first) step, `start` when its work began and `end` when the (last) one was
    done. `num_steps` 0: a boundary at which no step ended. In a single step `times` is empty. In a stretch it
    holds the end of each step, `scheduled` is what every one of them scheduled (empty where they differ:
    sequences with timelines of their own), `outputs` are in order of time for each sequence, and the lists
    of ids also hold what the schedules of steps under way did.
    """

    step: int
    start: float
    end: float
    scheduled: dict[Request, int] = field(default_factory=dict)
    outputs: list[RequestOutput] = field(default_factory=list)
    new: Sequence[str] = ()
    resumed: Sequence[str] = ()
    preempted: Sequence[str] = ()
    finished: Sequence[str] = ()
    kv_events: Sequence[KVEvent] = ()
    num_steps: int = 1
    times: list[float] = field(default_factory=list)
