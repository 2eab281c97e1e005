"""From a scenario and one seed to the lines of its plan.

Each class has streams of its own; its units come in order of arrival, and classes are merged by time.
Closed-loop units stand first (they have no times). The same scenario and seed give the same bytes.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from loadgen.errors import ScenarioError
from loadgen.plan.arrivals import Schedule, schedule, stream
from loadgen.plan.plan import ClassPlan, PlanHeader, PlanLine, PlannedRequest, RetryPlan, SharedText
from loadgen.plan.production import ProductionMaker
from loadgen.plan.prompts import Maker, UnitSpec
from loadgen.plan.tokenizer import Tokenizer
from loadgen.plan.tracerow import Reading, TraceRow
from loadgen.plan.traces import read_trace
from loadgen.plan.words import sample, sample_count
from loadgen.scenario.presets import PRESETS
from loadgen.scenario.scenario import EVERY_ROW, ClassSpec, Scenario

POOL_PER_USER_SECOND = 20
POOL_LIMIT = 20_000
POOL_LEAST = 200


@dataclass(slots=True)
class ClassSource:
    """What a class needs to make its units."""

    spec: ClassSpec
    index: int
    seed: int
    rows: list[TraceRow]
    times: Schedule | None
    """None for a closed loop."""
    count: int
    tokens: Tokenizer | None
    notes: tuple[str, ...] = ()
    """What of its trace was left out."""

    def maker(self) -> Maker:
        if self.spec.workload.preset is not None:
            return ProductionMaker(self.spec, self.index, self.seed, self.tokens)
        return Maker(self.spec, self.index, self.seed, self.rows, self.tokens)


def _source(spec: ClassSpec, index: int, seed: int, tokens: Tokenizer | None) -> ClassSource:
    reading = Reading(tokens.count) if tokens is not None else Reading()
    if tokens is not None and spec.workload.form == "tokens":
        fitting = min(spec.workload.vocabulary, tokens.vocabulary)
        spec = replace(spec, workload=replace(spec.workload, vocabulary=fitting))
    rows = read_trace(spec.workload.trace, reading) if spec.workload.trace is not None else []
    if spec.arrival.requests == EVERY_ROW:
        spec = replace(spec, arrival=replace(spec.arrival, requests=len(rows)))
    arrival = spec.arrival
    if arrival.process == "closed":
        return ClassSource(spec, index, seed, rows, None, _pool_size(spec), tokens, reading.words)
    preset = PRESETS[spec.workload.preset] if spec.workload.preset is not None else None
    trace = np.array([row.at for row in rows]) if rows and rows[0].at is not None else None
    if arrival.process == "trace" and trace is None:
        raise _no_times(spec)
    times = schedule(arrival, stream(seed, spec.name, "arrivals"), preset, trace)
    return ClassSource(spec, index, seed, rows, times, len(times.offsets), tokens, reading.words)


def _no_times(spec: ClassSpec) -> ScenarioError:
    trace = spec.workload.trace
    assert trace is not None
    return ScenarioError(
        f"class {spec.name}: a {trace.format} trace has no times; give the class `arrival:` with a rate",
        file=trace.path,
    )


def _pool_size(spec: ClassSpec) -> int:
    """How many different requests a closed loop has: those asked for, or enough for its duration."""
    arrival = spec.arrival
    if arrival.requests is not None:
        return arrival.requests
    wanted = int(arrival.users * (arrival.duration or 0.0) * POOL_PER_USER_SECOND)
    return max(POOL_LEAST, arrival.users, min(POOL_LIMIT, wanted))


def _class_plan(spec: ClassSpec, tokens: Tokenizer | None) -> ClassPlan:
    retry, arrival = spec.retry, spec.arrival
    closed = arrival.process == "closed"
    return ClassPlan(
        api=spec.api,
        path=spec.path,
        stream=spec.stream,
        timeout=spec.timeout,
        ttft_timeout=spec.ttft_timeout,
        itl_timeout=spec.itl_timeout,
        session_token=spec.session_token,
        on_error=spec.workload.sessions.on_error if spec.workload.sessions else "abort",
        retry=RetryPlan(
            attempts=retry.attempts,
            on=retry.on,
            backoff=retry.backoff,
            factor=retry.factor,
            max_backoff=retry.max_backoff,
            jitter=retry.jitter,
            retry_after=retry.retry_after,
        ),
        users=arrival.users if closed else None,
        duration=arrival.duration if closed else None,
        pause_on_error=arrival.pause_on_error,
        wrap=closed and arrival.requests is None,
        process=arrival.process,
        words=tokens.words if tokens is not None else (),
        burstiness=arrival.burstiness if arrival.process == "gamma" else None,
    )


def _span(source: ClassSource) -> float:
    """Seconds from t0 to the end of a class's schedule."""
    arrival = source.spec.arrival
    if source.times is None:
        return arrival.duration or 0.0
    last = float(source.times.offsets[-1]) if source.count else 0.0
    if arrival.stages and arrival.requests is None:
        return max(last, arrival.offset + sum(stage.duration for stage in arrival.stages))
    if arrival.duration is not None and arrival.requests is None:
        return max(last, arrival.offset + arrival.duration)
    return last


def build_plan(scenario: Scenario) -> Iterator[PlanLine]:
    """The lines of the plan, header first."""
    tokens = Tokenizer(scenario.tokenizer) if scenario.tokenizer is not None else None
    sources = [_source(spec, index, scenario.seed, tokens) for index, spec in enumerate(scenario.classes)]
    yield PlanHeader(
        scenario=scenario.name,
        seed=scenario.seed,
        units=sum(source.count for source in sources),
        span=round(max(_span(source) for source in sources), 7),
        classes={source.spec.name: _class_plan(source.spec, tokens) for source in sources},
        numpy=np.__version__,
        yaml=scenario.text,
        source=scenario.source or "",
        notes=tuple(f"class {each.spec.name}: {note}" for each in sources for note in each.notes),
    )
    slots = itertools.count()
    closed = [source for source in sources if source.times is None]
    yield from _interleaved(closed, slots)
    opened = [_timed_units(source) for source in sources if source.times is not None]
    for _, _, source, number, made in heapq.merge(*opened, key=lambda item: item[:2]):
        assert source.times is not None
        yield from _lines(source, number, made, next(slots))


def _interleaved(sources: list[ClassSource], slots: itertools.count[int]) -> Iterator[PlanLine]:
    """Closed-loop units, class by class; each class's units are dealt out evenly over the slots."""
    for source in sources:
        units = _units(source)
        for number, made in enumerate(units):
            yield from _lines(source, number, made, next(slots))


# A unit, its model, its adapter, after how many tokens the client leaves, and the think time before it.
Made = tuple[UnitSpec, str, str | None, int | None, float]


def _units(source: ClassSource) -> Iterator[Made]:
    spec, maker = source.spec, source.maker()
    cancels = stream(source.seed, spec.name, "cancel")
    thinks = stream(source.seed, spec.name, "think")
    for number in range(source.count):
        model, adapter = maker.pick_model()
        if isinstance(maker, ProductionMaker):
            own = source.times.clients if source.times and spec.arrival.process == "clients" else None
            client = maker.any_client() if own is None else int(own[number])
            unit = maker.production_unit(client, model)
        else:
            unit = maker.unit(number, model)
        cancel = None
        if spec.cancel_after is not None:
            drawn, chance = sample_count(spec.cancel_after, cancels), cancels.random()
            cancel = drawn if chance < spec.cancel_share else None
        think = sample(spec.arrival.think, thinks) if spec.arrival.think is not None else 0.0
        yield unit, model, adapter, cancel, think


def _timed_units(source: ClassSource) -> Iterator[tuple[float, int, ClassSource, int, Made]]:
    assert source.times is not None
    offsets = source.times.offsets.tolist()
    for number, made in enumerate(_units(source)):
        yield offsets[number], source.index, source, number, made


def _lines(source: ClassSource, number: int, made: Made, slot: int) -> Iterator[PlanLine]:
    unit, model, adapter, cancel, think = made
    spec = source.spec
    for text, value in unit.own:
        yield SharedText(text=text, value=value, slot=slot)
    name = f"{spec.name}-{number:06d}"
    session = len(unit.turns) > 1 or spec.workload.sessions is not None
    at = float(source.times.offsets[number]) if source.times is not None else None
    stage = int(source.times.stages[number]) if source.times is not None else 0
    for turn, turn_spec in enumerate(unit.turns):
        identity = f"{name}.{turn}" if session else name
        yield PlannedRequest(
            slot=slot,
            id=identity,
            cls=spec.name,
            at=at if turn == 0 else None,
            think=round(turn_spec.think if turn else think, 6),
            stage=stage,
            model=model,
            adapter=adapter,
            group=unit.group,
            session=name if session else None,
            turn=turn if session else None,
            turns=len(unit.turns) if session else None,
            prompt_tokens=turn_spec.prompt_tokens,
            shared_tokens=turn_spec.shared_tokens,
            max_tokens=turn_spec.max_tokens,
            cancel=cancel,
            headers={"x-request-id": identity, **spec.headers},
            body=turn_spec.body,
        )
