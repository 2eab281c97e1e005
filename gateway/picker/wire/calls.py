"""gRPC calls: what a method is, and the messages of one stream."""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from gateway.picker.wire.limits import BACKLOG, OVERHEAD

_HEAD = struct.Struct(">BL").unpack_from
OK, RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL = 0, 8, 12, 13


class GrpcError(Exception):
    """Ends a call with this status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Call(Protocol):
    """One call of a method.

    `receive` gives the serialized replies to one message, at once or later; messages that come meanwhile
    wait. `finished` is asked after each message: when it is true the call ends with OK. `kept` is what the
    call holds in memory, in bytes.
    """

    @property
    def finished(self) -> bool: ...

    @property
    def kept(self) -> int: ...

    def begin(self, headers: list[tuple[str, str]]) -> None:
        """The metadata with which it was called."""

    def receive(self, message: bytes) -> Iterable[bytes] | Awaitable[Iterable[bytes]]: ...

    def close(self) -> None:
        """The call is over, however it ended."""


Method = Callable[[], Call]


class Unary:
    """A call of one message and one reply."""

    kept = 0

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self.finished = False
        self._answer = answer

    def begin(self, headers: list[tuple[str, str]]) -> None:
        return

    def receive(self, message: bytes) -> Iterable[bytes]:
        self.finished = True
        return (self._answer(message),)

    def close(self) -> None:
        return


class OpenCall:
    """A call and the bytes of its stream."""

    __slots__ = ("backlog", "buffer", "call", "counted", "ended", "most", "queued", "started", "task")

    def __init__(self, call: Call, most: int) -> None:
        self.call = call
        self.most = most  # of a message, in bytes
        self.buffer = bytearray()
        self.backlog: deque[bytes] = deque()  # messages that came while a reply was awaited
        self.queued = 0  # what `backlog` costs
        self.counted = 0  # what is known to be kept of the call
        self.task: asyncio.Future[Iterable[bytes]] | None = None
        self.ended = False  # the client will send no more
        self.started = False  # our headers are sent

    def messages(self, data: bytes) -> Iterable[bytes]:
        """The messages that are complete now; GrpcError where one is compressed or too large."""
        if self.buffer:
            self.buffer += data
            data = bytes(self.buffer)
            self.buffer.clear()
        found, at, whole = [], 0, len(data)
        while whole - at >= 5:
            compressed, size = _HEAD(data, at)
            if compressed:
                raise GrpcError(UNIMPLEMENTED, "compressed messages are not supported")
            if size > self.most:
                raise GrpcError(RESOURCE_EXHAUSTED, f"message larger than max ({size} vs. {self.most})")
            end = at + 5 + size
            if end > whole:
                break
            found.append(data[at + 5 : end])
            at = end
        if at < whole:
            self.buffer += data[at:]
        return found

    def wait(self, message: bytes) -> None:
        """Keep a message until the one before it is answered; GrpcError where too many wait."""
        if len(self.backlog) >= BACKLOG:
            raise GrpcError(RESOURCE_EXHAUSTED, f"more than {BACKLOG} messages wait for a reply")
        self.backlog.append(message)
        self.queued += len(message) + OVERHEAD

    def next(self) -> bytes:
        message = self.backlog.popleft()
        self.queued -= len(message) + OVERHEAD
        return message
