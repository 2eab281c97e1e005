"""What one connection sends: answers within the peer's windows, and the credit that it is given.

Everything that waits, waits here: for the window of its stream, for that of the connection, or for the
socket. `Sender.waiting` holds the streams that wait for one of the latter two, so that a window update of the
connection visits these alone; a stream whose own window is closed is visited by its own update.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from gateway.picker.wire.frames import (
    DATA,
    DEFAULT_WINDOW,
    END_STREAM,
    FRAME_SIZE,
    NUMBER,
    PROTOCOL_ERROR,
    WINDOW_UPDATE,
    StreamError,
    frame,
    header_frames,
)
from gateway.picker.wire.limits import OUT, OVERHEAD, STREAM_WINDOW, UNREAD, Held


@dataclass(slots=True)
class Stream:
    """A stream that is open on either side."""

    number: int
    window: int  # bytes that the client lets us send
    length: int | None = None  # content-length
    size: int = 0  # of the body so far
    received: int = 0  # bytes for which the client has no credit again yet
    remote_ended: bool = False
    pending: deque[memoryview] = field(default_factory=deque)  # data that waits
    unread: int = 0  # what `pending` costs
    kept: int = 0  # bytes that the call keeps
    trailers: bytes | None = None  # header block that ends the stream, once `pending` is sent
    ended: bool = False

    def check_length(self, whole: int) -> None:
        """StreamError where the body is larger than content-length says, or `whole` and another."""
        length = self.length
        if length is not None and (self.size > length or (whole and self.size < length)):
            raise StreamError(PROTOCOL_ERROR, f"{self.size} bytes, not {length} of content-length")


class Streams(Protocol):
    """Who hears of the streams of a connection."""

    def opened(self, stream_id: int, headers: list[tuple[str, str]]) -> None: ...

    def data(self, stream_id: int, data: bytes) -> None: ...

    def ended(self, stream_id: int) -> None:
        """The client will send no more."""

    def reset(self, stream_id: int) -> None:
        """The client has given the stream up; nothing can be sent on it."""


class Sender:
    """One connection's way out. `done` hears of a stream whose trailers are sent."""

    def __init__(self, held: Held, done: Callable[[Stream], None]) -> None:
        self.held = held
        self.window = DEFAULT_WINDOW
        self.initial_window = DEFAULT_WINDOW
        self.frame_size = FRAME_SIZE
        self.sent = 0  # DATA frames
        self.waiting: OrderedDict[int, Stream] = OrderedDict()
        self.out: list[bytes] = []
        self._done = done
        self._most = self._room = OUT

    def take(self) -> bytes:
        """What is to be sent now."""
        out = self.out
        joined = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        self._room = self._most
        return joined

    def pause(self, paused: bool) -> None:
        """While the socket is full, answers wait here."""
        self._most = self._room = 0 if paused else OUT

    def data(self, stream: Stream, data: bytes) -> bool:
        """Send data at once or keep it; false where that is more than may be held."""
        size = len(data)
        if (
            not stream.pending
            and size <= self.frame_size
            and size <= stream.window
            and size <= self.window
            and size <= self._room
        ):
            stream.window -= size
            self.window -= size
            self._room -= size
            self.sent += 1
            self.out.append(frame(DATA, 0, stream.number, data))
            return True
        cost = size + OVERHEAD
        if not self.held.take(cost, stream.unread + stream.kept):
            return False
        stream.unread += cost
        stream.pending.append(memoryview(data))
        self.flush(stream)
        return True

    def keep(self, stream: Stream, size: int) -> bool:
        """The stream's call keeps `size` bytes; false where that is more than may be held."""
        more = size - stream.kept
        if more > 0 and not self.held.take(more, stream.unread + stream.kept):
            return False
        if more < 0:
            self.held.give(-more)
        stream.kept = size
        return True

    def drop(self, stream: Stream) -> None:
        """The stream is over: nothing of it is held."""
        self.waiting.pop(stream.number, None)
        self.held.give(stream.unread + stream.kept)
        stream.unread = stream.kept = 0
        stream.pending.clear()

    def flush(self, stream: Stream) -> None:
        """Send what the windows allow, then the trailers."""
        pending = stream.pending
        while pending:
            data = pending[0]
            room = min(stream.window, self.window, self.frame_size, self._room)
            if room <= 0 and data:
                if stream.window > 0:
                    self.waiting[stream.number] = stream
                return
            if len(data) <= room:
                pending.popleft()
                cost = len(data) + OVERHEAD
            else:
                pending[0], data = data[room:], data[:room]
                cost = room
            self._spend(stream, len(data), cost)
            self.out.append(frame(DATA, 0, stream.number, bytes(data)))
        if stream.trailers is not None and not stream.ended:
            stream.ended = True
            self.out.append(header_frames(END_STREAM, stream.number, stream.trailers, self.frame_size))
            self._done(stream)

    def _spend(self, stream: Stream, size: int, cost: int) -> None:
        stream.window -= size
        self.window -= size
        self._room -= size
        self.sent += 1
        stream.unread -= cost
        self.held.give(cost)
        if stream.received >= STREAM_WINDOW // 2:
            self.credit(stream)

    def flush_waiting(self) -> None:
        """Let those go on that wait for the connection or the socket, each in its turn."""
        while self.waiting and self.window > 0 and self._room > 0:
            self.flush(self.waiting.popitem(last=False)[1])

    def credit(self, stream: Stream) -> None:
        """Tell the client that it may send more on a stream, unless it leaves our answers unread."""
        if stream.unread <= UNREAD and not stream.remote_ended:
            self.refill(stream.number, stream.received)
            stream.received = 0

    def refill(self, number: int, size: int) -> None:
        """Tell the client that it may send `size` bytes more, on a stream or with 0 on the connection."""
        self.out.append(frame(WINDOW_UPDATE, 0, number, NUMBER.pack(size)))
