"""Directories of running stacks: one per name, held by a lock, gone when the stack is.

One comes whole and goes whole: it is made and deleted under another name, so that no other command ever sees
half of it. Only a directory that a stack made for itself is ever deleted (owned.py).

$XDG_RUNTIME_DIR/simfleet, else ~/.cache/simfleet, else ./.simfleet; SIMFLEET_STATE_DIR names another.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from gateway.errors import ControlError, UsageError
from gateway.stack import owned
from gateway.stack.claim import claim
from gateway.stack.claim import holder as claim_holder

DEFAULT_NAME = "default"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
_MAX_SOCKET_PATH = 107  # bytes; sun_path has 108, one of them for the end


def state_root() -> Path:
    """Where stacks have their directories; the first place that can be written and has a short path.

    UsageError when there is none.
    """
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
        self._claim: socket.socket | None = None

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
        """Create the directory and hold it.

        Raises UsageError when a running stack has it, when something that is not a stack's stands there, and
        when it cannot be made.
        """
        if len(os.fsencode(self.socket)) > _MAX_SOCKET_PATH:
            raise UsageError(
                f"{self.path}: too long a path for a socket, {_MAX_SOCKET_PATH} bytes at most with its name; "
                "name a shorter one in SIMFLEET_STATE_DIR"
            )
        try:
            self._claim = claim(self.path)
        except OSError:
            raise self.taken() from None
        try:
            self._make()
        except OSError as error:
            raise UsageError(f"no directory for the stack: {why(error)}") from error
        finally:
            if self._lock is None:
                self._let_go()

    def _make(self) -> None:
        self.remove_left()
        if self.is_held():
            raise self.taken()
        with contextlib.ExitStack() as undo:
            with owned.made(self.path) as fresh:
                lock = undo.enter_context((fresh / "lock").open("w"))
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                lock.write(str(os.getpid()))
                lock.flush()
            undo.pop_all()
        self._lock = lock

    def taken(self) -> UsageError:
        """Why a stack of this name cannot start, or be found."""
        if self.is_held():
            return UsageError(
                f"a stack named {self.name!r} is running: `simfleet down --name {self.name}`, "
                "or choose another --name"
            )
        return UsageError(self.lost() or f"a stack named {self.name!r} is starting or ending: try again")

    def lost(self) -> str | None:
        """What to say of a stack that runs though its directory is gone; None when there is none."""
        pid = claim_holder(self.path)
        if pid is None or self.is_held():
            return None
        return (
            f"a stack named {self.name!r} is running (pid {pid or 'unknown'}), but its directory {self.path} "
            f"is gone and it cannot be asked any more: end it with `kill {pid or 'PID'}`"
        )

    def is_held(self) -> bool:
        """Whether a running process holds it."""
        if not owned.is_ours(self.path):
            return False
        try:
            with (self.path / "lock").open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def holder(self) -> int | None:
        """The process id of who holds it, while somebody does."""
        try:
            text = (self.path / "lock").read_text(encoding="ascii")
        except OSError:
            return None
        return int(text) if text.isdecimal() and self.is_held() else None

    def remove(self) -> None:
        """Delete the directory that we hold, and only that: another one may stand there since it was lost."""
        if self._lock is not None and self._has_lock(self._lock):
            self._drop_claim()  # before the directory: who sees that it is gone may take the name
            owned.remove(self.path)
        self._let_go()

    def remove_left(self) -> None:
        """Delete what a killed stack left; nothing while a process holds it."""
        if not owned.is_ours(self.path):
            return
        try:
            with (self.path / "lock").open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._has_lock(lock):
                    owned.remove(self.path)
        except (BlockingIOError, FileNotFoundError):
            return

    def _has_lock(self, lock: IO[str]) -> bool:
        """Whether `lock` is the one in the directory that stands there."""
        try:
            found = (self.path / "lock").stat()
        except OSError:
            return False
        return os.path.samestat(os.fstat(lock.fileno()), found) and owned.is_ours(self.path)

    def _drop_claim(self) -> None:
        if self._claim is not None:
            self._claim.close()
            self._claim = None

    def _let_go(self) -> None:
        self._drop_claim()
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def why(error: OSError) -> str:
    """An error of the system with the file that it is about."""
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename else reason


def stack_directory(name: str) -> StackDirectory:
    """The directory of the stack `name`; it need not exist. Raises UsageError for a bad name."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"--name {name!r}: at most 40 lower-case letters, digits and hyphens")
    return StackDirectory(state_root() / name)


def running_stacks() -> Iterator[StackDirectory]:
    """The stacks that run; directories of killed ones are removed on the way."""
    root = state_root()
    for path in sorted(root.iterdir()) if root.is_dir() else ():
        if not path.name.startswith(owned.ASIDE) and owned.is_ours(path):
            directory = StackDirectory(path)
            if directory.is_held():
                yield directory
            else:
                directory.remove_left()


def find_stack(name: str | None) -> StackDirectory:
    """The running stack `name`, or the only one. Raises ControlError."""
    running = list(running_stacks())
    names = ", ".join(d.name for d in running)
    if name is not None:
        found = next((d for d in running if d.name == name), None)
        if found is None:
            lost = stack_directory(name).lost()
            raise ControlError(
                lost or f"no stack named {name!r} is running" + (f"; running: {names}" if names else "")
            )
        return found
    if len(running) == 1:
        return running[0]
    if not running:
        lost = stack_directory(DEFAULT_NAME).lost()
        raise ControlError(lost or "no stack is running; start one with `simfleet up`")
    raise ControlError(f"several stacks are running, choose one with --name: {names}")
