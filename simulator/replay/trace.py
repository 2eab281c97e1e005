"""Workload traces: a recorded run, a list of requests, or lengths alone.

Read are: a folder with `requests.jsonl`; a JSON Lines file; an Azure LLM CSV (TIMESTAMP, ContextTokens,
GeneratedTokens). A JSON line says
- when: `arrival_s` (seconds) or `timestamp` (milliseconds, Mooncake);
- the prompt: `prompt_token_ids`, `prompt` (text), or a length alone (`input_length`, `prompt_tokens`), with
  Mooncake's `hash_ids` (blocks of 512 tokens that are equal where their ids are);
- the answer's length: `output_tokens`, `output_length` or `max_tokens`;
- optionally `measured` with `first_token` and `last_token` in seconds, on the clock of `arrival_s`.

Rows may stand in any order, a byte order mark is skipped, times of a CSV may carry a zone (none is UTC), and
the first arrival of a CSV is the trace's zero.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from simulator.engine.config import EngineConfig
from simulator.errors import ConfigError
from simulator.replay.prompts import Prompt

HASH_BLOCK = 512  # tokens of one of Mooncake's hash ids
# Azure writes seven digits of a second, where datetime takes six; then perhaps a zone.
_MOMENT = re.compile(r"(?P<base>[^.]*?)(?P<fraction>\.\d+)?(?P<zone>Z|[+-]\d\d:?\d\d)?", re.ASCII)

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
    prompt: Prompt
    output_tokens: int
    measured: Measured | None = None

    def over_long(self, config: EngineConfig) -> str | None:
        """Why no engine of `config` can ever serve it; None for one that fits."""
        tokens = self.prompt.length + self.output_tokens
        if tokens > config.max_model_len:
            return f"{tokens} tokens exceed max_model_len {config.max_model_len}"
        capacity = (config.num_gpu_blocks - 1) * config.block_size
        if tokens > capacity:
            return (
                f"{tokens} tokens exceed the KV cache of {capacity} tokens "
                f"({config.num_gpu_blocks} blocks of {config.block_size})"
            )
        return None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Requests of a trace that no engine can serve: how many, and the first with its reason."""

    count: int
    name: str
    why: str

    def __str__(self) -> str:
        requests = "1 request is" if self.count == 1 else f"{self.count} requests are"
        first = "" if self.count == 1 else "first "
        return f"{requests} over-long and left out: {first}{self.name}: {self.why}"


def fitting(requests: list[TraceRequest], config: EngineConfig) -> tuple[list[TraceRequest], LeftOut | None]:
    """The requests that an engine can serve, and what is to be said of the others."""
    kept: list[TraceRequest] = []
    first: tuple[str, str] | None = None
    for request in requests:
        why = request.over_long(config)
        if why is None:
            kept.append(request)
        else:
            first = first or (request.name, why)
    return kept, LeftOut(len(requests) - len(kept), *first) if first else None


def read_trace(path: Path, encode: Encode, limit: int | None = None) -> list[TraceRequest]:
    """The requests in order of arrival, the first `limit` of them. Raises ConfigError with file and line."""
    file = path / "requests.jsonl" if path.is_dir() else path
    try:
        text = file.read_text(encoding="utf-8-sig")
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
    if not prompt.length:
        raise ConfigError(f"{where}: the prompt is empty")
    return TraceRequest(
        name=str(row.get("id", number - 1)),
        arrival=_arrival(row, where),
        prompt=prompt,
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


def _prompt(row: dict[str, Any], number: int, where: str, encode: Encode) -> Prompt:
    ids = row.get("prompt_token_ids")
    if ids is not None:
        if isinstance(ids, list) and all(type(i) is int and i >= 0 for i in ids):
            return Prompt.of_ids(ids)
        raise ConfigError(f"{where}: prompt_token_ids must be a list of token ids")
    if isinstance(row.get("prompt"), str):
        return Prompt.of_ids(encode(row["prompt"]))
    length = _count(row, ("input_length", "prompt_tokens"), where)
    hash_ids = row.get("hash_ids")
    if hash_ids is None:
        return Prompt(length, block_tokens=HASH_BLOCK, own=-number)
    if not isinstance(hash_ids, list) or not all(type(i) is int and i >= 0 for i in hash_ids):
        raise ConfigError(f"{where}: hash_ids must be a list of numbers of 0 or more")
    return Prompt(length, blocks=tuple(hash_ids), block_tokens=HASH_BLOCK, own=-number)


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
    found: list[tuple[float, int, int, int]] = []
    for number, row in enumerate(rows, 2):
        try:
            moment = _seconds(row["TIMESTAMP"])
            prompt, output = int(row["ContextTokens"]), int(row["GeneratedTokens"])
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{file}:{number}: {error}") from error
        if prompt >= 1 and output >= 1:  # failed requests stand in the trace with 0 tokens
            found.append((moment, number, prompt, output))
    zero = min(found)[0] if found else 0.0
    for moment, number, prompt, output in found:
        length = Prompt(prompt, block_tokens=HASH_BLOCK, own=-number)
        yield TraceRequest(str(number - 2), round(moment - zero, 7), length, output)


def _seconds(text: str) -> float:
    """A moment as seconds of UTC. ValueError for what is none."""
    found = _MOMENT.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"not a moment such as 2023-11-16 18:15:46.6805900: {text!r}")
    moment = datetime.fromisoformat(found["base"] + (found["zone"] or ""))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp() + float("0" + (found["fraction"] or ""))
