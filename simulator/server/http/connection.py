"""One connection: HTTP/1.1 in, requests out in the order in which they came, answers in the same order.

Who does what under a replica's address: `listener` owns sockets, `connection` (httptools under it) reads
requests, keeps the rules of HTTP/1.1 and its bounds, and owns the transport; `incoming` is a request,
`writer` its answer. What is answered often (the generating routes, /metrics) works with these two and knows
no framework; every other route is FastAPI's, behind `bridge`, which speaks ASGI. uvicorn has no part in it:
its public interface is a server with signals and a tick of its own, which cannot open or close one socket
among many. Defaults, header names and words of refusals are uvicorn's, since vLLM's clients know them.

Everything that a client can make long has a bound: a head 64 KiB and a minute, a body a kilobyte a minute,
silence on an idle connection the keep-alive time, an answer that nobody reads a minute after the connection's
end. A connection that has answered with an error of HTTP reads no further.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import Callable
from enum import Enum
from typing import Literal, cast

from simulator.server.http.deadline import Deadline
from simulator.server.http.incoming import Incoming
from simulator.server.http.reader import Reader, Refusal
from simulator.server.http.service import Service
from simulator.server.http.writer import PLAIN, Writer
from simulator.server.logs import event

_HEAD_SECONDS = 60.0
_BODY_SECONDS = 60.0  # in each of which there must come
_BODY_BYTES = 1 << 10
_SILENT_SECONDS = 600.0  # a connection that has never said anything
_LINGER_SECONDS = 60.0  # a closed connection on which nothing moves
_LEAVE_SECONDS = 2.0  # for a client that still sends to read why nobody listens

_AHEAD = 16  # requests behind the one that is being answered
_AHEAD_BYTES = 64 << 10  # of their bodies
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close sends RST and forgets what was not sent

_TOO_LATE = (408, b"Request Timeout")
_log = logging.getLogger("simfleet.http")


class _Phase(Enum):
    """What is waited for, and so how long."""

    IDLE = "the next request"
    HEAD = "the rest of a head"
    BODY = "the rest of a body"
    ANSWER = "our own answer"


class Connection(asyncio.Protocol):
    """The protocol of one transport; the `Wire` of its writers."""

    __slots__ = (
        "_body_seen", "_closing", "_current", "_deadline", "_holds", "_loop", "_phase", "_reader", "_refusal",
        "_service", "_transport", "_unsent", "_waiting", "_watched", "_writer",
        "is_full", "is_gone", "is_untouched",
    )  # fmt: skip

    def __init__(self, service: Service) -> None:
        self._service = service
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport = None  # type: ignore[assignment] # until connection_made
        self._reader = Reader(service.max_head, service.max_headers)
        self._waiting = self._reader.ready
        self.is_gone = False
        self.is_full = False
        self.is_untouched = True
        self._closing = False
        self._holds = False  # reading is paused
        self._current: Incoming | None = None  # is being answered
        self._writer: Writer | None = None  # its answer
        self._refusal: Refusal | None = None  # comes after all answers
        self._deadline = Deadline(self._on_late)
        self._phase = _Phase.IDLE
        self._watched: Incoming | None = None  # whose body is waited for
        self._body_seen = 0
        self._unsent = 0

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._service.connections.add(self)
        self._deadline.set(_SILENT_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_gone = True
        self._service.connections.discard(self)
        self._deadline.cancel()
        self._waiting.clear()
        self._reader.close()
        self._drop_current()

    def pause_writing(self) -> None:
        self.is_full = True

    def resume_writing(self) -> None:
        self.is_full = False
        if self._writer is not None:
            self._writer.flush()

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        if reader.deaf:
            return
        self.is_untouched = False
        receiving = reader.receiving
        refusal = reader.feed(data)
        if refusal is not None:
            self._refuse(refusal)
        if receiving is not None and receiving is self._current and receiving.on_data is not None:
            self._call(receiving.on_data)
        self._go_on()

    # One request after the other.

    def _go_on(self) -> None:
        """Begin the next answer if none is under way."""
        if self._current is None and not self.is_gone:
            if self._waiting:
                self._begin(self._waiting.popleft())
            elif self._refusal is not None:
                self._send_refusal(*self._refusal)
        if self._is_ahead:
            self.hold_reading()
        self._set_clock()

    @property
    def _is_ahead(self) -> bool:
        """Whether enough waits behind the answer under way. Up to there reading goes on, so that a client
        that leaves is noticed.
        """
        waiting = self._waiting
        return len(waiting) > _AHEAD or (
            bool(waiting) and sum(incoming.size for incoming in waiting) > _AHEAD_BYTES
        )

    def _begin(self, incoming: Incoming) -> None:
        service = self._service
        self._current = incoming
        if service.last_answers and not self._waiting:
            incoming.keep_alive = False
        writer = self._writer = Writer(self, incoming)
        self.read_on()
        service.begin(incoming)
        try:
            service.handler(incoming, writer, service.state)
        except Exception:  # noqa: BLE001 - the last resort of one request: answered, and logged
            _log.exception("a request of %s failed", incoming.path)
            writer.fail()

    def _call(self, callback: Callable[[], None]) -> None:
        try:
            callback()
        except Exception:  # noqa: BLE001 - as in `_begin`
            _log.exception("a request failed")
            if self._writer is not None:
                self._writer.fail()

    def _drop_current(self) -> None:
        incoming, self._current = self._current, None
        self._writer = None
        if incoming is None:
            return
        on_end, incoming.on_end, incoming.on_data = incoming.on_end, None, None  # no circle is left behind
        if on_end is not None:
            self._call(on_end)
        if not incoming.is_owned:
            self._service.end(incoming)

    def _conclude(self, incoming: Incoming) -> None:
        if incoming is not self._current:
            return
        self._drop_current()
        if incoming.keep_alive:
            self._go_on()
        else:
            self.close()

    def _refuse(self, refusal: Refusal) -> None:
        """Read no further. Requests that are whole are answered first; a broken one is not."""
        broken = self._reader.receiving
        self._reader.close()
        self._refusal = refusal
        if broken is None:
            return
        if not broken.wanted or (broken is self._current and self._writer and self._writer.started):
            # It has its answer, or a part of it: that is the last on this connection.
            self._refusal = None
            broken.keep_alive = False
            if self._current is None:
                self.close()
        elif broken is self._current:
            self._drop_current()
        else:
            self._waiting.remove(broken)

    def _send_refusal(self, status: int, text: bytes) -> None:
        self._refusal = None
        event("malformed request", logging.WARNING, status=status, why=text.decode())
        writer = Writer(self, Incoming("", b"/", [], "1.1", keep_alive=False, expects=False))
        writer.respond(status, PLAIN, text)
        self._leave()

    # What writers and those who answer call.

    @property
    def default_headers(self) -> bytes:
        return self._service.headers[0]

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def end_answer(self) -> None:
        incoming = self._current
        if incoming is not None:
            incoming.wanted = False
            incoming.chunks.clear()
            self._loop.call_soon(self._conclude, incoming)

    def forget(self, incoming: Incoming) -> None:
        self._service.end(incoming)

    def hold_reading(self) -> None:
        if not self._holds and not self.is_gone:
            self._holds = True
            self._transport.pause_reading()

    def read_on(self) -> None:
        if self._holds and not self._is_ahead and not self.is_gone:
            self._holds = False
            self._transport.resume_reading()

    def abort(self) -> None:
        self.is_gone = True
        self._transport.abort()

    @property
    def scheme(self) -> str:
        return "https" if self._transport.get_extra_info("sslcontext") else "http"

    def address(self, which: Literal["sockname", "peername"]) -> tuple[str, int] | None:
        """Host and port of one end; None on a Unix socket."""
        name = self._transport.get_extra_info(which)
        return (str(name[0]), int(name[1])) if isinstance(name, tuple) else None

    # The end.

    @property
    def is_idle(self) -> bool:
        """No request is being answered or waits for it."""
        return self._current is None and not self._waiting

    def close_after_answers(self) -> None:
        """Close; where answers are due, after the last of them."""
        if self.is_idle:
            self.close()
        elif self._current is not None and not self._waiting:
            self._current.keep_alive = False  # of several the last begins so (`_begin`)

    def close(self) -> None:
        """Close when everything has been sent. A client that still sends is let finish for a moment: what
        is not read would make of the close a reset, which overtakes the answer.
        """
        if self._reader.receiving is not None:
            self._leave()
        elif not self._closing:
            self._shut()

    def _leave(self) -> None:
        if self._closing:
            return
        if not self._transport.can_write_eof():
            self._shut()
            return
        self._closing = True
        self._reader.close()
        self._waiting.clear()
        self.read_on()
        self.is_gone = True
        self._transport.write_eof()
        self._deadline.set(_LEAVE_SECONDS)

    def _shut(self) -> None:
        self._closing = self.is_gone = True
        self._reader.close()
        self._waiting.clear()
        self._transport.close()
        self._deadline.set(_LINGER_SECONDS)

    def reset(self) -> None:
        """End with RST; requests in flight see their client gone."""
        raw = self._transport.get_extra_info("socket")
        if raw is not None:
            with contextlib.suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.abort()

    # The clock.

    def _set_clock(self) -> None:
        """Give what is waited for its time, where that is something else than before."""
        if self._closing:
            return
        receiving = self._reader.receiving
        if receiving is not None:
            if receiving is not self._watched:
                self._watched = receiving
                self._phase = _Phase.BODY
                self._body_seen = 0
                self._deadline.set(_BODY_SECONDS)
            return
        self._watched = None
        phase = self._phase
        if self._current is not None:
            if phase is not _Phase.ANSWER:
                self._phase = _Phase.ANSWER
                self._deadline.never()
        elif self._reader.in_head:
            if phase is not _Phase.HEAD:
                self._phase = _Phase.HEAD
                self._deadline.set(_HEAD_SECONDS)
        elif phase is not _Phase.IDLE:
            self._phase = _Phase.IDLE
            self._deadline.set(self._service.keep_alive_s)

    def _on_late(self) -> None:
        if self._closing:
            self._on_lingering()
            return
        receiving = self._reader.receiving
        if receiving is not None:
            ours = self._holds or receiving.expects  # the client waits for us
            if ours or receiving.size - self._body_seen >= _BODY_BYTES:
                self._body_seen = receiving.size
                self._deadline.set(_BODY_SECONDS)
                return
            self._refuse(_TOO_LATE)
        elif self._reader.in_head:
            self._refuse(_TOO_LATE)
        else:
            self.close()
            return
        self._go_on()

    def _on_lingering(self) -> None:
        """Closed, and still here: the client does not read, or does not close its end."""
        unsent = self._transport.get_write_buffer_size()
        if not self._transport.is_closing():
            self._transport.close()
        elif unsent == self._unsent:
            self._transport.abort()
            return
        self._unsent = unsent
        self._deadline.set(_LINGER_SECONDS)
