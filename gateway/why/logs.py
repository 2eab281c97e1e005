"""The newest lines of logs that are being written.

A log that is full becomes FILE.1, and FILE begins anew; both are read as one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from kit.logtail import PIECE


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
