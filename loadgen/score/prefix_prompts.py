"""The prompts of a run as a prefix cache sees them: bytes, in the order in which they were sent."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import msgspec
import numpy as np

from loadgen.numbers.jsonl import NO_JSON
from loadgen.plan.plan import Answer, PlannedRequest
from loadgen.records.records import Record
from loadgen.records.table import Records

# Outcomes after which a pod may hold the prompt's blocks, answered or not.
REACHED_A_POD = frozenset(
    {"ok", "client_cancel", "timeout", "reset", "stream_truncated", "evicted", "upstream_5xx"}
)
_IDS = "\0ids"  # end of the name of a space whose prompts are token ids
BYTES_PER_ID = 4
_BYTES_PER_WORD = 5


class Prompts(Protocol):
    """A plan in memory or in its file."""

    def find(self, name: str) -> PlannedRequest | None:
        """The request of that id."""

    def body(self, request: PlannedRequest, answers: Mapping[int, str] | None = None) -> bytes:
        """Its body, given the answers of earlier turns."""


@dataclass(slots=True)
class Ask:
    """One request as a prefix cache sees it."""

    row: int
    """Its place in `Asks.records`."""
    space: str
    content: bytes
    after: bytes | None = None
    """Prompt and answer, where a later turn builds on them."""

    @property
    def of_ids(self) -> bool:
        """Whether its bytes are those of token ids, `BYTES_PER_ID` each."""
        return self.space.endswith(_IDS)


class Asks:
    """The requests that may have filled a cache, with the plan's prompts, in order of actual start.

    Prompts are made as they are asked for, and again by `content`: a million of them do not fit.
    """

    def __init__(self, records: Iterable[Record], plan: Prompts) -> None:
        table = Records.of(records)
        started, tokens = table.numbers("start"), table.numbers("prompt_tokens")
        reached = np.isfinite(started) & table.among("outcome", REACHED_A_POD)
        reached &= ~(table.among("outcome", ["ok"]) & ~(tokens > 0))
        rows = np.flatnonzero(reached)
        self.records = table.take(rows[np.argsort(started[rows], kind="stable")])
        self._plan = plan
        self._ids = self.records.ids
        self._of = array("q")  # the row of each ask that was made

    def __iter__(self) -> Iterator[Ask]:
        """Each ask; only those of which the plan has the prompt."""
        self._of = array("q")
        for row in range(len(self._ids)):
            made = self._made(row)
            if made is not None:
                self._of.append(row)
                yield made

    def content(self, source: int) -> bytes:
        """The prompt of ask `source // 2` of the last iteration, or what follows it for an odd source."""
        made = self._made(self._of[source // 2])
        assert made is not None  # it was made before
        return (made.after or b"") if source % 2 else made.content

    def _made(self, row: int) -> Ask | None:
        name = self._ids[row]
        request = self._plan.find(name) or self._plan.find(name.partition("#")[0])
        if request is None:
            return None
        space, content = prompt_of(request, self._plan, self._turns.before(request, row))
        return Ask(row, space, content, self._after(request, row))

    def _after(self, request: PlannedRequest, row: int) -> bytes | None:
        """The bytes its pod knows after answering a turn that was built upon: the next prompt's start."""
        if request.session is None or request.turn is None:
            return None
        then = self._turns.then(request, row)
        if then is None:
            return None
        name = self._ids[then]
        follower = self._plan.find(name) or self._plan.find(name.partition("#")[0])
        answer = _stand_in(request.session, request.turn, self._turns.tokens(row)).encode()
        if follower is None or not answer:
            return None
        content = prompt_of(follower, self._plan, self._turns.before(follower, then))[1]
        at = content.find(answer)
        return content[: at + len(answer)] if at >= 0 else None

    @cached_property
    def _turns(self) -> _Turns:
        return _Turns(self.records)


class _Turns:
    """Which record was which turn of which session, the last before any moment."""

    def __init__(self, records: Records) -> None:
        sessions, names = records.codes("session")
        turns, self._output = records.numbers("turn"), records.numbers("output_tokens")
        self._ok = records.among("outcome", ["ok"])
        self._code = {name: code for code, name in enumerate(names.tolist())}
        self._width = int(np.nanmax(turns, initial=0)) + 2
        self._count = len(records)
        rows = np.flatnonzero(np.isfinite(turns))
        keys = sessions[rows].astype(np.int64) * self._width + turns[rows].astype(np.int64)
        self._found = np.sort(keys * self._count + rows)

    def _place(self, session: str | None, turn: int, row: int) -> tuple[int, int]:
        """The key of a turn, and where in `_found` its records from `row` on begin; they may be none."""
        key = self._code.get(session, -1) * self._width + turn if turn < self._width else -1
        return key, int(np.searchsorted(self._found, key * self._count + row))

    def before(self, request: PlannedRequest, row: int) -> dict[int, int]:
        """Tokens of the answers that a request's body has a place for, as they were known before `row`."""
        answers: dict[int, int] = {}
        for piece in request.body if request.session is not None else ():
            if isinstance(piece, Answer):
                key, place = self._place(request.session, piece.answer, row)
                while place and self._found[place - 1] // self._count == key:
                    place -= 1
                    earlier = int(self._found[place] % self._count)
                    if self._ok[earlier]:
                        answers[piece.answer] = self.tokens(earlier)
                        break
        return answers

    def then(self, request: PlannedRequest, row: int) -> int | None:
        """The row of the turn that came after a request's."""
        key, place = self._place(request.session, (request.turn or 0) + 1, row + 1)
        if place < len(self._found) and key >= 0 and self._found[place] // self._count == key:
            return int(self._found[place] % self._count)
        return None

    def tokens(self, row: int) -> int:
        """Of a row's answer; 0 where nobody counted them."""
        return int(np.nan_to_num(self._output[row]))


def prompt_of(request: PlannedRequest, plan: Prompts, answered: Mapping[int, int]) -> tuple[str, bytes]:
    """The cache space and the prompt of a planned request, given the tokens of earlier answers.

    What the model answered in earlier turns is not in the plan; a text of the same number of words, different
    for each turn, stands in its place.
    """
    answers = {turn: _stand_in(request.session, turn, tokens) for turn, tokens in answered.items()}
    raw = plan.body(request, answers)
    try:
        body = _body.decode(raw)
    except NO_JSON:
        return "not JSON", raw
    space = f"{body.get('model')}\0{body.get('cache_salt') or ''}"
    prompt = body.get("prompt", body.get("input", body.get("messages")))
    if isinstance(prompt, str):
        return space, prompt.encode()
    if isinstance(prompt, list) and prompt and isinstance(prompt[0], int):
        return space + _IDS, b"".join(token.to_bytes(BYTES_PER_ID, "big") for token in prompt)
    return space, b"".join(_messages(prompt))


_body = msgspec.json.Decoder(dict[str, Any])


def _messages(messages: object) -> Iterable[bytes]:
    for message in messages if isinstance(messages, list) else [messages]:
        if isinstance(message, dict):
            content = message.get("content")
            text = content if isinstance(content, str) else msgspec.json.encode(content).decode()
            yield f"\x01{message.get('role')}\x02{text}".encode()
        else:
            yield str(message).encode()


def _stand_in(session: str | None, turn: int | None, words: int) -> str:
    """About as long as an answer of so many tokens, and like no other turn's."""
    return f"{session}:{turn}".ljust(_BYTES_PER_WORD * words, "~") if words else ""
