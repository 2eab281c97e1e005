"""Files of one JSON value a line: written in batches, read with the line's number in every error."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec

from loadgen.errors import RecordError, RunError

FLUSH_BYTES = 1 << 18
# Mode of what a run writes: prompts, answers' headers and the output of commands are its user's alone.
PRIVATE = 0o600

T = TypeVar("T")

NO_JSON = (msgspec.MsgspecError, UnicodeDecodeError)  # bytes that are no UTF-8 are the second


class JsonlWriter:
    """Appends JSON lines to a file of mode PRIVATE; `flush` is one write to the kernel.

    Raises RunError when the file cannot be written (a full disk, say).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._buffer = bytearray()
        self._encoder = msgspec.json.Encoder()
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, PRIVATE)
        except OSError as error:
            raise RunError(f"cannot write {path}: {error.strerror}") from error

    def write(self, item: object) -> None:
        """Buffer one line; goes to the kernel by itself when a quarter of a megabyte has gathered."""
        self._encoder.encode_into(item, self._buffer, -1)
        self._buffer += b"\n"
        if len(self._buffer) >= FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hand everything buffered to the kernel; RunError when it does not take it."""
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


def open_private(path: Path) -> BinaryIO:
    """A file to be written that nobody else may read, as JsonlWriter's are; OSError when it cannot be."""
    file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, PRIVATE), "wb")
    os.fchmod(file.fileno(), PRIVATE)
    return file


def write_private(path: Path, content: bytes) -> None:
    """The same, written whole; OSError when it cannot be."""
    with open_private(path) as file:
        file.write(content)


def read_lines(path: Path, kind: type[T], first: int = 1) -> Iterator[T]:
    """Decode the lines of a JSONL file from line `first` on; a torn last line is left out.

    RecordError names the line that is not one of `kind`.
    """
    decoder = msgspec.json.Decoder(kind)
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if number < first or line == b"\n":
                continue
            try:
                yield decoder.decode(line)
            except NO_JSON as error:
                if not line.endswith(b"\n"):
                    return
                raise RecordError(f"{path}:{number}: not a {kind.__name__} line: {error}") from error
