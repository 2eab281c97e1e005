"""What a reader takes of a head and what it refuses, however the bytes are cut."""

from __future__ import annotations

import pytest

from simulator.server.http.reader import MAX_HEAD, MAX_HEADERS, Reader

TOO_LARGE = (431, b"Request Header Fields Too Large")


def head(count: int, value: bytes = b"v") -> bytes:
    lines = b"".join(b"n%d: %b\r\n" % (i, value) for i in range(count))
    return b"GET / HTTP/1.1\r\n" + lines + b"\r\n"


def fed(reader: Reader, data: bytes, size: int) -> object:
    """The first refusal of `data` in pieces of `size` bytes."""
    for start in range(0, len(data), size):
        refusal = reader.feed(data[start : start + size])
        if refusal is not None:
            return refusal
    return None


@pytest.mark.parametrize("size", [7, 1000, 1 << 20])
def test_headers_are_counted(size: int) -> None:
    assert fed(Reader(), head(MAX_HEADERS), size) is None
    assert fed(Reader(), head(MAX_HEADERS + 1), size) == TOO_LARGE
    assert fed(Reader(max_headers=3), head(3), size) is None
    assert fed(Reader(max_headers=3), head(4), size) == TOO_LARGE


@pytest.mark.parametrize("size", [1000, 1 << 20])
def test_the_bytes_of_a_head_are_counted(size: int) -> None:
    assert fed(Reader(), head(1, b"v" * (MAX_HEAD - 100)), size) is None
    assert fed(Reader(), head(1, b"v" * (MAX_HEAD + 100)), size) == TOO_LARGE
    assert fed(Reader(max_head=2048), head(2, b"v" * 900), size) is None
    assert fed(Reader(max_head=2048), head(3, b"v" * 900), size) == TOO_LARGE


def test_a_head_without_an_end_is_refused_before_it_is_kept() -> None:
    reader = Reader()
    pieces = 0
    while reader.feed(b"GET / HTTP/1.1\r\nx: " if not pieces else b"v" * 4096) is None:
        pieces += 1
        assert pieces < 2 * MAX_HEAD // 4096
    assert not reader.ready


def test_every_request_is_counted_for_itself() -> None:
    reader = Reader(max_headers=3)
    assert reader.feed(head(3) * 50) is None
    assert len(reader.ready) == 50
