"""Load from the page: one `loadgen run` at a time, a child that is told what a user would type."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
from collections import deque
from pathlib import Path
from typing import Any

from gateway.errors import ControlError
from kit.children import end_group, python
from kit.printable import one_line

LINES = 60  # of its output that are kept
END_S = 10.0  # that it has to end in after it was asked to
_LOADGEN = "import sys; from loadgen.cli import main; sys.exit(main())"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
Json = dict[str, Any]


class Load:
    """What `loadgen` does for one stack."""

    def __init__(self, stack: str, state_dir: Path) -> None:
        self._stack = stack
        bin_directory = Path(sys.executable).parent  # scenarios ask `simfleet ps` for the fleet
        path = f"{bin_directory}{os.pathsep}{os.environ.get('PATH', '')}"
        self._env = {
            **os.environ,
            "PATH": path,
            "SIMFLEET_STACK": stack,
            "SIMFLEET_STATE_DIR": str(state_dir),
        }
        self._child: asyncio.subprocess.Process | None = None
        self._listing: asyncio.subprocess.Process | None = None
        self._tasks: set[asyncio.Task[None]] = set()  # that read what children say
        self._lines: deque[str] = deque(maxlen=LINES)
        self._command = ""
        self._known: list[Json] | None = None

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.returncode is None

    def state(self) -> Json:
        """What runs, or ran last, and the last lines that it printed."""
        code = self._child.returncode if self._child else None
        return {"running": self.running, "command": self._command, "exit": code, "lines": list(self._lines)}

    async def scenarios(self) -> list[Json]:
        """The packaged scenarios as `loadgen scenarios` lists them; ControlError when it cannot."""
        if self._known is None:
            child = self._listing = await asyncio.create_subprocess_exec(
                *python("-c", _LOADGEN, "scenarios"),
                env=self._env,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
            output, _ = await child.communicate()
            if child.returncode:
                raise ControlError(f"`loadgen scenarios` ended with status {child.returncode}")
            pairs = (line.split(None, 1) for line in output.decode(errors="replace").splitlines())
            self._known = [{"name": p[0], "about": p[1]} for p in pairs if len(p) == 2]
        return self._known

    async def start(self, url: str, scenario: str, model: str, rate: float | None, duration_s: float) -> None:
        """Start it; ControlError while one runs, and for what cannot be asked.

        scenario: a packaged one's name, which has its own load; or empty for plain requests to `model`,
        `rate` of them a second.
        """
        if self.running:
            raise ControlError("a load is running: stop it first")
        if scenario and rate is not None:
            raise ControlError(f"scenario {scenario} has a load of its own: leave the rate out")
        if scenario and not _NAME.fullmatch(scenario):
            raise ControlError(f"scenario {scenario!r}: only packaged ones can be started here")
        if (rate is not None and not 0 < rate <= 10_000) or not 0 < duration_s <= 86_400:
            raise ControlError(
                "the rate must be above 0 and at most 10000 a second, the duration at most a day"
            )
        words = ["run", *([scenario] if scenario else [f"--model={model}", "--rate", f"{rate or 10:g}"])]
        words += ["--target", url, "--name", self._stack, "--duration", f"{duration_s:g}s"]
        words += ["--no-selftest"]
        self._lines.clear()
        self._command = "loadgen " + " ".join(words)
        self._child = await asyncio.create_subprocess_exec(
            *python("-c", _LOADGEN, *words),
            env=self._env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        reading = asyncio.create_task(self._read(self._child))
        self._tasks.add(reading)
        reading.add_done_callback(self._tasks.discard)

    async def _read(self, child: asyncio.subprocess.Process) -> None:
        assert child.stdout is not None
        while True:
            try:
                line = await child.stdout.readline()
            except ValueError:  # a line beyond asyncio's limit
                continue
            if not line:
                break
            self._lines.append(one_line(line.decode(errors="replace").rstrip("\r\n")))
        await child.wait()

    async def close(self) -> None:
        """End everything that was started."""
        await self.stop()
        if self._listing is not None and self._listing.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._listing.kill()
            await self._listing.wait()

    async def stop(self) -> None:
        """Ask it to end, as Ctrl-C does, and end it where it does not."""
        child = self._child
        if child is None or child.returncode is not None:
            return
        await end_group(child, END_S)
