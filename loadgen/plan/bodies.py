"""Request bodies of the three APIs as pieces of a plan: text that stands for itself, shared text, answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from loadgen.plan.plan import Answer, Piece, escape
from loadgen.plan.words import Recipe
from loadgen.scenario.scenario import ClassSpec

_MAX_TOKENS_KEY = {"completions": "max_tokens", "chat": "max_tokens", "responses": "max_output_tokens"}


@dataclass(frozen=True, slots=True)
class Text:
    """A part of a prompt: its own words, a recipe, or the number of a shared text; `tokens` in words."""

    value: str | int | Recipe
    tokens: int


@dataclass(frozen=True, slots=True)
class Said:
    """One message of a conversation: text parts, or the real answer to an earlier turn."""

    role: Literal["system", "user", "assistant"]
    parts: tuple[Text, ...] = ()
    answer: int | None = None


def body_pieces(spec: ClassSpec, model: str, messages: Sequence[Said], max_tokens: int) -> list[Piece]:
    """The body of a request whose prompt is a conversation."""
    pieces: list[Piece] = [f'{{"model":"{escape(model)}",']
    if spec.api == "completions":
        pieces.append('"prompt":"')
        for message in messages:
            pieces += _flat(message)
        pieces.append('"')
    else:
        pieces.append('"messages":[' if spec.api == "chat" else '"input":[')
        for index, message in enumerate(messages):
            comma = "," if index else ""
            pieces += [f'{comma}{{"role":"{message.role}","content":"', *_inside(message), '"}']
        pieces.append("]")
    pieces.append(tail(spec, max_tokens))
    return merged(pieces)


def token_body_pieces(spec: ClassSpec, model: str, ids: Sequence[Piece], max_tokens: int) -> list[Piece]:
    """The body of a completions request whose prompt is a list of token ids, `ids` being its inside."""
    return merged([f'{{"model":"{escape(model)}","prompt":[', *ids, "]", tail(spec, max_tokens)])


def _inside(message: Said) -> list[Piece]:
    if message.answer is not None:
        return [Answer(message.answer)]
    return [escape(part.value) if isinstance(part.value, str) else part.value for part in message.parts]


def _flat(message: Said) -> list[Piece]:
    """A message inside a plain prompt: turns are lines."""
    if message.role == "assistant":
        return ["\\n", *_inside(message), "\\n"]
    return _inside(message)


def tail(spec: ClassSpec, max_tokens: int) -> str:
    """Everything behind the prompt; what the class's `body:` says wins."""
    fields: dict[str, object] = {_MAX_TOKENS_KEY[spec.api]: max_tokens}
    if spec.stream:
        fields["stream"] = True
        if spec.api != "responses":
            fields["stream_options"] = {"include_usage": True}
    if spec.ignore_eos:
        fields["ignore_eos"] = True
    if spec.priority is not None:
        fields["priority"] = spec.priority
    fields.update(spec.body)
    return "," + msgspec.json.encode(fields).decode()[1:]


def merged(pieces: Sequence[Piece]) -> list[Piece]:
    """The same body with neighbouring strings joined."""
    result: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, str) and result and isinstance(result[-1], str):
            result[-1] += piece
        else:
            result.append(piece)
    return result
