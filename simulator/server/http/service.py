"""What the connections of one address have in common: who answers, and what is being answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from simulator.server.http.incoming import Incoming
from simulator.server.http.reader import MAX_HEAD, MAX_HEADERS
from simulator.server.http.writer import Writer

Handler = Callable[[Incoming, Writer, Mapping[str, Any]], None]  # begins to answer; the mapping is `state`


class Peer(Protocol):
    """A connection, as those see it who open and close addresses."""

    is_untouched: bool  # nothing has come yet

    def close_after_answers(self) -> None:
        """Close; where answers are due, after the last of them."""

    def reset(self) -> None:
        """End with RST; requests in flight see their client gone."""


class Service:
    """What the connections of one address have in common."""

    def __init__(
        self, handler: Handler, headers: list[bytes], state: Mapping[str, Any], keep_alive_s: float
    ) -> None:
        self.handler = handler
        self.headers = headers  # its first item: the lines that every answer begins with
        self.state = state
        self.keep_alive_s = keep_alive_s
        self.max_head = MAX_HEAD  # bytes
        self.max_headers = MAX_HEADERS
        self.last_answers = False  # every answer is the last on its connection
        self.connections: set[Peer] = set()
        self.answering: set[Incoming] = set()
        self.num_begun = 0
        self._waiting: list[asyncio.Future[None]] = []

    def begin(self, incoming: Incoming) -> None:
        self.num_begun += 1
        self.answering.add(incoming)

    def end(self, incoming: Incoming) -> None:
        self.answering.discard(incoming)
        if not self.answering and self._waiting:
            for waiter in self._waiting:
                if not waiter.done():
                    waiter.set_result(None)
            self._waiting.clear()

    async def all_answered(self) -> None:
        """Until no request is being answered."""
        while self.answering:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            await waiter
