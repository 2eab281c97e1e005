"""The end of a process whose event loop has stopped: signals that it cannot hear are heard by a thread."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterable
from types import FrameType

STUCK_EXIT_CODE = 70
_GRACE_S = 30.0
_LAST_WORDS = b"the event loop has not turned since it was told to end; the process ends without it\n"


def grace_s() -> float:
    """Seconds without a turn of the loop: SIMFLEET_STUCK_SECONDS, 30 where it is none or no number."""
    try:
        return max(0.01, float(os.environ.get("SIMFLEET_STUCK_SECONDS", _GRACE_S)))
    except ValueError:
        return _GRACE_S


def watch(loop: asyncio.AbstractEventLoop, signals: Iterable[signal.Signals]) -> None:
    """End the process with STUCK_EXIT_CODE where `loop` does not turn for `grace_s()` after one of `signals`.

    The loop's own handlers must have been added; they stay. For the main thread.
    """
    read_end, write_end = os.pipe()  # all that is safe in a handler, wherever the main thread is
    os.set_blocking(write_end, False)
    thread = threading.Thread(target=_wait, args=(loop, read_end, grace_s()), name="watchdog", daemon=True)
    thread.start()
    for number in signals:
        before = signal.getsignal(number)

        def tell(number: int, frame: FrameType | None, before: object = before) -> None:
            with contextlib.suppress(BlockingIOError):  # after thousands of signals: it knows
                os.write(write_end, b"x")
            if callable(before):
                before(number, frame)

        signal.signal(number, tell)
        signal.siginterrupt(number, False)


def _wait(loop: asyncio.AbstractEventLoop, read_end: int, grace: float) -> None:
    os.read(read_end, 1)
    turned = threading.Event()
    while True:
        turned.clear()
        try:
            loop.call_soon_threadsafe(turned.set)
        except RuntimeError:  # the loop is closed: the process is on its way out
            return
        if not turned.wait(grace):
            os.write(2, _LAST_WORDS)
            os._exit(STUCK_EXIT_CODE)
        time.sleep(min(1.0, grace))
