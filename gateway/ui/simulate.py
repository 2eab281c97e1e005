"""What-if with consequences: a scenario in virtual time under today's picker and under the sliders'.

One `simfleet simulate` at a time, a child that is told what a user would type; its figures go to the page.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import tempfile
from collections import deque
from pathlib import Path
from typing import Any

from gateway.errors import ControlError
from kit.children import python
from kit.printable import one_line

_SIMFLEET = "import sys; from gateway.cli import main; sys.exit(main())"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
_LINES = 5  # of what it says that are kept
TODAY, SLIDERS = "today", "sliders"  # the arms
Json = dict[str, Any]


class Simulations:
    """Simulations of one stack, the last of which is remembered."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None
        self._said: deque[str] = deque(maxlen=_LINES)
        self._state: Json = {"running": False}

    def state(self) -> Json:
        """What is simulated, or was last: scenario, weights, progress, figures by arm, or the problem."""
        return {**self._state, "progress": self._said[-1] if self._said else ""}

    def start(
        self, manifests: str, configs: dict[str, str], scenario: str, replicas: int | None, weights: Json
    ) -> None:
        """Start it. ControlError while one runs, and for a scenario that is not a packaged one.

        manifests: YAML; configs: an EndpointPickerConfig for each arm; replicas: None for the manifests'.
        """
        if self._task is not None and not self._task.done():
            raise ControlError("a simulation is running: stop it first")
        if not _NAME.fullmatch(scenario):
            raise ControlError(f"scenario {scenario!r}: only packaged ones can be simulated here")
        self._said.clear()
        self._state = {"running": True, "scenario": scenario, "weights": weights}
        self._task = asyncio.create_task(self._run(manifests, configs, scenario, replicas))

    async def _run(
        self, manifests: str, configs: dict[str, str], scenario: str, replicas: int | None
    ) -> None:
        try:
            with tempfile.TemporaryDirectory(prefix="simfleet-what-if-") as name:
                words = _words(Path(name), manifests, configs, scenario, replicas)
                self._state["arms"] = await self._figures(words)
        except asyncio.CancelledError:
            self._state["problem"] = "stopped"
            raise
        except (ControlError, OSError, ValueError) as error:  # no room for the files, no program, no JSON
            self._state["problem"] = str(error)
        finally:
            self._state["running"] = False

    async def _figures(self, words: list[str]) -> Json:
        """What the command says of each arm. ControlError where it says nothing."""
        child = await asyncio.create_subprocess_exec(
            *python("-c", _SIMFLEET, "simulate", *words),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            assert child.stderr is not None
            assert child.stdout is not None
            output, _ = await asyncio.gather(child.stdout.read(), self._listen(child.stderr))
            code = await child.wait()
        finally:
            if child.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)  # and what it has started
                await child.wait()
        if code:
            raise ControlError(" ".join(self._said) or f"simfleet simulate ended with status {code}")
        found = json.loads(output)
        rows = found if isinstance(found, list) else [found]
        return {row["arm"]: row for row in rows}

    async def _listen(self, stream: asyncio.StreamReader) -> None:
        while True:
            try:
                line = await stream.readline()
            except ValueError:  # beyond asyncio's limit
                continue
            if not line:
                return
            self._said.append(one_line(line.decode(errors="replace").strip()))

    async def stop(self) -> None:
        """End what runs; nothing where nothing does."""
        task = self._task
        if task is None or task.done():
            return
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _words(
    folder: Path, manifests: str, configs: dict[str, str], scenario: str, replicas: int | None
) -> list[str]:
    """The arguments of the command, whose files are written. Raises OSError."""
    (folder / "stack.yaml").write_text(manifests, encoding="utf-8")
    words = ["-f", str(folder / "stack.yaml"), "--scenario", scenario, "--progress", "lines", "--json", "-"]
    if replicas is not None:
        words += ["--replicas", str(replicas)]
    for arm, text in configs.items():
        (folder / f"{arm}.yaml").write_text(text, encoding="utf-8")
        words += ["--epp-config", str(folder / f"{arm}.yaml")]
    if len(configs) == 1:  # the command names arms only where there are several
        words += ["--arm", *configs]
    return words
