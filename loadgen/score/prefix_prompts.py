"""The prompts of a run as a prefix cache sees them: bytes, in the order in which they were sent."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from loadgen.numbers.jsonl import NO_JSON
from loadgen.plan.plan import Answer, Plan, PlannedRequest
from loadgen.records.records import Record
from loadgen.records.table import Records

# Outcomes after which a pod may hold the prompt's blocks, answered or not.
REACHED_A_POD = frozenset(
    {"ok", "client_cancel", "timeout", "reset", "stream_truncated", "evicted", "upstream_5xx"}
)
_IDS = "\0ids"  # end of the name of a space whose prompts are token ids
_BYTES_PER_ID = 4
_BYTES_PER_WORD = 5


@dataclass(slots=True)
class Ask:
    """One request as a prefix cache sees it."""

    record: Record
    space: str
    content: bytes
    after: bytes | None = None
    """Prompt and answer, where a later turn builds on them."""

    @property
    def answered(self) -> bool:
        return self.record.outcome == "ok"

    @property
    def tokens(self) -> int:
        return self.record.prompt_tokens or 0

    @property
    def bytes_per_token(self) -> float:
        return len(self.content) / self.tokens if self.tokens else 1.0

    def tokens_in(self, common: int) -> int:
        """Tokens of so many first bytes: whole ids, or of text, whose ratio is a mean, rounded up."""
        if self.space.endswith(_IDS):
            return common // _BYTES_PER_ID
        return math.ceil(common / self.bytes_per_token)


def asks(records: Iterable[Record], plan: Plan) -> list[Ask]:
    """The requests that may have filled a cache, with the plan's prompts, in order of actual start."""
    planned = {request.id: request for request in plan.requests}
    turns: dict[tuple[str | None, int | None], Record] = {}
    out: list[Ask] = []
    table = Records.of(records)
    started = table.numbers("start")
    rows = np.flatnonzero(np.isfinite(started) & table.among("outcome", REACHED_A_POD))
    for record in table.take(rows[np.argsort(started[rows], kind="stable")]).without_times():
        if record.outcome == "ok" and not record.prompt_tokens:
            continue
        request = planned.get(record.id) or planned.get(record.id.partition("#")[0])
        if request is None:
            continue
        if record.outcome == "ok":
            turns[record.session, record.turn] = record
        space, content = prompt_of(request, plan, turns)
        out.append(Ask(record, space, content))
    _link_turns(out)
    return out


def _link_turns(ordered: Sequence[Ask]) -> None:
    """Give each turn that was built upon the bytes its pod knows after answering: the next prompt's start."""
    by_turn = {(ask.record.session, ask.record.turn): ask for ask in ordered if ask.record.turn is not None}
    for (session, turn), ask in by_turn.items():
        then = by_turn.get((session, (turn or 0) + 1))
        if session is not None and then is not None:
            answer = _stand_in(session, turn, ask.record.output_tokens).encode()
            at = then.content.find(answer)
            ask.after = then.content[: at + len(answer)] if at >= 0 and answer else None


def prompt_of(
    request: PlannedRequest, plan: Plan, turns: Mapping[tuple[str | None, int | None], Record]
) -> tuple[str, bytes]:
    """The cache space and the prompt of a planned request.

    What the model answered in earlier turns is not in the plan; a text of the same number of words, different
    for each turn, stands in its place.
    """
    answers = {}
    for piece in request.body:
        if isinstance(piece, Answer):
            record = turns.get((request.session, piece.answer))
            answers[piece.answer] = _stand_in(
                request.session, piece.answer, record.output_tokens if record else 0
            )
    raw = plan.body(request, answers)
    try:
        body = msgspec.json.decode(raw, type=dict[str, Any])
    except NO_JSON:
        return "not JSON", raw
    space = f"{body.get('model')}\0{body.get('cache_salt') or ''}"
    prompt = body.get("prompt", body.get("input", body.get("messages")))
    if isinstance(prompt, str):
        return space, prompt.encode()
    if isinstance(prompt, list) and prompt and isinstance(prompt[0], int):
        return space + _IDS, b"".join(token.to_bytes(_BYTES_PER_ID, "big") for token in prompt)
    return space, b"".join(_messages(prompt))


def _messages(messages: object) -> Iterable[bytes]:
    for message in messages if isinstance(messages, list) else [messages]:
        if isinstance(message, dict):
            content = message.get("content")
            text = content if isinstance(content, str) else msgspec.json.encode(content).decode()
            yield f"\x01{message.get('role')}\x02{text}".encode()
        else:
            yield str(message).encode()


def _stand_in(session: str | None, turn: int | None, words: int | None) -> str:
    """About as long as an answer of so many tokens, and like no other turn's."""
    return f"{session}:{turn}".ljust(_BYTES_PER_WORD * (words or 0), "~") if words else ""
