"""Request bodies of the APIs as pieces of a plan: text that stands for itself, shared text, answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from loadgen.errors import ScenarioError
from loadgen.plan.plan import Answer, Piece, escape
from loadgen.plan.words import Recipe
from loadgen.scenario.scenario import ClassSpec

_MAX_TOKENS_KEY = {
    "completions": "max_tokens",
    "chat": "max_tokens",
    "messages": "max_tokens",
    "responses": "max_output_tokens",
}
# Where each API takes its prompt, in a request that is given whole.
_PROMPT_KEYS = {
    "completions": "prompt",
    "chat": "messages",
    "messages": "messages",
    "responses": "input",
    "embeddings": "input",
}
_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
# What the plan decides, whatever a given request says.
_PLANS_OWN = ("model", "stream", "stream_options")


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
    if spec.api in ("completions", "embeddings"):
        pieces.append('"prompt":"' if spec.api == "completions" else '"input":"')
        for message in messages:
            pieces += _flat(message)
        pieces.append('"')
    else:
        if spec.api == "messages" and messages and messages[0].role == "system":  # a field of its own there
            pieces += ['"system":"', *_inside(messages[0]), '",']
            messages = messages[1:]
        pieces.append('"input":[' if spec.api == "responses" else '"messages":[')
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
    fields = _fields(spec, max_tokens)
    return "," + msgspec.json.encode(fields).decode()[1:] if fields else "}"


def _fields(spec: ClassSpec, max_tokens: int) -> dict[str, object]:
    limit = _MAX_TOKENS_KEY.get(spec.api)
    fields: dict[str, object] = {limit: max_tokens} if limit else {}
    if spec.stream:
        fields["stream"] = True
        if spec.api in ("completions", "chat"):
            fields["stream_options"] = {"include_usage": True}
    if spec.ignore_eos:
        fields["ignore_eos"] = True
    if spec.priority is not None:
        fields["priority"] = spec.priority
    fields.update(spec.body)
    return fields


def given_body(spec: ClassSpec, model: str, given: Mapping[str, Any], max_tokens: int) -> list[Piece]:
    """The body of a request that a trace has in full, as the class's API takes it.

    A prompt becomes one message where messages are wanted; what the request says of itself stays, but
    model and streaming. ScenarioError where its prompt has no place in the API.
    """
    said = {key: value for key, value in given.items() if key not in (*_PLANS_OWN, *_LIMITS)}
    prompts: dict[str, Any] = {key: said.pop(key) for key in ("messages", "prompt", "input") if key in said}
    wanted = _PROMPT_KEYS[spec.api]
    prompt = prompts.get(wanted)
    if prompt is None:
        prompt = _translated(spec, wanted, prompts)
    if spec.api == "messages" and isinstance(prompt, list) and prompt and _role(prompt[0]) == "system":
        said["system"], prompt = prompt[0].get("content"), prompt[1:]
    whole = {"model": model, wanted: prompt, **_fields(spec, max_tokens), **said}
    return [msgspec.json.encode(whole).decode()]


def _translated(spec: ClassSpec, wanted: str, prompts: Mapping[str, Any]) -> Any:
    """The prompt of a request for another API, as `wanted` takes it; ScenarioError where it has no place."""
    other = next(iter(prompts.values()))
    if wanted == "messages" and isinstance(other, str):
        return [{"role": "user", "content": other}]
    if wanted in ("prompt", "input") and ("messages" not in prompts or spec.api == "responses"):
        return other
    raise ScenarioError(
        f"class {spec.name}: a request of the file has {', '.join(prompts)}, which has no place in "
        f"`api: {spec.api}`; set `api: {'chat' if 'messages' in prompts else 'completions'}`"
    )


def _role(message: object) -> object:
    return message.get("role") if isinstance(message, dict) else None


def merged(pieces: Sequence[Piece]) -> list[Piece]:
    """The same body with neighbouring strings joined."""
    result: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, str) and result and isinstance(result[-1], str):
            result[-1] += piece
        else:
            result.append(piece)
    return result
