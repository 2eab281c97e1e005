"""The picker's services: ext_proc and health over gRPC, and plain HTTP for metrics."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Iterable
from types import GeneratorType

from google.protobuf.message import DecodeError

from gateway.picker.conversation import Conversation
from gateway.picker.director import Director
from gateway.picker.errors import PickerConfigError
from gateway.picker.tracing import TRACE_HEADERS
from gateway.picker.wire import ext_proc
from gateway.picker.wire.calls import INTERNAL, UNIMPLEMENTED, GrpcError, Method, Unary

# HealthCheckResponse{status}: field 1, a varint enum.
_SERVING = b"\x08\x01"
_NOT_SERVING = b"\x08\x02"
# Replies that are there; their classes are quicker looked at than whether one can be awaited.
_READY = (tuple, list, GeneratorType)
_log = logging.getLogger("picker.server")


class ExtProcCall:
    """ExternalProcessor.Process: one Conversation."""

    def __init__(self, director: Director, emit_scores: bool) -> None:
        self._conversation = Conversation(director, emit_scores)
        self._is_traced = director.is_traced

    def begin(self, headers: list[tuple[str, str]]) -> None:
        if self._is_traced:
            self._conversation.trace = {name: value for name, value in headers if name in TRACE_HEADERS}

    @property
    def finished(self) -> bool:
        return self._conversation.finished

    @property
    def kept(self) -> int:
        return self._conversation.kept

    def receive(self, message: bytes) -> Iterable[bytes] | Awaitable[Iterable[bytes]]:
        """GrpcError where the message is no ProcessingRequest."""
        try:
            request = ext_proc.read_request(message)
        except DecodeError:
            raise GrpcError(INTERNAL, "a message that is no ProcessingRequest") from None
        replies = self._conversation.receive(request, len(message))
        if isinstance(replies, _READY) or not isinstance(replies, Awaitable):
            return map(ext_proc.write_response, replies)
        return _serialized(replies)

    def close(self) -> None:
        self._conversation.close()


async def _serialized(replies: Awaitable[Iterable[ext_proc.Message]]) -> Iterable[bytes]:
    return [ext_proc.write_response(reply) for reply in await replies]


def ext_proc_methods(director: Director, emit_scores: bool = False) -> dict[str, Method]:
    return {f"/{ext_proc.SERVICE}/Process": lambda: ExtProcCall(director, emit_scores)}


def health_methods(ready: Callable[[], bool]) -> dict[str, Method]:
    """grpc.health.v1.Health: every service is as ready as the picker; as in the EPP there is no Watch."""

    def check(_: bytes) -> bytes:
        return _SERVING if ready() else _NOT_SERVING

    def watch(_: bytes) -> bytes:
        raise GrpcError(UNIMPLEMENTED, "Watch is not implemented")

    return {
        "/grpc.health.v1.Health/Check": lambda: Unary(check),
        "/grpc.health.v1.Health/Watch": lambda: Unary(watch),
    }


class MetricsPort:
    """GET on a few paths, answered from functions; one request per connection is enough here."""

    def __init__(self, pages: dict[str, tuple[str, Callable[[], bytes]]]) -> None:
        self._pages = pages  # path -> (content type, page)
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """PickerConfigError when the port cannot be had."""
        try:
            self._server = await asyncio.start_server(self._serve, host, port)
        except OSError as error:
            raise PickerConfigError(
                f"cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}"
            ) from None
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(10):
                head = await reader.readuntil(b"\r\n\r\n")
            writer.write(self._answer(head))
            await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            _log.debug("metrics client: %s", error)
        finally:
            writer.close()

    def _answer(self, head: bytes) -> bytes:
        method, _, rest = head.split(b"\r\n", 1)[0].partition(b" ")
        path = rest.split(b" ")[0].partition(b"?")[0].decode("latin-1")
        page = self._pages.get(path)
        if method != b"GET" or page is None:
            known = ", ".join(self._pages).encode()
            return _response("404 Not Found", "text/plain", b"there is GET " + known + b"\n")
        return _response("200 OK", page[0], page[1]())


def _response(status: str, content_type: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + body
