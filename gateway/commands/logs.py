"""`simfleet logs`: the last lines of a stack's log files, and those that come."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from gateway.errors import ControlError
from gateway.machine.processes import tail_of
from gateway.stack.statedir import StackDirectory
from kit.console import say

POLL_S = 0.1


def log_files(directory: StackDirectory) -> Iterator[tuple[str, Path]]:
    """(name, file) of every log: up, each picker's, each gateway's own and its access log."""
    yield "up", directory.log
    for path in sorted(directory.picker_logs.glob("*.log")):
        yield path.stem, path
    for gateway in sorted(p for p in directory.gateways.glob("*") if p.is_dir()):
        yield gateway.name, gateway / "envoy.log"
        yield f"{gateway.name}/access", gateway / "access.log"


def logs(directory: StackDirectory, what: str | None, lines: int, *, follow: bool) -> int:
    """Print them; with `follow` until the stack ends or Ctrl-C. Raises ControlError for an unknown name."""
    every = dict(log_files(directory))
    chosen = {n: p for n, p in every.items() if what is None or what in n}
    if not chosen:
        raise ControlError(f"no log {what!r}; there are: {', '.join(every)}")
    position = {}
    for name, path in chosen.items():
        position[name] = path.stat().st_size if path.exists() else 0
        text = tail_of(path, lines)
        if text and len(chosen) > 1:
            say(f"==> {name} <==")
        if text:
            say(text)
    try:
        while follow and directory.is_held():
            _print_new(chosen, position)
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        pass
    return 0


def _print_new(chosen: dict[str, Path], position: dict[str, int]) -> None:
    for name, path in chosen.items():
        try:
            with path.open("rb") as file:
                if file.seek(0, os.SEEK_END) < position[name]:
                    position[name] = 0  # a new file after a rotation
                file.seek(position[name])
                data = file.read()
        except FileNotFoundError:
            continue
        end = data.rfind(b"\n") + 1
        position[name] += end
        for line in data[:end].decode(errors="replace").splitlines():
            say(f"{name}: {line}" if len(chosen) > 1 else line)
