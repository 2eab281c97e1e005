"""What is sent: a plan of `loadgen plan`, or a trace. No other module knows how a plan is written.

A `Unit` is what one user does on its own, a request or all turns of a session. Open units begin at their
time; units of a closed loop are taken by its users.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

from gateway.errors import UsageError
from loadgen.errors import LoadgenError
from loadgen.plan.plan import (
    Answer,
    ClassPlan,
    Piece,
    PlannedRequest,
    SharedText,
    join_body,
    read_plan,
    read_plan_header,
)
from simulator.replay.trace import TraceRequest

TRACE_CLASS = "trace"


@dataclass(slots=True)
class Ask:
    """One request that is meant to be sent. `at` is seconds after the start, None for what follows another.

    Either `pieces` make its body, or it is a line of a trace.
    """

    id: str
    cls: str
    at: float | None = None
    think: float = 0.0
    stage: int = 0
    model: str = ""
    adapter: str | None = None
    group: str | None = None
    session: str | None = None
    turn: int | None = None
    max_tokens: int | None = None
    prompt_tokens: int = 0  # in words, as the plan aimed at
    shared_tokens: int = 0
    cancel: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    pieces: Sequence[Piece] = ()
    traced: TraceRequest | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """How the requests of a class are sent; seconds."""

    path: str = "/v1/completions"
    stream: bool = True
    timeout: float = inf
    attempts: int = 1
    retry_on: tuple[str, ...] = ()
    backoff: float = 0.5
    factor: float = 2.0
    max_backoff: float = 30.0
    jitter: float = 0.1
    session_token: bool = False
    goes_on: bool = False  # a session goes on after a turn that failed
    users: int | None = None
    duration: float | None = None
    wrap: bool = False
    pause_on_error: float = 0.1


@dataclass(slots=True)
class Unit:
    """The turns of one user's doing, and the texts that only they use."""

    rules: Rules
    asks: list[Ask]
    texts: dict[int, str] = field(default_factory=dict)


@dataclass(slots=True)
class Feed:
    """Everything that is to be sent. `span` is when the schedule ends."""

    name: str
    seed: int = 0
    span: float = 0.0
    planned: int = 0
    classes: dict[str, Rules] = field(default_factory=dict)
    opened: list[Unit] = field(default_factory=list)  # in order of their start
    closed: dict[str, list[Unit]] = field(default_factory=dict)
    shared: dict[int, str] = field(default_factory=dict)
    plan: Path | None = None  # where the plan stands, if there is one
    notes: list[str] = field(default_factory=list)

    @property
    def has_feedback(self) -> bool:
        """Whether what an engine says can make a request due, or its client leave."""
        return (
            bool(self.closed)
            or any(rules.attempts > 1 for rules in self.classes.values())
            or any(len(unit.asks) > 1 or unit.asks[0].cancel is not None for unit in self.opened)
        )

    @property
    def needs_text(self) -> bool:
        """Whether what engines say has to be words: a later turn repeats it, or a word may end it."""
        units = [*self.opened, *(unit for units in self.closed.values() for unit in units)]
        return any(
            isinstance(piece, Answer) or _may_stop(piece)
            for unit in units
            for ask in unit.asks
            for piece in ask.pieces
        )

    def body(self, unit: Unit, ask: Ask, answers: dict[int, str]) -> bytes:
        """The bytes of a request, with what was answered to the turns before it."""
        return join_body(ask.pieces, {**self.shared, **unit.texts} if unit.texts else self.shared, answers)


def _may_stop(piece: Piece) -> bool:
    return isinstance(piece, str) and '"stop"' in piece


def feed_of_plan(path: Path) -> Feed:
    """A plan whole. UsageError for a file that is none."""
    try:
        header = read_plan_header(path)
        feed = Feed(header.scenario or path.stem, header.seed, header.span, plan=path)
        feed.classes = {name: _rules(plan) for name, plan in header.classes.items()}
        for unit in _units(path, feed):
            feed.planned += len(unit.asks)
            if unit.rules.users is None:
                feed.opened.append(unit)
            else:
                feed.closed.setdefault(unit.asks[0].cls, []).append(unit)
    except LoadgenError as error:
        raise UsageError(f"--plan {path}: {error}") from error
    feed.opened.sort(key=lambda unit: unit.asks[0].at or 0.0)
    return feed


def yaml_of_plan(path: Path) -> str:
    """The scenario that a plan was made of, as YAML. UsageError for a file that is no plan."""
    try:
        return read_plan_header(path).yaml
    except LoadgenError as error:
        raise UsageError(f"--plan {path}: {error}") from error


def _rules(plan: ClassPlan) -> Rules:
    retry = plan.retry
    return Rules(
        path=plan.path,
        stream=plan.stream,
        timeout=min(plan.timeout, inf),
        attempts=retry.attempts,
        retry_on=retry.on,
        backoff=retry.backoff,
        factor=retry.factor,
        max_backoff=retry.max_backoff,
        jitter=retry.jitter,
        session_token=plan.session_token,
        goes_on=plan.on_error != "abort",
        users=plan.users,
        duration=plan.duration,
        wrap=plan.wrap,
        pause_on_error=plan.pause_on_error,
    )


def _units(path: Path, feed: Feed) -> Iterator[Unit]:
    own: dict[int, dict[int, str]] = {}
    turns: list[Ask] = []
    left = 0
    for line in read_plan(path):
        if isinstance(line, SharedText):
            (feed.shared if line.slot is None else own.setdefault(line.slot, {}))[line.text] = line.value
            continue
        if not left:
            turns, left = [], line.turns or 1
        turns.append(_ask(line))
        left -= 1
        if not left:
            yield Unit(feed.classes[line.cls], turns, own.pop(line.slot, {}))


def _ask(line: PlannedRequest) -> Ask:
    return Ask(
        id=line.id,
        cls=line.cls,
        at=line.at,
        think=line.think,
        stage=line.stage,
        model=line.model,
        adapter=line.adapter,
        group=line.group,
        session=line.session,
        turn=line.turn,
        max_tokens=line.max_tokens,
        prompt_tokens=line.prompt_tokens,
        shared_tokens=line.shared_tokens,
        cancel=line.cancel,
        headers=line.headers,
        pieces=line.body,
    )


def feed_of_trace(name: str, requests: Sequence[TraceRequest], model: str) -> Feed:
    """A trace's requests, each to be sent at its time, with answers of exactly its lengths."""
    rules = Rules()
    feed = Feed(name, classes={TRACE_CLASS: rules}, planned=len(requests))
    for traced in requests:
        ask = Ask(
            traced.name,
            TRACE_CLASS,
            traced.arrival,
            model=model,
            max_tokens=traced.output_tokens,
            traced=traced,
        )
        feed.opened.append(Unit(rules, [ask]))
    feed.span = requests[-1].arrival if requests else 0.0
    return feed
