"""Lines of JSON: what is written is read again, what is torn or foreign is named."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.errors import RecordError, RunError
from loadgen.numbers import jsonl
from loadgen.numbers.jsonl import NO_JSON, JsonlWriter, read_lines


class Row(msgspec.Struct):
    n: int
    text: str = ""


def wrote(path: Path, *rows: object) -> Path:
    writer = JsonlWriter(path)
    for row in rows:
        writer.write(row)
    writer.close()
    return path


@given(st.lists(st.builds(Row, st.integers(-(2**63), 2**63 - 1), st.text()), max_size=30))
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, rows: list[Row]) -> None:
    path = wrote(tmp_path_factory.mktemp("j") / "rows.jsonl", *rows)
    assert list(read_lines(path, Row)) == rows
    assert path.read_bytes().count(b"\n") == len(rows)
    assert [json.loads(line)["n"] for line in path.read_bytes().splitlines()] == [row.n for row in rows]


def test_a_second_writer_appends(tmp_path: Path) -> None:
    wrote(tmp_path / "a", Row(1))
    wrote(tmp_path / "a", Row(2))
    assert [row.n for row in read_lines(tmp_path / "a", Row)] == [1, 2]


def test_lines_go_out_when_flushed_and_when_much_has_gathered(tmp_path: Path) -> None:
    path = tmp_path / "a"
    writer = JsonlWriter(path)
    writer.write(Row(1))
    assert path.read_bytes() == b""
    writer.flush()
    assert path.read_bytes() == b'{"n":1,"text":""}\n'
    writer.write(Row(2, "x" * jsonl.FLUSH_BYTES))
    assert path.stat().st_size > jsonl.FLUSH_BYTES
    writer.close()
    writer.close()  # once more is nothing
    assert [row.n for row in read_lines(path, Row)] == [1, 2]


def test_a_kernel_that_takes_a_part_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: whole(fd, data[:3]))
    path = wrote(tmp_path / "a", Row(1, "one"), Row(2, "two"))
    monkeypatch.undo()
    assert list(read_lines(path, Row)) == [Row(1, "one"), Row(2, "two")]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        JsonlWriter(tmp_path / "no" / "such")
    assert str(caught.value) == f"cannot write {tmp_path}/no/such: No such file or directory"
    with pytest.raises(RunError, match=r"cannot write .*: Is a directory"):
        JsonlWriter(tmp_path)


def test_a_disk_that_is_full_is_an_error_of_the_flush_and_the_file_is_closed() -> None:
    writer = JsonlWriter(Path("/dev/full"))
    writer.write(Row(1))
    with pytest.raises(RunError, match=r"^cannot write /dev/full: No space left on device$"):
        writer.flush()
    writer.write(Row(2))
    with pytest.raises(RunError, match="No space left"):
        writer.close()
    writer.close()


@pytest.mark.parametrize("first", [1, 2, 3, 4])
def test_reading_begins_at_a_line(tmp_path: Path, first: int) -> None:
    path = wrote(tmp_path / "a", *map(Row, (1, 2, 3)))
    assert [row.n for row in read_lines(path, Row, first)] == [1, 2, 3][first - 1 :]


def test_a_first_line_of_another_kind_is_not_looked_at(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b'\xff no line\n{"n":2}\n')
    assert list(read_lines(tmp_path / "a", Row, 2)) == [Row(2)]


@pytest.mark.parametrize("torn", [b'{"n":3', b'{"n":3,"te', b"{", b'{"n":"', b'{"n":3,"text":"\xc3'])
def test_a_torn_last_line_is_left_out(tmp_path: Path, torn: bytes) -> None:
    (tmp_path / "a").write_bytes(b'{"n":1}\n\n{"n":2}\n' + torn)
    assert [row.n for row in read_lines(tmp_path / "a", Row)] == [1, 2]


def test_a_last_line_that_only_lacks_its_end_counts(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b'{"n":1}\n{"n":2}')
    assert [row.n for row in read_lines(tmp_path / "a", Row)] == [1, 2]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"n":"2"}', "Expected `int`, got `str` - at `$.n`"),
        (b"{}", "Object missing required field `n`"),
        (b'{"n":2', "Input data was truncated"),
        (b"[2]", "Expected `object`, got `array`"),
        (b'{"n":2,"text":"\xff"}', "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
    ],
)
def test_a_line_in_the_middle_that_is_none_is_named(tmp_path: Path, line: bytes, reason: str) -> None:
    (tmp_path / "a").write_bytes(b'{"n":1}\n' + line + b'\n{"n":3}\n')
    with pytest.raises(RecordError) as caught:
        list(read_lines(tmp_path / "a", Row))
    assert str(caught.value) == f"{tmp_path / 'a'}:2: not a Row line: {reason}"


@given(st.binary(max_size=40))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    with contextlib.suppress(NO_JSON):
        msgspec.json.decode(data, type=dict[str, str] | None)


@pytest.mark.parametrize("data", [b'"\xff"', b'{"\xff":1}', b"\xff", b"", b"{", b'"\\ud800"'])
def test_what_is_no_json(data: bytes) -> None:
    with pytest.raises(NO_JSON):
        msgspec.json.decode(data)
