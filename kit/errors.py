"""What kit raises. A room makes it its own by a subclass in its error tree, and passes that class in."""

from __future__ import annotations

from pathlib import Path

from kit.printable import one_line


class DocumentError(Exception):
    """A file or text that cannot be used: what is wrong, where (lines from 1), what would be right."""

    def __init__(self, message: str, file: str | Path | None = None, line: int | None = None) -> None:
        self.message = message
        self.file = None if file is None else str(file)
        self.line = line
        shown = one_line(self.file or "")
        place = "" if not shown else f"{shown}:{line}: " if line else f"{shown}: "
        super().__init__(place + message)
