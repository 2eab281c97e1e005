"""The worker processes of a run: started, told when to begin, listened to, ended; none left behind."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence

import msgspec

from kit.children import python
from loadgen.errors import RunError, WorkerError
from loadgen.numbers.progress import Report
from loadgen.run.worker import WorkerOrder

READY_TIMEOUT = 120.0
END_TIMEOUT = 10.0
_reports = msgspec.json.Decoder(Report)


def _ending(code: int) -> str:
    """How a process ended, in words."""
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"


class Crew:
    """`start`, then `begin`, then `wait`; `stop` at any time, `close` always."""

    def __init__(self, orders: Sequence[WorkerOrder], on_report: Callable[[Report], None]) -> None:
        self._orders = orders
        self._on_report = on_report
        self._processes: list[asyncio.subprocess.Process] = []
        self.stopped = False

    async def start(self) -> None:
        """Start all workers and wait until each has read ahead; RunError when one cannot."""
        for order in self._orders:
            process = await asyncio.create_subprocess_exec(
                *python("-m", "loadgen.run.worker"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=1 << 22,
            )
            self._processes.append(process)
            self._say(process, msgspec.json.encode(order).decode())
        await asyncio.gather(*(self._ready(process) for process in self._processes))

    async def _ready(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        try:
            line = await asyncio.wait_for(process.stdout.readline(), READY_TIMEOUT)
        except TimeoutError:
            raise RunError(f"a worker was not ready after {READY_TIMEOUT:g} s") from None
        if b'"ready"' in line:
            return
        error = _reports.decode(line).error if line else None
        raise RunError(error or f"a worker ended before it was ready, exit code {await process.wait()}")

    @staticmethod
    def _say(process: asyncio.subprocess.Process, line: str) -> None:
        if process.stdin is not None and not process.stdin.is_closing():
            process.stdin.write(f"{line}\n".encode())

    def begin(self, t0: float) -> None:
        """All workers start their schedule at `t0` on the monotonic clock."""
        for process in self._processes:
            self._say(process, f"start {t0!r}")

    def stop(self) -> None:
        """First call: nothing more is sent. Second: what runs is cut off."""
        self.stopped = True
        for process in self._processes:
            self._say(process, "stop")

    async def wait(self) -> None:
        """Until all workers have said their last word; WorkerError with the first worker's error."""
        results = await asyncio.gather(*(self._listen(process) for process in self._processes))
        errors = [error for error in results if error is not None]
        if errors:
            raise WorkerError("; ".join(dict.fromkeys(errors)))

    async def _listen(self, process: asyncio.subprocess.Process) -> str | None:
        assert process.stdout is not None
        error: str | None = None
        last: Report | None = None
        while line := await process.stdout.readline():
            last = _reports.decode(line)
            self._on_report(last)
            if last.error is not None:
                error = last.error
                self.stop()
                self.stop()
        code = await process.wait()
        if error is None and (last is None or not last.final):
            error = f"a worker died in the middle of the run ({_ending(code)})"
            self.stop()
            self.stop()
        return error

    async def close(self) -> None:
        """End whatever still runs, by its process id."""
        for process in self._processes:
            if process.stdin is not None:
                process.stdin.close()
        for process in self._processes:
            if process.returncode is None:
                try:
                    await asyncio.wait_for(process.wait(), END_TIMEOUT)
                except TimeoutError:
                    process.kill()
                    await process.wait()
