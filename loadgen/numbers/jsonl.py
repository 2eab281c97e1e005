"""Files of one JSON value a line: written in batches, read with the line's number in every error."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from loadgen.errors import RecordError, RunError

FLUSH_BYTES = 1 << 18

T = TypeVar("T")


class JsonlWriter:
    """Appends JSON lines to a file; `flush` is one write to the kernel.

    Raises RunError when the file cannot be written (a full disk, say).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._buffer = bytearray()
        self._encoder = msgspec.json.Encoder()
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise RunError(f"cannot write {path}: {error.strerror}") from error

    def write(self, item: object) -> None:
        """Buffer one line; goes to the kernel by itself when a quarter of a megabyte has gathered."""
        self._encoder.encode_into(item, self._buffer, -1)
        self._buffer += b"\n"
        if len(self._buffer) >= FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hand everything buffered to the kernel."""
        view = bytes(self._buffer)
        self._buffer.clear()
        while view:
            try:
                written = os.write(self._fd, view)
            except OSError as error:
                raise RunError(f"cannot write {self.path}: {error.strerror}") from error
            view = view[written:]

    def close(self) -> None:
        """Flush and close; the file stays readable by others throughout."""
        if self._fd >= 0:
            try:
                self.flush()
            finally:
                os.close(self._fd)
                self._fd = -1


def read_lines(path: Path, kind: type[T], first: int = 1) -> Iterator[T]:
    """Decode the lines of a JSONL file from line `first` on; a torn last line is left out."""
    decoder = msgspec.json.Decoder(kind)
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if number < first or line == b"\n":
                continue
            try:
                yield decoder.decode(line)
            except msgspec.MsgspecError as error:
                if not line.endswith(b"\n"):
                    return
                raise RecordError(f"{path}:{number}: not a {kind.__name__} line: {error}") from error
