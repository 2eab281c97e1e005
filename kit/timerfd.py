"""Linux's timerfd through the C library, because Python's `os` has it only since 3.13."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from typing import Final

_CLOCK_MONOTONIC: Final = 1
_TFD_NONBLOCK: Final = 0o4000
_TFD_CLOEXEC: Final = 0o2000000
_TFD_TIMER_ABSTIME: Final = 1


class _Itimerspec(ctypes.Structure):
    _fields_ = (
        ("interval_sec", ctypes.c_long),
        ("interval_nsec", ctypes.c_long),
        ("value_sec", ctypes.c_long),
        ("value_nsec", ctypes.c_long),
    )


class TimerFd:
    """A non-blocking timer on the monotonic clock. `fd` is readable once the time set has come."""

    __slots__ = ("_library", "_spec", "_spec_pointer", "fd")

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._spec = _Itimerspec()
        self._spec_pointer = ctypes.byref(self._spec)
        self.fd = int(library.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK | _TFD_CLOEXEC))
        if self.fd < 0:
            raise _error("timerfd_create")

    def set_absolute(self, when: float) -> None:
        """Become readable at monotonic time `when` (seconds); at once if that is past."""
        nanoseconds = max(1, int(when * 1e9))  # zero would disarm
        spec = self._spec
        spec.value_sec, spec.value_nsec = divmod(nanoseconds, 1_000_000_000)
        if self._library.timerfd_settime(self.fd, _TFD_TIMER_ABSTIME, self._spec_pointer, None) != 0:
            raise _error("timerfd_settime")

    def acknowledge(self) -> None:
        """Read the expiry count, so that the descriptor is not readable any more."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.fd, 8)

    def close(self) -> None:
        os.close(self.fd)


def create() -> TimerFd | None:
    """A timer, or None where the system has none."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None, use_errno=True)
    return TimerFd(library) if hasattr(library, "timerfd_create") else None


def _error(call: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{call} failed: {os.strerror(number)}")
