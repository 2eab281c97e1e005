"""Engines in virtual time under one trace: who gets which request, and what became of it."""

from __future__ import annotations

import contextlib
import gc
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

from simulator.engine.config import EngineConfig
from simulator.engine.core import Engine
from simulator.engine.outputs import StepOutput
from simulator.engine.pace.latency import LatencyModel
from simulator.engine.request import Request, SamplingParams
from simulator.engine.text.text_source import ConstantText
from simulator.errors import ConfigError
from simulator.replay.trace import TraceRequest

POLICIES = ("round-robin", "random", "least-requests", "prefix")
_LOOKS_AT_ENGINES = frozenset({"least-requests"})  # others may place the whole trace before it runs
_PREFIX_TOKENS = 256
_ANSWER_TOKEN = 1000  # what every answer consists of; nobody reads it

Progress = Callable[[int, int, float], None]  # requests done, requests, virtual seconds


@dataclass(slots=True)
class Outcome:
    """One request after the run; times in seconds on the trace's clock."""

    request: TraceRequest
    engine: int
    first_token: float
    last_token: float
    cached_tokens: int
    preemptions: int

    @property
    def ttft(self) -> float:
        return self.first_token - self.request.arrival

    @property
    def e2e(self) -> float:
        return self.last_token - self.request.arrival

    @property
    def tpot(self) -> float | None:
        """None for answers of one token."""
        tokens = self.request.output_tokens
        return (self.last_token - self.first_token) / (tokens - 1) if tokens > 1 else None


@dataclass(slots=True)
class Run:
    """What a replay found. `wall_seconds` is real time, everything else virtual."""

    outcomes: list[Outcome] = field(default_factory=list)
    steps: int = 0
    preemptions: int = 0
    end: float = 0.0
    wall_seconds: float = 0.0


class Lab:
    """`num_engines` equal engines behind one policy. `make_latency(i)` gives engine i its latency model."""

    def __init__(
        self,
        config: EngineConfig,
        make_latency: Callable[[int], LatencyModel],
        *,
        num_engines: int = 1,
        policy: str = "round-robin",
        seed: int = 0,
    ) -> None:
        text = ConstantText(_ANSWER_TOKEN)
        self._config = config
        self._engines = [Engine(config, make_latency(i), text, None) for i in range(num_engines)]
        self._inflight = [0] * num_engines
        self._policy = policy
        self._rng = Random(seed)
        self._next = 0
        self._traced: dict[str, tuple[TraceRequest, int]] = {}
        self._run = Run()

    def replay(self, requests: Sequence[TraceRequest], progress: Progress | None = None) -> Run:
        """Runs the trace to its end. Raises ConfigError for a request that can never fit."""
        for request in requests:
            self._validate(request)
        started = time.perf_counter()
        with _few_collections():
            for number, traced in enumerate(requests):
                if self._policy in _LOOKS_AT_ENGINES:
                    for index in range(len(self._engines)):
                        self._advance(index, traced.arrival)
                self._submit(traced, f"{number}-{traced.name}")
                if progress is not None:
                    progress(len(self._run.outcomes), len(requests), traced.arrival)
            for index in range(len(self._engines)):
                self._drain(index, len(requests), progress)
        self._run.wall_seconds = time.perf_counter() - started
        self._run.preemptions = sum(outcome.preemptions for outcome in self._run.outcomes)
        return self._run

    def _validate(self, traced: TraceRequest) -> None:
        tokens = len(traced.prompt_token_ids) + traced.output_tokens
        capacity = (self._config.num_gpu_blocks - 1) * self._config.block_size
        if tokens > self._config.max_model_len:
            raise ConfigError(
                f"request {traced.name}: {tokens} tokens exceed max_model_len {self._config.max_model_len}"
            )
        if tokens > capacity:
            raise ConfigError(
                f"request {traced.name}: {tokens} tokens exceed the KV cache of {capacity} tokens "
                f"({self._config.num_gpu_blocks} blocks of {self._config.block_size})"
            )

    def _submit(self, traced: TraceRequest, request_id: str) -> None:
        index = self._choose(traced)
        sampling = SamplingParams(max_tokens=traced.output_tokens, ignore_eos=True)
        request = Request(request_id, traced.prompt_token_ids, sampling, stream=False)
        self._traced[request_id] = (traced, index)
        self._inflight[index] += 1
        self._engines[index].add_request(request, traced.arrival)

    def _choose(self, traced: TraceRequest) -> int:
        count = len(self._engines)
        if self._policy == "least-requests":
            return min(range(count), key=self._inflight.__getitem__)
        if self._policy == "random":
            return self._rng.randrange(count)
        if self._policy == "prefix":
            head = traced.prompt_token_ids[:_PREFIX_TOKENS]
            return zlib.crc32(b"".join(i.to_bytes(8, "little") for i in head)) % count
        self._next += 1
        return (self._next - 1) % count

    def _advance(self, index: int, until: float) -> None:
        """Everything that engine `index` does up to `until`."""
        engine = self._engines[index]
        while (due := engine.peek()) is not None and due <= until:
            for step in engine.fast_forward(until):
                self._take(step)

    def _drain(self, index: int, total: int, progress: Progress | None) -> None:
        engine = self._engines[index]
        while (due := engine.peek()) is not None:
            for step in engine.fast_forward(float("inf"), max_steps=5000):
                self._take(step)
            if progress is not None:
                progress(len(self._run.outcomes), total, due)

    def _take(self, step: StepOutput) -> None:
        run = self._run
        run.steps += step.num_steps
        run.end = max(run.end, step.end)
        for output in step.outputs:
            request = output.request
            if output.finish_reason is None or request.first_token_time is None:
                continue
            traced, index = self._traced.pop(request.request_id)
            self._inflight[index] -= 1
            last = request.last_token_time
            run.outcomes.append(
                Outcome(
                    request=traced,
                    engine=index,
                    first_token=request.first_token_time,
                    last_token=request.first_token_time if last is None else last,
                    cached_tokens=max(request.num_cached_tokens, 0),
                    preemptions=request.num_preemptions,
                )
            )


@contextlib.contextmanager
def _few_collections() -> Iterator[None]:
    """An engine makes hardly any cycles, and a collection looks at all of a trace."""
    thresholds = gc.get_threshold()
    gc.set_threshold(100_000, 50, 100)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
