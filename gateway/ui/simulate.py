"""What-if with consequences: a scenario in virtual time under today's picker and under the sliders'.

One `simfleet simulate` at a time, a child that is told what a user would type; its figures go to the page.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
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
        self._child: asyncio.subprocess.Process | None = None
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
        with tempfile.TemporaryDirectory(prefix="simfleet-what-if-") as name:
            folder = Path(name)
            (folder / "stack.yaml").write_text(manifests, encoding="utf-8")
            words = ["-f", str(folder / "stack.yaml"), "--scenario", scenario, "--progress", "lines"]
            if replicas is not None:
                words += ["--replicas", str(replicas)]
            for arm, text in configs.items():
                (folder / f"{arm}.yaml").write_text(text, encoding="utf-8")
                words += ["--epp-config", str(folder / f"{arm}.yaml")]
            if len(configs) == 1:  # the command names arms only where there are several
                words += ["--arm", *configs]
            try:
                self._state |= {"arms": await self._figures([*words, "--json", "-"])}
            except ControlError as error:
                self._state["problem"] = str(error)
            finally:
                self._state["running"] = False

    async def _figures(self, words: list[str]) -> Json:
        """What the command says of each arm. ControlError where it says nothing."""
        child = self._child = await asyncio.create_subprocess_exec(
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
                    child.kill()
                await child.wait()
        if code < 0:
            raise ControlError("stopped")
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
        if self._child is not None and self._child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._child.kill()
        else:
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
