"""Where commands write what their user reads. The one place that prints."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from kit.printable import on_terminal

# The exit code of a command whose reader left, as `head` does: what a shell shows for a death by SIGPIPE.
READER_LEFT = 141
INTERRUPTED = 130


def show(text: str) -> None:
    """Text on standard output, at once; as it is where a file or a program reads it."""
    if sys.stdout is not None and sys.stdout.isatty():
        text = on_terminal(text)
    print(text, end="", flush=True)  # noqa: T201


def say(line: str = "") -> None:
    """A line on standard output, at once."""
    print(on_terminal(line), flush=True)  # noqa: T201


def complain(line: str) -> None:
    """A line on standard error."""
    print(on_terminal(line), file=sys.stderr, flush=True)  # noqa: T201


def exit_code(command: Callable[[], int]) -> int:
    """The exit code of a command: its own, or that of Ctrl-C, or of a reader that left before its end."""
    try:
        try:
            return command()
        finally:
            if sys.stdout is not None:  # closed by whoever started us
                sys.stdout.flush()
    except KeyboardInterrupt:  # before a command handles it itself
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or the interpreter's last flush would complain
        return READER_LEFT
