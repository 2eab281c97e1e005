"""SIGTERM and its like as calls in the event loop, from the first of them to the end of the process.

Not the loop's own handlers: closing a loop gives its signals back to the default, death, and one that is sent
again while the interpreter leaves would turn a clean end into -15, or leave a traceback. The interpreter does
the same to handlers written in Python when it is taken down; to ignored signals it does not.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterable

ENDING = (signal.SIGTERM, signal.SIGINT)  # what a supervisor and a terminal send to a process that should end


def hear(numbers: Iterable[int], tell: Callable[[int], None]) -> None:
    """Call `tell(number)` in the running loop for each signal; the main thread's loop only."""
    loop = asyncio.get_running_loop()
    for number in numbers:
        signal.signal(number, lambda heard, _: loop.call_soon_threadsafe(tell, heard))


def ignore(numbers: Iterable[int]) -> None:
    """From here on the process is leaving: its exit code is known, and no signal changes it."""
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)
