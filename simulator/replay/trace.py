"""Workload traces: a recorded run, a list of requests, or lengths alone.

Read are: a folder with `requests.jsonl`; a JSON Lines file; an Azure LLM CSV (TIMESTAMP, ContextTokens,
GeneratedTokens). A JSON line says
- when: `arrival_s` (seconds) or `timestamp` (milliseconds, Mooncake);
- the prompt: `prompt_token_ids`, `prompt` (text), or a length alone (`input_length`, `prompt_tokens`), with
  Mooncake's `hash_ids` (blocks of 512 tokens that are equal where their ids are);
- the answer's length: `output_tokens`, `output_length` or `max_tokens`;
- optionally `measured` with `first_token` and `last_token` in seconds, on the clock of `arrival_s`.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from simulator.errors import ConfigError

HASH_BLOCK = 512  # tokens of one of Mooncake's hash ids
_MAX_TOKEN_ID = 1 << 31

Encode = Callable[[str], list[int]]


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds on the trace's clock."""

    first_token: float
    last_token: float


@dataclass(frozen=True, slots=True)
class TraceRequest:
    """One line of a trace. `arrival` is in seconds from the trace's zero."""

    name: str
    arrival: float
    prompt_token_ids: list[int]
    output_tokens: int
    measured: Measured | None = None


def read_trace(path: Path, encode: Encode, limit: int | None = None) -> list[TraceRequest]:
    """The requests in order of arrival, the first `limit` of them. Raises ConfigError with file and line."""
    file = path / "requests.jsonl" if path.is_dir() else path
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"trace {file} cannot be read: {error}") from error
    rows = _azure(text, file) if file.suffix == ".csv" else _json_lines(text, file, encode)
    requests = sorted(rows, key=lambda request: request.arrival)
    if not requests:
        raise ConfigError(f"trace {file} holds no requests")
    return requests[:limit]


def scale_rate(requests: list[TraceRequest], factor: float) -> list[TraceRequest]:
    """The same requests arriving `factor` times as fast; what was measured no longer applies."""
    if factor == 1.0:
        return requests
    return [replace(request, arrival=request.arrival / factor, measured=None) for request in requests]


def _json_lines(text: str, file: Path, encode: Encode) -> Iterator[TraceRequest]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{file}:{number}"
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ConfigError(f"{where}: not JSON: {error}") from error
        if not isinstance(row, dict):
            raise ConfigError(f"{where}: must be a JSON object")
        yield _request(row, number, where, encode)


def _request(row: dict[str, Any], number: int, where: str, encode: Encode) -> TraceRequest:
    prompt = _prompt(row, number, where, encode)
    if not prompt:
        raise ConfigError(f"{where}: the prompt is empty")
    return TraceRequest(
        name=str(row.get("id", number - 1)),
        arrival=_arrival(row, where),
        prompt_token_ids=prompt,
        output_tokens=_count(row, ("output_tokens", "output_length", "max_tokens"), where),
        measured=_measured(row.get("measured"), where),
    )


def _arrival(row: dict[str, Any], where: str) -> float:
    for key, unit in (("arrival_s", 1.0), ("timestamp", 1e-3)):
        value = row.get(key)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0:
            return value * unit
        if value is not None:
            raise ConfigError(f"{where}: {key} must be a number of 0 or more, not {value!r}")
    raise ConfigError(f"{where}: needs arrival_s (seconds) or timestamp (milliseconds)")


def _count(row: dict[str, Any], keys: tuple[str, ...], where: str) -> int:
    for key in keys:
        value = row.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
            return value
        if value is not None:
            raise ConfigError(f"{where}: {key} must be a whole number of 1 or more, not {value!r}")
    raise ConfigError(f"{where}: needs one of {', '.join(keys)}")


def _prompt(row: dict[str, Any], number: int, where: str, encode: Encode) -> list[int]:
    ids = row.get("prompt_token_ids")
    if ids is not None:
        if isinstance(ids, list) and all(type(i) is int and i >= 0 for i in ids):
            return ids
        raise ConfigError(f"{where}: prompt_token_ids must be a list of token ids")
    if isinstance(row.get("prompt"), str):
        return encode(row["prompt"])
    length = _count(row, ("input_length", "prompt_tokens"), where)
    hash_ids = row.get("hash_ids")
    if hash_ids is None:
        return _block(-number, length)
    if not isinstance(hash_ids, list) or not all(type(i) is int for i in hash_ids):
        raise ConfigError(f"{where}: hash_ids must be a list of numbers")
    prompt: list[int] = []
    for hash_id in hash_ids:
        prompt += _block(hash_id, min(HASH_BLOCK, length - len(prompt)))
    return prompt + _block(-number, length - len(prompt))


def _block(identity: int, length: int) -> list[int]:
    """Token ids that are equal for equal identities and, in practice, for no others."""
    first = (identity * 2_654_435_761) % _MAX_TOKEN_ID
    return list(range(first, first + length))


def _measured(value: object, where: str) -> Measured | None:
    if value is None:
        return None
    if isinstance(value, dict):
        first, last = value.get("first_token"), value.get("last_token")
        if isinstance(first, (int, float)) and isinstance(last, (int, float)):
            return Measured(float(first), float(last))
    raise ConfigError(f"{where}: measured needs first_token and last_token in seconds")


def _azure(text: str, file: Path) -> Iterator[TraceRequest]:
    rows = csv.DictReader(text.splitlines())
    columns = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
    missing = [column for column in columns if column not in (rows.fieldnames or ())]
    if missing:
        raise ConfigError(f"{file}:1: a CSV trace needs the columns {', '.join(columns)}; missing: {missing}")
    zero: datetime | None = None
    for number, row in enumerate(rows, 2):
        try:
            # Azure writes seven digits of a second; datetime takes six
            moment = datetime.fromisoformat(row["TIMESTAMP"].strip()[:26])
            prompt, output = int(row["ContextTokens"]), int(row["GeneratedTokens"])
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{file}:{number}: {error}") from error
        zero = zero or moment
        if prompt < 1 or output < 1:
            continue  # failed requests stand in the trace with 0 tokens
        arrival = (moment - zero).total_seconds()
        yield TraceRequest(str(number - 2), arrival, _block(-number, prompt), output)
