"""Child processes: started with their output in a file, watched, stopped by pid.

A child gets SIGTERM from the kernel when this process dies in whatever way, so nothing is left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

from gateway.errors import ProcessError

_PR_SET_PDEATHSIG = 1
POLL_INTERVAL = 0.02


def _load_prctl() -> Callable[[int, int], int] | None:
    """The libc call, looked up before any fork; None where the kernel has none."""
    try:
        prctl: Callable[[int, int], int] = ctypes.CDLL(None).prctl
    except (OSError, AttributeError):
        return None
    return prctl


_prctl = _load_prctl()


def _die_with_parent() -> None:
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Process:
    """One child in a session of its own; standard output and error go to `log`."""

    def __init__(
        self, name: str, argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.argv = tuple(argv)
        self.log = log
        self.env = env
        self.stopping = False  # its end was asked for
        self._child: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None

    @property
    def is_running(self) -> bool:
        return self._child is not None and self._child.returncode is None

    async def start(self) -> None:
        """Raises ProcessError when the program cannot be executed."""
        self.stopping = False
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            try:
                self._child = await asyncio.create_subprocess_exec(
                    *self.argv,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=dict(self.env) if self.env is not None else None,
                    start_new_session=True,  # Ctrl-C goes to us; we end the children in order
                    preexec_fn=_die_with_parent,
                )
            except OSError as error:
                raise ProcessError(
                    f"{self.name} cannot be started: {self.argv[0]}: {error.strerror}"
                ) from error

    async def wait(self) -> int:
        """The exit status, once it has one; negative: the signal that ended it.

        ProcessError for one that was never started.
        """
        if self._child is None:
            raise ProcessError(f"{self.name} was not started")
        return await self._child.wait()

    async def stop(self, grace_s: float = 3.0) -> None:
        """SIGTERM, and SIGKILL to its whole session when it has not ended after `grace_s` seconds."""
        self.stopping = True
        if self._child is None or self._child.returncode is not None:
            return
        self._child.terminate()
        try:
            await asyncio.wait_for(self._child.wait(), grace_s)
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        """SIGKILL, as `kill -9` or an out-of-memory killer would."""
        self.stopping = True
        if self._child is not None and self._child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._child.kill()
            await self._child.wait()

    async def until_ready(self, is_ready: Callable[[], Awaitable[bool]], timeout_s: float) -> None:
        """Poll `is_ready`; ProcessError with the last lines of the log when it dies first or time is up."""
        deadline = time.monotonic() + timeout_s
        while not await is_ready():
            if not self.is_running:
                raise ProcessError(f"{self.name} {self.ending()} before it was ready", self.tail())
            if time.monotonic() > deadline:
                raise ProcessError(f"{self.name} was not ready after {timeout_s:g} s", self.tail())
            await asyncio.sleep(POLL_INTERVAL)

    def ending(self) -> str:
        """How it ended, in words."""
        code = self._child.returncode if self._child else None
        if code is None:
            return "is running"
        if code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        return f"ended with status {code}"

    def tail(self, lines: int = 15) -> str:
        """The last lines of its log."""
        return tail_of(self.log, lines)


def tail_of(path: Path, lines: int) -> str:
    """The last lines of a file, empty when there is none; reads at most 64 kB."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 65536))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


async def together(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Run them together; the first error cancels the rest and is the one that is raised."""
    tasks = [asyncio.create_task(c) for c in coroutines]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
