"""Writes an answer from inside an engine step, without waiting and without a task.

uvicorn's `send` is a coroutine that runs to its end at once unless the transport's buffer is full. So it is
stepped by hand: one that ends has been written, one that waits is taken up again when its future is done, and
what arrives in between is kept and goes out as one piece. A slow reader thus costs memory for its own stream
only, and no other stream waits for it. How much is the caller's to bound: a writer that is `full` asks for no
more, and says when there is room again.
"""

from __future__ import annotations

import time
from asyncio import Future, get_running_loop
from collections.abc import Awaitable, Callable, Coroutine, Iterable, MutableMapping
from typing import Any, Final

from simulator.server.turns import Turns

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
_Send = Callable[[Message], Coroutine["Future[Any] | None", None, None]]
Headers = Iterable[tuple[bytes, bytes]]

# Bytes behind a transport that takes no more: a thousand events, so that who is only slow gets them all.
_FULL: Final = 256 << 10
# Seconds for which pieces are held at most.
_HOLD: Final = 20e-3


class Rounds:
    """Rounds of the event loop, as far as writers care.

    The first piece of a stream in a round leaves at once. Where an engine is ahead of its clients (many steps
    in one round) the others are held and leave together when the round ends: a system call for each would be
    most of the work. Where engines go on in `turns`, so does the round for a while, for the same reason.
    """

    __slots__ = ("_begun", "_end_by", "_turns", "holding", "number")

    def __init__(self, turns: Turns | None = None) -> None:
        self._turns = turns
        self._end_by = 0.0
        self.number = 0
        self.holding: list[Writer] = []
        self._begun = False

    def begin(self) -> None:
        """See to it that this round ends."""
        if not self._begun:
            self._begun = True
            self._end_by = time.monotonic() + _HOLD
            get_running_loop().call_soon(self._end)

    def _end(self) -> None:
        if self._turns is not None and self._turns.busy and time.monotonic() < self._end_by:
            get_running_loop().call_soon(self._end)
            return
        self._begun = False
        self.number += 1
        holding, self.holding = self.holding, []
        for writer in holding:
            writer.release()


class Writer:
    """The answer to one request: `start` once, then `finish`, or `write` until `more` is False.

    `full`: what is written piles up, since the client does not read; `on_room` is called when that is over.
    """

    __slots__ = (
        "_backlog",
        "_backlog_bytes",
        "_held",
        "_pending",
        "_round",
        "_rounds",
        "_send",
        "bytes_out",
        "finished",
        "full",
        "on_room",
        "started",
    )

    def __init__(self, send: Send, rounds: Rounds) -> None:
        self._send: _Send = send  # type: ignore[assignment] # an async function, as ASGI has it
        self._rounds = rounds
        self._round = -1  # the one in which something was last written
        self._held: list[bytes] = []
        self._pending: Coroutine[Future[Any] | None, None, None] | None = None
        self._backlog: list[Message] = []
        self._backlog_bytes = 0
        self.full = False
        self.on_room: Callable[[], None] | None = None
        self.started = False
        self.finished = False  # the end of the answer has been given to `finish` or `write`
        self.bytes_out = 0

    def start(self, status: int, headers: Headers) -> None:
        """Status line and headers."""
        self.started = True
        self._put({"type": "http.response.start", "status": status, "headers": headers})

    def finish(self, body: bytes) -> None:
        """The whole body."""
        self.bytes_out = len(body)
        self.finished = True
        self._put({"type": "http.response.body", "body": body, "more_body": False})

    def write(self, data: bytes, more: bool = True) -> None:
        """A piece of the body; nothing may follow one with `more` False."""
        self.bytes_out += len(data)
        if not more:
            self.finished = True
        rounds = self._rounds
        if self._round == rounds.number:
            if not self._held:
                rounds.holding.append(self)
            self._held.append(data)
            return
        self._round = rounds.number
        rounds.begin()
        self._put({"type": "http.response.body", "body": data, "more_body": more})

    def release(self) -> None:
        """Write what the round has held back."""
        held, self._held = self._held, []
        self._put({"type": "http.response.body", "body": b"".join(held), "more_body": not self.finished})

    @property
    def blocked(self) -> bool:
        """Whether the transport has not yet taken everything."""
        return self._pending is not None or bool(self._held)

    def _put(self, message: Message) -> None:
        if self._pending is not None:
            self._backlog.append(message)
            self._backlog_bytes += len(message.get("body", b""))
            self.full = self._backlog_bytes > _FULL
            return
        sending = self._send(message)
        try:
            future = sending.send(None)
        except StopIteration:
            return
        self._pending = sending
        self._park(future)

    def _park(self, future: Future[Any] | None) -> None:
        if future is None:  # a bare yield: go on in the next round of the loop
            get_running_loop().call_soon(self._resume)
            return
        future._asyncio_future_blocking = False  # what Task does on taking a future from a coroutine
        future.add_done_callback(self._resume)

    def _resume(self, _: object = None) -> None:
        sending = self._pending
        if sending is None:
            return
        try:
            future = sending.send(None)
        except StopIteration:
            self._pending = None
            self._flush()
        else:
            self._park(future)

    def _flush(self) -> None:
        backlog, self._backlog = self._backlog, []
        self._backlog_bytes = 0
        if not backlog:
            return
        if backlog[0]["type"] == "http.response.start":
            self._put(backlog.pop(0))
        if backlog:
            body = b"".join(message["body"] for message in backlog)
            self._put({"type": "http.response.body", "body": body, "more_body": backlog[-1]["more_body"]})
        if self.full:
            self.full = False
            if self.on_room is not None:
                self.on_room()
