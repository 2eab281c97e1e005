"""Requests to model servers: kept connections, answers piece by piece."""

from __future__ import annotations

import asyncio
import ssl
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import h11

Headers = list[tuple[bytes, bytes]]
_READ = 64 * 1024
_HEAD = 1 << 20  # bytes of a head; the sidecar's own limit
_HOP = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"te", b"upgrade"})


@dataclass
class Answer:
    """Status and headers are there; `pieces` are the body's, as they come."""

    status: int
    headers: Headers
    pieces: AsyncIterator[bytes]

    async def body(self) -> bytes:
        return b"".join([piece async for piece in self.pieces])


@dataclass
class _Link:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    http: h11.Connection


def passed_on(headers: Headers) -> Headers:
    """Headers without those of one connection."""
    return [(name, value) for name, value in headers if name.lower() not in _HOP]


class Upstream:
    """All connections of one sidecar to model servers. OSError and h11's errors for one that fails."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._context = context
        self._idle: dict[tuple[str, int], list[_Link]] = defaultdict(list)

    @asynccontextmanager
    async def send(
        self, place: tuple[str, int], method: bytes, target: bytes, headers: Headers, body: bytes
    ) -> AsyncIterator[Answer]:
        """The answer to one request; the connection is kept where the answer was read to its end."""
        link, response = await self._asked(place, method, target, headers, body)
        try:
            yield Answer(response.status_code, list(response.headers.raw_items()), self._pieces(link))
        finally:
            if link.http.our_state is link.http.their_state is h11.DONE:
                link.http.start_next_cycle()
                self._idle[place].append(link)
            else:
                link.writer.transport.abort()

    async def _asked(
        self, place: tuple[str, int], method: bytes, target: bytes, headers: Headers, body: bytes
    ) -> tuple[_Link, h11.Response]:
        """On a kept connection, and where its server has closed it meanwhile on a fresh one."""
        kept = self._idle[place]
        while True:
            link = kept.pop() if kept else None
            is_fresh = link is None
            link = link or await self._connected(place)
            try:
                return link, await self._exchanged(link, method, target, headers, body)
            except (OSError, EOFError, h11.RemoteProtocolError):
                link.writer.transport.abort()
                if is_fresh:
                    raise
            except BaseException:
                link.writer.transport.abort()
                raise

    async def _connected(self, place: tuple[str, int]) -> _Link:
        reader, writer = await asyncio.open_connection(*place, ssl=self._context, limit=_HEAD)
        return _Link(reader, writer, h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD))

    async def _exchanged(
        self, link: _Link, method: bytes, target: bytes, headers: Headers, body: bytes
    ) -> h11.Response:
        sized = [
            (n, v)
            for n, v in passed_on(headers)
            if n.lower() not in (b"content-length", b"transfer-encoding")
        ]
        if body or method in (b"POST", b"PUT", b"PATCH"):
            sized.append((b"content-length", b"%d" % len(body)))
        request = h11.Request(method=method, target=target, headers=sized)
        data = link.http.send(request) or b""
        data += (link.http.send(h11.Data(data=body)) or b"") if body else b""
        link.writer.write(data + (link.http.send(h11.EndOfMessage()) or b""))
        await link.writer.drain()
        while True:
            event = await _event(link)
            if isinstance(event, h11.Response):
                return event
            if isinstance(event, h11.ConnectionClosed):
                raise EOFError("the server closed the connection")

    @staticmethod
    async def _pieces(link: _Link) -> AsyncIterator[bytes]:
        while True:
            event = await _event(link)
            if isinstance(event, h11.Data):
                yield bytes(event.data)
            elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                return

    def close(self) -> None:
        for links in self._idle.values():
            for link in links:
                link.writer.transport.abort()
        self._idle.clear()


async def _event(link: _Link) -> object:
    """The next event; more is read where none is there."""
    while (event := link.http.next_event()) is h11.NEED_DATA:
        link.http.receive_data(await link.reader.read(_READ))
    return event
