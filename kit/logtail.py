"""What is appended to a log, across a change of files.

One that is full becomes FILE.1, and FILE begins anew.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

PIECE = 1 << 20  # bytes read at once


class Tail:
    """A log from its beginning, or from its present end; one that is not there yet is waited for."""

    def __init__(self, path: Path, *, from_end: bool = False) -> None:
        self._path = path
        self._file: int | None = None
        self._rest = b""
        if from_end and self._open() and self._file is not None:
            os.lseek(self._file, 0, os.SEEK_END)

    @property
    def is_open(self) -> bool:
        return self._file is not None

    def lines(self, most: int = 16 * PIECE) -> list[bytes]:
        """The whole lines since the last call, from at most the last `most` bytes; without line ends."""
        return [line for lines in self.pieces(most) for line in lines]

    def pieces(self, most: int | None = None) -> Iterator[list[bytes]]:
        """The same lines as they are read, for who does not hold them all; to be taken to the end."""
        while self._file is not None or self._open():
            yield from self._drain(most)
            if not self._turned():
                break

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

    def _drain(self, most: int | None) -> Iterator[list[bytes]]:
        assert self._file is not None
        size = os.fstat(self._file).st_size
        at = os.lseek(self._file, 0, os.SEEK_CUR)
        if size < at:  # cut short
            at = os.lseek(self._file, 0, os.SEEK_SET)
            self._rest = b""
        skip = most is not None and size - at > most
        if most is not None and skip:
            os.lseek(self._file, size - most, os.SEEK_SET)
            self._rest = b""
        while data := os.read(self._file, PIECE):
            *lines, self._rest = (self._rest + data).split(b"\n")
            if skip and lines:  # the first is the end of one whose beginning was jumped over
                del lines[0]
                skip = False
            yield lines

    def _turned(self) -> bool:
        """Whether another file stands under the name; the old one has been read to its end."""
        assert self._file is not None
        try:
            there = os.stat(self._path)
        except OSError:  # its writer is gone, or about to begin the next file
            return False
        if os.path.samestat(there, os.fstat(self._file)):
            return False
        self.close()
        self._rest = b""
        return True
