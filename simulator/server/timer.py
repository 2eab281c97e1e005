"""One timer for all replicas of a process, and how late it is.

Everything that waits for a moment waits here: one heap, and one alarm. No other module asks the loop to wake
it at a time that a client can see. Times are seconds of `time.monotonic`.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence

from kit.alarm import make_alarm
from kit.prometheus import Buckets
from simulator.server.turns import Turns

# Seconds. Fine around the millisecond that the project promises, coarse beyond.
LAG_BUCKETS = (5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.5, 1.0, 5.0)
# Due times this near count as reached: the clock's own reading costs more.
_SLACK = 2e-6


class LagHistogram(Buckets):
    """How late things happened: seconds in LAG_BUCKETS, and the most of all."""

    __slots__ = ("maximum",)

    def __init__(self) -> None:
        super().__init__(LAG_BUCKETS)
        self.maximum = 0.0

    def observe(self, lag: float) -> None:
        self.counts[bisect_left(LAG_BUCKETS, lag)] += 1  # not through super(): one for each wake-up
        self.total += lag
        self.maximum = max(self.maximum, lag)

    def observe_all(self, now: float, due: Sequence[float]) -> None:
        """One observation for each of the times in `due`, which ascend and are past."""
        first, last = now - due[0], now - due[-1]
        bucket = bisect_left(LAG_BUCKETS, first)
        if bucket == bisect_left(LAG_BUCKETS, last):  # nearly always
            self.counts[bucket] += len(due)
        else:
            for each in due:
                self.counts[bisect_left(LAG_BUCKETS, now - each)] += 1
        self.total += len(due) * now - sum(due)
        self.maximum = max(self.maximum, first)

    def quantile(self, q: float) -> float:
        """The upper bound of the bucket in which the quantile lies; 0 without observations."""
        wanted = q * self.count
        seen = 0
        for count, bound in zip(self.counts, (*LAG_BUCKETS, self.maximum), strict=True):
            seen += count
            if seen >= wanted and count:
                return bound
        return 0.0


class TimerHandle:
    """One wake-up.

    `cancel()` may be called at any time, also twice; the heap drops the entry when it is due.
    """

    __slots__ = ("callback", "when")

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class Timer:
    """Wakes callbacks at monotonic times, in order of time and then of registration.

    `turns` is for those who need not wait.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._heap: list[tuple[float, int, TimerHandle]] = []
        self._order = itertools.count()
        self._armed = float("inf")  # what the kernel is set to
        self._firing = False
        self._alarm = make_alarm(loop or asyncio.get_running_loop(), self._fire)
        self.lag = LagHistogram()
        self.turns = Turns(loop or asyncio.get_running_loop())

    def call_at(self, when: float, callback: Callable[[], None]) -> TimerHandle:
        """Call back at `when`, or in this loop iteration's end if that is past.

        Never from inside this call.
        """
        handle = TimerHandle(when, callback)
        heapq.heappush(self._heap, (when, next(self._order), handle))
        if when < self._armed and not self._firing:
            self._arm(when)
        return handle

    def close(self) -> None:
        """Forget every wake-up and give the descriptor back."""
        self._heap.clear()
        self._alarm.close()

    def _arm(self, when: float) -> None:
        self._armed = when
        self._alarm.set(when)

    def _fire(self) -> None:
        self._armed = float("inf")
        self._firing = True
        heap = self._heap
        horizon = time.monotonic() + _SLACK
        # Only what is due on entry: a callback that asks for "now" again must not starve the sockets.
        due: list[TimerHandle] = []
        while heap and heap[0][0] <= horizon:
            due.append(heapq.heappop(heap)[2])
        position = 0
        try:
            while position < len(due):
                handle = due[position]
                position += 1
                callback = handle.callback
                if callback is not None:
                    self.lag.observe(max(0.0, time.monotonic() - handle.when))
                    callback()
        finally:
            for handle in due[position:]:  # one callback failed; the others belong to other replicas
                heapq.heappush(heap, (handle.when, next(self._order), handle))
            self._firing = False
            while heap and heap[0][2].callback is None:
                heapq.heappop(heap)
            if heap:
                self._arm(heap[0][0])
