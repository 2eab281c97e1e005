"""The server side of HTTP/2 (RFC 9113), as much of it as a gRPC service needs, without any I/O.

`receive` takes bytes and calls a Streams; what is to be sent gathers in `take`. For an ext_proc stream of six
messages grpc.aio spends 600 us of CPU, the library h2 220, this 20: a pick of 40 to 70 us leaves no room for
either, and a picker in Python sits in the path of every request.

What a gRPC server never does is not here: push, priorities, and compressed response headers.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from gateway.picker.wire.fields import FieldReader
from gateway.picker.wire.frames import (
    ACK,
    CONTINUATION,
    DATA,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HEAD,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    LARGEST_WINDOW,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    MAX_HEADER_LIST_SIZE,
    NO_ERROR,
    NUMBER,
    PADDED,
    PING,
    PREFACE,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    REFUSED_STREAM,
    RST_STREAM,
    SETTING,
    SETTINGS,
    STREAM_CLOSED,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    H2Error,
    StreamError,
    check,
    frame,
    header_frames,
    settings_of,
    unpadded,
)
from gateway.picker.wire.limits import CONTINUATIONS, HEADER_LIST, STREAMS, Allowance

_REFILL_AT = 1 << 30


class Streams(Protocol):
    """Who hears of the streams of a connection."""

    def opened(self, stream_id: int, headers: list[tuple[str, str]]) -> None: ...

    def data(self, stream_id: int, data: bytes) -> None: ...

    def ended(self, stream_id: int) -> None:
        """The client will send no more."""

    def reset(self, stream_id: int) -> None:
        """The client has given the stream up; nothing can be sent on it."""


@dataclass(slots=True)
class _Stream:
    window: int  # bytes that the client lets us send
    received: int = 0
    remote_ended: bool = False
    pending: deque[bytes] = field(default_factory=deque)  # data that waits for a window
    trailers: bytes | None = None  # header block that ends the stream, once `pending` is sent
    ended: bool = False


class H2Connection:
    """One connection's state."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._open: dict[int, _Stream] = {}
        self._in = bytearray()
        self._out: list[bytes] = []
        self._greeted = self._settled = False
        self._sent = self._continued = 0  # DATA frames of ours; CONTINUATION frames of this header block
        self._pings = Allowance(burst=100, rate=10, credit=1)
        self._idle = Allowance(burst=10_000, rate=330, credit=10)
        self._resets = Allowance(burst=1_000, rate=33, credit=1)
        self._fields = FieldReader()
        self._block: tuple[int, int, bytearray] | None = None  # stream, flags, header block so far
        self._last_stream = 0
        self._window = DEFAULT_WINDOW
        self._peer_window = DEFAULT_WINDOW
        self._peer_frame = FRAME_SIZE
        self._received = 0
        self._handlers: dict[int, Callable[[int, int, bytes], None]] = {
            DATA: self._on_data,
            HEADERS: self._on_headers,
            CONTINUATION: self._on_continuation,
            RST_STREAM: self._on_rst_stream,
            SETTINGS: self._on_settings,
            PING: self._on_ping,
            WINDOW_UPDATE: self._on_window_update,
        }
        settings = (
            (MAX_CONCURRENT_STREAMS, STREAMS),
            (INITIAL_WINDOW_SIZE, LARGEST_WINDOW),
            (MAX_HEADER_LIST_SIZE, HEADER_LIST),
        )
        self._out.append(frame(SETTINGS, 0, 0, b"".join(SETTING.pack(*setting) for setting in settings)))
        self._refill(0, LARGEST_WINDOW - DEFAULT_WINDOW)

    def take(self) -> bytes:
        """What is to be sent now."""
        out, self._out = self._out, []
        return b"".join(out)

    def receive(self, data: bytes) -> None:
        """H2Error when the connection cannot go on; send `goaway` then."""
        buffer = self._in
        buffer += data
        at = 0
        if not self._greeted:
            if not PREFACE.startswith(bytes(buffer[: len(PREFACE)])):
                raise H2Error(PROTOCOL_ERROR, "not HTTP/2: no connection preface")
            if len(buffer) < len(PREFACE):
                return
            self._greeted = True
            at = len(PREFACE)
        size = len(buffer)
        while size - at >= 9:
            high, low, kind, flags, stream_id = HEAD.unpack_from(buffer, at)
            length = (high << 8) | low
            if length > FRAME_SIZE:
                raise H2Error(FRAME_SIZE_ERROR, f"a frame of {length} bytes")
            end = at + 9 + length
            if end > size:
                break
            self._frame(kind, flags, stream_id & 0x7FFFFFFF, bytes(buffer[at + 9 : end]))
            at = end
        del buffer[:at]

    def send_headers(self, stream_id: int, block: bytes) -> None:
        """Response headers, already encoded."""
        if stream_id in self._open:
            self._out.append(header_frames(0, stream_id, block, self._peer_frame))

    def send_data(self, stream_id: int, data: bytes) -> None:
        """Data, in as many frames as the windows and the peer's frame size ask for, at once or later."""
        stream = self._open.get(stream_id)
        if stream is None:
            return
        size = len(data)
        if not stream.pending and size <= self._peer_frame and size <= min(stream.window, self._window):
            stream.window -= size
            self._window -= size
            self._sent += 1
            self._out.append(frame(DATA, 0, stream_id, data))
            return
        stream.pending.append(data)
        self._flush(stream_id, stream)

    def send_trailers(self, stream_id: int, block: bytes) -> None:
        """End the stream with an encoded header block, after all data."""
        stream = self._open.get(stream_id)
        if stream is None:
            return
        stream.trailers = block
        self._flush(stream_id, stream)

    def goaway(self, code: int, message: str = "") -> None:
        """Tell the peer that no further stream is taken."""
        payload = struct.pack(">LL", self._last_stream, code) + message.encode()[:200]
        self._out.append(frame(GOAWAY, 0, 0, payload))

    def close(self) -> None:
        """The connection is gone: every open stream is reset."""
        for stream_id in list(self._open):
            del self._open[stream_id]
            self._streams.reset(stream_id)

    def _frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if self._block is not None and (kind != CONTINUATION or stream_id != self._block[0]):
            raise H2Error(PROTOCOL_ERROR, "a header block was interrupted")
        if kind == PUSH_PROMISE:
            raise H2Error(PROTOCOL_ERROR, "a client cannot push")
        try:
            if kind <= CONTINUATION:
                check(kind, flags, stream_id, payload)
            if not self._settled and (kind != SETTINGS or flags & ACK):
                raise H2Error(PROTOCOL_ERROR, "no SETTINGS after the connection preface")
            self._settled = True
            handler = self._handlers.get(kind)
            if handler is None:  # PRIORITY, GOAWAY and unknown frames ask for nothing
                self._spend(self._idle, "frames that bring nothing")
            else:
                handler(flags, stream_id, payload)
        except StreamError as error:
            self._refuse(stream_id, error.code)

    def _spend(self, allowance: Allowance, what: str) -> None:
        if not allowance.spend(self._sent):
            raise H2Error(ENHANCE_YOUR_CALM, f"too many {what}")

    def _refuse(self, stream_id: int, code: int) -> None:
        """Reset a stream that its client may not go on with."""
        self._spend(self._idle, "broken streams")
        self._out.append(frame(RST_STREAM, 0, stream_id, NUMBER.pack(code)))
        if self._open.pop(stream_id, None) is not None:
            self._streams.reset(stream_id)

    def _on_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._received += len(payload)
        if self._received >= _REFILL_AT:
            self._refill(0, self._received)
            self._received = 0
        stream = self._open.get(stream_id)
        if stream is None:
            if stream_id > self._last_stream:
                raise H2Error(PROTOCOL_ERROR, f"data on stream {stream_id}, which is not open")
            return  # the client did not know yet that we ended it
        if stream.remote_ended:
            raise StreamError(STREAM_CLOSED, f"data on stream {stream_id} after its end")
        if not payload and not flags & END_STREAM:
            self._spend(self._idle, "empty frames")
        stream.received += len(payload)
        if stream.received >= _REFILL_AT:
            self._refill(stream_id, stream.received)
            stream.received = 0
        data = unpadded(PADDED, payload) if flags & PADDED else payload
        if data:
            self._streams.data(stream_id, data)
        if flags & END_STREAM:
            self._remote_end(stream_id)

    def _on_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        if not stream_id & 1:
            raise H2Error(PROTOCOL_ERROR, f"headers on stream {stream_id}")
        block = unpadded(flags, payload) if flags & (PADDED | WITH_PRIORITY) else payload
        if flags & END_HEADERS:
            self._headers(flags, stream_id, block)
        else:
            self._block = (stream_id, flags, bytearray(block))
            self._continued = 0

    def _on_continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        if self._block is None:
            raise H2Error(PROTOCOL_ERROR, "a continuation of nothing")
        _, first_flags, block = self._block
        block += payload
        self._continued += 1
        if len(block) > HEADER_LIST or self._continued > CONTINUATIONS:
            raise H2Error(ENHANCE_YOUR_CALM, f"headers of more than {HEADER_LIST} bytes or too many frames")
        if flags & END_HEADERS:
            self._block = None
            self._headers(first_flags, stream_id, bytes(block))

    def _headers(self, flags: int, stream_id: int, block: bytes) -> None:
        headers = self._fields.read(block)
        stream = self._open.get(stream_id)
        if stream is not None:  # trailers
            if stream.remote_ended:
                raise StreamError(STREAM_CLOSED, f"headers on stream {stream_id} after its end")
            if not flags & END_STREAM:
                raise H2Error(PROTOCOL_ERROR, "headers in the middle of a stream")
            self._remote_end(stream_id)
            return
        if stream_id <= self._last_stream:
            return  # of a stream that we ended
        self._last_stream = stream_id
        if len(self._open) >= STREAMS:
            raise StreamError(REFUSED_STREAM, "too many streams")
        self._open[stream_id] = _Stream(self._peer_window)
        self._streams.opened(stream_id, headers)
        if flags & END_STREAM:
            self._remote_end(stream_id)

    def _remote_end(self, stream_id: int) -> None:
        stream = self._open.get(stream_id)
        if stream is not None:
            stream.remote_ended = True
            self._streams.ended(stream_id)
            self._drop_if_done(stream_id, stream)

    def _on_rst_stream(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._not_idle(stream_id)
        self._spend(self._resets, "streams that are given up")
        if self._open.pop(stream_id, None) is not None:
            self._streams.reset(stream_id)

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._spend(self._pings, "SETTINGS")
        if flags & ACK:
            return
        settings = settings_of(payload)
        change = settings.get(INITIAL_WINDOW_SIZE, self._peer_window) - self._peer_window
        self._peer_window += change
        self._peer_frame = settings.get(MAX_FRAME_SIZE, self._peer_frame)
        if change:
            for stream in self._open.values():
                stream.window += change
                if stream.window > LARGEST_WINDOW:
                    raise H2Error(FLOW_CONTROL_ERROR, "a stream's window is too large")
        self._out.append(frame(SETTINGS, ACK, 0))
        self._flush_all()

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._spend(self._pings, "PINGs")
        if not flags & ACK:
            self._out.append(frame(PING, ACK, 0, payload))

    def _on_window_update(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._spend(self._idle, "WINDOW_UPDATEs")
        self._not_idle(stream_id)
        increment = int.from_bytes(payload, "big") & 0x7FFFFFFF
        if not increment:
            error = StreamError if stream_id else H2Error
            raise error(PROTOCOL_ERROR, "a window update of 0")
        if stream_id == 0:
            self._window += increment
            if self._window > LARGEST_WINDOW:
                raise H2Error(FLOW_CONTROL_ERROR, "the connection's window is too large")
            self._flush_all()
        elif (stream := self._open.get(stream_id)) is not None:
            stream.window += increment
            if stream.window > LARGEST_WINDOW:
                raise StreamError(FLOW_CONTROL_ERROR, "the stream's window is too large")
            self._flush(stream_id, stream)

    def _not_idle(self, stream_id: int) -> None:
        if stream_id > self._last_stream or (stream_id and not stream_id & 1):
            raise H2Error(PROTOCOL_ERROR, f"a frame on stream {stream_id}, which is idle")

    def _flush_all(self) -> None:
        for stream_id, stream in list(self._open.items()):
            if stream.pending or stream.trailers is not None:
                self._flush(stream_id, stream)

    def _flush(self, stream_id: int, stream: _Stream) -> None:
        """Send what the windows allow, then the trailers."""
        pending = stream.pending
        while pending:
            room = min(stream.window, self._window, self._peer_frame)
            data = pending[0]
            if room <= 0 and data:
                return
            if len(data) <= room:
                pending.popleft()
            else:
                pending[0], data = data[room:], data[:room]
            stream.window -= len(data)
            self._window -= len(data)
            self._sent += 1
            self._out.append(frame(DATA, 0, stream_id, data))
        if stream.trailers is not None and not stream.ended:
            stream.ended = True
            self._out.append(header_frames(END_STREAM, stream_id, stream.trailers, self._peer_frame))
            self._drop_if_done(stream_id, stream)

    def _drop_if_done(self, stream_id: int, stream: _Stream) -> None:
        """A stream that we ended is over; the client is told to stop if it has not."""
        if not stream.ended or stream_id not in self._open:
            return
        del self._open[stream_id]
        if not stream.remote_ended:
            self._out.append(frame(RST_STREAM, 0, stream_id, struct.pack(">L", NO_ERROR)))
            self._streams.reset(stream_id)

    def _refill(self, stream_id: int, size: int) -> None:
        self._out.append(frame(WINDOW_UPDATE, 0, stream_id, struct.pack(">L", size)))
