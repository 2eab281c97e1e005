"""Generations whose responses are stored: those that a client waits for, and those that go on without one."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from simulator.server.answers.generation import Generation, Job
from simulator.server.answers.kept.store import ENDS, Stored
from simulator.server.answers.responses import ResponsesStream, ResponsesUnary
from simulator.server.answers.tools import SpokenCalls
from simulator.server.errors import ApiError
from simulator.server.http.exchange import Exchange
from simulator.server.requests.other import ResponsesRequest

Keep = Callable[[dict[str, Any]], object]  # takes the finished response


class StoredUnary(ResponsesUnary):
    """A response that is sent and kept."""

    def __init__(self, job: Job, request: ResponsesRequest, calls: SpokenCalls | None, keep: Keep) -> None:
        super().__init__(job, request, calls)
        self._keep = keep

    def respond(self, body: bytes) -> None:
        self._keep(json.loads(body))
        super().respond(body)


class StoredStream(ResponsesStream):
    """A stream whose last event is kept."""

    def __init__(self, job: Job, request: ResponsesRequest, calls: SpokenCalls | None, keep: Keep) -> None:
        super().__init__(job, request, calls)
        self._keep = keep

    def _event(self, kind: str, values: dict[str, Any]) -> bytes:
        if kind in ENDS:
            self._keep(json.loads(self.prepared.encode(values["response"])))
        return super()._event(kind, values)


class KeptWriter:
    """Stands where a client's writer does: what is written goes to the store."""

    def __init__(self, stored: Stored, rounds: Any) -> None:
        self._stored = stored
        self.rounds = rounds
        self.full = self.blocked = self.started = self.finished = False
        self.on_room: Any = None
        self.bytes_out = 0
        self.wire = self

    def write(self, data: bytes, more: bool = True) -> None:
        self.bytes_out += len(data)
        self._stored.add(data)
        if not more:
            self.finished = True
            self._stored.fail()  # nothing to do where it has come to its end

    def start(self, _status: int, _headers: bytes) -> None:
        self.started = True

    def respond(self, status: int, _headers: bytes, body: bytes) -> None:
        if status == 200:
            self._stored.finish(json.loads(body))
        self._stored.fail()

    def abort(self) -> None:
        """No client is there to be reset."""
        self._stored.fail()


class Following(Generation):
    """What a client of a response in the background gets: that it is queued, or its events as they come."""

    def __init__(self, exchange: Exchange, job: Job, work: Generation, stored: Stored) -> None:
        self.exchange = exchange
        self.job = job
        self.sequences = []
        self.done = False
        self._work = work
        self._stored = stored
        self._seen = 0

    @property
    def is_too_cold(self) -> bool:
        return False

    def submit(self) -> None:
        """Begin the work, and answer."""
        work, stored = self._work, self._stored
        if isinstance(work, ResponsesStream):
            stored.add(work.begin())
            work.submit()
            self.exchange.start_stream()
            stored.readers.add(self._pass_on)
            self._pass_on()
        else:
            body = json.dumps(stored.response, separators=(",", ":"), ensure_ascii=False).encode()
            work.submit()
            self.done = True
            self.exchange.respond(body)

    def _pass_on(self) -> None:
        events = self._stored.events or []
        data = b"".join(events[self._seen :])
        self._seen = len(events)
        over = self._stored.is_over
        if over:
            self.abort()
        if data or over:
            self.exchange.writer.write(data, more=not over)

    def abort(self) -> None:
        """The client is gone or has all; the work goes on."""
        self.done = True
        self._stored.readers.discard(self._pass_on)

    def fail(self, error: ApiError | None = None) -> None:
        self._work.fail(error)

    def release(self) -> None:
        """Nothing of it is held in a circle."""
