"""One measured run through a real engine with trial coefficients: what each request's times are made of.

With the schedule fixed, every measured interval is a sum of steps, and every step is linear in the
coefficients. So a trial gives rows of a linear system: for each request the steps between its first and its
last token, and those between its arrival and its first token.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from simulator.engine.config import EngineConfig
from simulator.engine.core import Engine
from simulator.engine.pace.latency import BatchShape, StepCoefficients, StepModel
from simulator.engine.request import Request, SamplingParams
from simulator.engine.text.text_source import ConstantText
from simulator.replay.trace import TraceRequest

# c0, c1, c2, c3, c4, c5 of StepCoefficients, and the constant of the API; all in microseconds.
NAMES = ("c0", "c1", "c2", "c3", "c4", "c5", "api")
_STEP = len(NAMES) - 1
_MICRO = 1e-6
_ANSWER_TOKEN = 1000
# Steps that pass at least before a first token: the one under way, one already decided, its own.
_UNQUEUED = 4
Terms = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class MeasuredRun:
    """Requests of one engine on one clock; `client_side`: times were taken at the API's other end.

    Those without `measured` were part of the load and are not fitted.
    """

    name: str
    requests: Sequence[TraceRequest]
    client_side: bool = False


@dataclass(frozen=True, slots=True)
class Predicted:
    """What a trial says of one request: seconds on the run's clock, and the terms of both intervals."""

    request: TraceRequest
    first_token: float
    last_token: float
    queued: bool
    """It waited for more than the step under way."""
    before: Terms
    """Terms of arrival to first token, the API's constant among them."""
    between: Terms
    """Terms of first to last token."""


@dataclass(slots=True)
class Reach:
    """The most that any step of the trials has had of each thing."""

    sequences: int = 0
    step_tokens: int = 0
    kv_tokens: int = 0
    prompt_tokens: int = 0
    queued: int = 0


class _Recording:
    """A step model that remembers the shape of every step; it takes none of them at once."""

    lockstep = True
    factor = 1.0

    def __init__(self, coefficients: StepCoefficients, reach: Reach, api: float) -> None:
        self.api = api
        self._model = StepModel(coefficients)
        self._knee = coefficients.k
        self._reach = reach
        self.terms: list[Terms] = []
        self.seconds: list[float] = []

    def step_seconds(self, batch: BatchShape) -> float:
        tokens, knee, reach = batch.prefill_tokens + batch.num_decodes, self._knee, self._reach
        self.terms.append(
            (
                1.0 if tokens else 0.0,
                float(min(tokens, knee)),
                float(max(0, tokens - knee)),
                float(batch.num_sequences),
                float(batch.decode_kv_tokens),
                batch.prefill_attention,
            )
        )
        reach.sequences = max(reach.sequences, batch.num_sequences)
        reach.step_tokens = max(reach.step_tokens, tokens)
        reach.kv_tokens = max(reach.kv_tokens, batch.decode_kv_tokens)
        seconds = self._model.step_seconds(batch)
        self.seconds.append(seconds)
        return seconds

    def decode_line(self, num_decodes: int) -> tuple[float, float] | None:
        return None

    def sequence_seconds(
        self, request: Request, num_new_tokens: int, is_prefill: bool, num_running: int
    ) -> float:
        return self._model.sequence_seconds(request, num_new_tokens, is_prefill, num_running)

    def kv_transfer_seconds(self, request: Request, num_tokens: int) -> float:
        return 0.0

    def lora_load_seconds(self, lora: object) -> float:
        return 0.0


def coefficients_of(beta: Sequence[float], knee: int) -> StepCoefficients:
    """The step's part of fitted coefficients."""
    c0, c1, c2, c3, c4, c5, _ = beta
    return StepCoefficients(c0=c0, c1=c1, c2=c2, k=knee, c3=c3, c4=c4, c5=c5)


def trial(
    run: MeasuredRun, config: EngineConfig, beta: Sequence[float], knee: int, reach: Reach | None = None
) -> list[Predicted]:
    """The run again, in virtual time; one prediction a request, in the run's order.

    `beta` has microseconds in the order of NAMES. Raises EngineError for a request that cannot fit.
    """
    seen = reach if reach is not None else Reach()
    api = beta[-1] * _MICRO if run.client_side else 0.0
    model = _Recording(coefficients_of(beta, knee), seen, api)
    engine = Engine(config, model, ConstantText(_ANSWER_TOKEN), None)
    for number, traced in enumerate(run.requests):
        sampling = SamplingParams(max_tokens=traced.output_tokens, ignore_eos=True)
        request = Request(str(number), traced.prompt.token_ids(), sampling, stream=False)
        engine.add_request(request, traced.arrival + api)
        seen.prompt_tokens = max(seen.prompt_tokens, traced.prompt.length)
    times: dict[int, tuple[float, float]] = {}
    ends: list[float] = []
    while (due := engine.peek()) is not None:
        step = engine.step(due)
        if step.num_steps:
            ends.append(step.end)
        for output in step.outputs:
            done = output.request
            if output.finish_reason is not None and done.first_token_time is not None:
                last = done.last_token_time
                first = done.first_token_time
                times[int(done.request_id)] = (first, first if last is None else last)
    return _read(run, times, ends, model, seen)


def _read(
    run: MeasuredRun,
    times: dict[int, tuple[float, float]],
    ends: list[float],
    model: _Recording,
    reach: Reach,
) -> list[Predicted]:
    api = model.api
    sums: list[Terms] = [(0.0,) * _STEP]
    for terms in model.terms[: len(ends)]:
        sums.append(tuple(a + b for a, b in zip(sums[-1], terms, strict=True)))
    found = []
    for number, traced in enumerate(run.requests):
        first, last = times[number]
        at_first, at_last = bisect_right(ends, first), bisect_right(ends, last)
        between = tuple(b - a for a, b in zip(sums[at_first], sums[at_last], strict=True))
        arrival = traced.arrival + api
        at = bisect_right(ends, arrival)
        before = [b - a for a, b in zip(sums[at], sums[at_first], strict=True)]
        spent = arrival - (ends[at] - model.seconds[at])
        if spent > 0 and model.seconds[at] > 0:  # the step under way had begun before
            share = spent / model.seconds[at]
            before = [a - share * b for a, b in zip(before, model.terms[at], strict=True)]
        queued = at_first - at > _UNQUEUED + traced.prompt.length // max(1, reach.step_tokens)
        reach.queued += queued
        constant = 1.0 if run.client_side else 0.0
        found.append(Predicted(traced, first, last, queued, (*before, constant), (*between, 0.0)))
    return found
