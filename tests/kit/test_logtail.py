"""Logs that are followed while they are written."""

from __future__ import annotations

from pathlib import Path

import pytest

from kit import logtail
from kit.logtail import Tail


def test_a_tail_gives_whole_lines_across_a_change_of_files(tmp_path: Path) -> None:
    path = tmp_path / "log"
    tail = Tail(path)
    assert tail.lines() == []
    path.write_bytes(b"a\nb")
    assert tail.lines() == [b"a"]
    with path.open("ab") as file:
        file.write(b"c\nd\n")
    path.replace(tmp_path / "log.1")
    path.write_bytes(b"e\n")
    assert tail.lines() == [b"bc", b"d", b"e"]
    assert tail.lines() == []
    tail.close()


def test_a_tail_that_is_far_behind_jumps(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"".join(b"%05d\n" % n for n in range(1000)))
    tail = Tail(path)
    assert tail.lines(most=20) == [b"00997", b"00998", b"00999"]
    tail.close()


def test_a_tail_from_the_end(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"old\n")
    tail = Tail(path, from_end=True)
    with path.open("ab") as file:
        file.write(b"new\n")
    assert tail.lines() == [b"new"]
    tail.close()


def test_a_tail_whose_log_is_cut_short_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"first\nsecond\n")
    tail = Tail(path)
    assert tail.lines() == [b"first", b"second"]
    path.write_bytes(b"new\n")
    assert tail.lines() == [b"new"]
    tail.close()


def test_pieces_of_a_jump_begin_with_a_whole_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logtail, "PIECE", 4)
    path = tmp_path / "log"
    path.write_bytes(b"".join(b"%05d\n" % n for n in range(100)))
    tail = Tail(path)
    assert tail.lines(most=20) == [b"00097", b"00098", b"00099"]
    assert list(tail.pieces()) == []
    tail.close()
