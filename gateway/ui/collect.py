"""Asks the stack once a second, reads its logs, and tells every page that is open."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from gateway.errors import ControlError
from gateway.machine.readiness import http_get
from gateway.stack.socket import ask
from gateway.ui.feed import Feed

INTERVAL_S = 1.0  # between two ticks
BACKLOG = 4  # ticks that a page may be behind; one that is further gets everything anew
Json = dict[str, Any]


class Collector:
    """The feed of one stack, and who listens to it."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.feed = Feed()
        self.extra: Json = {}  # what others have to say with each tick
        self._pages: set[asyncio.Queue[bytes | None]] = set()

    async def ask(self, do: str, timeout_s: float = 120.0, **arguments: Any) -> Any:
        """Ask the stack; ControlError when it refuses or is gone."""
        return await asyncio.to_thread(ask, self.socket, do, timeout_s=timeout_s, **arguments)

    async def once(self) -> None:
        """One second's work."""
        events: list[Json] = []
        try:
            events = self.feed.told(await self.ask("status", timeout_s=10.0))
        except ControlError as error:
            self.feed.problem = str(error)
        await self._ask_pickers()
        self.feed.read()
        self._tell({**self.feed.tick(events), **self.extra})

    async def _ask_pickers(self) -> None:
        self.feed.beliefs.clear()
        for picker in self.feed.report.get("pickers", ()):
            place = urlsplit(picker["metrics_url"])
            if picker["state"] != "running" or picker["kind"] != "reference" or place.port is None:
                continue
            status, page = await http_get(str(place.hostname), place.port, "/endpoints")
            if status == 200:
                self.feed.believed(picker["name"], page)

    def _tell(self, tick: Json) -> None:
        message = frame("tick", tick) if self._pages else b""
        for page in list(self._pages):
            try:
                page.put_nowait(message)
            except asyncio.QueueFull:
                self._end(page)

    def _end(self, page: asyncio.Queue[bytes | None]) -> None:
        self._pages.discard(page)
        if page.full():
            page.get_nowait()
        page.put_nowait(None)

    def close(self) -> None:
        """End every stream."""
        for page in list(self._pages):
            self._end(page)

    @contextlib.asynccontextmanager
    async def listen(self) -> Any:
        """A queue of frames, the first of which is everything; None ends it."""
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(BACKLOG)
        queue.put_nowait(frame("hello", {**self.feed.hello(), **self.extra}))
        self._pages.add(queue)
        try:
            yield queue
        finally:
            self._pages.discard(queue)


def frame(event: str, data: Any) -> bytes:
    """One server-sent event."""
    return b"event: %s\ndata: %s\n\n" % (event.encode(), msgspec.json.encode(data))
