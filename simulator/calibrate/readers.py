"""Measured runs from what people have: recordings of engines, loadgen's directories, vllm bench's JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from itertools import count
from pathlib import Path
from typing import Any

from simulator.calibrate.trial import MeasuredRun
from simulator.errors import ConfigError
from simulator.replay.prompts import Prompt
from simulator.replay.trace import Measured, TraceRequest, read_trace

Encode = Callable[[str], list[int]]
# Ids from here on belong to one request each, so that no two prompts are found alike.
_OWN_IDS = 1_000_000
# Ids of what the server said it had cached: the same beginning for all of them.
_SHARED_IDS = 1_000
_LARGEST = (1 << 31) - 1


def read_runs(path: Path, encode: Encode) -> tuple[list[MeasuredRun], list[str]]:
    """The runs in a file or directory, one for each engine, and what is to be said of them.

    Raises ConfigError where it is nothing that is known, or nothing in it was measured.
    """
    if path.is_dir() and sorted(path.glob("records*.jsonl")):
        return _of_loadgen(path)
    if path.suffix == ".json" and path.is_file():
        return _of_vllm_bench(path)
    requests = read_trace(path, encode)
    if not any(request.measured for request in requests):
        raise ConfigError(f"{path}: no request has `measured` times (first_token, last_token)")
    return [MeasuredRun(path.name, requests)], []


class _Prompts:
    """Token ids of prompts of which only lengths are known."""

    def __init__(self) -> None:
        self._next = count(_OWN_IDS)

    def make(self, tokens: int, cached: int = 0) -> list[int]:
        """So many ids, of which the first are those that the server had cached."""
        shared = min(cached, tokens - 1)
        return [
            *range(_SHARED_IDS, _SHARED_IDS + shared),
            *(next(self._next) % _LARGEST for _ in range(tokens - shared)),
        ]


def _of_loadgen(path: Path) -> tuple[list[MeasuredRun], list[str]]:
    """Ok answers with their times; each pod that answers name is an engine of its own."""
    prompts = _Prompts()
    pods: dict[str, list[TraceRequest]] = {}
    left = cached = 0
    for row in _records(path):
        request = _request(row, prompts)
        if request is None:
            left += 1
            continue
        cached += bool(row.get("cached_tokens"))
        pods.setdefault(str(row.get("pod") or ""), []).append(request)
    if not pods:
        raise ConfigError(f"{path}: no ok answer has token counts and times of its first and last token")
    notes = []
    if left:
        notes.append(f"{path.name}: {left} requests without a whole, counted answer are no part of the fit")
    if cached:
        notes.append(f"{path.name}: {cached} prompts were partly cached; their common beginning is supposed")
    runs = [
        MeasuredRun(f"{path.name} {pod}".strip(), sorted(rows, key=lambda r: r.arrival), client_side=True)
        for pod, rows in sorted(pods.items())
    ]
    return runs, notes


def _records(path: Path) -> Iterable[dict[str, Any]]:
    for file in sorted(path.glob("records*.jsonl")):
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    row = json.loads(line)
                except ValueError as error:
                    raise ConfigError(f"{file}:{number}: not JSON: {error}") from error
                if isinstance(row, dict) and "records" not in row:
                    yield row


def _request(row: dict[str, Any], prompts: _Prompts) -> TraceRequest | None:
    moments = [row.get(key) for key in ("start", "first_token", "last_token")]
    prompt, output = row.get("prompt_tokens"), row.get("output_tokens")
    if row.get("outcome") != "ok" or not all(isinstance(moment, int | float) for moment in moments):
        return None
    if not isinstance(prompt, int) or not isinstance(output, int) or prompt < 1 or output < 1:
        return None
    start, first, last = (float(moment) for moment in moments if isinstance(moment, int | float))
    opening = row.get("opening")
    if isinstance(opening, int | float):  # the first token had nothing to show
        first = min(first, float(opening))
    ids = prompts.make(prompt, int(row.get("cached_tokens") or 0))
    return TraceRequest(str(row.get("id")), start, Prompt.of_ids(ids), output, Measured(first, last))


def _of_vllm_bench(path: Path) -> tuple[list[MeasuredRun], list[str]]:
    """`vllm bench serve --save-result --save-detailed`: a list of each figure, one entry a request."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as JSON: {error}") from error
    names = ("input_lens", "output_lens", "ttfts", "itls", "start_times")
    missing = [name for name in names if not isinstance(value, dict) or not isinstance(value.get(name), list)]
    if missing:
        raise ConfigError(
            f"{path}: is no result of `vllm bench serve --save-result --save-detailed`: {', '.join(missing)} "
            "missing (start_times come with --save-detailed of a recent vLLM)"
        )
    columns = [value[name] for name in names]
    if len({len(column) for column in columns}) != 1:
        raise ConfigError(f"{path}: {', '.join(names)} are of different lengths")
    prompts, requests, failed = _Prompts(), [], 0
    zero = min((float(start) for start in value["start_times"]), default=0.0)
    for number, (prompt, output, ttft, gaps, start) in enumerate(zip(*columns, strict=True)):
        if not output or not ttft:
            failed += 1
            continue
        first = float(start) - zero + float(ttft)
        last = first + sum(map(float, gaps))
        measured = Measured(first, last)
        ids = prompts.make(int(prompt))
        requests.append(
            TraceRequest(str(number), float(start) - zero, Prompt.of_ids(ids), int(output), measured)
        )
    if not requests:
        raise ConfigError(f"{path}: no request of it succeeded")
    notes = [f"{path.name}: {failed} failed requests are no part of the fit"] if failed else []
    ordered = sorted(requests, key=lambda request: request.arrival)
    return [MeasuredRun(path.name, ordered, client_side=True)], notes
