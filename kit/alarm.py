"""A clock that wakes an event loop at an absolute monotonic time, to a tenth of a millisecond.

Loop timers are a millisecond coarse (uvloop) or late by half of one (asyncio). On Linux a timerfd is
read by the loop instead; elsewhere a loop timer fires early and the rest is spun away in the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import struct
import sys
import time
from collections.abc import Callable
from typing import Protocol

EARLY = 0.0015  # seconds by which the loop timer of the portable alarm fires before the moment it is set to
_CLOCK_MONOTONIC = 1
_TFD_TIMER_ABSTIME = 1
_ITIMERSPEC = struct.Struct("@qqqq")


class Alarm(Protocol):
    """Calls one callback at the time last set."""

    def set(self, at: float) -> None:
        """Wake at `at` (time.monotonic); the earlier setting is forgotten."""

    def clear(self) -> None:
        """Do not wake."""

    def close(self) -> None:
        """Give back the descriptor."""


class TimerfdAlarm:
    """An alarm on Linux's timerfd: about 0.05 ms late, never early."""

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        self._loop = loop
        self._callback = callback
        libc = ctypes.CDLL(None, use_errno=True)
        self._settime = libc.timerfd_settime
        self._spec = ctypes.create_string_buffer(_ITIMERSPEC.size)
        self._fd: int = libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        loop.add_reader(self._fd, self._ready)

    def _ready(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return
        self._callback()

    def set(self, at: float) -> None:
        nanoseconds = max(1, int(at * 1e9))  # zero would disarm
        _ITIMERSPEC.pack_into(self._spec, 0, 0, 0, *divmod(nanoseconds, 1_000_000_000))
        self._settime(self._fd, _TFD_TIMER_ABSTIME, self._spec, None)

    def clear(self) -> None:
        _ITIMERSPEC.pack_into(self._spec, 0, 0, 0, 0, 0)
        self._settime(self._fd, _TFD_TIMER_ABSTIME, self._spec, None)

    def close(self) -> None:
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1


class SpinningAlarm:
    """The portable alarm: an early loop timer, then one turn of the loop after another."""

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        self._loop = loop
        self._callback = callback
        self._handle: asyncio.Handle | None = None
        self._at = 0.0

    def _ready(self) -> None:
        if time.monotonic() < self._at:
            self._handle = self._loop.call_soon(self._ready)
            return
        self._handle = None
        self._callback()

    def set(self, at: float) -> None:
        self.clear()
        self._at = at
        delay = at - time.monotonic() - EARLY
        self._handle = (
            self._loop.call_later(delay, self._ready) if delay > 0 else self._loop.call_soon(self._ready)
        )

    def clear(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def close(self) -> None:
        self.clear()


def make_alarm(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> Alarm:
    """The best alarm of this platform."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            return TimerfdAlarm(loop, callback)
    return SpinningAlarm(loop, callback)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """uvloop's loop where it is installed, asyncio's elsewhere."""
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
