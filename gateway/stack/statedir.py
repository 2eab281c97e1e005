"""Directories of running stacks: one per name, held by a lock, gone when the stack is.

One comes whole and goes whole: it is made and deleted under another name, so that no other command ever sees
half of it.

$XDG_RUNTIME_DIR/simfleet, else ~/.cache/simfleet, else ./.simfleet; SIMFLEET_STATE_DIR names another.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from gateway.errors import ControlError, UsageError

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
_ASIDE = ".simfleet-"  # of names under which directories are made and deleted
_MAX_SOCKET_PATH = 100  # sun_path has 108 bytes


def state_root() -> Path:
    """Where stacks have their directories; the first place that can be written and has a short path."""
    if named := os.environ.get("SIMFLEET_STATE_DIR"):
        return Path(named)
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    candidates = [Path(runtime) / "simfleet"] if runtime else []
    candidates += [Path.home() / ".cache" / "simfleet", Path.cwd() / ".simfleet"]
    for candidate in candidates:
        if len(str(candidate)) + 60 > _MAX_SOCKET_PATH:
            continue
        try:
            candidate.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(candidate, os.W_OK):
            return candidate
    tried = ", ".join(map(str, candidates))
    raise UsageError(f"no directory for the state of a stack (tried {tried}); name one in SIMFLEET_STATE_DIR")


class StackDirectory:
    """Files of one stack: control socket, logs, configurations."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: IO[str] | None = None

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def socket(self) -> Path:
        return self.path / "control.sock"

    @property
    def log(self) -> Path:
        """What `up` prints."""
        return self.path / "up.log"

    @property
    def picker_logs(self) -> Path:
        return self.path / "pickers"

    @property
    def gateways(self) -> Path:
        return self.path / "gateways"

    def hold(self) -> None:
        """Create the directory and hold it. Raises UsageError when a running stack has it."""
        fresh = self._aside("new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700, parents=True)
        lock = (fresh / "lock").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        lock.write(str(os.getpid()))
        lock.flush()
        self.remove_left()
        try:
            fresh.rename(self.path)
        except OSError:
            lock.close()
            shutil.rmtree(fresh)
            raise UsageError(
                f"a stack named {self.name!r} is running: `simfleet down --name {self.name}`, "
                "or choose another --name"
            ) from None
        self._lock = lock

    def is_held(self) -> bool:
        """Whether a running process holds it."""
        try:
            with (self.path / "lock").open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def remove(self) -> None:
        """Delete it; nobody sees it from the first moment on."""
        gone = self._aside("gone")
        try:
            self.path.rename(gone)
        except OSError:
            gone = self.path
        shutil.rmtree(gone, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def remove_left(self) -> None:
        """Delete what a killed stack left; nothing while a process holds it."""
        try:
            with (self.path / "lock").open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(lock.fileno()), (self.path / "lock").stat()):
                    self.remove()
        except BlockingIOError:
            return
        except FileNotFoundError:
            if self.path.is_dir() and any(self.path.iterdir()) and not (self.path / "lock").exists():
                shutil.rmtree(self.path, ignore_errors=True)  # no stack's directory: theirs come whole

    def _aside(self, why: str) -> Path:
        return self.path.with_name(f"{_ASIDE}{self.name}-{why}-{os.getpid()}")


def stack_directory(name: str) -> StackDirectory:
    """The directory of the stack `name`; it need not exist. Raises UsageError for a bad name."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"--name {name!r}: at most 40 lower-case letters, digits and hyphens")
    return StackDirectory(state_root() / name)


def running_stacks() -> Iterator[StackDirectory]:
    """The stacks that run; directories of killed ones are removed on the way."""
    root = state_root()
    for path in sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith(_ASIDE)):
        directory = StackDirectory(path)
        if directory.is_held():
            yield directory
        elif (path / "lock").exists():
            directory.remove_left()


def find_stack(name: str | None) -> StackDirectory:
    """The running stack `name`, or the only one. Raises ControlError."""
    running = list(running_stacks())
    names = ", ".join(d.name for d in running)
    if name is not None:
        found = next((d for d in running if d.name == name), None)
        if found is None:
            raise ControlError(
                f"no stack named {name!r} is running" + (f"; running: {names}" if names else "")
            )
        return found
    if len(running) == 1:
        return running[0]
    if not running:
        raise ControlError("no stack is running; start one with `simfleet up`")
    raise ControlError(f"several stacks are running, choose one with --name: {names}")
