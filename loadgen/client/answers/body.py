"""The few fields of OpenAI and Anthropic answers and stream events that a load client reads."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from loadgen.numbers.jsonl import NO_JSON

# A number of tokens as servers give it: some proxies add them up as floats or quote them.
Count: TypeAlias = int | float | str | None


def whole_number(value: Count) -> int | None:
    """A count as an integer; None for what is no count."""
    if isinstance(value, int):
        return value
    try:
        return None if value is None else int(float(value))
    except (ValueError, OverflowError):
        return None


class TokenDetails(msgspec.Struct):
    cached_tokens: Count = None


class Usage(msgspec.Struct):
    """Token counts; completions and chat use the first names, the others the `input_`/`output_` ones.

    Anthropic counts what was cached apart from `input_tokens`.
    """

    prompt_tokens: Count = None
    completion_tokens: Count = None
    prompt_tokens_details: TokenDetails | None = None
    input_tokens: Count = None
    output_tokens: Count = None
    input_tokens_details: TokenDetails | None = None
    cache_read_input_tokens: Count = None
    cache_creation_input_tokens: Count = None

    def counts(self) -> tuple[int | None, int | None, int | None]:
        """Tokens of the prompt, of the answer, and of the prompt those that were cached."""
        prompt = self.prompt_tokens if self.prompt_tokens is not None else self.input_tokens
        details = self.prompt_tokens_details or self.input_tokens_details
        apart = whole_number(self.cache_read_input_tokens)
        if details is None and apart is not None:
            made = whole_number(self.cache_creation_input_tokens)
            return (whole_number(prompt) or 0) + apart + (made or 0), self.output, apart
        return (
            whole_number(prompt),
            self.output,
            whole_number(details.cached_tokens) if details is not None else None,
        )

    def over(self, before: Usage | None) -> Usage:
        """This, with the counts of the prompt from `before` where it has none of its own."""
        if before is None or self.counts()[0] is not None:
            return self
        return msgspec.structs.replace(before, output_tokens=self.output, completion_tokens=None)

    @property
    def output(self) -> int | None:
        tokens = self.completion_tokens if self.completion_tokens is not None else self.output_tokens
        return whole_number(tokens)


class Function(msgspec.Struct):
    name: str | None = None
    arguments: Any = None
    """A string, or with some servers the object itself."""


class ToolCall(msgspec.Struct):
    function: Function | None = None
    custom: Any = None


Parts: TypeAlias = str | list[Any] | None  # text, or a list of parts that hold some


class Message(msgspec.Struct):
    """A chat message, or the delta of one."""

    role: Any = None
    content: Parts = None
    reasoning_content: Parts = None
    reasoning: Any = None
    reasoning_details: Any = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: Function | None = None


class Choice(msgspec.Struct):
    index: Any = 0
    text: str | None = None
    delta: Message | None = None
    message: Message | None = None
    finish_reason: Any = None


class OutputPart(msgspec.Struct):
    text: str | None = None


class OutputItem(msgspec.Struct):
    type: str | None = None
    content: list[OutputPart] | None = None


class Response(msgspec.Struct):
    """The object inside `response.completed`, and the whole answer of /v1/responses."""

    id: Any = None
    usage: Usage | None = None
    output: list[OutputItem] | None = None
    error: msgspec.Raw = msgspec.Raw()


class Body(msgspec.Struct):
    """Any whole answer or stream event of these APIs; `delta` is the responses API's text, or an object."""

    id: Any = None
    choices: list[Choice] | None = None
    usage: Usage | None = None
    error: msgspec.Raw = msgspec.Raw()
    type: str | None = None
    delta: Any = None
    response: Response | None = None
    item: Any = None
    output: list[OutputItem] | None = None
    object: str | None = None
    content: Any = None
    content_block: Any = None
    data: msgspec.Raw = msgspec.Raw()
    message: Any = None
    detail: Any = None
    code: Any = None


_bodies = msgspec.json.Decoder(Body)
NO_BODY = Body()
ENDS_OF_RESPONSE = ("response.completed", "response.incomplete")
# Anthropic's events.
MESSAGE_START, MESSAGE_DELTA, MESSAGE_STOP = "message_start", "message_delta", "message_stop"


def decode_body(data: bytes | bytearray) -> Body | None:
    """The fields of interest; None when it is not such a JSON object."""
    try:
        return _bodies.decode(data)
    except (*NO_JSON, RecursionError):  # nested deeper than any answer is
        return None


def id_of(body: Body) -> str | None:
    """What the server calls its answer: vLLM makes it of the request's id, as `cmpl-ID`."""
    found = body.id if body.id is not None or body.response is None else body.response.id
    if body.type == MESSAGE_START and isinstance(body.message, dict):
        found = body.message.get("id")
    return found if isinstance(found, str) else None


def usage_of(body: Body) -> Usage | None:
    """The token counts in an event, wherever it keeps them."""
    if body.usage is not None:
        return body.usage
    if body.response is not None:
        return body.response.usage
    if body.type == MESSAGE_START and isinstance(body.message, dict):
        try:
            return msgspec.convert(body.message.get("usage"), Usage | None)
        except msgspec.ValidationError:
            return None
    return None


def has_error(body: Body) -> bytes:
    """The JSON of the error inside an answer or event, b"" where there is none."""
    raw = bytes(body.error) or (bytes(body.response.error) if body.response is not None else b"")
    return b"" if raw == b"null" else raw
