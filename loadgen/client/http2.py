"""HTTP/2 over cleartext with prior knowledge (h2c), or over TLS by ALPN: many exchanges on each connection.

The pool has the face of connection.Pool. Needs the extra `h2`.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections.abc import Mapping
from time import monotonic
from typing import cast

from loadgen.client.dial import Dialer, describe_connect_error, foreign
from loadgen.client.exchange import KEPT_HEADERS, Exchange
from loadgen.client.limits import LOOK_FROM, too_much
from loadgen.client.target import Target
from loadgen.client.watch import Watch
from loadgen.errors import ScenarioError, TargetError

try:
    import h2.config
    import h2.connection
    import h2.events
    import h2.exceptions
    import h2.settings
except ImportError as error:
    raise ScenarioError("HTTP/2 needs the extra h2: pip install 'vllm-simfleet[h2]'") from error

STREAMS = 100  # exchanges on one connection before another is opened, unless the server allows fewer
WINDOW = (1 << 31) - 1
UNREAD = 10_000  # PINGs and SETTINGS that are answered while the server does not read
_STATUS = re.compile("[1-9][0-9][0-9]")
CANCEL = 8  # HTTP/2's error code for a stream that its client needs no more


class _OpenAfterGoaway(h2.connection.H2ConnectionStateMachine):
    """After GOAWAY the library takes nothing more, but the streams below it go on (RFC 9113 section 6.8)."""

    _transitions = {  # noqa: RUF012  # the library's, with one row of its table changed
        **h2.connection.H2ConnectionStateMachine._transitions,
        (h2.connection.ConnectionState.CLIENT_OPEN, h2.connection.ConnectionInputs.RECV_GOAWAY): (
            None,
            h2.connection.ConnectionState.CLIENT_OPEN,
        ),
    }


class Http2Payload(bytes):
    """The body of a request, with the headers that go ahead of it."""

    headers: list[tuple[str, str]]


class Http2Connection(asyncio.Protocol):
    """One connection and the exchanges on it by stream."""

    def __init__(self, pool: Http2Pool) -> None:
        self.pool = pool
        config = h2.config.H2Configuration(client_side=True, header_encoding="latin-1")
        self.h2 = h2.connection.H2Connection(config)
        self.h2.state_machine = _OpenAfterGoaway()
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.exchanges: dict[int, Exchange] = {}
        self.unsent: dict[int, memoryview] = {}
        self.closed = False
        self.heard = False
        self.used = False
        self.unread = 0  # PINGs and SETTINGS answered since the server last read all

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=0)
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(WINDOW - 65535)
        self.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: WINDOW})
        self._flush()

    @property
    def room(self) -> bool:
        """Whether another exchange fits on this connection."""
        most = min(STREAMS, self.h2.remote_settings.max_concurrent_streams)
        return not self.closed and len(self.exchanges) < most

    def send(self, exchange: Exchange, now: float) -> None:
        """Start an exchange on a stream of its own."""
        payload = exchange.payload
        assert isinstance(payload, Http2Payload)
        stream = self.h2.get_next_available_stream_id()
        self.exchanges[stream] = exchange
        exchange.connection = self
        exchange.connected = now
        exchange.reused = self.used
        self.used = True
        self.h2.send_headers(stream, payload.headers, end_stream=not payload)
        if payload:
            self.unsent[stream] = memoryview(payload)
            self._send_bodies()
        self._flush()

    def _send_bodies(self) -> None:
        """As much of each body as the server's windows let through."""
        for stream, body in list(self.unsent.items()):
            left = body
            while left:
                room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
                if room <= 0:
                    break
                part, left = left[:room], left[room:]
                self.h2.send_data(stream, bytes(part), end_stream=not left)
            if left:
                self.unsent[stream] = left
            else:
                del self.unsent[stream]
                self.exchanges[stream].sent = monotonic()

    def _flush(self) -> None:
        data = self.h2.data_to_send()
        if data:
            self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        now = monotonic()
        try:
            events = self.h2.receive_data(data)
        except h2.exceptions.ProtocolError as error:
            told = None if self.heard else foreign(data, "HTTP/2")
            self.closed = True
            self.transport.abort()
            self._end_all("reset", told or f"not HTTP/2: {error}", now)
            return
        self.heard = True
        for event in events:
            self._handle(event, now)
        if self.unsent:
            self._send_bodies()
        self._flush()

    def _on_goaway(self, event: h2.events.ConnectionTerminated, now: float) -> None:
        self.closed = True  # no further exchange; those up to last_stream_id go on
        for above in [number for number in self.exchanges if number > (event.last_stream_id or 0)]:
            self._end(above, "reset", "the server left before it took the request (GOAWAY)", now)

    def _handle(self, event: h2.events.Event, now: float) -> None:
        stream = getattr(event, "stream_id", None) or 0
        exchange = self.exchanges.get(stream)
        if isinstance(event, h2.events.ConnectionTerminated):
            self._on_goaway(event, now)
            return
        if isinstance(event, h2.events.PingReceived | h2.events.RemoteSettingsChanged):
            self._answered()
            return
        if exchange is None:
            if isinstance(event, h2.events.DataReceived):
                self.h2.acknowledge_received_data(event.flow_controlled_length or 0, stream)
            return
        if exchange.first_byte is None:
            exchange.first_byte = now
        if isinstance(event, h2.events.ResponseReceived):
            self._on_headers(exchange, event)
        elif isinstance(event, h2.events.DataReceived):
            self._on_data(exchange, event, stream, now)
        elif isinstance(event, h2.events.StreamEnded):
            del self.exchanges[stream]
            if self.unsent.pop(stream, None):  # answered before the whole request was there
                with contextlib.suppress(h2.exceptions.ProtocolError):
                    self.h2.reset_stream(stream, error_code=CANCEL)
            self.pool.ended(exchange)
            exchange.complete(now)
        elif isinstance(event, h2.events.StreamReset):
            self._end(stream, "reset", f"stream reset by the server: {event.error_code}", now)

    def _answered(self) -> None:
        """Count what is answered to a server that reads no answers: these may not gather for ever."""
        self.unread = self.unread + 1 if self.transport.get_write_buffer_size() else 0
        if self.unread > UNREAD:
            self.transport.abort()
            self._end_all("reset", f"the server asks more than {UNREAD} times and does not read", monotonic())

    def _on_headers(self, exchange: Exchange, event: h2.events.ResponseReceived) -> None:
        status = 0
        kept: dict[str, str] = {}
        for name, value in cast("list[tuple[str, str]]", event.headers or []):
            if name == ":status":
                if not _STATUS.fullmatch(value):
                    self.cancel(exchange, "reset", f"not HTTP/2: the status {value[:40]!r}")
                    return
                status = int(value)
            elif (known := KEPT_HEADERS.get(name.encode())) is not None:
                kept[known] = value
        exchange.on_head(status, kept)

    def _on_data(self, exchange: Exchange, event: h2.events.DataReceived, stream: int, now: float) -> None:
        data = event.data or b""
        exchange.bytes_in += len(data)
        self.h2.acknowledge_received_data(event.flow_controlled_length or 0, stream)
        if exchange.on_data(data, now):
            self.cancel(exchange, "client_cancel", f"left after {exchange.cancel_after} tokens")
        elif exchange.bytes_in > LOOK_FROM and (words := too_much(exchange)) is not None:
            self.cancel(exchange, "stream_truncated", words)

    def cancel(self, exchange: Exchange, outcome: str, error: str) -> None:
        """End one exchange by resetting its stream."""
        for stream, running in self.exchanges.items():
            if running is exchange:
                with contextlib.suppress(h2.exceptions.ProtocolError):  # the server has ended it already
                    self.h2.reset_stream(stream, error_code=CANCEL)
                self._end(stream, outcome, error, monotonic())
                self._flush()
                return

    def _end(self, stream: int, outcome: str, error: str, now: float) -> None:
        exchange = self.exchanges.pop(stream, None)
        self.unsent.pop(stream, None)
        if exchange is None:
            return
        if outcome == "reset" and exchange.status is not None and exchange.status < 300:
            outcome = "stream_truncated"
        self.pool.ended(exchange)
        exchange.fail(outcome, error, now)

    def _end_all(self, outcome: str, error: str, now: float) -> None:
        for stream in list(self.exchanges):
            self._end(stream, outcome, error, now)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._end_all("reset", str(exc) if exc else "the server closed the connection", monotonic())
        self.pool.forget(self)


class Http2Pool(Watch):
    """Connections to one address; a new one when all are full."""

    def __init__(self, loop: asyncio.AbstractEventLoop, target: Target, *, idle_timeout: float = 4.0) -> None:
        super().__init__(loop)
        self.target = target
        self._dialer = Dialer(loop, target, "h2")
        self.opened = 0
        self._connections: list[Http2Connection] = []
        self._waiting: list[Exchange] = []
        self._opening: set[asyncio.Task[None]] = set()

    def render(self, path: str, headers: Mapping[str, str], body: bytes, method: str = "POST") -> bytes:
        """One request as headers and body."""
        payload = Http2Payload(body)
        fields = {**({"content-type": "application/json"} if body else {}), **headers}
        authority = fields.pop("host", self.target.authority)
        payload.headers = [
            (":method", method),
            (":scheme", "https" if self.target.tls else "http"),
            (":authority", authority),
            (":path", f"{self.target.base_path}{path}"),
            *([("content-length", str(len(body)))] if body or method not in ("GET", "HEAD") else ()),
            *fields.items(),
        ]
        return payload

    def submit(self, exchange: Exchange) -> None:
        """Begin an exchange now; while a connection is being opened it waits for that one."""
        now = monotonic()
        self.watch(exchange, now)
        for connection in self._connections:
            if connection.room:
                connection.send(exchange, now)
                return
        self._waiting.append(exchange)
        if len(self._waiting) > len(self._opening) * STREAMS:
            self._spawn()

    def _spawn(self) -> None:
        task = self.loop.create_task(self._open())
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self) -> None:
        try:
            connection = await self._dialer.connect(lambda: Http2Connection(self))
        except (OSError, ssl.SSLError, TargetError) as error:
            waiting, self._waiting = self._waiting, []
            words = describe_connect_error(error, self.target.tls)
            for exchange in waiting:
                self.ended(exchange)
                exchange.fail("connect_error", words, monotonic())
            return
        self.opened += 1
        self._connections.append(connection)
        while self._waiting and connection.room:
            exchange = self._waiting.pop(0)
            if not exchange.finished:
                connection.send(exchange, monotonic())
        if len(self._waiting) > (len(self._opening) - 1) * STREAMS:  # this task is still one of them
            self._spawn()

    async def warm(self, count: int) -> None:
        """Open the first connection; one carries a hundred exchanges."""
        if count:
            await self._open()

    def forget(self, connection: Http2Connection) -> None:
        """A connection is gone."""
        if connection in self._connections:
            self._connections.remove(connection)

    def _cancel_running(self, exchange: Exchange, outcome: str, error: str) -> bool:
        connection = exchange.connection
        if isinstance(connection, Http2Connection):
            connection.cancel(exchange, outcome, error)
            return True
        if exchange in self._waiting:
            self._waiting.remove(exchange)
        return False

    def close(self) -> None:
        """Close all connections."""
        self._sweeper.cancel()
        for task in self._opening:
            task.cancel()
        for connection in list(self._connections):
            connection.transport.abort()
