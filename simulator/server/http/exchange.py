"""One HTTP request and its answer: body in, headers, the synchronous writer out.

Knows nothing of models or tokens. Every answer of a generating route goes through here, so every one carries
the x-inference headers, errors too.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import TYPE_CHECKING, Any

from fastapi import Request

from simulator.config.serve import ServeConfig
from simulator.server.errors import ApiError, body_too_large
from simulator.server.http.incoming import Incoming, Pair
from simulator.server.http.writer import UNSAFE_VALUE, Writer, header_lines
from simulator.server.logs import event
from simulator.server.requests.validation import MAX_VALUES, check_content_type, check_shape

if TYPE_CHECKING:
    from simulator.server.replica import Replica

PASSED_OVER = 64 << 20  # bytes of a refused body that are taken in


class Exchange:
    """A request being answered. `arrival` is monotonic."""

    __slots__ = (
        "_comments", "anthropic_errors", "arrival", "extra", "headers", "incoming", "prepared", "replica",
        "status", "streaming", "writer",
    )  # fmt: skip

    def __init__(
        self, incoming: Incoming, writer: Writer, replica: Replica, extra: tuple[Pair, ...] = ()
    ) -> None:
        self.arrival = time.monotonic()
        self.incoming = incoming
        self.replica = replica
        self.prepared = replica.prepared
        self.headers: dict[bytes, bytes] = dict(incoming.headers)
        self.writer = writer
        writer.rounds = replica.prepared.rounds
        self.status = 0
        self.anthropic_errors = False  # errors in Anthropic's form
        self.streaming = False  # the client asked for a stream
        self.extra = extra  # response headers besides the usual ones
        self._comments: asyncio.TimerHandle | None = None
        if replica.config.enable_request_id_headers:
            self.extra += ((b"x-request-id", response_id(self.headers.get(b"x-request-id"))),)

    def take_body(self) -> bytes | None:
        """The whole body; None: more of it is to come. Raises ApiError: too large, of too much, a wrong type.

        A body that is too large is taken in all the same, within bounds: a client that still sends would miss
        the answer. Not where it waits for leave to send.
        """
        incoming, config = self.incoming, self.replica.config
        limit = config.max_request_body_size
        size = incoming.size
        if not incoming.complete:
            length = int(self.headers.get(b"content-length", b"0"))
            if max(length, size) <= limit:
                self.writer.allow_body()
                return None
            incoming.wanted = False
            if length <= PASSED_OVER >= size and not incoming.expects:
                return None
        if size > limit or not incoming.wanted:
            raise body_too_large(limit)
        body = b"".join(incoming.chunks)
        incoming.chunks.clear()
        check_body(body, config, self.headers.get(b"content-type"))
        return body

    def respond(self, body: bytes, status: int = 200, headers: tuple[Pair, ...] = ()) -> None:
        """A whole JSON answer."""
        self._respond(body, status, self.prepared.json_headers, headers)

    def respond_error(self, error: ApiError) -> None:
        """An error as an answer of its own."""
        if error.status == 413:
            self.incoming.keep_alive = False  # the rest of a very large body is not read
        usual = self.prepared.plain_headers if error.plain else self.prepared.json_headers
        body = error.anthropic_body() if self.anthropic_errors else error.body()
        self._respond(body, error.status, usual, error.headers)

    def _respond(self, body: bytes, status: int, usual: bytes, headers: tuple[Pair, ...]) -> None:
        self.status = status
        more = self.extra + headers
        if status == 200:
            usual = self._faulty(usual)
        self.writer.respond(status, usual + header_lines(more) if more else usual, body)

    def start_stream(self) -> None:
        """Headers of a stream of events."""
        self.status = 200
        self.writer.start(200, self._faulty(self.prepared.stream_headers) + header_lines(self.extra))

    def _faulty(self, headers: bytes) -> bytes:
        """The headers of a good answer with the faults that shape it."""
        faults = self.prepared.faults
        if faults.reshapes:
            self.writer.edit = faults.reshaped
        return faults.headers(headers)

    def hang_up(self) -> None:
        """Reset the connection: the client sees neither an answer nor an end of it."""
        self.writer.wire.abort()

    def record(self, handler: str) -> None:
        """Count the finished request in the http_* families; a client that left unanswered is not counted."""
        if self.status:
            seconds = time.monotonic() - self.arrival
            length = int(self.headers.get(b"content-length", b"0"))
            sent = 0 if self.streaming and self.status == 200 else self.writer.bytes_out
            method = self.incoming.method
            self.replica.http.record(handler, method, self.status, seconds, length, sent)
            if self.replica.config.log_http:
                event("http", method=method, path=handler, status=self.status, seconds=round(seconds, 6))

    def comment_on_silence(self, interval: float) -> None:
        """--sse-keep-alive-interval: a comment whenever a stream has been silent for so many seconds, until
        `stop_comments`.
        """
        writer = self.writer
        loop = asyncio.get_running_loop()

        def look(seen: int) -> None:
            if writer.bytes_out == seen and not writer.finished and not writer.blocked:
                writer.write(b": keep-alive\n\n")
            self._comments = loop.call_later(interval, look, writer.bytes_out)

        self._comments = loop.call_later(interval, look, writer.bytes_out)

    def stop_comments(self) -> None:
        if self._comments is not None:
            self._comments.cancel()


def response_id(given: bytes | None) -> bytes:
    """X-Request-Id of an answer: the client's, or a new one."""
    if given is None or UNSAFE_VALUE.search(given):
        return uuid.uuid4().hex.encode()
    return given


def check_body(body: bytes, config: ServeConfig, content_type: bytes | None) -> None:
    """Raises ApiError: too deep or of too many values, or, if that is asked for, of a wrong content type."""
    if config.strict_content_type:
        check_content_type(content_type)
    check_shape(body, max(MAX_VALUES, 2 * config.engine.max_model_len))


async def read_body(request: Request, replica: Any, *, any_type: bool = False) -> bytes:
    """The body of a control route, under the same limits; raises ApiError. `any_type`: vLLM's route does not
    look at the content type, whatever the flag says.
    """
    limit = replica.config.max_request_body_size
    size = 0
    chunks = []
    async for chunk in request.stream():
        size += len(chunk)
        if size > PASSED_OVER:
            break
        if size <= limit:
            chunks.append(chunk)
    if size > limit:  # read to its end all the same: a client that still sends would miss the answer
        raise body_too_large(limit)
    body = b"".join(chunks)
    if any_type:
        check_shape(body)
    else:
        value = request.headers.get("content-type")
        check_body(body, replica.config, None if value is None else value.encode("latin-1"))
    return body
