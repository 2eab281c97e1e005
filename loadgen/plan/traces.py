"""Reads recorded traffic: Mooncake and vLLM timed_trace JSONL, Azure LLM CSV, ShareGPT JSON.

Each reader gives `TraceRow`s in order of time; a row that cannot be read is an error with its line.
"""

from __future__ import annotations

import csv
import datetime
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from loadgen.errors import TraceError
from loadgen.scenario.scenario import Trace


@dataclass(slots=True)
class TraceRow:
    """One recorded request: seconds after the first (None: no times), tokens, shared blocks or texts."""

    at: float | None
    input_tokens: int
    output_tokens: int
    blocks: tuple[int, ...] = ()
    """Ids of prompt blocks, each of the trace's block size; equal ids are equal text."""
    turns: tuple[tuple[str, str], ...] = ()
    """Texts of question and answer, of conversations."""


class _JsonRow(msgspec.Struct):
    timestamp: float
    input_length: int
    output_length: int
    hash_ids: list[int] = []


class _Message(msgspec.Struct):
    value: str = ""
    from_: str = msgspec.field(name="from", default="")


class _Conversation(msgspec.Struct):
    conversations: list[_Message]


def read_trace(trace: Trace) -> list[TraceRow]:
    """All rows, at most `limit`; times begin at 0. TraceError when there are none."""
    readers = {"mooncake": _read_mooncake, "timed_trace": _read_timed, "azure": _read_azure}
    rows = list(
        itertools.islice(
            _read_sharegpt(trace) if trace.format == "sharegpt" else readers[trace.format](trace),
            trace.limit,
        )
    )
    if not rows:
        raise TraceError("holds no request", file=trace.path)
    if rows[0].at is not None:
        rows.sort(key=lambda row: row.at or 0.0)
        first = rows[0].at
        for row in rows:
            row.at = round((row.at or 0.0) - first, 7)
    return rows


def _read_mooncake(trace: Trace) -> Iterator[TraceRow]:
    return _read_jsonl(trace, 0.001, trace.block_size)


def _read_timed(trace: Trace) -> Iterator[TraceRow]:
    return _read_jsonl(trace, 1.0, trace.block_size)


def _read_jsonl(trace: Trace, unit: float, block: int) -> Iterator[TraceRow]:
    decoder = msgspec.json.Decoder(_JsonRow)
    with trace.path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = decoder.decode(line)
            except msgspec.MsgspecError as error:
                raise TraceError(f"no {trace.format} row: {error}", file=trace.path, line=number) from error
            if row.hash_ids and len(row.hash_ids) * block < row.input_length:
                message = (
                    f"{len(row.hash_ids)} blocks of {block} tokens do not cover input_length "
                    f"{row.input_length}: set `block_size:` to the trace's own (Mooncake's is 512)"
                )
                raise TraceError(message, file=trace.path, line=number)
            yield TraceRow(
                at=row.timestamp * unit,
                input_tokens=max(1, row.input_length),
                output_tokens=max(1, row.output_length),
                blocks=tuple(row.hash_ids),
            )


def _read_azure(trace: Trace) -> Iterator[TraceRow]:
    with trace.path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        try:
            yield from _azure_rows(trace, reader)
        except csv.Error as error:
            raise TraceError(f"no CSV file: {error}", file=trace.path, line=reader.line_num + 1) from error
        except UnicodeDecodeError as error:  # met a buffer ahead of the line that is being read
            raise TraceError(f"no CSV file: {error}", file=trace.path) from error


def _azure_rows(trace: Trace, reader: csv.DictReader[str]) -> Iterator[TraceRow]:
    needed = {"TIMESTAMP", "ContextTokens", "GeneratedTokens"}
    if not needed <= set(reader.fieldnames or ()):
        names = ",".join(reader.fieldnames or ())
        message = f"needs the columns TIMESTAMP,ContextTokens,GeneratedTokens, has {names}"
        raise TraceError(message, file=trace.path, line=1)
    for row in reader:
        try:
            yield TraceRow(
                at=_azure_time(row["TIMESTAMP"]),
                input_tokens=max(1, int(row["ContextTokens"])),
                output_tokens=max(1, int(row["GeneratedTokens"])),
            )
        except (ValueError, TypeError) as error:
            message = f"no Azure row: {error}"
            raise TraceError(message, file=trace.path, line=reader.line_num) from error


def _azure_time(text: str) -> float:
    """Seconds of `2023-11-16 18:15:46.6805900`: seven decimals, one more than datetime reads."""
    base, _, fraction = text.strip().partition(".")
    fraction = fraction.partition("+")[0].rstrip("Z")
    moment = datetime.datetime.fromisoformat(base.partition("+")[0]).replace(tzinfo=datetime.UTC)
    return moment.timestamp() + (float(f"0.{fraction}") if fraction else 0.0)


def _read_sharegpt(trace: Trace) -> Iterator[TraceRow]:
    try:
        conversations = msgspec.json.decode(trace.path.read_bytes(), type=list[_Conversation])
    except msgspec.MsgspecError as error:
        raise TraceError(f"no ShareGPT file: {error}", file=trace.path) from error
    for conversation in conversations:
        turns: list[tuple[str, str]] = []
        messages = conversation.conversations
        for asked, answered in itertools.pairwise(messages):
            if asked.from_ in ("human", "user") and answered.from_ in ("gpt", "assistant", "chatgpt"):
                turns.append((asked.value, answered.value))
        if turns and turns[0][0].strip():
            yield TraceRow(
                at=None,
                input_tokens=max(1, count_words(turns[0][0])),
                output_tokens=max(1, count_words(turns[0][1])),
                turns=tuple(turns),
            )


def count_words(text: str) -> int:
    """Tokens of a text as the plan counts them: words."""
    return len(text.split())
