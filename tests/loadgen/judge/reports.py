"""A report of hand-made records: what judge, report and compare are tried on, with known figures."""

from __future__ import annotations

from pathlib import Path

from loadgen.judge.report import Report, build
from loadgen.records.records import Record, RecordsHeader
from loadgen.records.rundata import RunData
from loadgen.records.rundir import EventLine, Meta
from loadgen.records.table import Records


def answered(name: str, at: float, **more: object) -> Record:
    """An answer of five tokens, 10 ms apart, the first after 100 ms, sent 1 ms late."""
    base: dict[str, object] = {
        "start": at + 0.001,
        "connected": at + 0.001,
        "first_byte": at + 0.1,
        "first_token": at + 0.1,
        "last_token": at + 0.14,
        "end": at + 0.15,
        "outcome": "ok",
        "status": 200,
        "prompt_tokens": 20,
        "output_tokens": 5,
        "pod": "p-1",
        "chunk_times": [at + 0.1 + 0.01 * k for k in range(5)],
        "bytes_out": 100,
        "bytes_in": 500,
    }
    return Record(id=name, cls="chat", intended=at, **{**base, **more})  # type: ignore[arg-type]


def mixed() -> list[Record]:
    """Ten requests, one a second: six ok on two pods, two sheds, an error, one missed."""
    kinds: list[dict[str, object]] = [
        *({"pod": f"p-{n % 2}"} for n in range(6)),
        {"outcome": "shed_429", "status": 429, "pod": None, "error": "full", "chunk_times": None},
        {"outcome": "shed_429", "status": 429, "pod": None, "error": "full", "chunk_times": None},
        {"outcome": "reset", "status": None, "pod": None, "error": "gone <away>", "chunk_times": None},
        {"outcome": "missed", "status": None, "pod": None, "start": None, "end": None, "chunk_times": None},
    ]
    return [answered(f"r{n}", float(n), **kind) for n, kind in enumerate(kinds)]


def report_of(records: list[Record], events: tuple[EventLine, ...] = ()) -> Report:
    """The report of a finished run that made these records."""
    meta = Meta(
        status="finished", scenario="by hand", target="http://127.0.0.1:1", planned=len(records), t0=1e9
    )
    return build(RunData(Path("by-hand"), Records.of(records), RecordsHeader(), meta, events=list(events)))
