"""Traces as CSV: Azure's LLM inference traces and BurstGPT."""

from __future__ import annotations

import csv
import datetime
import re
from collections.abc import Callable, Iterable, Iterator

from loadgen.errors import TraceError
from loadgen.plan.tracerow import Reading, TraceRow
from loadgen.scenario.scenario import Trace

_AZURE_TIME = re.compile(
    r"(?P<base>[^.+Z]+?)(?P<fraction>\.\d*)?(?P<zone>Z|[+-]\d\d:?\d\d)?", re.ASCII
)  # digits behind the point, and a zone
_AZURE = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
_BURSTGPT = ("Timestamp", "Request tokens", "Response tokens")
Cells = dict[str, str]


def read_azure(trace: Trace, reading: Reading) -> Iterator[TraceRow]:
    """Rows of `TIMESTAMP,ContextTokens,GeneratedTokens`; TraceError for a row that is none."""

    def row(cells: Cells) -> TraceRow:
        return TraceRow(
            at=_azure_time(cells["TIMESTAMP"]),
            input_tokens=max(1, int(cells["ContextTokens"])),
            output_tokens=max(1, int(cells["GeneratedTokens"])),
        )

    return _rows(trace, _AZURE, row, "Azure")


def read_burstgpt(trace: Trace, reading: Reading) -> Iterator[TraceRow]:
    """Rows of BurstGPT, seconds as times; those without an answer, which failed there, are left out.

    Its `Session ID`, where there is one, is the group. TraceError for a row that is none.
    """

    def row(cells: Cells) -> TraceRow | None:
        answered = int(float(cells["Response tokens"]))
        if not answered:
            reading.add("failed where they were recorded (no response tokens)")
            return None
        return TraceRow(
            at=float(cells["Timestamp"]),
            input_tokens=max(1, int(float(cells["Request tokens"]))),
            output_tokens=answered,
            group=cells.get("Session ID") or None,
        )

    return _rows(trace, _BURSTGPT, row, "BurstGPT")


def _rows(
    trace: Trace, needed: tuple[str, ...], read: Callable[[Cells], TraceRow | None], called: str
) -> Iterator[TraceRow]:
    with trace.path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        try:
            names = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = names
            if not set(needed) <= set(names):
                message = f"needs the columns {','.join(needed)}, has {','.join(names)}"
                raise TraceError(message, file=trace.path, line=1)
            yield from _read(trace, reader, read, called)
        except csv.Error as error:
            raise TraceError(f"no CSV file: {error}", file=trace.path, line=reader.line_num + 1) from error
        except UnicodeDecodeError as error:  # met a buffer ahead of the line that is being read
            raise TraceError(f"no CSV file: {error}", file=trace.path) from error


def _read(
    trace: Trace, reader: csv.DictReader[str], read: Callable[[Cells], TraceRow | None], called: str
) -> Iterable[TraceRow]:
    for cells in reader:
        try:
            row = read(cells)
        except (ValueError, TypeError, OverflowError) as error:
            message = f"no {called} row: {error}"
            raise TraceError(message, file=trace.path, line=reader.line_num) from error
        if row is not None:
            yield row


def _azure_time(text: str) -> float:
    """Seconds of `2023-11-16 18:15:46.6805900`, whose seven decimals datetime cannot read; else UTC.

    ValueError for what is no moment.
    """
    found = _AZURE_TIME.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"not a moment such as 2023-11-16 18:15:46.6805900: {text!r}")
    moment = datetime.datetime.fromisoformat(found["base"] + (found["zone"] or "+00:00"))
    return moment.timestamp() + float("0" + (found["fraction"] or ""))
