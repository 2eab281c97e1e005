"""Traces as JSON: Mooncake, vLLM's timed_trace, Bailian, ShareGPT, and requests in OpenAI's own fields."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import msgspec

from loadgen.errors import TraceError
from loadgen.numbers.jsonl import NO_JSON
from loadgen.plan.tracerow import Reading, TraceRow
from loadgen.scenario.scenario import Trace

T = TypeVar("T")

_MS = 0.001
# Fields of a row that are not of the request: what the trace itself says of it.
_OF_THE_ROW = ("timestamp", "custom_id", "method", "url", "output_tokens", "body", "id")
_PROMPTS = ("messages", "prompt", "input")


class _JsonRow(msgspec.Struct):
    """Mooncake's rows (milliseconds) and timed_trace's (seconds); text and sessions as aiperf adds them."""

    output_length: int
    timestamp: float | None = None
    input_length: int | None = None
    hash_ids: list[int] = []
    text_input: str | None = None
    session_id: str | int | None = None
    delay: float | None = None


class _Chat(msgspec.Struct):
    """A row of Bailian's traces (seconds)."""

    timestamp: float
    input_length: int
    output_length: int
    chat_id: int
    parent_chat_id: int = -1
    hash_ids: list[int] = []


class _Message(msgspec.Struct):
    value: str = ""
    from_: str = msgspec.field(name="from", default="")


class _Conversation(msgspec.Struct):
    conversations: list[_Message]


def _lines(trace: Trace, kind: type[T], called: str) -> Iterator[tuple[int, T]]:
    """Each line as `kind`, with its number; TraceError for one that is none."""
    decoder = msgspec.json.Decoder(kind)
    with trace.path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            line = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
            if not line.strip():
                continue
            try:
                yield number, decoder.decode(line)
            except NO_JSON as error:
                raise TraceError(f"no {called} row: {error}", file=trace.path, line=number) from error


def read_mooncake(trace: Trace, reading: Reading) -> Iterator[TraceRow]:
    """Rows with times and delays in milliseconds."""
    return _sessions(_rows(trace, reading, _MS), trace)


def read_timed(trace: Trace, reading: Reading) -> Iterator[TraceRow]:
    """The same rows with times in seconds."""
    return _sessions(_rows(trace, reading, 1.0), trace)


def _rows(trace: Trace, reading: Reading, unit: float) -> Iterator[tuple[int, TraceRow, str | None]]:
    """Rows with their line and their session; TraceError for one without lengths or text."""
    for number, row in _lines(trace, _JsonRow, trace.format):
        words = reading.count(row.text_input) if row.text_input is not None else None
        length = row.input_length if row.input_length is not None else words
        if length is None:
            message = f"no {trace.format} row: needs `input_length` or `text_input`"
            raise TraceError(message, file=trace.path, line=number)
        if row.timestamp is None and (row.delay is None or row.session_id is None):
            message = f"no {trace.format} row: needs `timestamp`, or `session_id` and `delay`"
            raise TraceError(message, file=trace.path, line=number)
        _check_blocks(trace, row.hash_ids, length, number)
        yield (
            number,
            TraceRow(
                at=None if row.timestamp is None else row.timestamp * unit,
                input_tokens=max(1, length),
                output_tokens=max(1, row.output_length),
                blocks=tuple(row.hash_ids),
                text=row.text_input,
                group=None if row.session_id is None else str(row.session_id),
                delay=None if row.delay is None else row.delay * unit,
            ),
            None if row.session_id is None else str(row.session_id),
        )


def _check_blocks(trace: Trace, ids: list[int], length: int, number: int) -> None:
    if ids and len(ids) * trace.block_size < length:
        message = (
            f"{len(ids)} blocks of {trace.block_size} tokens do not cover input_length {length}: "
            "set `block_size:` to the trace's own (Mooncake's is 512)"
        )
        raise TraceError(message, file=trace.path, line=number)


def _sessions(rows: Iterator[tuple[int, TraceRow, str | None]], trace: Trace) -> Iterator[TraceRow]:
    """Rows with a delay behind the row of their session that they follow."""
    first: dict[str, TraceRow] = {}
    found: list[TraceRow] = []
    for number, row, session in rows:
        if session is not None and row.delay is not None and session in first:
            first[session].later.append(row)
            continue
        if row.at is None:
            message = f"session {session} begins without a `timestamp`"
            raise TraceError(message, file=trace.path, line=number)
        if session is not None:
            first[session] = row
        found.append(row)
    return iter(found)


def read_bailian(trace: Trace, reading: Reading) -> Iterator[TraceRow]:
    """Rows of Alibaba's Qwen-Bailian traces, seconds as times; the conversation is the group."""
    roots: dict[int, int] = {}
    for number, row in _lines(trace, _Chat, "Bailian"):
        root = roots[row.chat_id] = roots.get(row.parent_chat_id, row.chat_id)
        _check_blocks(trace, row.hash_ids, row.input_length, number)
        yield TraceRow(
            at=row.timestamp,
            input_tokens=max(1, row.input_length),
            output_tokens=max(1, row.output_length),
            blocks=tuple(row.hash_ids),
            group=f"chat{root}",
        )


def read_sharegpt(trace: Trace, reading: Reading) -> Iterator[TraceRow]:
    """Conversations: each question and its answer are a turn; TraceError for what is no such file."""
    try:
        data = trace.path.read_bytes().removeprefix(b"\xef\xbb\xbf")
        conversations = msgspec.json.decode(data, type=list[_Conversation])
    except NO_JSON as error:
        raise TraceError(f"no ShareGPT file: {error}", file=trace.path) from error
    for conversation in conversations:
        turns: list[tuple[str, str]] = []
        for asked, answered in itertools.pairwise(conversation.conversations):
            if asked.from_ in ("human", "user") and answered.from_ in ("gpt", "assistant", "chatgpt"):
                turns.append((asked.value, answered.value))
        if turns and turns[0][0].strip():
            yield TraceRow(
                at=None,
                input_tokens=max(1, reading.count(turns[0][0])),
                output_tokens=max(1, reading.count(turns[0][1])),
                turns=tuple(turns),
            )
        else:
            reading.add("no question with an answer")


def read_openai(trace: Trace, reading: Reading) -> Iterator[TraceRow]:
    """Requests in OpenAI's fields, one a line: `messages`, `prompt` or `input`, and what else they say.

    A line may be one of OpenAI's batch files, whose `body` is the request; `timestamp` (seconds) is when,
    `output_tokens` how long the answer is to be. TraceError for a line without a prompt.
    """
    for number, line in _lines(trace, dict[str, Any], "OpenAI"):
        inner = line.get("body")
        body = (
            dict(inner)
            if isinstance(inner, dict)
            else {key: value for key, value in line.items() if key not in _OF_THE_ROW}
        )
        asked = next((body[key] for key in _PROMPTS if body.get(key)), None)
        if asked is None:
            message = "no request: needs `messages`, `prompt` or `input`"
            raise TraceError(message, file=trace.path, line=number)
        when, output = line.get("timestamp"), line.get("output_tokens")
        if not isinstance(when, int | float | None) or not isinstance(output, int | None):
            message = "`timestamp` is a number of seconds, `output_tokens` a whole number"
            raise TraceError(message, file=trace.path, line=number)
        for key in ("max_completion_tokens", "max_output_tokens", "max_tokens"):
            value = body.get(key)
            output = value if isinstance(value, int) and output is None else output
        yield TraceRow(
            at=None if when is None else float(when),
            input_tokens=max(1, _words_in(asked, reading.count)),
            output_tokens=output or 0,
            body=body,
        )


def _words_in(value: object, count: Callable[[str], int], deep: int = 8) -> int:
    """Tokens of a prompt: of a text, of all messages, of token ids their number."""
    if isinstance(value, str):
        return count(value)
    if isinstance(value, list) and deep:
        return sum(_words_in(item, count, deep - 1) for item in value)
    if isinstance(value, dict) and deep:
        return _words_in(value.get("content", value.get("text")), count, deep - 1)
    return 1 if isinstance(value, int) else 0
