"""HTTP/1.1 keep-alive connections on asyncio.Protocol and httptools, and the pool that owns them.

No task and no await per request: `Pool.submit` writes to an idle connection or opens one, and the
exchange's own callback ends it. Moments are taken when bytes are read, not when someone is scheduled.
"""

from __future__ import annotations

import asyncio
import ssl
from time import monotonic
from typing import cast

import httptools

from loadgen.client.dial import Dialer, describe_connect_error, foreign
from loadgen.client.exchange import KEPT_HEADERS, Exchange
from loadgen.client.limits import LOOK_FROM, too_much
from loadgen.client.target import Renderer, Target
from loadgen.client.watch import Watch
from loadgen.errors import TargetError

WARM_SECONDS = 10.0  # how long a connection that is opened ahead of the load may take
SPARE = 1.0  # seconds by which opening outlasts its request, whose end is a timeout and no connect error
# A kept connection lost this soon after a request was written, without a byte, had been closed before it.
RACE = 0.02


class Connection(asyncio.Protocol):
    """One connection: idle, or carrying one exchange."""

    # fmt: off
    __slots__ = (
        "bare", "closed", "exchange", "headers", "idle_since", "on_body", "parser", "parts", "pool",
        "transport", "used",
    )
    # fmt: on

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.parts: list[bytes] = []
        self.on_body = self.parts.append  # pieces of one read are looked at together, behind the parser
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self.exchange: Exchange | None = None
        self.headers: dict[str, str] = {}
        self.idle_since = 0.0
        self.used = False
        self.closed = False
        self.bare = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=0)  # writes reach the kernel at once

    def send(self, exchange: Exchange, now: float) -> None:
        """Start an exchange on this idle connection."""
        self.exchange = exchange
        self.bare = 0
        exchange.connection = self
        exchange.connected = now
        exchange.reused = self.used
        self.used = True
        self.transport.write(exchange.payload)

    def resume_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.sent = monotonic()

    def data_received(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None or self.parser is None:  # bytes that nobody asked for: not to be trusted again
            self.transport.abort()
            return
        now = self.pool.now = monotonic()
        if exchange.first_byte is None:
            exchange.first_byte = now
        exchange.bytes_in += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.transport.abort()
            told = foreign(data, "HTTP/1.1") if exchange.status is None else None
            self._end(exchange, "reset", told or f"not HTTP: {error}")
            return
        took = bool(self.parts)
        if took:
            self._take_parts()
        if exchange.bytes_in > LOOK_FROM and self.exchange is exchange:
            self.bare = 0 if took else self.bare + len(data)
            if (words := too_much(exchange, self.bare)) is not None:
                self.cancel("stream_truncated" if (exchange.status or 500) < 300 else "reset", words)

    def on_header(self, name: bytes, value: bytes) -> None:
        kept = KEPT_HEADERS.get(name.lower())
        if kept is not None:
            self.headers[kept] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        assert self.parser is not None
        status = self.parser.get_status_code()
        if status >= 200 and self.exchange is not None:
            self.exchange.on_head(status, self.headers)
        self.headers = {}

    def _take_parts(self) -> None:
        """Hand the body's pieces of this read to the exchange; leave if the plan says so."""
        parts = self.parts
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        exchange = self.exchange
        if exchange is not None and exchange.on_data(body, self.pool.now):
            self.exchange = None
            self.transport.abort()
            self.pool.ended(exchange)
            exchange.fail("client_cancel", f"left after {exchange.cancel_after} tokens", self.pool.now)

    def on_message_complete(self) -> None:
        if self.parts:
            self._take_parts()
        exchange = self.exchange
        if exchange is None or self.parser is None or exchange.status is None:
            return  # an interim 1xx, or the tail of something already ended
        self.exchange = None
        if self.parser.should_keep_alive() and not self.transport.is_closing():
            self.pool.release(self)
        else:
            self.transport.close()
        self.pool.ended(exchange)
        exchange.complete(self.pool.now)

    def cancel(self, outcome: str, error: str) -> None:
        """End the running exchange by closing the connection."""
        exchange = self.exchange
        self.transport.abort()
        if exchange is not None:
            self._end(exchange, outcome, error)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        exchange = self.exchange
        if exchange is not None:
            why = str(exc) if exc else "the server closed the connection"
            if self._was_closed_before(exchange):
                self.exchange = None
                self.pool.resend(exchange)
            elif exc is None and exchange.status is not None and self._ends_with_the_connection():
                self.exchange = None
                self.pool.ended(exchange)
                exchange.complete(monotonic())
            elif exchange.status is not None and exchange.status < 300:
                self._end(exchange, "stream_truncated", why)
            else:
                self._end(exchange, "reset", why)
        self.parser = None  # the parser holds this object: without this the pair waits for the collector
        self.pool.forget(self)

    @staticmethod
    def _was_closed_before(exchange: Exchange) -> bool:
        """Whether the server let go of the idle connection while the request was on its way."""
        return (
            exchange.reused
            and exchange.first_byte is None
            and exchange.connected is not None
            and monotonic() - exchange.connected < RACE
        )

    def _ends_with_the_connection(self) -> bool:
        """Whether the body has no length of its own (HTTP/1.0 style): the end of the stream is its end."""
        return self.parser is not None and not self.parser.should_keep_alive()

    def _end(self, exchange: Exchange, outcome: str, error: str) -> None:
        self.exchange = None
        self.pool.ended(exchange)
        exchange.fail(outcome, error, monotonic())


class Pool(Watch):
    """Connections to one address; the last released is used first.

    Raises nothing: what goes wrong is the outcome of an exchange.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        target: Target,
        *,
        idle_timeout: float = 4.0,
    ) -> None:
        super().__init__(loop)
        self.tls = target.tls
        self._dialer = Dialer(loop, target, "http/1.1")
        self.render = Renderer(target).render
        self.idle_timeout = idle_timeout
        self.now = 0.0
        self.opened = 0
        self._idle: list[Connection] = []
        self._all: set[Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()

    def submit(self, exchange: Exchange) -> None:
        """Begin an exchange now."""
        now = monotonic()
        self.watch(exchange, now)
        connection = self._take(now)
        if connection is not None:
            connection.send(exchange, now)
            return
        self._open_for(exchange)

    def resend(self, exchange: Exchange) -> None:
        """Send once more, on a connection of its own, what met a connection that was closed already."""
        exchange.connection = exchange.connected = exchange.sent = None
        exchange.reused = False
        exchange.resent = True
        self._open_for(exchange)

    def _open_for(self, exchange: Exchange) -> None:
        task = self.loop.create_task(self._open(exchange))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    def _take(self, now: float) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.closed or connection.transport.is_closing():
                continue
            if now - connection.idle_since < self.idle_timeout:
                return connection
            connection.transport.close()
        return None

    async def _open(self, exchange: Exchange | None) -> None:
        try:
            # A host that says nothing is not waited for longer than the request that wanted the connection.
            async with asyncio.timeout(WARM_SECONDS if exchange is None else exchange.timeout + SPARE):
                connection = await self._dialer.connect(lambda: Connection(self))
        except (OSError, ssl.SSLError, TargetError) as error:
            if exchange is not None and not exchange.finished:
                self.ended(exchange)
                exchange.fail("connect_error", describe_connect_error(error, self.tls), monotonic())
            return
        self.opened += 1
        self._all.add(connection)
        if exchange is None or exchange.finished:  # opened ahead, or timed out in the meantime
            self.release(connection)
        else:
            connection.send(exchange, monotonic())

    async def warm(self, count: int) -> None:
        """Open `count` connections ahead of the load."""
        await asyncio.gather(*(self._open(None) for _ in range(count)))

    def release(self, connection: Connection) -> None:
        """A connection is idle again."""
        connection.idle_since = monotonic()
        self._idle.append(connection)

    def forget(self, connection: Connection) -> None:
        """A connection is gone."""
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def _look_at_idle(self, now: float) -> None:
        while self._idle and now - self._idle[0].idle_since > self.idle_timeout:
            self._idle.pop(0).transport.close()

    def _cancel_running(self, exchange: Exchange, outcome: str, error: str) -> bool:
        connection = exchange.connection
        if not isinstance(connection, Connection) or connection.exchange is not exchange:
            return False
        connection.cancel(outcome, error)
        return True

    def close(self) -> None:
        """Close all connections; running exchanges must have ended."""
        self._sweeper.cancel()
        for task in self._opening:
            task.cancel()
        for connection in list(self._all):
            connection.transport.abort()
