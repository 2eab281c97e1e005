"""What servers say: the few fields of OpenAI answers, stream events and errors that a load client reads."""

from __future__ import annotations

import re
from collections.abc import Iterable
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
    """Token counts; completions and chat use the first names, responses the `input_`/`output_` ones."""

    prompt_tokens: Count = None
    completion_tokens: Count = None
    prompt_tokens_details: TokenDetails | None = None
    input_tokens: Count = None
    output_tokens: Count = None
    input_tokens_details: TokenDetails | None = None

    def counts(self) -> tuple[int | None, int | None, int | None]:
        """Tokens of the prompt, of the answer, and of the prompt those that were cached."""
        prompt = self.prompt_tokens if self.prompt_tokens is not None else self.input_tokens
        details = self.prompt_tokens_details or self.input_tokens_details
        return (
            whole_number(prompt),
            self.output,
            whole_number(details.cached_tokens) if details is not None else None,
        )

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
    """Any whole answer or stream event of the three APIs; `delta` is the responses API's text."""

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
    message: Any = None
    detail: Any = None
    code: Any = None


_bodies = msgspec.json.Decoder(Body)
NO_BODY = Body()
ENDS_OF_RESPONSE = ("response.completed", "response.incomplete")
# Keys of pieces that are the answer itself; the others are what a model thinks or calls.
CONTENT = frozenset({"text", "content", "delta"})
OUTPUT_TEXT = "response.output_text.delta"
OPEN = (None, "")  # what a finish_reason says before the end
# Types of content parts that are no content.
_LATER = frozenset({"thinking", "reasoning", "redacted_thinking"})
DEEP = 8  # parts within parts that are looked into
_PART_KEYS = ("text", "content", "thinking", "summary", "data")


def decode_body(data: bytes | bytearray) -> Body | None:
    """The fields of interest; None when it is not such a JSON object."""
    try:
        return _bodies.decode(data)
    except (*NO_JSON, RecursionError):  # nested deeper than any answer is
        return None


def id_of(body: Body) -> str | None:
    """What the server calls its answer: vLLM makes it of the request's id, as `cmpl-ID`."""
    found = body.id if body.id is not None or body.response is None else body.response.id
    return found if isinstance(found, str) else None


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
    if body.delta and isinstance(body.delta, str) and kind.endswith(".delta"):
        return body.delta, "delta" if kind == OUTPUT_TEXT else kind
    if kind == "response.output_item.added" and isinstance(body.item, dict):
        name = body.item.get("name")
        return (name, "name") if isinstance(name, str) else ("", "")
    return "", ""


def content_of(body: Body) -> str:
    """What a stream event adds to the answer of the first choice, without thoughts and calls."""
    for choice in body.choices or ():
        if choice.index in (0, None):
            return choice.text or parts_text(choice.delta.content if choice.delta else None)
    return body.delta if body.type == OUTPUT_TEXT and isinstance(body.delta, str) else ""


def finishes(body: Body) -> bool:
    """Whether an event says that its choice is at its end."""
    return any(choice.finish_reason not in OPEN for choice in body.choices or ())


def opens(body: Body) -> bool:
    """Whether a chat event only says who speaks: a role, and nothing that was generated."""
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
    return kind.endswith(".delta") or kind in ENDS_OF_RESPONSE


def text_of(body: Body) -> str:
    """The generated text of a whole, unstreamed answer."""
    for choice in body.choices or ():
        return choice.text or parts_text(choice.message.content if choice.message else None)
    return _output_text(body.output or ())


def _output_text(items: Iterable[OutputItem]) -> str:
    said = (item for item in items if item.type in (None, "message"))
    return "".join(part.text or "" for item in said for part in item.content or ())


def error_text(data: bytes | bytearray, limit: int = 300) -> str:
    """The words of an error answer, shortened; its bytes as text when it is not JSON."""
    body = decode_body(data)
    if body is not None:
        raw = has_error(body)
        if raw:
            return _error_object(raw)[:limit]
        if words := body.message or body.detail:
            return _plain(words)[:limit]
    return _page_words(bytes(data[:HTML_LIMIT]).decode(errors="replace"))[:limit]


HTML_LIMIT = 4096
_TITLE = re.compile(r"(?is)<title[^>]*>(.*?)</title>|<h1[^>]*>(.*?)</h1>")


def _page_words(text: str) -> str:
    """A text in one line, of an HTML page its title."""
    title = _TITLE.search(text) if text.lstrip().startswith("<") else None
    return " ".join((title[1] or title[2] or "" if title else text).split())


def has_error(body: Body) -> bytes:
    """The JSON of the error inside an answer or event, b"" where there is none."""
    raw = bytes(body.error) or (bytes(body.response.error) if body.response is not None else b"")
    return b"" if raw == b"null" else raw


class _Error(msgspec.Struct):
    message: Any = None
    code: Any = None
    status: Any = None
    type: Any = None


_errors = msgspec.json.Decoder(_Error | str | None)


def _plain(words: Any) -> str:
    return words if isinstance(words, str) else msgspec.json.encode(words).decode()


def _error_object(raw: bytes) -> str:
    try:
        error = _errors.decode(raw)
    except NO_JSON:
        return raw.decode(errors="replace")
    if isinstance(error, _Error):
        return _plain(error.message) if error.message else raw.decode(errors="replace")
    return error or ""


# Statuses that the words in `code` and `type` of an error stand for.
ERROR_WORDS = (
    (429, re.compile(r"(?i)rate.?limit|overloaded|too.?many|quota|resource.?exhausted|throttl")),
    (401, re.compile(r"(?i)authentication|invalid.?api.?key|unauthori[sz]ed|permission|forbidden")),
    (404, re.compile(r"(?i)not.?found")),
    (400, re.compile(r"(?i)invalid|bad.?request|context.?length|content.?(?:policy|filter)|unsupported")),
)


def error_code(raw: msgspec.Raw | bytes) -> int | None:
    """The status that an error event stands for: its number, or what its code or type says in words."""
    try:
        error = _errors.decode(bytes(raw))
    except NO_JSON:
        return None
    if not isinstance(error, _Error):
        return None
    given = [value for value in (error.code, error.status, error.type) if value not in (None, "")]
    for value in given:
        number = whole_number(value) if isinstance(value, int | float | str) else None
        if number is not None and not isinstance(value, bool):
            return number
    return next((code for value in given for code, words in ERROR_WORDS if words.search(str(value))), None)
