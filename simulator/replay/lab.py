"""Engines in virtual time under one trace: who gets which request, and what became of it."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from simulator.engine.config import EngineConfig
from simulator.engine.core import Engine
from simulator.engine.outputs import RequestOutput
from simulator.engine.pace.latency import LatencyModel
from simulator.engine.request import Request, SamplingParams
from simulator.engine.text.text_source import ConstantText
from simulator.errors import ConfigError
from simulator.replay.prompts import Prefixes
from simulator.replay.trace import TraceRequest
from simulator.replay.world import Station, World

POLICIES = ("round-robin", "random", "least-requests", "prefix")
_LOOKS_AT_ENGINES = frozenset({"least-requests", "prefix"})
_AHEAD = 256  # requests that others place before the engines run: a bound on prompts in memory
_DRAIN_SECONDS = 10.0  # virtual seconds between two looks at how far the end is
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
    series: list[dict[str, Any]] = field(default_factory=list)  # load of each engine over time


class Lab:
    """`num_engines` equal engines behind one policy. `make_latency(i)` gives engine i its latency model.

    `sample_every` seconds each engine's load goes into the run's series.
    """

    def __init__(
        self,
        config: EngineConfig,
        make_latency: Callable[[int], LatencyModel],
        *,
        num_engines: int = 1,
        policy: str = "round-robin",
        seed: int = 0,
        sample_every: float | None = None,
    ) -> None:
        text = ConstantText(_ANSWER_TOKEN)
        self._config = config
        self._world = World()
        for i in range(num_engines):
            station = Station(Engine(config, make_latency(i), text, None), self._take)
            self._world.add(station)
        self._prefixes = Prefixes(config.block_size)
        self._inflight = [0] * num_engines
        self._policy = policy
        self._rng = Random(seed)
        self._next = 0
        self._traced: dict[str, tuple[TraceRequest, int]] = {}
        self._run = Run()
        self._sample_every = sample_every
        self._placed = False

    def replay(self, requests: Sequence[TraceRequest], progress: Progress | None = None) -> Run:
        """Runs the trace to its end. Raises ConfigError for a request that can never fit."""
        for request in requests:
            if (why := request.over_long(self._config)) is not None:
                raise ConfigError(f"request {request.name}: {why}")
        started = time.perf_counter()
        with few_collections():
            if self._sample_every is not None:
                self._world.at(0.0, self._sample, 0)
            self._place(requests, progress)
            self._placed = True
            world = self._world
            while not world.is_idle():
                world.run_until(max(self._run.end, world.now) + _DRAIN_SECONDS)
                if progress is not None:
                    progress(len(self._run.outcomes), len(requests), world.now)
        run = self._run
        run.wall_seconds = time.perf_counter() - started
        run.steps = sum(station.steps for station in world.stations)
        run.end = max((station.end for station in world.stations), default=0.0)
        run.preemptions = sum(outcome.preemptions for outcome in run.outcomes)
        return run

    def _place(self, requests: Sequence[TraceRequest], progress: Progress | None) -> None:
        """Give each request to an engine; a policy that looks at engines sees them as they are by then."""
        looks = self._policy in _LOOKS_AT_ENGINES
        for number, traced in enumerate(requests):
            if looks or not number % _AHEAD:
                self._world.run_until(traced.arrival)
            self._submit(traced, f"{number}-{traced.name}")
            if progress is not None:
                progress(len(self._run.outcomes), len(requests), traced.arrival)

    def _submit(self, traced: TraceRequest, request_id: str) -> None:
        sampling = SamplingParams(max_tokens=traced.output_tokens, ignore_eos=True)
        ids, hashes = self._prefixes.lay_out(traced.prompt)
        request = Request(request_id, ids, sampling, stream=False, block_hashes=hashes)
        index = self._choose(request)
        self._traced[request_id] = (traced, index)
        self._inflight[index] += 1
        self._world.give(self._world.stations[index], request, traced.arrival)

    def _sample(self, number: int) -> None:
        """A row for each engine, and again while there is work."""
        world, every = self._world, self._sample_every
        assert every is not None
        for index, station in enumerate(world.stations):
            stats = station.engine.stats
            self._run.series.append(
                {
                    "t": number * every,
                    "engine": index,
                    "running": stats.num_requests_running,
                    "waiting": stats.num_requests_waiting,
                    "kv_usage": stats.kv_cache_usage,
                    "prompt_tokens": stats.prompt_tokens,
                    "output_tokens": stats.generation_tokens,
                }
            )
        if self._traced or not self._placed:
            world.at((number + 1) * every, self._sample, number + 1)

    def _choose(self, request: Request) -> int:
        count = len(self._inflight)
        if self._policy == "least-requests":
            return min(range(count), key=self._inflight.__getitem__)
        if self._policy == "random":
            return self._rng.randrange(count)
        if self._policy == "prefix":
            return min(range(count), key=lambda index: (-self._cached(index, request), self._inflight[index]))
        self._next += 1
        return (self._next - 1) % count

    def _cached(self, index: int, request: Request) -> int:
        return self._world.stations[index].engine.num_cached_tokens(request)

    def _take(self, output: RequestOutput) -> None:
        request = output.request
        if output.finish_reason is None or request.first_token_time is None:
            return
        traced, index = self._traced.pop(request.request_id)
        self._inflight[index] -= 1
        last = request.last_token_time
        self._run.outcomes.append(
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
def few_collections() -> Iterator[None]:
    """An engine makes hardly any cycles, and a collection looks at all of a trace."""
    thresholds = gc.get_threshold()
    gc.set_threshold(100_000, 50, 100)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
