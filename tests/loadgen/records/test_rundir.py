"""The files of a run besides its records: read in order of time, and what is said of those that are none."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from loadgen.errors import RecordError, RunError
from loadgen.numbers.jsonl import JsonlWriter
from loadgen.records.rundir import (
    EVENTS,
    META,
    PLAN,
    RUN_FILES,
    SCRAPES,
    EventLine,
    Meta,
    ScrapeLine,
    check_free,
    fresh_directory,
    new_run_dir,
    read_events,
    read_meta,
    read_scrapes,
    write_meta,
)

NAMES = {
    "records.jsonl": "a run already",
    "records-17.jsonl": "a run already",
    "meta.json": "meta.json already, which would be overwritten",
    "plan.jsonl": "plan.jsonl already, which would be overwritten",
    "report.pdf": "report.pdf already, which would be overwritten",
}


def lines(path: Path, *rows: object) -> None:
    writer = JsonlWriter(path)
    for row in rows:
        writer.write(row)
    writer.close()


def test_scrapes_and_events_come_in_order_of_time(tmp_path: Path) -> None:
    lines(tmp_path / SCRAPES, *(ScrapeLine(t=t, took=0.0, name=f"p{t}", url="u") for t in (3.0, -1.0, 2.0)))
    lines(tmp_path / EVENTS, *(EventLine(t=t, name=f"e{t}") for t in (0.5, 0.25)))
    assert [line.name for line in read_scrapes(tmp_path)] == ["p-1.0", "p2.0", "p3.0"]
    assert [line.name for line in read_events(tmp_path)] == ["e0.25", "e0.5"]


def test_equal_times_keep_their_order_in_the_file(tmp_path: Path) -> None:
    lines(tmp_path / EVENTS, *(EventLine(t=1.0, name=name) for name in "cab"))
    assert [line.name for line in read_events(tmp_path)] == ["c", "a", "b"]


def test_a_run_need_not_have_scrapes_or_events(tmp_path: Path) -> None:
    assert (read_scrapes(tmp_path), read_events(tmp_path)) == ([], [])
    (tmp_path / EVENTS).mkdir()  # no file
    assert read_events(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"status":"gone"}', "Invalid enum value 'gone' - at `$.status`"),
        (b'{"error":"\xff"}', "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
        (b'{"seed":"1"}', "Expected `int`, got `str` - at `$.seed`"),
        (b"", "Input data was truncated"),
        (b"[]", "Expected `object`, got `array`"),
    ],
)
def test_meta_that_is_none(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / META).write_bytes(content)
    with pytest.raises(RecordError) as caught:
        read_meta(tmp_path)
    assert str(caught.value) == f"{tmp_path / META}: {message}"


def test_a_directory_without_meta_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RecordError) as caught:
        read_meta(tmp_path)
    no_file = f"No such file or directory: {tmp_path / META}"
    assert str(caught.value) == f"{tmp_path} is not the directory of a run: {no_file}"


def test_fields_of_a_later_version_are_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / META).write_bytes(b'{"status":"finished","a_later_field":[1]}')
    assert read_meta(tmp_path) == Meta(status="finished")


def test_meta_is_never_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_meta(tmp_path, Meta(scenario="first"))

    def torn(*_: object) -> None:
        assert read_meta(tmp_path).scenario == "first"  # until the very end
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", torn)
        with pytest.raises(RunError, match=r"cannot write .*meta\.json: No space left on device"):
            write_meta(tmp_path, Meta(scenario="second"))
    assert os.listdir(tmp_path) == [META]
    assert read_meta(tmp_path).scenario == "first"


@pytest.mark.parametrize("name", NAMES)
def test_what_stands_in_the_way_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(RunError) as caught:
        check_free(tmp_path)
    assert str(caught.value) == f"{tmp_path} holds {NAMES[name]}; give another --out"
    assert (tmp_path / name).exists()


def test_the_records_are_named_before_what_hangs_on_them(tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / name).touch()
    with pytest.raises(RunError, match="holds a run already"):
        fresh_directory(tmp_path)


def test_a_directory_that_is_not_there_is_free_and_is_made(tmp_path: Path) -> None:
    check_free(tmp_path / "a" / "b")
    assert not (tmp_path / "a").exists()
    fresh_directory(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"cannot make .*file/b: Not a directory"):
        fresh_directory(tmp_path / "file" / "b")


def test_a_given_plan_may_lie_where_the_run_goes(tmp_path: Path) -> None:
    (tmp_path / PLAN).touch()
    assert new_run_dir("n", tmp_path, tmp_path / PLAN) == tmp_path
    with pytest.raises(RunError, match=r"plan\.jsonl already"):
        new_run_dir("n", tmp_path, tmp_path / "another.jsonl")
    with pytest.raises(RunError, match=r"plan\.jsonl already"):
        new_run_dir("n", tmp_path)


def test_runs_of_one_second_have_names_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "strftime", lambda _: "20260102-030405")
    made = [str(new_run_dir("n", None)) for _ in range(3)]
    first = "runs/n-20260102-030405"
    assert made == [first, f"{first}-2", f"{first}-3"]
    assert sorted(os.listdir("runs")) == ["n-20260102-030405", "n-20260102-030405-2", "n-20260102-030405-3"]


def test_every_file_of_a_run_is_one_that_is_kept() -> None:
    assert {META, PLAN, SCRAPES, EVENTS} < set(RUN_FILES)
