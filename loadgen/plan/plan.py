"""The plan: every intended request of a run, computed before it, in a file.

A plan is JSONL. The first line is the `PlanHeader`; a line with `text` holds a piece of body that several
requests share; every other line is a `PlannedRequest` whose `body` is a list of pieces: a string stands for
itself, a number for the shared piece of that number, `{"answer": k}` for what the server really answered
to turn k of the same session, `[size, seed, vocabulary]` for a text that is made of a `words.Recipe` when
it is sent, so that a plan stays small whatever its prompts are. Joined and encoded as UTF-8 the pieces are
the body, byte for byte.

`slot` says which worker sends a request (slot modulo the number of workers): one slot for each
independent request, one for all turns of a session. Workers share the schedule and no seeds.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import msgspec

from loadgen.errors import RunError, ScenarioError
from loadgen.numbers.jsonl import NO_JSON, JsonlWriter
from loadgen.plan.words import Recipe, made

PLAN_VERSION = 2  # since 2 there are recipes; plans of version 1 hold none and are read as ever
_READ = (1, 2)


class Answer(msgspec.Struct):
    """Place of the real answer to an earlier turn, escaped for a JSON string."""

    answer: int


Piece: TypeAlias = str | int | Answer | Recipe


class RetryPlan(msgspec.Struct, kw_only=True, frozen=True):
    """scenario.Retry, as a plan carries it."""

    attempts: int = 1
    on: tuple[str, ...] = ()
    backoff: float = 0.5
    factor: float = 2.0
    max_backoff: float = 30.0
    jitter: float = 0.1
    retry_after: bool = True


class ClassPlan(msgspec.Struct, kw_only=True):
    """How one class speaks to the server; the same for all its requests."""

    api: str = "completions"
    path: str = "/v1/completions"
    stream: bool = True
    timeout: float = 60.0
    ttft_timeout: float | None = None
    itl_timeout: float | None = None
    session_token: bool = False
    on_error: str = "abort"
    retry: RetryPlan = RetryPlan()
    users: int | None = None
    """Closed loop: how many users share the class's requests; None is an open loop."""
    duration: float | None = None
    """Closed loop: users start nothing later than this; None ends with the requests."""
    wrap: bool = False
    """Closed loop: requests are used again from the first when a duration outlasts them."""
    pause_on_error: float = 0.1
    """Closed loop: seconds that a user waits after a failure, besides thinking."""
    process: str = "poisson"
    burstiness: float | None = None
    words: tuple[str, ...] = ()
    """Of which recipes make text; none are those of words.py."""

    @property
    def patience(self) -> tuple[float | None, float | None] | None:
        """Seconds for the first token and between tokens; None where neither has a limit of its own."""
        if self.ttft_timeout is None and self.itl_timeout is None:
            return None
        return self.ttft_timeout, self.itl_timeout


class PlanHeader(msgspec.Struct, kw_only=True):
    """First line of a plan."""

    plan: int = PLAN_VERSION
    scenario: str = ""
    seed: int = 0
    units: int = 0
    """Slots: single requests and whole sessions."""
    span: float = 0.0
    """Seconds from t0 to the end of the schedule."""
    classes: dict[str, ClassPlan] = {}
    numpy: str = ""
    yaml: str = ""
    source: str = ""
    notes: tuple[str, ...] = ()
    """What of the scenario's traces is not in the plan."""


class SharedText(msgspec.Struct, kw_only=True):
    """A piece of body used by several requests; `slot` is given when only one slot uses it."""

    text: int
    value: str
    slot: int | None = None


class PlannedRequest(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One intended request.

    at: seconds after t0; None for what follows something else (a later turn, a closed loop), which
    starts `think` seconds after it. `prompt_tokens` and `shared_tokens` (the group's common prefix) are
    what the plan aimed at in words; the server's usage says what it counted.
    """

    slot: int
    id: str
    cls: str = msgspec.field(name="class")
    at: float | None = None
    think: float = 0.0
    stage: int = 0
    model: str = ""
    adapter: str | None = None
    group: str | None = None
    session: str | None = None
    turn: int | None = None
    turns: int | None = None
    prompt_tokens: int = 0
    shared_tokens: int = 0
    max_tokens: int | None = None
    cancel: int | None = None
    headers: dict[str, str] = {}
    body: list[Piece]


PlanLine: TypeAlias = PlanHeader | SharedText | PlannedRequest

_header = msgspec.json.Decoder(PlanHeader)
_text = msgspec.json.Decoder(SharedText)
_request = msgspec.json.Decoder(PlannedRequest)


def write_plan(path: Path, lines: Iterable[PlanLine]) -> None:
    """Write a plan; the header comes first. A plan that is there is replaced, RunError for any other file."""
    _clear(path)
    writer = JsonlWriter(path)
    try:
        for line in lines:
            writer.write(line)
    finally:
        writer.close()


def _clear(path: Path) -> None:
    """Remove the plan at `path`."""
    if not os.path.lexists(path):
        return
    try:
        if path.is_symlink() or not path.is_file():  # a pipe would be read for ever
            raise ScenarioError("is no file", path)
        read_plan_header(path)
    except ScenarioError as error:
        raise RunError(
            f"{path} is there and no plan of this version, so it stays as it is: give another name ({error})"
        ) from error
    path.unlink()


def read_plan_header(path: Path) -> PlanHeader:
    """The header of a plan; ScenarioError when the file is none."""
    try:
        with path.open("rb") as file:
            header = _header.decode(file.readline())
    except OSError as error:
        raise ScenarioError(f"cannot be read: {error.strerror}", file=path) from error
    except NO_JSON as error:
        raise ScenarioError(f"is not a plan of `loadgen plan`: {error}", file=path, line=1) from error
    if header.plan not in _READ:
        raise ScenarioError(f"is a plan of version {header.plan}, this reads 1 and {PLAN_VERSION}", file=path)
    return header


def read_plan(path: Path, worker: int = 0, workers: int = 1) -> Iterator[SharedText | PlannedRequest]:
    """The lines that worker `worker` of `workers` needs, in order of intended start.

    ScenarioError names the line that is none.
    """
    slot_key = b'{"slot":'
    with path.open("rb") as file:
        file.readline()
        for number, line in enumerate(file, start=2):
            try:
                if line.startswith(slot_key):
                    if workers == 1 or int(line[8 : line.index(b",", 8)]) % workers == worker:
                        yield _request.decode(line)
                else:
                    text = _text.decode(line)
                    if text.slot is None or text.slot % workers == worker:
                        yield text
            except ValueError as error:
                raise ScenarioError(f"not a line of a plan: {error}", file=path, line=number) from error


def escape(text: str) -> str:
    """`text` as it stands between the quotes of a JSON string."""
    return msgspec.json.encode(text).decode()[1:-1]


def join_body(
    pieces: Iterable[Piece],
    texts: Mapping[int, str],
    answers: Mapping[int, str],
    words: tuple[str, ...] = (),
) -> bytes:
    """The body's bytes; an answer that never came leaves its place empty.

    ScenarioError for a shared text that the plan does not hold.
    """
    parts: list[str] = []
    for piece in pieces:
        if isinstance(piece, str):
            parts.append(piece)
        elif isinstance(piece, int):
            if piece not in texts:
                raise ScenarioError(
                    f"the plan is broken: a request holds text {piece}, no line before it does"
                )
            parts.append(texts[piece])
        elif isinstance(piece, Recipe):
            parts.append(made(piece, words))
        else:
            parts.append(escape(answers.get(piece.answer, "")))
    return "".join(parts).encode()


@dataclass(slots=True)
class Plan:
    """A whole plan in memory; workers read it line by line, reports what they ask for (stored.py)."""

    header: PlanHeader
    requests: list[PlannedRequest] = field(default_factory=list)
    texts: dict[int, str] = field(default_factory=dict)
    _by_id: dict[str, PlannedRequest] = field(default_factory=dict)

    def find(self, name: str) -> PlannedRequest | None:
        """The request of that id."""
        if len(self._by_id) != len(self.requests):
            self._by_id = {request.id: request for request in self.requests}
        return self._by_id.get(name)

    def body(self, request: PlannedRequest, answers: Mapping[int, str] | None = None) -> bytes:
        """The bytes of a request's body, given the answers of earlier turns."""
        return join_body(request.body, self.texts, answers or {}, self.header.classes[request.cls].words)


def load_plan(path: Path) -> Plan:
    """Read a plan whole."""
    plan = Plan(read_plan_header(path))
    for line in read_plan(path):
        if isinstance(line, SharedText):
            plan.texts[line.text] = line.value
        else:
            plan.requests.append(line)
    return plan
