"""Requests to an ASGI app: the routes that no client asks so often that a framework would be noticed.

HTTP only: there is no lifespan, since replicas come and go while the app stays, and a request to become a
websocket is answered as the plain request it also is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from simulator.server.http.incoming import Incoming
from simulator.server.http.service import Handler
from simulator.server.http.writer import Writer, header_lines

Scope = dict[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_ENOUGH = 64 << 10  # bytes of a body that the app has not asked for
_DISCONNECT = "http.disconnect"
_log = logging.getLogger("simfleet.http")


def bridged(app: App) -> Handler:
    """A handler that lets `app` answer. Call it in the loop of its connections."""
    tasks: set[asyncio.Task[None]] = set()  # the loop itself holds them weakly

    def handle(incoming: Incoming, writer: Writer, state: Mapping[str, Any]) -> None:
        call = _Call(incoming, writer)
        task = asyncio.get_running_loop().create_task(call.run(app, state))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    return handle


class _Call:
    """One request, as ASGI's three."""

    __slots__ = ("_bodyless", "_changed", "_ended", "_incoming", "_left", "_told", "_writer")

    def __init__(self, incoming: Incoming, writer: Writer) -> None:
        self._incoming = incoming
        self._writer = writer
        self._changed = asyncio.Event()
        self._ended = False  # answered, or the client is gone
        self._told = False  # the app has had the whole body
        self._bodyless = False  # the answer has none, whatever the app gives
        self._left: int | None = None  # bytes of the answer still due; None: as many as there are
        incoming.is_owned = True
        incoming.on_data = self._on_data
        incoming.on_end = self._on_end
        writer.limit = 0
        writer.on_room = self._changed.set

    def _on_data(self) -> None:
        if sum(map(len, self._incoming.chunks)) > _ENOUGH:
            self._writer.wire.hold_reading()
        self._changed.set()

    def _on_end(self) -> None:
        self._ended = True
        self._changed.set()

    async def run(self, app: App, state: Mapping[str, Any]) -> None:
        """Never raises: what the app does wrong is logged and ends its answer."""
        incoming, writer = self._incoming, self._writer
        try:
            await app(self._scope(state), self._receive, self._send)
            if not (writer.finished or self._ended):
                raise RuntimeError("the app has returned without a complete answer")
        except Exception:  # noqa: BLE001 - the last resort of one request
            _log.exception("%s %s failed", incoming.method, incoming.path)
            writer.fail()
        finally:
            writer.wire.forget(incoming)

    def _scope(self, state: Mapping[str, Any]) -> Scope:
        incoming, wire = self._incoming, self._writer.wire
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": incoming.version,
            "server": wire.address("sockname"),
            "client": wire.address("peername"),
            "scheme": wire.scheme,
            "root_path": "",
            "method": incoming.method,
            "path": incoming.path,
            "raw_path": incoming.raw_path,
            "query_string": incoming.query,
            "headers": incoming.headers,
            "state": dict(state),
        }

    async def _receive(self) -> Message:
        incoming = self._incoming
        if not self._ended:
            self._writer.allow_body()
        while not self._ended:
            if incoming.chunks or (incoming.complete and not self._told):
                self._told = incoming.complete
                body = b"".join(incoming.chunks)
                incoming.chunks.clear()
                return {"type": "http.request", "body": body, "more_body": not incoming.complete}
            self._writer.wire.read_on()
            self._changed.clear()
            await self._changed.wait()
        return {"type": _DISCONNECT}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start(message["status"], list(message.get("headers", ())))
        else:
            self._write(message.get("body", b""), message.get("more_body", False))
        while self._writer.blocked and not self._ended:
            self._changed.clear()
            await self._changed.wait()

    def _start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        length = next((value for name, value in headers if name.lower() == b"content-length"), None)
        self._bodyless = self._incoming.method == "HEAD" or status in (204, 304)
        if length is not None and not self._bodyless:
            self._left = int(length)
        self._writer.start(status, header_lines(headers), sized=self._bodyless or length is not None)

    def _write(self, body: bytes, more: bool) -> None:
        if not self._writer.started or self._writer.finished:
            raise RuntimeError("a body without a start, or behind its end")
        if self._bodyless:
            body = b""
        elif self._left is not None:
            self._left -= len(body)
            if self._left < 0 or (self._left and not more):
                raise RuntimeError(f"the body misses its content-length by {abs(self._left)} bytes")
        self._writer.write(body, more)
