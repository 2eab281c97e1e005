"""Who may change what: one change of a thing at a time, one of everything while nothing else is under way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class Turns:
    """Turns at things that are told apart by their names; those of different things do not wait."""

    def __init__(self) -> None:
        self._busy: set[str] = set()
        self._whole = False
        self._waiting: list[asyncio.Future[None]] = []

    @asynccontextmanager
    async def of(self, *names: str) -> AsyncIterator[None]:
        """The turn at these things."""
        await self._until(lambda: not self._whole and self._busy.isdisjoint(names))
        self._busy.update(names)
        try:
            yield
        finally:
            self._busy.difference_update(names)
            self._wake()

    @asynccontextmanager
    async def everything(self) -> AsyncIterator[None]:
        """The turn at everything: who comes later waits, and it waits for those that were first."""
        await self._until(lambda: not self._whole)
        self._whole = True
        try:
            await self._until(lambda: not self._busy)
            yield
        finally:
            self._whole = False
            self._wake()

    async def _until(self, is_free: Callable[[], bool]) -> None:
        while not is_free():
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            await waiter

    def _wake(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
        self._waiting.clear()
