"""The record's files: what is written is read, a torn end is forgiven, a full disk is an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadgen.errors import RecordError, RunError
from loadgen.numbers.jsonl import JsonlWriter
from loadgen.numbers.outcomes import OUTCOMES
from loadgen.numbers.progress import Histogram, Progress
from loadgen.records.records import Attempt, Record, RecordsHeader, read_header, write_records
from loadgen.records.rundir import Meta, read_meta, write_meta
from loadgen.records.table import read_records


def record(number: int) -> Record:
    return Record(
        id=f"r-{number}",
        cls="a",
        intended=number / 10,
        outcome="ok",
        chunk_times=[1.0, 2.0],
        attempts=[Attempt(start=1.0, outcome="shed_429")],
        headers={"x-request-id": "t"},
    )


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    records = [record(number) for number in range(5)]
    write_records(tmp_path / "records.jsonl", RecordsHeader(t0=12.5), records)
    assert list(read_records(tmp_path)) == records
    assert read_header(tmp_path / "records.jsonl").t0 == 12.5
    assert b'"class":"a"' in (tmp_path / "records.jsonl").read_bytes()


def test_the_files_of_several_workers_are_one_run(tmp_path: Path) -> None:
    for worker in (0, 1, 10):
        write_records(tmp_path / f"records-{worker}.jsonl", RecordsHeader(worker=worker), [record(worker)])
    assert [r.id for r in read_records(tmp_path)] == ["r-0", "r-1", "r-10"]


def test_a_torn_last_line_is_left_out_and_a_broken_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    write_records(path, RecordsHeader(), [record(number) for number in range(3)])
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    assert len(read_records(tmp_path)) == 2
    lines = whole.splitlines(keepends=True)
    path.write_bytes(lines[0] + b'{"id": 3}\n' + lines[1])
    with pytest.raises(RecordError, match=r"records\.jsonl:2: not a Record line"):
        read_records(tmp_path)


def test_a_directory_without_records_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="holds no records"):
        read_records(tmp_path)
    with pytest.raises(RecordError, match="not the directory of a run"):
        read_meta(tmp_path)


def test_lines_reach_the_file_at_each_flush(tmp_path: Path) -> None:
    writer = JsonlWriter(tmp_path / "x.jsonl")
    writer.write(record(0))
    assert (tmp_path / "x.jsonl").read_bytes() == b""
    writer.flush()
    assert (tmp_path / "x.jsonl").read_bytes().count(b"\n") == 1
    for number in range(2000):
        writer.write(record(number))
    assert (tmp_path / "x.jsonl").stat().st_size > 200_000
    writer.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_full_disk_is_a_clear_error() -> None:
    writer = JsonlWriter(Path("/dev/full"))
    writer.write(record(0))
    with pytest.raises(RunError, match="cannot write /dev/full: No space left on device"):
        writer.close()


def test_meta_is_replaced_whole(tmp_path: Path) -> None:
    write_meta(tmp_path, Meta(scenario="a"))
    write_meta(tmp_path, Meta(scenario="b", status="finished"))
    assert read_meta(tmp_path).scenario == "b"
    assert [path.name for path in tmp_path.iterdir()] == ["meta.json"]


def test_every_outcome_has_one_name() -> None:
    assert len(set(OUTCOMES)) == len(OUTCOMES)
    assert OUTCOMES[0] == "ok"


def test_histograms_merge_exactly() -> None:
    values = [0.0001 * 1.07**number for number in range(200)]
    whole, parts = Histogram(), [Histogram(), Histogram()]
    for number, value in enumerate(values):
        whole.add(value)
        parts[number % 2].add(value)
    parts[0].merge(parts[1])
    assert parts[0].counts == whole.counts
    assert parts[0].most == whole.most
    median = whole.quantile(0.5)
    assert median is not None
    assert median == pytest.approx(sorted(values)[99], rel=0.011)
    assert Histogram().quantile(0.5) is None


def test_reports_of_workers_add_up() -> None:
    total = Progress()
    for worker in range(3):
        total.merge(
            Progress(worker=worker, sent=2, done=1, outcomes={"ok": 1}, pods={"p": 1}, time=float(worker))
        )
    assert (total.sent, total.done, total.outcomes, total.pods, total.time) == (
        6,
        3,
        {"ok": 3},
        {"p": 3},
        2.0,
    )


def test_what_holds_prompts_is_its_user_s(tmp_path: Path) -> None:
    JsonlWriter(tmp_path / "plan.jsonl").close()
    assert (tmp_path / "plan.jsonl").stat().st_mode & 0o777 == 0o600
