"""Writes an answer from inside an engine step, without waiting and without a task.

What a connection does not take at once is kept, unframed, and goes out as one piece when it takes more. A
slow reader thus costs memory for its own stream only, and no other stream waits for it. How much is the
caller's to bound: a writer that is `full` asks for no more, and says when there is room again.
"""

from __future__ import annotations

import http
import re
import time
from asyncio import get_running_loop
from collections.abc import Callable, Iterable
from typing import Literal, Protocol

from simulator.server.http.incoming import CONTINUE, Incoming, Pair
from simulator.server.turns import Turns

UNSAFE_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
PLAIN = b"content-type: text/plain; charset=utf-8\r\n"
_UNSAFE_NAME = re.compile(rb'[\x00-\x20\x7f()<>@,;:\[\]={}\\"]')
# Bytes behind a transport that takes no more: a thousand events, so that who is only slow gets them all.
_FULL = 256 << 10
# Seconds for which pieces are held at most.
_HOLD = 40e-3


def _phrase(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return ""


_STATUS_LINES = {status: f"HTTP/1.1 {status} {_phrase(status)}\r\n".encode() for status in range(200, 600)}


def header_lines(headers: Iterable[Pair]) -> bytes:
    """Headers as they go out. Raises ValueError where one could not be told from the next."""
    lines = []
    for name, value in headers:
        if not name or _UNSAFE_NAME.search(name) or UNSAFE_VALUE.search(value):
            raise ValueError(f"{name!r}: {value!r} cannot be a header")
        lines.append(b"%b: %b\r\n" % (name.lower(), value))
    return b"".join(lines)


class Wire(Protocol):
    """What a writer needs of the connection (`connection.Connection`)."""

    is_gone: bool  # nobody is there any more, or the connection is closing
    is_full: bool  # the transport takes no more for now

    @property
    def default_headers(self) -> bytes:
        """Lines that every answer begins with."""

    def write(self, data: bytes) -> None: ...

    def end_answer(self) -> None:
        """The answer has been written to its end."""

    def forget(self, incoming: Incoming) -> None:
        """Nobody works on this request any more."""

    def hold_reading(self) -> None:
        """Enough of the body is there; the connection goes on reading with `read_on`."""

    def read_on(self) -> None: ...

    def abort(self) -> None:
        """Reset, without an end of the answer."""

    @property
    def scheme(self) -> str: ...

    def address(self, which: Literal["sockname", "peername"]) -> tuple[str, int] | None:
        """Host and port of one end."""


class Rounds:
    """Rounds of the event loop, as far as writers care.

    The first piece of a stream in a round leaves at once. Where an engine is ahead of its clients (many steps
    in one round) the others are held and leave together when the round ends: a system call for each would be
    most of the work. Where engines go on in `turns`, so does the round for a while, for the same reason, and
    who wrote in it has to wait for the end of the next one too.
    """

    __slots__ = ("_begun", "_end_by", "_turns", "goes_on", "holding", "number")

    def __init__(self, turns: Turns | None = None) -> None:
        self._turns = turns
        self._end_by = 0.0
        self.number = 0
        self.holding: list[Writer] = []
        self._begun = False
        self.goes_on = False  # this round goes on where the last one ended

    def begin(self) -> None:
        """See to it that this round ends."""
        if not self._begun:
            self._begun = True
            self._end_by = time.monotonic() + _HOLD
            get_running_loop().call_soon(self._end)

    def _end(self) -> None:
        busy = self._turns is not None and self._turns.busy
        if busy and time.monotonic() < self._end_by:
            get_running_loop().call_soon(self._end)
            return
        self._begun = False
        self.goes_on = busy
        self.number += 1
        holding, self.holding = self.holding, []
        for writer in holding:
            writer.release()


class Writer:
    """The answer to one request: `respond` once, or `start` and then `write` until `more` is False.

    `full`: more than `limit` bytes wait, since the client does not read; `on_room` is called when that is
    over. Without `rounds` every piece leaves at once.
    """

    __slots__ = (
        "_backlog",
        "_backlog_bytes",
        "_chunked",
        "_head",
        "_held",
        "_held_bytes",
        "_incoming",
        "_round",
        "bytes_out",
        "edit",
        "finished",
        "full",
        "limit",
        "on_room",
        "rounds",
        "started",
        "wire",
    )

    def __init__(self, wire: Wire, incoming: Incoming) -> None:
        self.wire = wire
        self._incoming = incoming
        self.rounds: Rounds | None = None
        self._round = -1  # the one in which something was last written
        self._held: list[bytes] = []
        self._chunked = False
        self._head = b""  # framed, and to go out before the backlog
        self._backlog: list[bytes] = []
        self._backlog_bytes = 0
        self._held_bytes = 0
        self.limit = _FULL
        self.full = False
        self.on_room: Callable[[], None] | None = None
        self.started = False
        self.finished = False  # the end of the answer has been given to `respond` or `write`
        self.bytes_out = 0
        self.edit: Callable[[bytes, bool], bytes] | None = None  # a fault: piece, whether it is the last

    def allow_body(self) -> None:
        """Tell a client that waits for leave to send its body that it may."""
        if self._incoming.expects:
            self._incoming.expects = False
            self.wire.write(CONTINUE)

    def respond(self, status: int, headers: bytes, body: bytes) -> None:
        """The whole answer, in one write; `headers` are lines (`header_lines`)."""
        self.started = self.finished = True
        if self.edit is not None and status == 200:
            body = self.edit(body, True)
        self.bytes_out = len(body)
        head = self._head_of(status, b"content-length: %d\r\n" % len(body) + headers)
        self._put_framed(head if self._incoming.method == "HEAD" else head + body)

    def start(self, status: int, headers: bytes, *, sized: bool = False) -> None:
        """Status line and headers, at once. `sized`: they say how long the body is, or that there is none."""
        self.started = True
        self._chunked = not sized and self._incoming.version == "1.1"
        if not sized and not self._chunked:
            self._incoming.keep_alive = False  # HTTP/1.0 knows the end of a body by the connection's
        self._put_framed(self._head_of(status, headers))

    def fail(self) -> None:
        """An answer that cannot be given: 500, or a reset where a part of it is out."""
        if not self.started:
            self._incoming.keep_alive = False
            self.respond(500, PLAIN, b"Internal Server Error")
        elif not self.finished:
            self.wire.abort()

    def _head_of(self, status: int, headers: bytes) -> bytes:
        incoming = self._incoming
        if incoming.expects and not incoming.complete:
            incoming.keep_alive = False  # whether the body follows after all, nobody can tell
        line = _STATUS_LINES[status]
        last = b"" if incoming.keep_alive else b"connection: close\r\n"
        framing = b"transfer-encoding: chunked\r\n\r\n" if self._chunked else b"\r\n"
        return b"".join((line, self.wire.default_headers, headers, last, framing))

    def _put_framed(self, data: bytes) -> None:
        wire = self.wire
        if wire.is_gone:
            return
        if wire.is_full:
            self._head = data
            return
        wire.write(data)
        if self.finished:
            wire.end_answer()

    def write(self, data: bytes, more: bool = True) -> None:
        """A piece of the body; nothing may follow one with `more` False."""
        if self.edit is not None:
            data = self.edit(data, not more)
        self.bytes_out += len(data)
        if not more:
            self.finished = True
        rounds = self.rounds
        if rounds is not None:
            if self._round == rounds.number or (rounds.goes_on and self._round == rounds.number - 1):
                self._round = rounds.number
                rounds.begin()
                if not self._held:
                    rounds.holding.append(self)
                self._held.append(data)
                self._held_bytes += len(data)
                if self._held_bytes > _FULL and more:  # else a reader who stands still would show too late
                    self.release()
                return
            self._round = rounds.number
            rounds.begin()
        self._put(data)

    def release(self) -> None:
        """Write what the round has held back."""
        held, self._held, self._held_bytes = self._held, [], 0
        if held:
            self._put(b"".join(held))

    @property
    def blocked(self) -> bool:
        """Whether the transport has not yet taken everything."""
        return bool(self._head or self._backlog or self._held)

    def _put(self, data: bytes) -> None:
        wire = self.wire
        if wire.is_gone:
            return
        if wire.is_full or self._head or self._backlog:
            self._backlog.append(data)
            self._backlog_bytes += len(data)
            self.full = self._backlog_bytes > self.limit
            return
        wire.write(self._framed(data, self.finished))
        if self.finished:
            wire.end_answer()

    def _framed(self, data: bytes, last: bool) -> bytes:
        if not self._chunked:
            return data
        end = b"0\r\n\r\n" if last else b""
        return b"%x\r\n%b\r\n%b" % (len(data), data, end) if data else end

    def flush(self) -> None:
        """The connection takes more: write what has waited."""
        if not self._head and not self._backlog:
            return
        last = self.finished and not self._held  # what the round holds comes later, and the end with it
        data = self._head + self._framed(b"".join(self._backlog), last)
        self._head = b""
        self._backlog.clear()
        self._backlog_bytes = 0
        self.wire.write(data)
        if last:
            self.wire.end_answer()
        if self.full:
            self.full = False
            if self.on_room is not None:
                self.on_room()
