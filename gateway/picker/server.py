"""The picker's ports: ext_proc, gRPC health (both over grpc.aio), and plain HTTP for metrics."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio

from gateway.picker import wire
from gateway.picker.conversation import Conversation
from gateway.picker.director import Director
from gateway.picker.errors import PickerConfigError

HEALTH_SERVICE = "grpc.health.v1.Health"
# HealthCheckResponse{status}: field 1, a varint enum.
_SERVING = b"\x08\x01"
_NOT_SERVING = b"\x08\x02"
_OPTIONS = [
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_concurrent_streams", 1_000_000),
]
_log = logging.getLogger("picker.server")


class ExtProc:
    """The ext_proc service; one Conversation per stream."""

    def __init__(self, director: Director, emit_scores: bool = False) -> None:
        self._director = director
        self._emit_scores = emit_scores

    async def process(
        self, messages: AsyncIterator[wire.Message], context: Any
    ) -> AsyncIterator[wire.Message]:
        conversation = Conversation(self._director, self._emit_scores)
        try:
            async for message in messages:
                for response in await conversation.receive(message):
                    yield response
                if conversation.finished:
                    return
        finally:
            conversation.close()

    def handler(self) -> grpc.GenericRpcHandler[Any, Any]:
        method = grpc.stream_stream_rpc_method_handler(
            self.process,
            request_deserializer=wire.read_request,
            response_serializer=wire.write_response,
        )
        return grpc.method_handlers_generic_handler(wire.SERVICE, {"Process": method})


def health_handler(ready: Callable[[], bool]) -> grpc.GenericRpcHandler[Any, Any]:
    """grpc.health.v1.Health: every service is as ready as the picker; as in the EPP there is no Watch."""

    async def check(_: bytes, context: Any) -> bytes:
        return _SERVING if ready() else _NOT_SERVING

    async def watch(_: bytes, context: Any) -> None:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Watch is not implemented")

    return grpc.method_handlers_generic_handler(
        HEALTH_SERVICE,
        {
            "Check": grpc.unary_unary_rpc_method_handler(check),
            "Watch": grpc.unary_stream_rpc_method_handler(watch),
        },
    )


class GrpcPort:
    """One gRPC server on one port; `port` is the real one after start."""

    def __init__(self, handlers: list[grpc.GenericRpcHandler[Any, Any]]) -> None:
        self._server = grpc.aio.server(options=_OPTIONS)
        self._server.add_generic_rpc_handlers(handlers)
        self.port = 0

    async def start(self, host: str, port: int, tls: tuple[bytes, bytes] | None = None) -> None:
        """PickerConfigError when the port cannot be had."""
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if tls is None:
                self.port = self._server.add_insecure_port(address)
            else:
                self.port = self._server.add_secure_port(address, grpc.ssl_server_credentials([tls]))
        except RuntimeError:
            raise PickerConfigError(
                f"cannot listen on {address}: the address is in use or not ours"
            ) from None
        await self._server.start()

    async def stop(self, grace: float) -> None:
        await self._server.stop(grace)


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
            raise PickerConfigError(f"cannot listen on {host}:{port}: {error.strerror}") from None
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
