"""Where commands write what their user reads. The one place of this package that prints."""

from __future__ import annotations

import sys


def say(line: str = "") -> None:
    """A line on standard output, at once."""
    print(line, flush=True)  # noqa: T201


def complain(line: str) -> None:
    """A line on standard error."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201
