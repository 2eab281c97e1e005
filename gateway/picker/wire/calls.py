"""gRPC calls: what a method is, and the messages of one stream."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from gateway.picker.wire.limits import BACKLOG, OVERHEAD

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

    def receive(self, message: bytes) -> Iterable[bytes]:
        self.finished = True
        return (self._answer(message),)

    def close(self) -> None:
        return


class OpenCall:
    """A call and the bytes of its stream."""

    __slots__ = ("backlog", "buffer", "call", "ended", "most", "queued", "started", "task")

    def __init__(self, call: Call, most: int) -> None:
        self.call = call
        self.most = most  # of a message, in bytes
        self.buffer = bytearray()
        self.backlog: deque[bytes] = deque()  # messages that came while a reply was awaited
        self.queued = 0  # what `backlog` costs
        self.task: asyncio.Future[Iterable[bytes]] | None = None
        self.ended = False  # the client will send no more
        self.started = False  # our headers are sent

    def messages(self, data: bytes) -> Iterable[bytes]:
        """The messages that are complete now; GrpcError where one is compressed or too large."""
        buffer = self.buffer
        buffer += data
        at = 0
        while len(buffer) - at >= 5:
            if buffer[at]:
                raise GrpcError(UNIMPLEMENTED, "compressed messages are not supported")
            size = int.from_bytes(buffer[at + 1 : at + 5], "big")
            if size > self.most:
                raise GrpcError(RESOURCE_EXHAUSTED, f"message larger than max ({size} vs. {self.most})")
            end = at + 5 + size
            if end > len(buffer):
                break
            yield bytes(buffer[at + 5 : end])
            at = end
        del buffer[:at]

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
