"""Children: the command line of one that runs this interpreter, and the end of one with all of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio


def python(*arguments: str) -> list[str]:
    """The command line of a child of this interpreter, `arguments` being `-m module ...` or `-c code ...`.

    -P: without it the working directory, or the script's, comes first on sys.path, where a user's json.py or
    loadgen.py would be taken for the real one.
    """
    return [sys.executable, "-P", *arguments]


async def end_group(child: asyncio.subprocess.Process, patience_s: float) -> None:
    """End a child that leads a process group as Ctrl-C does, and kill the group where it does not end."""
    import asyncio  # noqa: PLC0415 - every command imports this module

    for number in (signal.SIGINT, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(child.wait(), patience_s)
            return
