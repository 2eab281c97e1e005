"""What servers say: the few fields of OpenAI answers, stream events and errors that a load client reads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from loadgen.numbers.jsonl import NO_JSON


class TokenDetails(msgspec.Struct):
    cached_tokens: int | None = None


class Usage(msgspec.Struct):
    """Token counts; completions and chat use the first names, responses the `input_`/`output_` ones."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: TokenDetails | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: TokenDetails | None = None

    @property
    def prompt(self) -> int | None:
        return self.prompt_tokens if self.prompt_tokens is not None else self.input_tokens

    @property
    def output(self) -> int | None:
        return self.completion_tokens if self.completion_tokens is not None else self.output_tokens

    @property
    def cached(self) -> int | None:
        details = self.prompt_tokens_details or self.input_tokens_details
        return details.cached_tokens if details else None


class Function(msgspec.Struct):
    arguments: str | None = None


class ToolCall(msgspec.Struct):
    function: Function | None = None


class Message(msgspec.Struct):
    """A chat message, or the delta of one."""

    role: Any = None
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[ToolCall] | None = None


class Choice(msgspec.Struct):
    text: str | None = None
    delta: Message | None = None
    message: Message | None = None
    finish_reason: Any = None


class OutputPart(msgspec.Struct):
    text: str | None = None


class OutputItem(msgspec.Struct):
    content: list[OutputPart] | None = None


class Response(msgspec.Struct):
    """The object inside `response.completed`, and the whole answer of /v1/responses."""

    id: Any = None
    usage: Usage | None = None
    output: list[OutputItem] | None = None


class Body(msgspec.Struct):
    """Any whole answer or stream event of the three APIs; `delta` is the responses API's text."""

    id: Any = None
    choices: list[Choice] | None = None
    usage: Usage | None = None
    error: msgspec.Raw = msgspec.Raw()
    type: str | None = None
    delta: str | None = None
    response: Response | None = None
    output: list[OutputItem] | None = None
    object: str | None = None
    message: str | None = None


_bodies = msgspec.json.Decoder(Body)
NO_BODY = Body()
ENDS_OF_RESPONSE = ("response.completed", "response.incomplete")


def decode_body(data: bytes | bytearray) -> Body | None:
    """The fields of interest; None when it is not such a JSON object."""
    try:
        return _bodies.decode(data)
    except NO_JSON:
        return None


def id_of(body: Body) -> str | None:
    """What the server calls its answer: vLLM makes it of the request's id, as `cmpl-ID`."""
    found = body.id if body.id is not None or body.response is None else body.response.id
    return found if isinstance(found, str) else None


def message_text(message: Message | None) -> tuple[str, str]:
    """The text that a message or delta carries and the JSON key it stands under; ("", "") for none."""
    if message is None:
        return "", ""
    for key in ("content", "reasoning_content", "reasoning"):
        text: str | None = getattr(message, key)
        if text:
            return text, key
    for call in message.tool_calls or ():
        if call.function is not None and call.function.arguments:
            return call.function.arguments, "arguments"
    return "", ""


def piece_of(body: Body) -> tuple[str, str]:
    """The generated text in a stream event and the JSON key it stands under."""
    for choice in body.choices or ():
        if choice.text:
            return choice.text, "text"
        text, key = message_text(choice.delta)
        if text:
            return text, key
    if body.delta and body.type and body.type.endswith(".delta"):
        return body.delta, "delta"
    return "", ""


def opens(body: Body) -> bool:
    """Whether a chat event only says who speaks: a role, and nothing that was generated."""
    return bool(body.choices) and all(
        choice.delta is not None
        and choice.delta.role is not None
        and not choice.delta.tool_calls
        and choice.finish_reason is None
        for choice in body.choices or ()
    )


def is_step(body: Body) -> bool:
    """Whether an event stands for something generated, be it without text: a held-back or closing token."""
    if body.choices:
        return True
    kind = body.type or ""
    return kind.endswith(".delta") or kind in ENDS_OF_RESPONSE


def text_of(body: Body) -> str:
    """The generated text of a whole, unstreamed answer."""
    for choice in body.choices or ():
        return choice.text or (choice.message.content if choice.message else None) or ""
    return _output_text(body.output or ())


def _output_text(items: Iterable[OutputItem]) -> str:
    return "".join(part.text or "" for item in items for part in item.content or ())


def error_text(data: bytes | bytearray, limit: int = 300) -> str:
    """The words of an error answer, shortened; its bytes as text when it is not JSON."""
    body = decode_body(data)
    if body is not None:
        if body.error:
            return _error_object(bytes(body.error))[:limit]
        if body.message:
            return body.message[:limit]
    return bytes(data[:limit]).decode(errors="replace").strip()


class _Error(msgspec.Struct):
    message: str | None = None
    code: int | str | None = None


def _error_object(raw: bytes) -> str:
    try:
        error = msgspec.json.decode(raw, type=_Error | str | None)
    except NO_JSON:
        return raw.decode(errors="replace")
    if isinstance(error, _Error):
        return error.message or raw.decode(errors="replace")
    return error or ""


def error_code(raw: msgspec.Raw) -> int | None:
    """The numeric code inside an error event, if it has one."""
    try:
        error = msgspec.json.decode(bytes(raw), type=_Error)
    except NO_JSON:
        return None
    return error.code if isinstance(error.code, int) else None
