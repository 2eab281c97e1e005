"""Which rate to try next: a monotone search in few runs, pure and without a clock.

A rate `passes` or it does not, and every rate below one that passes is taken to pass too. The search grows
by factors until one fails, then narrows the gap between the two, until it is as small as wanted. A run that
fails often says by itself where the limit is (a server that is full serves as much as it can): that rate is
tried before the middle of the gap.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

GROWTH = 3.0
# How far from a rate that a full server has shown the next tries are: they bracket it.
_BESIDE = 0.015
_LEAST_RATE = 1e-3


@dataclass(frozen=True, slots=True)
class Tried:
    """A rate in requests per second, whether it passed, and what it shows of the limit (None: nothing)."""

    rate: float
    passes: bool
    limit: float | None = None


@dataclass
class Search:
    """The state of a search.

    first: rate to begin with. within: relative width of the gap at which it ends. most: runs at most.
    """

    first: float
    within: float = 0.05
    most: int = 16
    tried: list[Tried] = field(default_factory=list)

    def add(self, found: Tried) -> None:
        """What a run at `next_rate()` has shown."""
        self.tried.append(found)

    @property
    def low(self) -> float | None:
        """The highest rate that passed below every one that failed."""
        high = self.high
        passed = [t.rate for t in self.tried if t.passes and (high is None or t.rate < high)]
        return max(passed, default=None)

    @property
    def high(self) -> float | None:
        """The lowest rate that failed."""
        return min((t.rate for t in self.tried if not t.passes), default=None)

    @property
    def found(self) -> bool:
        """Whether the gap is as small as wanted."""
        low, high = self.low, self.high
        return low is not None and high is not None and high <= low * (1 + self.within)

    def next_rate(self) -> float | None:
        """The rate to try; None where the search is at its end."""
        low, high = self.low, self.high
        if len(self.tried) >= self.most or self.found:
            return None
        if high is None:
            return self.first if low is None else low * GROWTH
        if low is None:
            rate = high / GROWTH
            shown = self._shown(_LEAST_RATE, high)
            rate = shown if shown is not None else rate
            return rate if rate > _LEAST_RATE else None
        shown = self._shown(low, high)
        return shown if shown is not None else math.sqrt(low * high)

    def _shown(self, low: float, high: float) -> float | None:
        """A rate just below, then just above, the limit that failed runs have shown, inside the gap."""
        limit = self._most_shown()
        if limit is None:
            return None
        for rate in (limit * (1 - _BESIDE), limit * (1 + _BESIDE)):
            new = all(abs(t.rate / rate - 1) > _BESIDE / 2 for t in self.tried)
            if new and low * 1.002 < rate < high / 1.002:
                return rate
        return None

    def _most_shown(self) -> float | None:
        """A full server never serves more than it can, and may serve less while it is short of memory."""
        return max((t.limit for t in self.tried if t.limit is not None), default=None)

    @property
    def limit(self) -> float | None:
        """The best estimate of the highest rate that passes: what full runs show, inside the gap."""
        low, high = self.low, self.high
        guess = self._most_shown()
        if guess is None:
            return low
        if low is not None:
            guess = max(low, guess)
        return min(guess, high) if high is not None else guess
