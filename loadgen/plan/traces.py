"""Recorded traffic as `TraceRow`s in order of time; a row that cannot be read is an error with its line."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

from loadgen.errors import TraceError
from loadgen.plan.trace_csv import read_azure, read_burstgpt
from loadgen.plan.trace_json import read_bailian, read_mooncake, read_openai, read_sharegpt, read_timed
from loadgen.plan.tracerow import Reading, TraceRow
from loadgen.scenario.scenario import Trace

_READERS: dict[str, Callable[[Trace, Reading], Iterator[TraceRow]]] = {
    "mooncake": read_mooncake,
    "timed_trace": read_timed,
    "bailian": read_bailian,
    "azure": read_azure,
    "burstgpt": read_burstgpt,
    "sharegpt": read_sharegpt,
    "openai": read_openai,
}


def read_trace(trace: Trace, reading: Reading | None = None) -> list[TraceRow]:
    """All rows, at most `limit`; times begin at 0. `reading` learns what was left out.

    TraceError when there are none, or when only some of them have a time.
    """
    reader = _READERS[trace.format](trace, reading or Reading())
    rows = list(itertools.islice(reader, trace.limit))
    if not rows:
        raise TraceError("holds no request", file=trace.path)
    untimed = sum(row.at is None for row in rows)
    if untimed == len(rows):
        return rows
    if untimed:
        raise TraceError(f"{untimed} of {len(rows)} rows have no time", file=trace.path)
    rows.sort(key=lambda row: row.at or 0.0)
    first = rows[0].at or 0.0
    for row in rows:
        row.at = round((row.at or 0.0) - first, 7)
    return rows
