"""One HTTP request and its answer: body in, headers, the synchronous writer out.

Knows nothing of models or tokens. Every answer of a generating route goes through here, so every one carries
the x-inference headers, errors too.
"""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from simulator.server.errors import ApiError, body_too_large
from simulator.server.http.writer import Send, Writer
from simulator.server.logs import event
from simulator.server.requests.validation import check_content_type, check_depth

if TYPE_CHECKING:
    from simulator.server.replica import Replica

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Pair = tuple[bytes, bytes]
UNSAFE_VALUE: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_CLOSE: Final = (b"connection", b"close")


PASSED_OVER: Final = 64 << 20  # bytes of a refused body that are taken in


class ClientGone(Exception):  # noqa: N818 - not an error: nobody is left to tell
    """The client left before its request was complete."""


class Exchange:
    """A request being answered. `arrival` is monotonic."""

    __slots__ = (
        "anthropic_errors",
        "arrival",
        "extra",
        "front",
        "headers",
        "receive",
        "replica",
        "scope",
        "status",
        "streaming",
        "transport",
        "writer",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send, replica: Replica) -> None:
        self.arrival = time.monotonic()
        self.scope = scope
        self.receive = receive
        self.replica = replica
        self.front = replica.front
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.writer = Writer(send, replica.front.rounds)
        # uvicorn's request cycle holds its connection; another server's send does not, and cannot be reset.
        self.transport = getattr(getattr(send, "__self__", None), "transport", None)
        self.status = 0
        self.anthropic_errors = False  # errors in Anthropic's form
        self.streaming = False  # the client asked for a stream
        self.extra: tuple[Pair, ...] = ()  # response headers besides the usual ones
        if replica.config.enable_request_id_headers:
            self.extra = ((b"x-request-id", self._response_id()),)

    def _response_id(self) -> bytes:
        given = self.headers.get(b"x-request-id")
        if given is None or UNSAFE_VALUE.search(given):
            return uuid.uuid4().hex.encode()
        return given

    async def _pass_over(self, size: int) -> None:
        """Take in the rest of a body that is too large: a client that still sends would miss the answer.

        Not where the client waits for leave to send, nor without end.
        """
        if b"expect" in self.headers:
            return
        while size <= PASSED_OVER:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            size += len(message["body"])
            if not message.get("more_body", False):
                return

    async def read_body(self) -> bytes:
        """The whole body; raises ApiError (too large, too deep, of a wrong type) or ClientGone on EOF."""
        config = self.replica.config
        limit = config.max_request_body_size
        length = self.headers.get(b"content-length")
        if length is not None and int(length) > limit:
            await self._pass_over(int(length))
            raise body_too_large(limit)
        message = await self.receive()
        chunks = []
        size = 0
        while True:
            if message["type"] == "http.disconnect":
                raise ClientGone
            chunk = message["body"]
            size += len(chunk)
            if size > limit:
                if message["more_body"]:
                    await self._pass_over(size)
                raise body_too_large(limit)
            chunks.append(chunk)
            if not message["more_body"]:
                break
            message = await self.receive()
        if config.strict_content_type:
            check_content_type(self.headers.get(b"content-type"))
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        check_depth(body)
        return body

    def respond(self, body: bytes, status: int = 200, headers: tuple[Pair, ...] = ()) -> None:
        """A whole JSON answer."""
        self._respond(body, status, self.front.json_headers, headers)

    def respond_error(self, error: ApiError) -> None:
        """An error as an answer of its own."""
        headers = error.headers
        if error.status == 413:
            headers = (*headers, _CLOSE)  # the rest of a very large body is not read
        usual = self.front.plain_headers if error.plain else self.front.json_headers
        body = error.anthropic_body() if self.anthropic_errors else error.body()
        self._respond(body, error.status, usual, headers)

    def _respond(self, body: bytes, status: int, usual: tuple[Pair, ...], headers: tuple[Pair, ...]) -> None:
        self.status = status
        length = (b"content-length", str(len(body)).encode())
        self.writer.start(status, (length, *usual, *self.extra, *headers))
        self.writer.finish(body)

    def start_stream(self) -> None:
        """Headers of a stream of events."""
        self.status = 200
        self.writer.start(200, (*self.front.stream_headers, *self.extra))

    def hang_up(self) -> None:
        """Reset the connection: the client sees neither an answer nor an end of it."""
        if self.transport is not None:
            self.transport.abort()

    def record(self, handler: str) -> None:
        """Count the finished request in the http_* families; a client that left unanswered is not counted."""
        if self.status:
            seconds = time.monotonic() - self.arrival
            length = int(self.headers.get(b"content-length", b"0"))
            sent = 0 if self.streaming and self.status == 200 else self.writer.bytes_out
            method = self.scope["method"]
            self.replica.http.record(handler, method, self.status, seconds, length, sent)
            if self.replica.config.log_http:
                event("http", method=method, path=handler, status=self.status, seconds=round(seconds, 6))

    async def wait_for_end(self) -> None:
        """Until the answer is complete or the client is gone."""
        receive = self.receive
        interval = self.replica.config.sse_keep_alive_interval
        if self.streaming and interval > 0:
            await self._wait_with_comments(interval)
            return
        while (await receive())["type"] != "http.disconnect":
            pass

    async def _wait_with_comments(self, interval: float) -> None:
        """--sse-keep-alive-interval: a comment whenever a stream has been silent for so long."""
        writer = self.writer
        seen = writer.bytes_out
        while True:
            try:
                message = await asyncio.wait_for(self.receive(), interval)
            except TimeoutError:
                if writer.bytes_out == seen and not writer.finished and not writer.blocked:
                    writer.write(b": keep-alive\n\n")
                seen = writer.bytes_out
            else:
                if message["type"] == "http.disconnect":
                    return
