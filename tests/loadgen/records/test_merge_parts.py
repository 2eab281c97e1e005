"""Parts of one plan as one run: every record once, every moment on one clock, every total the sum."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from loadgen.errors import RecordError
from loadgen.numbers.progress import Progress
from loadgen.plan.build import build_plan
from loadgen.plan.plan import PlannedRequest, load_plan, read_plan, write_plan
from loadgen.records.merge import MOMENTS, merge_runs, one_series
from loadgen.records.records import Attempt, Record, RecordsHeader, read_header, write_records
from loadgen.records.rundata import load_run
from loadgen.records.rundir import Meta, ScrapeLine, read_meta, read_scrapes, write_meta
from loadgen.records.table import read_records
from loadgen.scenario.read import read_scenario

TEXT = "model: m\nclasses: {a: {arrival: {process: constant, rate: 10, duration: 1s}, input_tokens: 3}}\n"


def part(folder: Path, number: int, parts: int, t0: float, workers: int = 1, **meta: object) -> Path:
    """One machine's part of the plan, in as many files as it had workers."""
    folder.mkdir()
    write_plan(folder / "plan.jsonl", build_plan(read_scenario(TEXT, "x.yaml")))
    (folder / "scenario.yaml").write_text(TEXT)
    for worker in range(workers):
        mine = read_plan(folder / "plan.jsonl", number * workers + worker, parts * workers)
        records = [
            Record(
                id=line.id, cls="a", intended=line.at or 0.0, worker=worker, **dict.fromkeys(MOMENTS[1:], 0.5)
            )
            for line in mine
            if isinstance(line, PlannedRequest)
        ]
        write_records(folder / f"records-{worker}.jsonl", RecordsHeader(t0=t0, worker=worker), records)
    late = Progress(sent=5, done=5, cpu=0.5)
    late.late.add(0.001 * (number + 1))
    fields: dict[str, object] = {
        "status": "finished", "t0": t0, "host": f"h{number}", "slice": (number, parts), "planned": 5,
        "span": 1.0, "duration": 1.5, "totals": late, "warnings": [f"w{number}"],
        "first_errors": {"reset": f"e{number}"},
    }  # fmt: skip
    write_meta(folder, Meta(**{**fields, **meta}))  # type: ignore[arg-type]
    return folder


def test_slices_of_one_plan_are_the_whole(tmp_path: Path) -> None:
    dirs = [part(tmp_path / f"p{n}", n, 2, 100.0 + n / 4, workers=2) for n in range(2)]
    meta = merge_runs(dirs, tmp_path / "out")
    records = read_records(tmp_path / "out")
    assert sorted(record.id for record in records) == [f"a-{n:06d}" for n in range(10)]
    assert {record.worker for record in records} == {0, 1, 2, 3}
    assert (tmp_path / "out" / "plan.jsonl").read_bytes() == (dirs[0] / "plan.jsonl").read_bytes()
    assert (tmp_path / "out" / "scenario.yaml").read_text() == TEXT
    header = read_header(tmp_path / "out" / "records.jsonl")
    assert (header.t0, header.workers) == (100.0, 4)
    assert (meta.processes, meta.slice, meta.planned, meta.span, meta.duration) == (4, (0, 1), 10, 1.25, 1.75)
    assert read_meta(tmp_path / "out") == meta
    assert load_run(tmp_path / "out").notes == []


def test_totals_are_sums_and_lateness_is_that_of_all(tmp_path: Path) -> None:
    dirs = [part(tmp_path / f"p{n}", n, 2, 100.0) for n in range(2)]
    meta = merge_runs(dirs, tmp_path / "out")
    assert (meta.totals.sent, meta.totals.done, meta.totals.cpu) == (10, 10, 1.0)
    assert (meta.client.cpu, meta.client.cpu_per_request) == (1.0, 0.1)
    assert meta.client.late_max == 0.002
    assert meta.client.late_p50 == pytest.approx(0.001, rel=0.006)
    assert meta.client.late_p99 == pytest.approx(0.002, rel=0.006)
    assert meta.first_errors == {"reset": "e0"}
    assert meta.warnings == [
        "h0: w0", "h1: w1", "merged from 2 runs; times of different machines rest on their wall clocks",
    ]  # fmt: skip


def test_pods_that_any_part_knows_are_known(tmp_path: Path) -> None:
    dirs = [
        part(tmp_path / f"p{n}", n, 2, 100.0, pools={f"pod-{n}": "pool"}, foreign={f"z-{n}": "other"})
        for n in range(2)
    ]
    meta = merge_runs(dirs, tmp_path / "out")
    assert meta.pools == {"pod-0": "pool", "pod-1": "pool"}
    assert meta.foreign == {"z-0": "other", "z-1": "other"}


def test_every_moment_moves_by_the_same(tmp_path: Path) -> None:
    dirs = [part(tmp_path / "p0", 0, 2, 100.0), part(tmp_path / "p1", 1, 2, 107.5)]
    path = dirs[1] / "records-0.jsonl"
    moved = Record(
        id="a-000001", cls="a", intended=0.25, chunk_times=[0.5, 0.75],
        attempts=[Attempt(start=0.5, connected=0.625, first_byte=None, end=0.75, retry_after=3.0)],
        **dict.fromkeys(MOMENTS[1:], 1.0),
    )  # fmt: skip
    write_records(path, RecordsHeader(), [moved, Record(id="a-000003", cls="a", intended=0.5)])
    merge_runs(dirs, tmp_path / "out")
    found = {record.id: record for record in read_records(tmp_path / "out")}
    record = found["a-000001"]
    assert [getattr(record, name) for name in MOMENTS] == [7.75, *[8.5] * (len(MOMENTS) - 1)]
    assert record.chunk_times == [8.0, 8.25]
    (attempt,) = record.attempts
    assert (attempt.start, attempt.connected, attempt.first_byte, attempt.end) == (8.0, 8.125, None, 8.25)
    assert attempt.retry_after == 3.0  # a length of time, not a moment
    assert found["a-000003"].start is None
    moments = {field.name for field in msgspec.structs.fields(Record) if field.name in MOMENTS}
    assert moments == set(MOMENTS)


@pytest.mark.parametrize(
    ("states", "merged"),
    [
        (("finished", "finished"), "finished"),
        (("finished", "interrupted"), "interrupted"),
        (("running", "interrupted"), "running"),
        (("failed", "running"), "failed"),
    ],
)
def test_the_worst_state_is_the_whole_runs(tmp_path: Path, states: tuple[str, str], merged: str) -> None:
    dirs = [part(tmp_path / f"p{n}", n, 2, 100.0, status=state) for n, state in enumerate(states)]
    assert merge_runs(dirs, tmp_path / "out").status == merged


def test_the_same_part_twice_is_refused(tmp_path: Path) -> None:
    dirs = [part(tmp_path / f"p{n}", 0, 2, 100.0) for n in range(2)]
    with pytest.raises(RecordError) as caught:
        merge_runs(dirs, tmp_path / "out")
    assert str(caught.value) == (
        f"request a-000000 is in {dirs[0]} and in {dirs[1]}: these are not parts of one plan (run them with "
        "--slice I/N), nor plans of different classes"
    )
    assert not (tmp_path / "out").exists()


def test_a_request_sent_in_several_rounds_by_one_machine_is_no_collision(tmp_path: Path) -> None:
    folder = part(tmp_path / "p", 0, 1, 100.0)
    again = [Record(id=f"a-000000{suffix}", cls="a", intended=0.0) for suffix in ("", "#2", "#3")]
    write_records(folder / "records-0.jsonl", RecordsHeader(), again)
    merge_runs([folder], tmp_path / "out")
    assert len(read_records(tmp_path / "out")) == 3


def test_plans_side_by_side_keep_texts_and_slots_apart(tmp_path: Path) -> None:
    dirs = []
    for name in "ab":
        folder = part(tmp_path / name, 0, 1, 100.0)
        fields = "arrival: {process: burst, size: 3}, prefix: {groups: 2, tokens: 3}, sessions: {turns: 2}"
        text = f"model: m\nclasses: {{{name}: {{{fields}}}}}\n"
        write_plan(folder / "plan.jsonl", build_plan(read_scenario(text, "x.yaml")))
        write_records(folder / "records-0.jsonl", RecordsHeader(), [Record(id=name, cls=name, intended=0.0)])
        dirs.append(folder)
    merge_runs(dirs, tmp_path / "out")
    merged = load_plan(tmp_path / "out" / "plan.jsonl")
    assert merged.header.units == 6
    assert set(merged.header.classes) == {"a", "b"}
    assert len({request.slot for request in merged.requests}) == 6
    for folder in dirs:
        alone = load_plan(folder / "plan.jsonl")
        for request in alone.requests:
            twin = next(each for each in merged.requests if each.id == request.id)
            assert merged.body(twin, {0: "said"}) == alone.body(request, {0: "said"})
    for workers in (2, 4):  # texts stand where their requests go
        for worker in range(workers):
            known: set[int] = set()
            for line in read_plan(tmp_path / "out" / "plan.jsonl", worker, workers):
                if isinstance(line, PlannedRequest):
                    assert {piece for piece in line.body if isinstance(piece, int)} <= known
                else:
                    known.add(line.text)


def look(t: float, url: str = "u", **more: object) -> ScrapeLine:
    return ScrapeLine(t=t, took=0.0, name="p", url=url, **more)  # type: ignore[arg-type]


def test_of_each_page_one_machines_series_between_the_first_and_the_last_look() -> None:
    one = [look(-0.5, phase="before"), look(1.0), look(2.0), look(5.0, phase="after")]
    other = [look(-0.7, phase="before"), look(0.5), look(1.5), look(2.5), look(6.0, phase="after")]
    assert [line.t for line in one_series([one, other])] == [-0.7, 0.5, 1.5, 2.5, 6.0]


def test_looks_that_failed_are_neither_first_nor_last() -> None:
    one = [look(-0.9, phase="before", error="refused"), look(-0.5, phase="before"), look(1.0, error="gone")]
    found = one_series([one])
    assert [(line.t, line.error) for line in found] == [(-0.5, None), (1.0, "gone")]


def test_pages_of_different_machines_are_series_of_their_own(tmp_path: Path) -> None:
    dirs = [part(tmp_path / f"p{n}", n, 2, 100.0 + n) for n in range(2)]
    for number, folder in enumerate(dirs):
        encoded = [msgspec.json.encode(look(t, f"http://{number}")) for t in (0.5, 1.5)]
        (folder / "scrapes.jsonl").write_bytes(b"\n".join(encoded) + b"\n")
    merge_runs(dirs, tmp_path / "out")
    found = read_scrapes(tmp_path / "out")
    assert [(line.t, line.url) for line in found] == [
        (0.5, "http://0"), (1.5, "http://0"), (1.5, "http://1"), (2.5, "http://1"),
    ]  # fmt: skip
