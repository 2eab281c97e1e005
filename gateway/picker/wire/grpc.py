"""gRPC over the HTTP/2 of h2.py: methods as plain objects, on an asyncio port."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import ssl
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol, cast
from urllib.parse import quote

from gateway.picker.errors import PickerConfigError
from gateway.picker.wire.frames import H2Error
from gateway.picker.wire.h2 import H2Connection
from gateway.picker.wire.limits import FAREWELL_S, MESSAGE

OK, RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL = 0, 8, 12, 13
# ":status: 200" from HPACK's static table, and content-type as a literal that is not indexed.
_HEADERS = b"\x88\x0f\x10\x10application/grpc"
_log = logging.getLogger("picker.grpc")


class GrpcError(Exception):
    """Ends a call with this status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Call(Protocol):
    """One call of a method.

    `receive` gives the serialized replies to one message, at once or later; messages that come meanwhile
    wait. `finished` is asked after each message: when it is true the call ends with OK.
    """

    @property
    def finished(self) -> bool: ...

    def receive(self, message: bytes) -> Iterable[bytes] | Awaitable[Iterable[bytes]]: ...

    def close(self) -> None:
        """The call is over, however it ended."""


Method = Callable[[], Call]


class Unary:
    """A call of one message and one reply."""

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self.finished = False
        self._answer = answer

    def receive(self, message: bytes) -> Iterable[bytes]:
        self.finished = True
        return (self._answer(message),)

    def close(self) -> None:
        return


class _OpenCall:
    """A call and the bytes of its stream."""

    __slots__ = ("backlog", "buffer", "call", "ended", "started", "task")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.buffer = bytearray()
        self.backlog: list[bytes] = []  # messages that came while a reply was awaited
        self.task: asyncio.Task[None] | None = None
        self.ended = False  # the client will send no more
        self.started = False  # our headers are sent

    def messages(self, data: bytes) -> Iterable[bytes]:
        """The messages that are complete now."""
        buffer = self.buffer
        buffer += data
        at = 0
        while len(buffer) - at >= 5:
            if buffer[at]:
                raise GrpcError(UNIMPLEMENTED, "compressed messages are not supported")
            size = int.from_bytes(buffer[at + 1 : at + 5], "big")
            if size > MESSAGE:
                raise GrpcError(RESOURCE_EXHAUSTED, f"message larger than max ({size} vs. {MESSAGE})")
            end = at + 5 + size
            if end > len(buffer):
                break
            yield bytes(buffer[at + 5 : end])
            at = end
        del buffer[:at]


class _Connection(asyncio.Protocol):
    """One HTTP/2 connection; hears of its streams and writes their replies."""

    def __init__(self, port: GrpcPort) -> None:
        self._port = port
        self.calls: dict[int, _OpenCall] = {}
        self._transport: asyncio.Transport | None = None
        self.h2 = H2Connection(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._port.connections.add(self)
        self.write()

    def data_received(self, data: bytes) -> None:
        try:
            self.h2.receive(data)
        except H2Error as error:
            _log.info("connection ended: %s", error)
            self.h2.goaway(error.code, str(error))
            self.write()
            self.abort()
            return
        self.write()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._port.connections.discard(self)
        self.h2.close()

    def pause_writing(self) -> None:
        """The client does not read: it is not read either."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def write(self) -> None:
        out = self.h2.take()
        if out and self._transport is not None:
            self._transport.write(out)

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
        self.calls[stream_id] = _OpenCall(method())

    def data(self, stream_id: int, data: bytes) -> None:
        call = self.calls.get(stream_id)
        if call is None:
            return
        try:
            for message in call.messages(data):
                if call.task is not None:
                    call.backlog.append(message)
                else:
                    self._receive(stream_id, call, message)
        except GrpcError as error:
            self._finish(stream_id, call, error.status, str(error))

    def ended(self, stream_id: int) -> None:
        call = self.calls.get(stream_id)
        if call is None:
            return
        call.ended = True
        if call.task is None:
            self._finish(stream_id, call, OK, "")

    def reset(self, stream_id: int) -> None:
        call = self.calls.pop(stream_id, None)
        if call is None:
            return
        if call.task is not None:
            call.task.cancel()
        call.call.close()
        self._port.call_ended()

    def _receive(self, stream_id: int, call: _OpenCall, message: bytes) -> None:
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
        if isinstance(replies, Awaitable):
            call.task = asyncio.ensure_future(self._reply_later(stream_id, call, replies))
        else:
            self._reply(stream_id, call, replies)

    def _reply(self, stream_id: int, call: _OpenCall, replies: Iterable[bytes]) -> None:
        h2 = self.h2
        for reply in replies:
            if not call.started:
                call.started = True
                h2.send_headers(stream_id, _HEADERS)
            h2.send_data(stream_id, b"\0" + len(reply).to_bytes(4, "big") + reply)
        if call.call.finished:
            self._finish(stream_id, call, OK, "")

    async def _reply_later(
        self, stream_id: int, call: _OpenCall, replies: Awaitable[Iterable[bytes]]
    ) -> None:
        try:
            self._reply(stream_id, call, await replies)
        except Exception:  # noqa: BLE001 - as above
            self._failed(stream_id, call)
        call.task = None
        backlog, call.backlog = call.backlog, []
        while backlog and call.task is None:
            self._receive(stream_id, call, backlog.pop(0))
        call.backlog = backlog + call.backlog
        if call.ended and call.task is None:
            self._finish(stream_id, call, OK, "")
        self.write()

    def _failed(self, stream_id: int, call: _OpenCall) -> None:
        _log.exception("a call failed")
        self._finish(stream_id, call, INTERNAL, "the picker failed on this request; see its log")

    def _finish(self, stream_id: int, call: _OpenCall, status: int, message: str) -> None:
        if self.calls.pop(stream_id, None) is None:
            return
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
    """A port and the methods it serves, by path; `port` is the real one after start."""

    def __init__(self, methods: Mapping[str, Method]) -> None:
        self.methods = methods
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
                lambda: _Connection(self), host, port, ssl=context, backlog=1024, reuse_port=False
            )
        except OSError as error:
            raise PickerConfigError(
                f"cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}"
            ) from None
        self.port = self._server.sockets[0].getsockname()[1]

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
