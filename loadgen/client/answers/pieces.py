"""What an answer or event adds: its text and where it stands, and what it says of the answer's way."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from loadgen.client.answers.body import (
    ENDS_OF_RESPONSE,
    MESSAGE_DELTA,
    MESSAGE_START,
    Body,
    Message,
    OutputItem,
)

# Keys of pieces that are the answer itself; the others are what a model thinks or calls.
CONTENT = frozenset({"text", "content", "delta"})
OUTPUT_TEXT = "response.output_text.delta"
# Where a delta of Anthropic's has its text.
_DELTA_KEYS = ("text", "thinking", "partial_json")
OPEN = (None, "")  # what a finish_reason says before the end
# Types of content parts that are no content.
_LATER = frozenset({"thinking", "reasoning", "redacted_thinking"})
DEEP = 8  # parts within parts that are looked into
_PART_KEYS = ("text", "content", "thinking", "summary", "data")


def parts_text(parts: Any, *, content: bool = True, deep: int = DEEP) -> str:
    """The text of a string or of a list of parts; with `content` only what is the answer itself."""
    if isinstance(parts, str):
        return parts
    if not deep:
        return ""
    if isinstance(parts, dict):
        if content and parts.get("type") in _LATER:
            return ""
        keys = _PART_KEYS[:2] if content else _PART_KEYS
        found = (parts_text(parts.get(key), content=content, deep=deep - 1) for key in keys)
        return next(filter(None, found), "")
    if isinstance(parts, list):
        return "".join([parts_text(part, content=content, deep=deep - 1) for part in parts])
    return ""


def message_text(message: Message | None) -> tuple[str, str]:
    """The text that a message or delta carries and the JSON key it stands under; ("", "") for none."""
    if message is None:
        return "", ""
    if text := parts_text(message.content) or message.refusal:
        return text, "content" if message.content else "refusal"
    return reasoning_text(message) or call_text(message)


def reasoning_text(message: Message) -> tuple[str, str] | None:
    """What the model thinks and the key it stands under, if it thinks here."""
    places = (
        ("reasoning_content", message.reasoning_content),
        ("reasoning", message.reasoning),
        ("reasoning_details", message.reasoning_details),
        ("thinking", message.content),
    )
    said = ((parts_text(value, content=False), key) for key, value in places if value)
    return next(((text, key) for text, key in said if text), None)


def call_text(message: Message) -> tuple[str, str]:
    """The arguments of the tools that a message or delta calls, else their names."""
    functions = [call.function for call in message.tool_calls or () if call.function is not None]
    if message.function_call is not None:
        functions.append(message.function_call)
    for function in functions:
        if function.arguments:
            said = function.arguments
            return said if isinstance(said, str) else msgspec.json.encode(said).decode(), "arguments"
    for function in functions:
        if function.name:
            return function.name, "name"
    custom = next((call.custom for call in message.tool_calls or () if call.custom), None)
    return ("", "") if custom is None else (msgspec.json.encode(custom).decode(), "custom")


def piece_of(body: Body) -> tuple[str, str]:
    """The generated text in a stream event and the JSON key it stands under."""
    for choice in body.choices or ():
        if choice.text:
            return choice.text, "text"
        text, key = message_text(choice.delta)
        if text:
            return text, key
    return _piece_of_response(body) if body.type else ("", "")


def _piece_of_response(body: Body) -> tuple[str, str]:
    kind = body.type or ""
    if kind == "content_block_delta" and isinstance(body.delta, dict):
        said = ((body.delta.get(key), key) for key in _DELTA_KEYS)
        return next(((text, key) for text, key in said if text and isinstance(text, str)), ("", ""))
    if kind == "content_block_start":
        return _name_of(body.content_block)
    if body.delta and isinstance(body.delta, str) and kind.endswith(".delta"):
        return body.delta, "delta" if kind == OUTPUT_TEXT else kind
    if kind == "response.output_item.added":
        return _name_of(body.item)
    return "", ""


def _name_of(item: object) -> tuple[str, str]:
    """The name of the function that an item calls, if it calls one."""
    name = item.get("name") if isinstance(item, dict) else None
    return (name, "name") if isinstance(name, str) else ("", "")


def content_of(body: Body) -> str:
    """What a stream event adds to the answer of the first choice, without thoughts and calls."""
    for choice in body.choices or ():
        if choice.index in (0, None):
            return choice.text or parts_text(choice.delta.content if choice.delta else None)
    if body.type == "content_block_delta" and isinstance(body.delta, dict):
        return parts_text(body.delta.get("text"))
    return body.delta if body.type == OUTPUT_TEXT and isinstance(body.delta, str) else ""


def finishes(body: Body) -> bool:
    """Whether an event says that its choice is at its end."""
    return any(choice.finish_reason not in OPEN for choice in body.choices or ())


def opens(body: Body) -> bool:
    """Whether an event only says who speaks: a role, and nothing that was generated."""
    if body.type == MESSAGE_START:
        return True
    return bool(body.choices) and all(
        choice.delta is not None
        and choice.delta.role is not None
        and not choice.delta.tool_calls
        and choice.finish_reason in OPEN
        for choice in body.choices or ()
    )


def is_step(body: Body) -> bool:
    """Whether an event stands for something generated, be it without text: a held-back or closing token."""
    if body.choices:
        return True
    kind = body.type or ""
    return kind.endswith(".delta") or kind in ENDS_OF_RESPONSE or kind == MESSAGE_DELTA


def text_of(body: Body) -> str:
    """The generated text of a whole, unstreamed answer."""
    for choice in body.choices or ():
        return choice.text or parts_text(choice.message.content if choice.message else None)
    if body.type == "message" and body.content is not None:
        return parts_text(body.content)
    return _output_text(body.output or ())


def is_answer(body: Body) -> bool:
    """Whether a whole body is what one of these APIs answers."""
    given = body.choices is not None or body.output is not None or bool(body.data)
    return given or (body.type == "message" and body.content is not None)


def _output_text(items: Iterable[OutputItem]) -> str:
    said = (item for item in items if item.type in (None, "message"))
    return "".join(part.text or "" for item in said for part in item.content or ())
