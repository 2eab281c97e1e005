"""Reading logs that are being written: their newest lines, lines that name something, and what comes.

A log that is full becomes FILE.1, and FILE begins anew; both are read as one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

PIECE = 1 << 20  # bytes read at once


class Tail:
    """What is appended to a file, line by line, across a change of files."""

    def __init__(self, path: Path, *, from_end: bool = False) -> None:
        self._path = path
        self._file: int | None = None
        self._rest = b""
        if from_end and self._open() and self._file is not None:
            os.lseek(self._file, 0, os.SEEK_END)

    def lines(self, most: int = 16 * PIECE) -> list[bytes]:
        """The whole lines since the last call, from at most the last `most` bytes; without line ends."""
        found: list[bytes] = []
        while self._file is not None or self._open():
            found += self._drain(most)
            if not self._turned():
                break
        return found

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _open(self) -> bool:
        try:
            self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        return True

    def _drain(self, most: int) -> list[bytes]:
        assert self._file is not None
        size = os.fstat(self._file).st_size
        at = os.lseek(self._file, 0, os.SEEK_CUR)
        if size < at:  # cut short
            at = os.lseek(self._file, 0, os.SEEK_SET)
            self._rest = b""
        if size - at > most:
            os.lseek(self._file, size - most, os.SEEK_SET)
            self._rest = b""
            skip = True
        else:
            skip = False
        pieces = [self._rest]
        while data := os.read(self._file, PIECE):
            pieces.append(data)
        *lines, self._rest = b"".join(pieces).split(b"\n")
        return lines[1:] if skip else lines

    def _turned(self) -> bool:
        """Whether another file stands under the name."""
        assert self._file is not None
        try:
            there = os.stat(self._path)
        except OSError:
            return False
        if os.path.samestat(there, os.fstat(self._file)):
            return False
        self.close()
        self._rest = b""
        return True


def newest_lines(path: Path) -> Iterator[bytes]:
    """The lines of a log and of the one before it, newest first. OSError when there is no such log."""
    yield from _backwards(path)
    try:
        yield from _backwards(path.with_name(path.name + ".1"))
    except OSError:
        return


def _backwards(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        at = file.seek(0, os.SEEK_END)
        rest, first = b"", True
        while at > 0:
            start = max(0, at - PIECE)
            file.seek(start)
            data = file.read(at - start) + rest
            at = start
            lines = data.split(b"\n")
            rest = lines.pop(0)
            if first and lines:
                lines.pop()  # after the last line end: nothing, or a line that is still being written
                first = False
            yield from reversed(lines)
        if rest and not first:
            yield rest
