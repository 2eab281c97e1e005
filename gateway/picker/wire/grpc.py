"""gRPC over the HTTP/2 of h2.py: methods as plain objects, on an asyncio port."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import ssl
import tempfile
from collections.abc import Awaitable, Iterable, Mapping
from functools import partial
from pathlib import Path
from time import monotonic
from typing import cast
from urllib.parse import quote

from gateway.picker.errors import PickerConfigError
from gateway.picker.wire.calls import (
    INTERNAL,
    OK,
    RESOURCE_EXHAUSTED,
    UNIMPLEMENTED,
    GrpcError,
    Method,
    OpenCall,
)
from gateway.picker.wire.frames import H2Error
from gateway.picker.wire.h2 import H2Connection
from gateway.picker.wire.limits import FAREWELL_S, GREETING_S, MESSAGE, TURN_S, Held

# ":status: 200" from HPACK's static table, and content-type as a literal that is not indexed.
_HEADERS = b"\x88\x0f\x10\x10application/grpc"
_READY = (map, tuple, list)  # replies that are there; a look at the class is cheaper than one at the ABC
_log = logging.getLogger("picker.grpc")


class _Connection(asyncio.Protocol):
    """One HTTP/2 connection; hears of its streams and writes their replies."""

    def __init__(self, port: GrpcPort) -> None:
        self._port = port
        self.calls: dict[int, OpenCall] = {}
        self.greeting: asyncio.TimerHandle | None = None
        self.h2 = H2Connection(self, port.held)
        self._transport: asyncio.Transport | None = None
        self._full = False  # the client does not read what is written
        self._more = False  # frames are left for another turn
        self._turn: asyncio.Handle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._port.connections.add(self)
        self.write()

    def data_received(self, data: bytes) -> None:
        try:
            more = self.h2.receive(data, monotonic() + TURN_S)
        except H2Error as error:
            _log.info("connection ended: %s", error)
            self.h2.goaway(error.code, str(error))
            self.write()
            self.h2.close()
            self.abort()
            return
        self.write()
        if more is not self._more:
            self._more = more
            self._read_or_not()
            if more:
                self._turn = asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        """Another turn; while the client does not read, resume_writing brings the next."""
        self._turn = None
        transport = self._transport
        if self._full or transport is None or transport.is_closing():
            return
        self._more = False
        self.data_received(b"")
        self._read_or_not()

    def _read_or_not(self) -> None:
        """What is not worked off is not read either, so that the client has to wait."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._more or self._full:
            transport.pause_reading()
        else:
            transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._port.connections.discard(self)
        if self.greeting is not None:
            self.greeting.cancel()
        self.h2.close()

    def pause_writing(self) -> None:
        self._full = True
        self.h2.pause(True)
        self._read_or_not()

    def resume_writing(self) -> None:
        self._full = False
        self.h2.pause(False)
        self.write(self.h2.take_more())
        if self._more and self._turn is None:
            self._go_on()
        self._read_or_not()

    def write(self, first: bytes = b"") -> None:
        out = first or self.h2.take()
        if not out or (transport := self._transport) is None:
            return
        transport.write(out)
        while self.h2.waiting and (out := self.h2.take_more()):
            transport.write(out)

    def end_unless_greeted(self) -> None:
        self.greeting = None
        if not self.h2.settled:
            self.abort()

    def abort(self) -> None:
        """Close; a client that does not read what is left has a few seconds."""
        transport = self._transport
        if transport is not None and not transport.is_closing():
            transport.close()
            asyncio.get_running_loop().call_later(FAREWELL_S, transport.abort)

    # Streams.

    def opened(self, stream_id: int, headers: list[tuple[str, str]]) -> None:
        path = next((value for name, value in headers if name == ":path"), "")
        method = self._port.methods.get(path)
        if method is None:
            self.h2.send_trailers(
                stream_id, _trailers(UNIMPLEMENTED, f"unknown method {path[:200]}", _HEADERS)
            )
            return
        call = method()
        call.begin(headers)
        self.calls[stream_id] = OpenCall(call, self._port.message)

    def data(self, stream_id: int, data: bytes) -> None:
        call = self.calls.get(stream_id)
        if call is None:
            return
        try:
            for message in call.messages(data):
                if call.task is not None:
                    call.wait(message)
                else:
                    self._receive(stream_id, call, message)
        except GrpcError as error:
            self._finish(stream_id, call, error.status, str(error))
        self._settle(stream_id, call)

    def ended(self, stream_id: int) -> None:
        call = self.calls.get(stream_id)
        if call is None:
            return
        call.ended = True
        if call.task is None:
            self._end(stream_id, call)

    def reset(self, stream_id: int) -> None:
        call = self.calls.pop(stream_id, None)
        if call is None:
            return
        if call.task is not None:
            call.task.cancel()
        call.call.close()
        self._port.call_ended()

    def _receive(self, stream_id: int, call: OpenCall, message: bytes) -> None:
        if stream_id not in self.calls:
            return
        try:
            replies = call.call.receive(message)
        except GrpcError as error:
            self._finish(stream_id, call, error.status, str(error))
            return
        except Exception:  # noqa: BLE001 - whatever a plugin raises ends its own request only
            self._failed(stream_id, call)
            return
        if not isinstance(replies, _READY) and isinstance(replies, Awaitable):
            call.task = asyncio.ensure_future(replies)
            call.task.add_done_callback(partial(self._reply_later, stream_id, call))
        else:
            self._reply(stream_id, call, replies)

    def _reply(self, stream_id: int, call: OpenCall, replies: Iterable[bytes]) -> None:
        h2 = self.h2
        for reply in replies:
            if not call.started:
                call.started = True
                h2.send_headers(stream_id, _HEADERS)
            h2.send_data(stream_id, b"\0" + len(reply).to_bytes(4, "big") + reply)
        if call.call.finished:
            self._finish(stream_id, call, OK, "")

    def _reply_later(self, stream_id: int, call: OpenCall, task: asyncio.Future[Iterable[bytes]]) -> None:
        if task.cancelled():  # its stream was reset
            return
        call.task = None
        try:
            self._reply(stream_id, call, task.result())
        except Exception:  # noqa: BLE001 - as above
            self._failed(stream_id, call)
        while call.backlog and call.task is None:
            self._receive(stream_id, call, call.next())
        if call.ended and call.task is None:
            self._end(stream_id, call)
        self._settle(stream_id, call)
        self.write()

    def _settle(self, stream_id: int, call: OpenCall) -> None:
        """Count what the call keeps in memory; it ends where the picker keeps too much."""
        kept = len(call.buffer) + call.queued + call.call.kept
        if kept == call.counted or stream_id not in self.calls:
            return
        call.counted = kept
        if not self.h2.keep(stream_id, kept):
            self._finish(stream_id, call, RESOURCE_EXHAUSTED, "the picker holds too much of open requests")

    def _end(self, stream_id: int, call: OpenCall) -> None:
        """The client has said everything."""
        if call.buffer:
            self._finish(stream_id, call, INTERNAL, "the stream ended inside a message")
        else:
            self._finish(stream_id, call, OK, "")

    def _failed(self, stream_id: int, call: OpenCall) -> None:
        _log.exception("a call failed")
        self._finish(stream_id, call, INTERNAL, "the picker failed on this request; see its log")

    def _finish(self, stream_id: int, call: OpenCall, status: int, message: str) -> None:
        if self.calls.pop(stream_id, None) is None:
            return
        if call.counted:
            self.h2.keep(stream_id, 0)
        self.h2.send_trailers(stream_id, _trailers(status, message, b"" if call.started else _HEADERS))
        call.call.close()
        self._port.call_ended()


def _trailers(status: int, message: str, headers: bytes) -> bytes:
    """grpc-status and grpc-message; with `headers` before them it is a trailers-only response."""
    block = headers + _literal(b"grpc-status", str(status).encode())
    return block + _literal(b"grpc-message", quote(message).encode()) if message else block


def _literal(name: bytes, value: bytes) -> bytes:
    """An HPACK field that is neither indexed nor compressed."""
    return b"\0" + _length(name) + name + _length(value) + value


def _length(text: bytes) -> bytes:
    size = len(text)
    if size < 127:
        return bytes((size,))
    out, rest = bytearray(b"\x7f"), size - 127
    while rest >= 128:
        out.append(rest % 128 + 128)
        rest //= 128
    out.append(rest)
    return bytes(out)


class GrpcPort:
    """A port and the methods it serves, by path; `port` is the real one after start.

    `held` bounds what calls keep in memory, and those of other ports with it; `message` is the largest
    message in bytes.
    """

    def __init__(
        self, methods: Mapping[str, Method], held: Held | None = None, message: int = MESSAGE
    ) -> None:
        self.methods = methods
        self.held = held or Held()
        self.message = message
        self.connections: set[_Connection] = set()
        self.port = 0
        self._server: asyncio.Server | None = None
        self._stopping = False
        self._drained = asyncio.Event()

    async def start(self, host: str, port: int, tls: tuple[bytes, bytes] | None = None) -> None:
        """PickerConfigError when the port cannot be had. `tls` is (key, certificate), PEM."""
        loop = asyncio.get_running_loop()
        context = _tls_context(*tls) if tls else None
        try:
            self._server = await loop.create_server(
                self._accept, host, port, ssl=context, backlog=1024, reuse_port=False
            )
        except OSError as error:
            raise PickerConfigError(
                f"cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}"
            ) from None
        self.port = self._server.sockets[0].getsockname()[1]

    def _accept(self) -> _Connection:
        connection = _Connection(self)
        loop = asyncio.get_running_loop()
        connection.greeting = loop.call_later(GREETING_S, connection.end_unless_greeted)
        return connection

    def call_ended(self) -> None:
        """Notice the end of the last open call while stopping."""
        if self._stopping and not any(connection.calls for connection in self.connections):
            self._drained.set()

    async def stop(self, grace: float) -> None:
        """Take no more streams, let the open ones end within `grace` seconds, then close."""
        if self._server is None:
            return
        self._stopping = True
        self._server.close()
        for connection in self.connections:
            connection.h2.goaway(0)
            connection.write()
        self.call_ended()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._drained.wait()
        for connection in list(self.connections):
            connection.abort()
        await self._server.wait_closed()


def _tls_context(key: bytes, certificate: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2"])
    # ssl reads certificates from files only.
    with tempfile.TemporaryDirectory(prefix="picker-tls-") as directory:
        path = Path(directory) / "pair.pem"
        path.touch(mode=0o600)
        path.write_bytes(key + certificate)
        try:
            context.load_cert_chain(path)
        except ssl.SSLError as error:
            raise PickerConfigError(
                f"--cert-path: certificate and key cannot be used: {error.reason}"
            ) from None
    return context
