"""Sends a worker's part of the plan on its absolute schedule and writes a record of each request.

The schedule is never re-anchored: what is due is sent at once however late it is, the lateness is in the
record (`start - intended`), and what cannot be sent is recorded as missed. Later turns, thinking users
and retries join the same heap of due times when they become known.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from time import monotonic
from zlib import crc32

from kit.alarm import make_alarm
from loadgen.client.exchange import Exchange
from loadgen.client.wire import Wire
from loadgen.numbers.jsonl import JsonlWriter
from loadgen.numbers.progress import Progress
from loadgen.plan.plan import PlannedRequest
from loadgen.records.records import CLIENT_ID, TRACEPARENT, Record, traceparent
from loadgen.run.jobs import AHEAD_BYTES, AHEAD_REQUESTS, ClosedClass, Job, PlanCursor, Unit, User
from loadgen.run.outcome import attempt_of, record_of, retry_delay
from loadgen.scenario.redaction import Secrets

REFILL = 16
SPARE = 0.0005  # seconds that must be free before the next start for the plan to be read further


class Sender:
    """One worker's load."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        wire: Wire,
        cursor: PlanCursor,
        writer: JsonlWriter,
        *,
        worker: int,
        chunk_times: bool,
        max_in_flight: int,
        on_fatal: Callable[[Exception], None],
        headers: dict[str, str] | None = None,
        secrets: Secrets | None = None,
        run: str = "",
        traced: bool = False,
    ) -> None:
        self._wire = wire
        self._cursor = cursor
        self._writer = writer
        self._worker = worker
        self._chunk_times = chunk_times
        self._max_in_flight = max_in_flight
        self._on_fatal = on_fatal
        self._headers = headers or {}
        self._secrets = secrets or Secrets()
        self._run = run
        self._traced = traced
        self._alarm = make_alarm(loop, self._tick)
        self._heap: list[tuple[float, int, Job]] = []
        self._order = itertools.count()
        self._closed: dict[str, ClosedClass] = {}
        self._markers: dict[str, bytes] = {}
        self._ahead_bytes = 0
        self._planned_waiting = 0
        self._stopping = False
        self._armed: float | None = None
        self.t0 = 0.0
        self.in_flight = 0
        self.progress = Progress(worker=worker)
        self.first_errors: dict[str, str] = {}
        self.finished = loop.create_future()

    # --- the plan, read ahead -------------------------------------------------------------------

    def add_closed(self, closed: ClosedClass) -> None:
        """A closed-loop class whose units this worker shares out among its users."""
        self._closed[closed.name] = closed
        users = sum(len(each.users) for each in self._closed.values())
        self._max_in_flight = max(self._max_in_flight, users)  # users are their own limit

    def fill(self, most: int = AHEAD_REQUESTS) -> None:
        """Read up to `most` more units; before the start t0 is 0 and times are relative."""
        while most > 0 and self._ahead_bytes < AHEAD_BYTES and self._planned_waiting < AHEAD_REQUESTS:
            unit = self._cursor.next_unit()
            if unit is None:
                return
            most -= 1
            closed = self._closed.get(unit.requests[0].cls)
            if closed is not None:
                closed.units.append(unit)
                continue
            job = Job(unit, 0, self.t0 + (unit.requests[0].at or 0.0))
            self._prepare(job)
            self._ahead_bytes += len(job.payload)
            self._planned_waiting += 1
            self._push(job)

    def read_closed(self) -> None:
        """Read the units of closed loops; they stand at the head of the plan."""
        while self._closed and not self._cursor.exhausted and not self._planned_waiting:
            self.fill(1)

    def _prepare(self, job: Job) -> None:
        headers = job.request.headers
        unit = job.unit
        if job.plan.session_token and (token := unit.token):
            headers = {**headers, "x-session-token": token}
        if unit.worker_round > 1 and headers.get("x-request-id") == job.request.id:
            headers = {**headers, "x-request-id": job.id}
        if self._run:
            headers = {CLIENT_ID: f"{self._run}/{job.id}", **headers}
        if self._traced:
            headers = {TRACEPARENT: traceparent(self._run, job.id), **headers}
        body = unit.body(job.turn, self._cursor.shared)
        if self._headers:
            headers = {**self._headers, **headers}
        if self._secrets.values:
            headers = self._secrets.reveal_all(headers)
            body = self._secrets.reveal_body(body)
        job.payload = self._wire.render(job.plan.path, headers, body)

    @property
    def waiting(self) -> int:
        """Requests known and not yet due."""
        return len(self._heap)

    # --- the schedule ---------------------------------------------------------------------------

    def start(self, t0: float) -> None:
        """Begin: everything read so far becomes due relative to `t0` (monotonic)."""
        self.t0 = t0
        for _, _, job in self._heap:
            job.intended += t0
            job.due += t0
        self._heap = [(due + t0, order, job) for due, order, job in self._heap]
        for closed in self._closed.values():
            for user in closed.users:
                self._next_of_user(user, t0)
        self._arm()

    def _push(self, job: Job) -> None:
        heapq.heappush(self._heap, (job.due, next(self._order), job))

    def _arm(self) -> None:
        if self._heap:
            first = self._heap[0][0]
            if first != self._armed:
                self._armed = first
                self._alarm.set(first)
        elif self.in_flight == 0 and self._cursor.exhausted and not self.finished.done():
            self.finished.set_result(None)

    def _tick(self) -> None:
        heap = self._heap
        self._armed = None
        while heap and heap[0][0] <= monotonic():
            self._send(heapq.heappop(heap)[2])
        try:
            while not self._cursor.exhausted and not self._stopping:
                if heap and heap[0][0] - monotonic() < SPARE and self._planned_waiting:
                    break
                before = self._planned_waiting
                self.fill(REFILL)
                if self._planned_waiting == before:
                    break
        except Exception as error:  # noqa: BLE001  # a broken plan line must end the run, not the callback
            self._on_fatal(error)
        self._arm()

    def _send(self, job: Job) -> None:
        request = job.request
        first_attempt = not job.attempts
        if first_attempt and job.turn == 0 and request.cls not in self._closed:
            self._planned_waiting -= 1
            self._ahead_bytes -= len(job.payload)
        if self.in_flight >= self._max_in_flight:
            self._miss(job, f"{self.in_flight} requests in flight, the limit of this worker")
            return
        if not job.payload:
            self._prepare(job)
        exchange = Exchange(
            job.payload,
            self._done,
            stream=job.plan.stream,
            timeout=job.plan.timeout,
            patience=job.plan.patience,
            keep_times=self._chunk_times,
            keep_text=job.unit.is_session,
            cancel_after=request.cancel,
            marker=self._markers.get(request.cls, b""),
            owner=job,
        )
        if job.plan.retry.attempts == 1:
            job.payload = b""
        self.in_flight += 1
        progress = self.progress
        progress.attempts += 1
        self._wire.submit(exchange)
        if first_attempt:
            progress.sent += 1
            progress.late.add(max(0.0, exchange.start - job.intended))

    # --- endings --------------------------------------------------------------------------------

    def _done(self, exchange: Exchange) -> None:
        self.in_flight -= 1
        job = exchange.owner
        assert isinstance(job, Job)
        retry = job.plan.retry
        if retry.attempts > 1:
            self._hide(exchange)
            job.attempts.append(attempt_of(exchange, self.t0))
            if exchange.outcome in retry.on and len(job.attempts) < retry.attempts and not self._stopping:
                jitter = crc32(f"{job.request.id}/{len(job.attempts)}".encode()) / 2**32
                job.due = (exchange.end or 0.0) + retry_delay(retry, job.attempts, jitter)
                self._push(job)
                self._arm()
                return
        self._hide(exchange)
        self._write(record_of(job, exchange, self.t0, self._worker, keep_times=self._chunk_times))
        if exchange.reused:
            self.progress.reused += 1
        if exchange.reader is not None and not exchange.marker and (marker := exchange.reader.marker):
            self._markers[job.request.cls] = marker
        self._after(job, exchange.end or monotonic(), exchange)

    def _hide(self, exchange: Exchange) -> None:
        """Servers quote the key that they refuse."""
        if self._secrets.values:
            exchange.error = exchange.error and self._secrets.hide(exchange.error)

    def _write(self, record: Record) -> None:
        try:
            self._writer.write(record)
        except Exception as error:  # noqa: BLE001  # a full disk ends the run with its own message
            self._on_fatal(error)
        self._count(record)

    def _count(self, record: Record) -> None:
        progress = self.progress
        outcome = record.outcome
        progress.done += 1
        progress.outcomes[outcome] = progress.outcomes.get(outcome, 0) + 1
        if record.pod is not None:
            progress.pods[record.pod] = progress.pods.get(record.pod, 0) + 1
        if outcome != "ok":
            if record.error and outcome not in self.first_errors:
                self.first_errors[outcome] = f"{record.status or ''} {record.error}".strip()
            return
        tokens = record.output_tokens or 0
        progress.output_tokens += tokens
        if record.first_token is not None and record.last_token is not None:
            progress.ttft.add(record.first_token - record.intended)
            if tokens > 1:
                begin = record.first_token if record.opening is None else record.opening
                progress.tpot.add((record.last_token - begin) / (tokens - 1))
        if record.end is not None:
            progress.latency.add(record.end - record.intended)

    def _miss(self, job: Job, why: str, outcome: str = "missed") -> None:
        self.progress.missed += outcome == "missed"
        self._write(unsent_record(job, self.t0, self._worker, outcome, why))
        self._after(job, monotonic(), None)

    def _after(self, job: Job, now: float, exchange: Exchange | None) -> None:
        """What a request's end makes due: the next turn, or the user's next request."""
        unit = job.unit
        if exchange is not None:
            self._remember(job, exchange)
        if job.turn + 1 < len(unit.requests):
            failed = exchange is None or exchange.outcome != "ok"
            if self._stopping or (failed and job.plan.on_error == "abort"):
                self._skip_rest(job, now, "an earlier turn of the session failed" if failed else "run over")
            else:
                later = Job(unit, job.turn + 1, now + unit.requests[job.turn + 1].think)
                self._push(later)
                self._arm()
                return
        if unit.user is not None:
            failed = exchange is None or exchange.outcome != "ok"
            self._next_of_user(unit.user, now + job.plan.pause_on_error if failed else now)
        self._arm()

    def _remember(self, job: Job, exchange: Exchange) -> None:
        unit = job.unit
        token = exchange.headers.get("x-session-token")
        if token:
            unit.token = token
            if unit.user is not None:
                unit.user.token = token
        if unit.is_session and exchange.outcome == "ok":
            unit.answers[job.turn] = exchange.text()

    def _skip_rest(self, job: Job, now: float, why: str) -> None:
        for turn in range(job.turn + 1, len(job.unit.requests)):
            self._write(unsent_record(Job(job.unit, turn, now), self.t0, self._worker, "skipped", why))

    def _next_of_user(self, user: User, now: float) -> None:
        closed = self._closed[user.cls]
        limit = closed.plan.duration
        if self._stopping or (limit is not None and now - self.t0 >= limit):
            return
        unit = closed.take()
        if unit is None:
            return
        due = now + unit.requests[0].think
        if limit is not None and due - self.t0 >= limit:
            return
        unit.user, unit.token = user, user.token
        job = Job(unit, 0, due)
        if due <= monotonic() and self.in_flight < self._max_in_flight:
            self._send(job)  # without thinking there is nothing to wait for
            return
        self._push(job)
        self._arm()

    def stop(self, why: str, *, now_missed: bool = True) -> None:
        """Send nothing more; what is due but unsent is missed, what was not due yet is left out."""
        self._stopping = True
        self._alarm.clear()
        self._armed = None
        waiting, self._heap = self._heap, []
        moment = monotonic()
        for due, _, job in waiting:
            if job.attempts:
                last = job.attempts[-1]
                self._write(unsent_record(job, self.t0, self._worker, last.outcome, last.error or why))
            elif job.turn > 0:
                self._write(unsent_record(job, self.t0, self._worker, "skipped", why))
                self._skip_rest(job, moment, why)
            elif due <= moment and now_missed:
                self._miss(job, why)
        self._cursor.exhausted = True
        self._arm()

    def close(self) -> None:
        """Give back the alarm's descriptor."""
        self._alarm.close()


def unsent_record(job: Job, t0: float, worker: int, outcome: str, why: str) -> Record:
    """The record of a request that has no exchange (any more)."""
    request: PlannedRequest = job.request
    attempts = job.attempts
    return Record(
        id=job.id,
        cls=request.cls,
        stage=request.stage,
        intended=round(job.intended - t0, 7),
        start=attempts[0].start if attempts else None,
        end=attempts[-1].end if attempts else None,
        status=attempts[-1].status if attempts else None,
        outcome=outcome,
        error=why,
        model=request.model,
        adapter=request.adapter,
        max_tokens=request.max_tokens,
        group=request.group,
        session=request.session,
        turn=request.turn,
        worker=worker,
        attempt=max(1, len(attempts)),
        attempts=attempts,
    )


__all__ = ["Sender", "Unit", "Wire", "unsent_record"]
