"""What is done to the system during a run, in the run's own record: by the timeline, or by hand."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from time import monotonic
from urllib.parse import urlsplit

from loadgen.client.connection import Pool
from loadgen.client.fetch import fetch
from loadgen.client.target import parse_target
from loadgen.client.urls import user_of
from loadgen.errors import LoadgenError
from loadgen.numbers.jsonl import JsonlWriter
from loadgen.records.rundir import EVENTS, EventLine, read_meta
from loadgen.scenario.redaction import Secrets
from loadgen.scenario.scenario import Event

OUTPUT_LIMIT = 2000
CALL_TIMEOUT = 30.0


class Timeline:
    """Does the planned events at their run times and records when each began and how long it took."""

    def __init__(
        self,
        events: tuple[Event, ...],
        run_dir: Path,
        env: Mapping[str, str],
        after: Callable[[], Awaitable[None]] | None = None,
        secrets: Secrets | None = None,
    ) -> None:
        self._events = sorted(events, key=lambda event: event.at)
        self._writer = JsonlWriter(run_dir / EVENTS)
        self._secrets = secrets or Secrets()
        self.env = {**os.environ, **self._secrets.reveal_all(env), "LOADGEN_RUN_DIR": str(run_dir.resolve())}
        self._after = after
        self._processes: set[asyncio.subprocess.Process] = set()
        self.failures: list[str] = []

    async def run(self, t0: float) -> None:
        """All events; one that takes long does not delay the next. What a cancellation cuts off is told."""
        left = deque(self._events)
        try:
            async with asyncio.TaskGroup() as group:
                while left:
                    await asyncio.sleep(max(0.0, t0 + left[0].at - monotonic()))
                    group.create_task(self._do(left.popleft(), t0))
        finally:
            self.failures += [
                f"event {event.name!r} (line {event.line}) was not done: the run ended before it"
                for event in left
            ]

    async def _do(self, event: Event, t0: float) -> None:
        begin = monotonic()
        line = EventLine(t=round(begin - t0, 6), name=event.name, did=event.run or event.url)
        try:
            if event.run is not None:
                await self._command(self._secrets.reveal(event.run), line)
            else:
                await self._call(event, line)
        except asyncio.CancelledError:
            line.output = "cut off by the end of the run"
            raise
        except LoadgenError as error:  # a host that nobody knows: this event's fault, not the run's end
            line.exit, line.output = 1, str(error)
        finally:
            line.took = round(monotonic() - begin, 6)
            line.output = line.output and self._secrets.hide(line.output)
            if line.exit != 0:
                self.failures.append(
                    f"event {event.name!r} (line {event.line}) failed: {line.output or line.exit}"
                )
            self.note(line)
        if self._after is not None:
            await self._after()

    async def _command(self, command: str, line: EventLine) -> None:
        process = await asyncio.create_subprocess_shell(
            command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=self.env
        )
        self._processes.add(process)
        try:
            out, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            self._processes.discard(process)
        line.exit = process.returncode
        line.output = out.decode(errors="replace").strip()[-OUTPUT_LIMIT:] or None

    async def _call(self, event: Event, line: EventLine) -> None:
        url = self._secrets.reveal(event.url or "")
        parts = urlsplit(url)
        target = parse_target(f"{parts.scheme}://{parts.netloc}")
        pool = Pool(asyncio.get_running_loop(), target)
        body = self._secrets.reveal_body((event.body or "").encode())
        headers = {**({"content-type": "application/json"} if body else {}), **user_of(url)}
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            answer = await fetch(
                pool, path, method=event.method, body=body, headers=headers, timeout=CALL_TIMEOUT
            )
        finally:
            pool.close()
        good = answer.outcome == "ok" and answer.status < 400
        line.exit = 0 if good else answer.status or 1
        words = answer.body.decode(errors="replace").strip()[:OUTPUT_LIMIT]
        line.output = answer.error or words or None

    def note(self, line: EventLine) -> None:
        """Put a line into the record at once."""
        self._writer.write(line)
        self._writer.flush()

    def close(self) -> None:
        """Close the file; commands still running were ended with their tasks."""
        with contextlib.suppress(ProcessLookupError):
            for process in self._processes:
                process.kill()
        self._writer.close()


def mark(run_dir: Path, name: str) -> EventLine:
    """Put an event into a run's record by hand, at this moment; on another machine by the wall clock."""
    meta = read_meta(run_dir)
    here = meta.host == socket.gethostname() and meta.t0_monotonic > 0
    moment = monotonic() - meta.t0_monotonic if here else time.time() - meta.t0
    line = EventLine(t=round(moment, 6), name=name, source="mark")
    writer = JsonlWriter(run_dir / EVENTS)
    writer.write(line)
    writer.close()
    return line
