"""A worker process: `python -m loadgen.run.worker`, one JSON order on stdin, JSON lines on stdout.

Order of things: the parent writes a `WorkerOrder`; the worker opens its files and connections, reads
ahead and answers `ready`; the parent writes `start T0`; progress lines follow; `stop` ends sending,
a second `stop` (or the parent's end of stdin) ends what is in flight too; the last line is final.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic, process_time

import msgspec

from kit.alarm import new_event_loop
from loadgen.client.target import Target
from loadgen.client.wire import open_wire
from loadgen.errors import LoadgenError
from loadgen.numbers.jsonl import JsonlWriter
from loadgen.numbers.progress import Progress, Report
from loadgen.plan.plan import read_plan_header
from loadgen.records.records import RecordsHeader
from loadgen.run.jobs import ClosedClass, PlanCursor, users_of_worker
from loadgen.run.sender import Sender
from loadgen.scenario.redaction import Secrets

REPORT_EVERY = 0.5
FLUSH_EVERY = 0.25
PRIORITY = -10  # nice value that a worker asks for


class WorkerOrder(msgspec.Struct, kw_only=True):
    """Everything a worker needs to know."""

    plan: str
    records: str
    worker: int
    workers: int
    """Slots are dealt out over this many workers; `worker` takes slots `worker` modulo `workers`."""
    target: Target
    chunk_times: bool = True
    max_in_flight: int = 8192
    connections: int = 0
    idle_timeout: float = 4.0
    grace: float = 30.0
    http2: bool = False
    t0_wall: float = 0.0
    headers: dict[str, str] = {}
    """Of requests that do not have them themselves; the plan does not hold them."""
    run: str = ""
    """The run's token, under which requests name themselves to gateways; "": they do not."""
    traced: bool = False
    """Each request has a `traceparent` of its own."""
    secrets: dict[str, str] = {}
    """What placeholders in the plan stand for; this order travels through a pipe, never a file."""


class Worker:
    """One worker's life, from order to final line."""

    def __init__(self, loop: asyncio.AbstractEventLoop, order: WorkerOrder, emit: Emit) -> None:
        self.loop = loop
        self.order = order
        self.emit = emit
        self.header = read_plan_header(Path(order.plan))
        self.writer = JsonlWriter(Path(order.records))
        self.wire = open_wire(loop, order.target, http2=order.http2, idle_timeout=order.idle_timeout)
        self.error: Exception | None = None
        self.sender = Sender(
            loop,
            self.wire,
            PlanCursor(Path(order.plan), self.header, order.worker, order.workers),
            self.writer,
            worker=order.worker,
            chunk_times=order.chunk_times,
            max_in_flight=order.max_in_flight,
            on_fatal=self.fail,
            headers=order.headers,
            secrets=Secrets(order.secrets),
            run=order.run,
            traced=order.traced,
        )
        self._stops = 0
        self._cpu = process_time()
        self._opened = 0
        self._timers: list[asyncio.TimerHandle] = []

    def fail(self, error: Exception) -> None:
        """Something that ends the run: kept for the final line."""
        if self.error is None:
            self.error = error
            if not self.sender.finished.done():
                self.sender.finished.set_result(None)

    async def prepare(self) -> None:
        """Read ahead and open connections, before the start."""
        for name, plan in self.header.classes.items():
            if plan.users is not None:
                users = users_of_worker(plan.users, self.order.worker, self.order.workers)
                self.sender.add_closed(ClosedClass(name, plan, users))
        self.sender.read_closed()
        self.sender.fill()
        await self.wire.warm(self.order.connections)

    async def run(self, t0: float) -> None:
        """Send the plan, from `t0` on the monotonic clock."""
        self.writer.write(
            RecordsHeader(
                t0=self.order.t0_wall,
                t0_monotonic=t0,
                worker=self.order.worker,
                workers=self.order.workers,
            )
        )
        self.writer.flush()
        # Few cycles are made here, and a full collection is a stall of milliseconds.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 1000)
        self._cpu = process_time()
        self._every(FLUSH_EVERY, self._flush)
        self._every(REPORT_EVERY, self._report)
        if not self._endless:
            end = t0 + self.header.span + self.order.grace
            self._timers.append(self.loop.call_later(end - monotonic(), self._out_of_time))
        self.sender.start(t0)
        await self.sender.finished
        if self.error is not None:
            self.wire.cancel_all("client_cancel", "the run ended with an error")

    @property
    def _endless(self) -> bool:
        """A closed loop that ends with its requests has no time at which it must be over."""
        return any(plan.users is not None and plan.duration is None for plan in self.header.classes.values())

    def _every(self, seconds: float, action: Callable[[], None]) -> None:
        def again() -> None:
            action()
            self._timers.append(self.loop.call_later(seconds, again))
            del self._timers[:-4]

        self._timers.append(self.loop.call_later(seconds, again))

    def _flush(self) -> None:
        try:
            self.writer.flush()
        except LoadgenError as error:
            self.fail(error)

    def _out_of_time(self) -> None:
        self.sender.stop("the run's grace ended", now_missed=True)
        self.wire.cancel_all("timeout", f"still running {self.order.grace:g} s after the last planned start")

    def stop(self) -> None:
        """First call: send nothing more. Second: end what runs."""
        self._stops += 1
        if self._stops == 1:
            self.sender.stop("interrupted")
        else:
            self.wire.cancel_all("client_cancel", "interrupted")

    def _report(self, *, final: bool = False) -> None:
        sender = self.sender
        progress, sender.progress = sender.progress, Progress(worker=self.order.worker)
        progress.time = monotonic() - sender.t0
        progress.in_flight = sender.in_flight
        progress.waiting = sender.waiting
        cpu, opened = process_time(), self.wire.opened
        progress.cpu, self._cpu = cpu - self._cpu, cpu
        progress.opened, self._opened = opened - self._opened, opened
        error = None if self.error is None else str(self.error)
        errors = dict(sender.first_errors)
        self.emit(Report(progress=progress, final=final, error=error, first_errors=errors))

    def finish(self) -> None:
        """Write what is left and say the last word."""
        for timer in self._timers:
            timer.cancel()
        try:
            self.writer.close()
        except LoadgenError as error:
            self.fail(error)
        self._report(final=True)
        self.sender.close()
        self.wire.close()


Emit = Callable[[Report], None]


async def _commands(loop: asyncio.AbstractEventLoop, worker: Worker, started: asyncio.Future[float]) -> None:
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        word, _, value = line.decode().strip().partition(" ")
        if word == "start" and not started.done():
            started.set_result(float(value))
        elif word == "stop":
            worker.stop()
    worker.stop()  # the parent is gone: nobody waits for more
    worker.stop()
    if not started.done():
        started.cancel()


async def _main(order: WorkerOrder, emit: Emit) -> int:
    loop = asyncio.get_running_loop()
    worker = Worker(loop, order, emit)
    await worker.prepare()
    started: asyncio.Future[float] = loop.create_future()
    commands = loop.create_task(_commands(loop, worker, started))
    os.write(1, b'{"kind":"ready"}\n')
    try:
        await worker.run(await started)
    except asyncio.CancelledError:
        return 1
    finally:
        worker.finish()
        commands.cancel()
    return 0


def _emit(report: Report) -> None:
    line = msgspec.json.encode(report) + b"\n"
    with contextlib.suppress(BrokenPipeError):  # a parent that was killed: its stdin's end stops the load
        while line:
            line = line[os.write(1, line) :]


def _raise_descriptor_limit() -> None:
    """A connection is a descriptor, and the usual soft limit of 1024 is soon reached."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource  # noqa: PLC0415  # not on Windows

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> int:
    """Entry of the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    with contextlib.suppress(
        OSError, AttributeError
    ):  # where it may: a start should not wait for a time slice
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    _raise_descriptor_limit()
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=WorkerOrder)
    loop = new_event_loop()
    try:
        return loop.run_until_complete(_main(order, _emit))
    except (LoadgenError, OSError) as error:
        _emit(Report(progress=Progress(worker=order.worker), final=True, error=str(error)))
        return 1
    finally:
        loop.close()


if __name__ == "__main__":
    sys.exit(main())
