"""A time limit that moves often and is reached rarely."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_NEVER = float("inf")
_OVERSLEPT = 1.0


def _nothing() -> None:
    pass


class Deadline:
    """Calls `on_late` when the time given last is over.

    There is one timer, which looks again where the time has moved on meanwhile: setting it anew for every
    request would cost more than the requests' parsing. Where the process stood still, what came meanwhile is
    read before anything is late.
    """

    __slots__ = ("_armed_for", "_at", "_loop", "_on_late", "_timer")

    def __init__(self, on_late: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_late = on_late
        self._at = _NEVER
        self._armed_for = _NEVER
        self._timer: asyncio.TimerHandle | None = None

    def set(self, seconds: float) -> None:
        """From now."""
        self._at = at = self._loop.time() + seconds
        if self._timer is None or at < self._armed_for:
            self._arm(at)

    def never(self) -> None:
        """Nothing is waited for."""
        self._at = _NEVER

    def cancel(self) -> None:
        """For good: nothing refers to the owner any more."""
        self._at = _NEVER
        self._on_late = _nothing
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed_for = at
        self._timer = self._loop.call_at(at, self._look)

    def _look(self) -> None:
        self._timer = None
        now = self._loop.time()
        if now < self._at:
            if self._at < _NEVER:
                self._arm(self._at)
        elif now > self._armed_for + _OVERSLEPT:
            self.set(_OVERSLEPT)
        else:
            self._on_late()
