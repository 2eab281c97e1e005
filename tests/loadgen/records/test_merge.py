"""Runs of several machines as one: times on one clock, plans side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pytest

from loadgen.errors import RecordError, RunError
from loadgen.numbers.progress import Progress
from loadgen.plan.build import build_plan
from loadgen.plan.plan import load_plan, write_plan
from loadgen.records.merge import merge_runs, one_series
from loadgen.records.records import Attempt, Record, RecordsHeader, write_records
from loadgen.records.rundir import EventLine, Meta, ScrapeLine, read_events, read_scrapes, write_meta
from loadgen.records.table import read_records
from loadgen.scenario.read import read_scenario


def machine(folder: Path, cls: str, t0: float) -> Path:
    """A finished run of one class whose t0 was `t0` on the wall clock."""
    folder.mkdir()
    text = f"""
model: m
classes:
  {cls}:
    arrival: {{process: constant, rate: 2, duration: 2s}}
    prefix: {{groups: 2, tokens: 3}}
    input_tokens: 2
"""
    write_plan(folder / "plan.jsonl", build_plan(read_scenario(text, "x.yaml")))
    records = [
        Record(
            id=request.id,
            cls=cls,
            intended=request.at or 0.0,
            start=request.at,
            end=(request.at or 0.0) + 1.0,
            outcome="ok",
            chunk_times=[0.5],
            attempts=[Attempt(start=0.0, end=0.25)],
        )
        for request in load_plan(folder / "plan.jsonl").requests
    ]
    write_records(folder / "records.jsonl", RecordsHeader(t0=t0), records)
    (folder / "events.jsonl").write_text(json.dumps({"t": 1.0, "name": f"event of {cls}"}) + "\n")
    line = ScrapeLine(t=0.5, took=0.001, name="pod", url="http://x/metrics")
    (folder / "scrapes.jsonl").write_text(
        json.dumps({"t": line.t, "took": line.took, "name": "pod", "url": "u"}) + "\n"
    )
    totals = Progress(done=len(records), outcomes={"ok": len(records)}, cpu=0.1)
    meta = Meta(
        status="finished", t0=t0, host=cls, planned=len(records), span=2.0, duration=2.5, totals=totals
    )
    write_meta(folder, meta)
    return folder


def test_times_move_to_the_first_machines_clock(tmp_path: Path) -> None:
    dirs = [machine(tmp_path / "a", "a", 100.0), machine(tmp_path / "b", "b", 101.5)]
    meta = merge_runs(dirs, tmp_path / "out")
    records = {record.id: record for record in read_records(tmp_path / "out")}
    assert len(records) == meta.planned == 8
    moved = records["b-000000"]
    assert (moved.intended, moved.end, moved.chunk_times) == (1.5, 2.5, [2.0])
    assert (moved.attempts[0].start, moved.attempts[0].end) == (1.5, 1.75)
    assert records["a-000000"].intended == 0.0
    assert [(event.name, event.t) for event in read_events(tmp_path / "out")] == [
        ("event of a", 1.0),
        ("event of b", 2.5),
    ]
    assert [scrape.t for scrape in read_scrapes(tmp_path / "out")] == [0.5]  # of one page, one series
    assert (meta.span, meta.duration, meta.host, meta.status) == (3.5, 4.0, "a, b", "finished")
    assert meta.totals.outcomes == {"ok": 8}
    assert {record.worker for record in records.values()} == {0, 1}


def test_plans_of_different_machines_stand_side_by_side(tmp_path: Path) -> None:
    dirs = [machine(tmp_path / "a", "a", 100.0), machine(tmp_path / "b", "b", 100.0)]
    merge_runs(dirs, tmp_path / "out")
    merged = load_plan(tmp_path / "out" / "plan.jsonl")
    assert set(merged.header.classes) == {"a", "b"}
    assert len({request.slot for request in merged.requests}) == 8
    for folder in dirs:
        alone = load_plan(folder / "plan.jsonl")
        for request in alone.requests:
            (twin,) = (each for each in merged.requests if each.id == request.id)
            assert merged.body(twin) == alone.body(request)


def test_what_cannot_be_merged(tmp_path: Path) -> None:
    dirs = [machine(tmp_path / "a", "a", 100.0), machine(tmp_path / "b", "a", 100.0)]
    with pytest.raises(RecordError, match=r"is in .* and in"):
        merge_runs(dirs, tmp_path / "out")
    with pytest.raises(RunError, match="holds a run already"):
        merge_runs(dirs, tmp_path / "a")
    with pytest.raises(RecordError, match="not the directory of a run"):
        merge_runs([tmp_path], tmp_path / "other")


def test_events_are_read_with_their_defaults(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text('{"t": 1.0, "name": "x"}\n')
    assert read_events(tmp_path) == [EventLine(t=1.0, name="x")]


def test_counters_of_a_page_that_two_machines_scraped_never_fall() -> None:
    """The second machine's clock is a second behind."""

    def look(t: float, shift: float, phase: Literal["before", "during", "after"] = "during") -> ScrapeLine:
        samples = {"vllm:request_success_total": 10 * t}
        return ScrapeLine(t=t + shift, took=0.001, name="pod", url="u", phase=phase, samples=samples)

    def looks(shift: float, times: list[float]) -> list[ScrapeLine]:
        first, *during, last = times
        return [
            look(first, shift, "before"),
            *(look(t, shift) for t in during),
            look(last, shift, "after"),
        ]

    one = looks(0.0, [0.0, 1.0, 2.0, 3.0, 4.0])
    other = looks(-1.0, [2.5, 3.5, 5.5])
    found = sorted(one_series([one, other]), key=lambda line: line.t)
    counts = [line.samples["vllm:request_success_total"] for line in found]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (0.0, 55.0)
    assert [line.phase for line in found].count("before") == 1
