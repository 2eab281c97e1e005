"""The three timerfd calls of Linux, for Pythons whose `os` lacks them (before 3.13); None elsewhere."""

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


class _Timespec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("it_interval", _Timespec), ("it_value", _Timespec))


def _library() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None, use_errno=True)
    return library if hasattr(library, "timerfd_create") else None


_LIBC: Final = _library()


def create() -> int | None:
    """A non-blocking CLOCK_MONOTONIC timer's descriptor, or None where the system has none."""
    if _LIBC is None:
        return None
    fd = int(_LIBC.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK | _TFD_CLOEXEC))
    if fd < 0:
        raise OSError(ctypes.get_errno(), "timerfd_create failed: " + os.strerror(ctypes.get_errno()))
    return fd


def set_absolute(fd: int, when: float) -> None:
    """Make the descriptor readable at monotonic time `when`; at once if that is past."""
    assert _LIBC is not None
    nanoseconds = max(1, int(when * 1e9))  # zero would disarm
    spec = _Itimerspec()
    spec.it_value.tv_sec, spec.it_value.tv_nsec = divmod(nanoseconds, 1_000_000_000)
    if _LIBC.timerfd_settime(fd, _TFD_TIMER_ABSTIME, ctypes.byref(spec), None) != 0:
        raise OSError(ctypes.get_errno(), "timerfd_settime failed: " + os.strerror(ctypes.get_errno()))


def acknowledge(fd: int) -> None:
    """Read the expiry count, so that the descriptor is not readable any more."""
    with contextlib.suppress(BlockingIOError):
        os.read(fd, 8)


def close(fd: int) -> None:
    os.close(fd)
