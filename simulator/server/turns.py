"""Engines that have work to do at once take turns, and the event loop breathes between rounds of turns.

Without latency, or behind their schedule, engines could keep a loop to themselves for minutes. A round of
turns is short, whatever the number of replicas; after it sockets, tasks and timers come first, so that a
request which has arrived, or a client that has left, is seen before the engines go on.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

# Seconds of a round of turns. A request waits for two of them at most: for the one under way, and in its own.
_ROUND = 6e-3
# Rounds of the loop between them: accept, read, the task that parses, the task that answers or submits.
_BREATHS = 4

Turn = Callable[[float], None]  # works until the given monotonic time, and joins again if there is more to do


class Turns:
    """The queue of those who have work, first come first served."""

    __slots__ = ("_breaths", "_loop", "_queue", "_scheduled")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queue: deque[Turn] = deque()
        self._scheduled = False
        self._breaths = 0

    @property
    def busy(self) -> bool:
        """Whether somebody is waiting for a turn."""
        return self._scheduled

    def join(self, turn: Turn) -> None:
        """Have `turn` called soon, and never from inside this call; once for each call."""
        self._queue.append(turn)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._go_round)

    def leave(self, turn: Turn) -> None:
        """Take back a `join` whose turn has not come."""
        self._queue.remove(turn)

    def _go_round(self) -> None:
        if self._breaths:
            self._breaths -= 1
            self._loop.call_soon(self._go_round)
            return
        queue = self._queue
        now = time.monotonic()
        deadline = now + _ROUND
        try:
            while queue and now < deadline:
                turn = queue.popleft()
                turn(min(deadline, now + _ROUND / (len(queue) + 1)))
                now = time.monotonic()
        finally:
            self._scheduled = bool(queue)
            if queue:
                self._breaths = _BREATHS
                self._loop.call_soon(self._go_round)
