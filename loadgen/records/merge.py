"""Joins the runs of several machines (parts of one plan, or different plans) into one run directory.

Times are moved to the earliest machine's t0 by the wall clocks; every record is kept as it is, so the
merged figures are exactly those of all requests together. Workers are numbered anew.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import msgspec

from loadgen.errors import RecordError
from loadgen.numbers.jsonl import open_private, read_lines, write_private
from loadgen.plan.plan import PlanLine, SharedText, load_plan, read_plan, read_plan_header, write_plan
from loadgen.records.records import Record, RecordsHeader, read_header, record_files, write_records
from loadgen.records.rundir import (
    ACCESS,
    DECISIONS,
    EVENTS,
    PLAN,
    SCENARIO,
    SCRAPES,
    EventLine,
    Meta,
    ScrapeLine,
    check_free,
    fresh_directory,
    read_events,
    read_meta,
    read_scrapes,
    write_meta,
)

MOMENTS = (
    "intended",
    "start",
    "connected",
    "sent",
    "first_byte",
    "opening",
    "first_token",
    "last_token",
    "end",
)


def merge_runs(dirs: Sequence[Path], out: Path) -> Meta:
    """Write the merged run to `out`; RecordError when ids collide, RunError when `out` is taken."""
    check_free(out)
    metas = [read_meta(directory) for directory in dirs]
    zero = min(meta.t0 for meta in metas)
    records: list[Record] = []
    owners: dict[str, Path] = {}
    worker = 0
    for directory, meta in zip(dirs, metas, strict=True):
        shift = meta.t0 - zero
        for path in record_files(directory):
            read_header(path)
            for record in read_lines(path, Record, first=2):
                other = owners.setdefault(record.id, directory)
                if other != directory:
                    raise RecordError(
                        f"request {record.id} is in {other} and in {directory}: these are not parts of one "
                        "plan (run them with --slice I/N), nor plans of different classes"
                    )
                records.append(_moved(record, shift, worker))
            worker += 1
    records.sort(key=lambda record: (record.intended, record.id))
    fresh_directory(out)
    write_records(out / "records.jsonl", RecordsHeader(t0=zero, workers=worker), records)
    _merge_series(dirs, metas, zero, out)
    _merge_plans(dirs, out)
    for name in (ACCESS, DECISIONS):
        _merge_logs([directory / name for directory in dirs], out / name)
    merged = _merged_meta(metas, zero, worker)
    write_meta(out, merged)
    return merged


def _moved(record: Record, shift: float, worker: int) -> Record:
    record.worker = worker
    if shift:
        for name in MOMENTS:
            value = getattr(record, name)
            if value is not None:
                setattr(record, name, round(value + shift, 7))
        if record.chunk_times is not None:
            record.chunk_times = [round(value + shift, 6) for value in record.chunk_times]
        for attempt in record.attempts:
            for name in ("start", "connected", "first_byte", "end"):
                value = getattr(attempt, name)
                if value is not None:
                    setattr(attempt, name, round(value + shift, 7))
    return record


def _merge_series(dirs: Sequence[Path], metas: Sequence[Meta], zero: float, out: Path) -> None:
    """Scrapes and events of all machines on one clock."""
    scrapes = [read_scrapes(directory) for directory in dirs]
    events = [read_events(directory) for directory in dirs]
    for machine, meta in enumerate(metas):
        lines: list[ScrapeLine | EventLine] = [*scrapes[machine], *events[machine]]
        for line in lines:
            line.t = round(line.t + meta.t0 - zero, 6)
    _write_lines(out / SCRAPES, one_series(scrapes))
    _write_lines(out / EVENTS, list(chain.from_iterable(events)))


def one_series(machines: Sequence[Sequence[ScrapeLine]]) -> list[ScrapeLine]:
    """Of each page the first look of all machines, the last, and between them those of one machine.

    Clocks of machines differ: two series in one would let counters seem to fall, which reads as a restart.
    """
    urls = dict.fromkeys(line.url for lines in machines for line in lines)
    return [
        line for url in urls for line in _page([[x for x in lines if x.url == url] for lines in machines])
    ]


def _page(looks: Sequence[Sequence[ScrapeLine]]) -> list[ScrapeLine]:
    """The looks of all machines at one page as one series."""
    whole = [line for lines in looks for line in lines if line.error is None]
    first = min(_of(whole, "before"), key=lambda x: x.t, default=None)
    last = max(_of(whole, "after"), key=lambda x: x.t, default=None)
    during = max((_of(lines, "during") for lines in looks), key=len)
    low, high = first.t if first else -math.inf, last.t if last else math.inf
    kept = [line for line in during if low < line.t < high]
    return [line for line in (first, *kept, last) if line is not None]


def _of(lines: Sequence[ScrapeLine], phase: str) -> list[ScrapeLine]:
    return [line for line in lines if line.phase == phase]


def _write_lines(path: Path, lines: list[ScrapeLine] | list[EventLine]) -> None:
    encoder = msgspec.json.Encoder()
    if lines:
        ordered = sorted(lines, key=lambda line: line.t)
        write_private(path, b"".join(encoder.encode(line) + b"\n" for line in ordered))


def _merge_logs(logs: Sequence[Path], out: Path) -> None:
    """The lines of all machines; each is about a request of its own machine."""
    found = [log for log in logs if log.is_file()]
    if found:
        with open_private(out) as merged:
            for log in found:
                with log.open("rb") as lines:
                    shutil.copyfileobj(lines, merged)


def _merge_plans(dirs: Sequence[Path], out: Path) -> None:
    """One plan when all machines had the same; else their plans one behind the other, texts renumbered."""
    scenario = next((path.read_bytes() for d in dirs if (path := d / SCENARIO).is_file()), b"")
    write_private(out / SCENARIO, scenario)
    plans = [directory / PLAN for directory in dirs if (directory / PLAN).is_file()]
    contents = {path.read_bytes() for path in plans}
    if len(contents) == 1:
        write_private(out / PLAN, contents.pop())
    elif plans:
        write_plan(out / PLAN, _joined(plans))


def _joined(plans: Sequence[Path]) -> list[PlanLine]:
    headers = [read_plan_header(path) for path in plans]
    first = headers[0]
    for header in headers[1:]:
        first.classes = {**header.classes, **first.classes}
        first.units += header.units
        first.span = max(first.span, header.span)
    lines: list[PlanLine] = [first]
    text_base = slot_base = 0
    for path in plans:
        highest = max(load_plan(path).texts, default=-1) + 1
        slots = 0
        for line in read_plan(path):
            slots = max(slots, (line.slot or 0) + 1)
            if isinstance(line, SharedText):
                line.text += text_base
                line.slot = None if line.slot is None else line.slot + slot_base
            else:
                line.slot += slot_base
                line.body = [piece + text_base if isinstance(piece, int) else piece for piece in line.body]
            lines.append(line)
        text_base, slot_base = text_base + highest, slot_base + slots
    return lines


def _merged_meta(metas: Sequence[Meta], zero: float, workers: int) -> Meta:
    merged = msgspec.structs.replace(metas[0], t0=zero, t0_monotonic=0.0, slice=(0, 1), processes=workers)
    merged.host = ", ".join(dict.fromkeys(meta.host for meta in metas))
    states = [meta.status for meta in metas]
    merged.status = next(
        (state for state in ("failed", "running", "interrupted") if state in states), "finished"
    )
    merged.planned = sum(meta.planned for meta in metas)
    merged.span = max(meta.t0 - zero + meta.span for meta in metas)
    merged.duration = max((meta.t0 - zero + (meta.duration or 0.0) for meta in metas), default=None)
    merged.warnings = [f"{meta.host}: {warning}" for meta in metas for warning in meta.warnings]
    merged.warnings.append(
        f"merged from {len(metas)} runs; times of different machines rest on their wall clocks"
    )
    merged.runs = list(chain.from_iterable(meta.runs for meta in metas))
    for meta in metas[1:]:
        merged.totals.merge(meta.totals)
        merged.pools = {**meta.pools, **merged.pools}
        merged.roles = {**meta.roles, **merged.roles}
        merged.foreign = {**meta.foreign, **merged.foreign}
        merged.first_errors = {**meta.first_errors, **merged.first_errors}
    late, done = merged.totals.late, merged.totals.done
    merged.client.late_p50, merged.client.late_p99 = late.quantile(0.5), late.quantile(0.99)
    merged.client.late_max = late.most if late.counts else None
    merged.client.cpu = merged.totals.cpu
    merged.client.cpu_per_request = merged.totals.cpu / done if done else None
    return merged
