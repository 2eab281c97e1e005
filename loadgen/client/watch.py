"""Watches exchanges under way: their timeouts, and their ending from this side; what all pools share.

An exchange that is older than its timeout, has no first token in time, or no next one, is cancelled.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterator
from time import monotonic

from loadgen.client.exchange import Exchange

SWEEP = 0.02  # seconds between looks at timeouts and idle connections


class Watch(ABC):
    """The exchanges of one pool."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._active: dict[float, dict[Exchange, None]] = {}
        self._unbegun: dict[float, dict[Exchange, None]] = {}
        self._paced: dict[Exchange, None] = {}
        self._sweeper = loop.call_later(SWEEP, self._sweep)

    @abstractmethod
    def _cancel_running(self, exchange: Exchange, outcome: str, error: str) -> bool:
        """End an exchange that is on a connection; False when it is on none yet."""

    def _look_at_idle(self, now: float) -> None:
        """Give up what nobody uses."""
        return

    def watch(self, exchange: Exchange, now: float) -> None:
        """An exchange begins at `now`."""
        exchange.start = now
        active = self._active.get(exchange.timeout)
        if active is None:
            active = self._active[exchange.timeout] = {}
        active[exchange] = None
        if exchange.patience is not None:
            first, gap = exchange.patience
            if first is not None:
                self._unbegun.setdefault(first, {})[exchange] = None
            if gap is not None:
                self._paced[exchange] = None

    def ended(self, exchange: Exchange) -> None:
        """An exchange no longer needs its timeouts watched."""
        self._active[exchange.timeout].pop(exchange, None)
        if exchange.patience is not None:
            self._unbegun.get(exchange.patience[0] or 0.0, {}).pop(exchange, None)
            self._paced.pop(exchange, None)

    def _sweep(self) -> None:
        self._sweeper = self.loop.call_later(SWEEP, self._sweep)
        now = monotonic()
        for timeout, active in self._active.items():
            for exchange in list(_older(active, now - timeout)):
                self.cancel(exchange, "timeout", f"no complete answer within {timeout:g} s")
        for limit, waiting in self._unbegun.items():
            for exchange in list(_older(waiting, now - limit)):
                if exchange.reader is None or not exchange.reader.tokens:
                    self.cancel(exchange, "timeout", f"no first token within {limit:g} s")
                waiting.pop(exchange, None)
        for exchange in list(self._paced):
            self._look_at_pace(exchange, now)
        self._look_at_idle(now)

    def _look_at_pace(self, exchange: Exchange, now: float) -> None:
        reader = exchange.reader
        gap = exchange.patience[1] if exchange.patience is not None else None
        if gap is not None and reader is not None and reader.last is not None and now - reader.last > gap:
            self.cancel(exchange, "timeout", f"no token for {gap:g} s after {reader.steps}")

    def cancel(self, exchange: Exchange, outcome: str, error: str) -> None:
        """End an exchange from this side."""
        if not self._cancel_running(exchange, outcome, error) and not exchange.finished:
            self.ended(exchange)
            exchange.fail(outcome, error, monotonic())

    def cancel_all(self, outcome: str, error: str) -> None:
        """End everything that runs."""
        for active in list(self._active.values()):
            for exchange in list(active):
                self.cancel(exchange, outcome, error)


def _older(exchanges: dict[Exchange, None], before: float) -> Iterator[Exchange]:
    """Those that began before a moment; they stand in order of start: the first young one ends the search."""
    for exchange in exchanges:
        if exchange.start > before:
            return
        yield exchange
