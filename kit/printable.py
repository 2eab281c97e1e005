"""What names and texts of others look like where a person reads them: on a terminal and in a log.

A control character in the name of a pod, a model or a file moves the cursor, sets the title of the window or
begins a log line of its own. Each is shown by its escape instead, as Python spells it; letters of every
script stay as they are.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from itertools import takewhile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text

# C0, DEL and C1; ends of lines and what turns the direction of text (Unicode TR 36); halves of a pair
_CONTROL = "\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_ON_TERMINAL = re.compile(f"[{_CONTROL}]")
_IN_LINE = re.compile(f"[{_CONTROL}\t\n]")


def on_terminal(text: str) -> str:
    """`text` for a terminal: newlines and tabs stay."""
    return _ON_TERMINAL.sub(_escape, text)


def one_line(text: str) -> str:
    """`text` as part of a line: a log's, a table's, an error's place."""
    return _IN_LINE.sub(_escape, text)


def cell(text: str, style: str = "") -> Text:
    """`text` for rich, which reads a plain string as markup and lets escape sequences through."""
    from rich.text import Text  # noqa: PLC0415 - 50 ms that --help need not pay

    return Text(one_line(text), style=style)


def _escape(found: re.Match[str]) -> str:
    return ascii(found[0])[1:-1]


class LineFormatter(logging.Formatter):
    """A message is one line of the log, and no line of a traceback begins where those do."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        return one_line(super().formatMessage(record))

    def formatException(self, ei: logging._SysExcInfoType) -> str:  # noqa: N802 - logging's name
        return on_terminal(super().formatException(ei)).replace("\n", "\n  ")


def common_beginning(names: Iterable[str], joints: str, least: int) -> str:
    """What two names or more all begin with, up to one of `joints`; "" where it is shorter than `least`."""
    found = list(dict.fromkeys(names))
    if len(found) < 2:
        return ""
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*found, strict=False))
    shared = "".join(letters[0] for letters in alike)
    shared = shared[: max(shared.rfind(joint) for joint in joints) + 1]
    return shared if len(shared) >= least else ""


def shortened(names: Iterable[str], beginning: str, mark: str) -> dict[str, str]:
    """Each name as it is shown beside the others: `mark` for what all begin with."""
    return {name: f"{mark}{name[len(beginning) :]}" if beginning else name for name in names}
