"""The end of a stack: asked, told, killed, each after a while."""

from __future__ import annotations

import contextlib
import os
import signal
import time

from gateway.errors import ControlError
from gateway.stack.socket import ask
from gateway.stack.statedir import StackDirectory
from kit.console import complain

DOWN_TIMEOUT_S = 60.0
TERM_TIMEOUT_S = 10.0


def end(
    directory: StackDirectory,
    ask_s: float = 10.0,
    down_s: float = DOWN_TIMEOUT_S,
    term_s: float = TERM_TIMEOUT_S,
) -> None:
    """End a stack: it is asked, after `down_s` told by SIGTERM (after `ask_s` if it is silent), then killed.

    Raises ControlError where it runs even then.
    """
    try:
        ask(directory.socket, "down", timeout_s=ask_s)
        if _is_down_within(directory, down_s):
            return
        why = f"still runs {down_s:g} s after it was asked to end"
    except ControlError as error:
        if not directory.is_held():
            return
        why = str(error)
    for number, wait_s in ((signal.SIGTERM, term_s), (signal.SIGKILL, term_s)):
        pid = directory.holder()
        if pid is None:
            break
        complain(f"{directory.name}: {why}; {number.name} to process {pid}")
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        if _is_down_within(directory, wait_s):
            break
        why = f"still runs {wait_s:g} s after {number.name}"
    if directory.is_held():
        raise ControlError(f"{directory.name} {why}")
    directory.remove_left()


def _is_down_within(directory: StackDirectory, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while directory.is_held():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
