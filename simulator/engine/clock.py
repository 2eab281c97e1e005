"""Time as the engine and its drivers see it: monotonic seconds, always handed in."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Where a driver reads `now`."""

    def now(self) -> float:
        """Monotonic seconds."""
        ...


class VirtualClock:
    """A clock that moves only when it is told to; for tests, replays and offline sweeps."""

    __slots__ = ("_now",)

    def __init__(self, start: float = 0.0) -> None:
        self._now = start

    def now(self) -> float:
        return self._now

    def advance_to(self, when: float) -> None:
        """Move to `when`; a time in the past leaves the clock where it is."""
        self._now = max(self._now, when)
