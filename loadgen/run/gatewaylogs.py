"""Copies into the run's directory what the logs of gateways and pickers say about this run.

Each request names itself `RUN/ID` (records.CLIENT_ID), so a line that holds the run's token is this run's,
whoever else uses the gateway. The logs go when their stack does, and turn over when they are full: they are
read while the run lasts. What lies on another machine cannot be read, which the report then says.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from loadgen.numbers.jsonl import write_private
from loadgen.records.rundir import ACCESS, DECISIONS
from loadgen.run.fleetlist import Fleet

EVERY = 0.5
SETTLE = 2.0  # seconds that the last lines are waited for; Envoy writes them ten times a second
PIECE = 1 << 20
MOST_BYTES = 512 << 20  # of each log, so that a long run with a hundred pods does not fill the disk


@dataclass
class Tail:
    """One log, read from its present end on; `copied` lines of it were this run's."""

    source: Path
    into: Path
    mark: bytes
    copied: int = 0
    full: bool = False
    _file: int | None = None
    _rest: bytes = b""
    _written: int = field(default=0, repr=False)

    def open(self) -> None:
        """From the end of what is there; a log that is not there yet is read from its beginning."""
        try:
            self._file = os.open(self.source, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return
        os.lseek(self._file, 0, os.SEEK_END)
        write_private(self.into, b"")  # an empty copy says that there is such a log

    def read(self) -> None:
        """Copy what was written since, through a change of files too."""
        while True:
            if self._file is None and not self._reopen():
                return
            self._drain()
            if not self._turned():
                return

    def _reopen(self) -> bool:
        try:
            self._file = os.open(self.source, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        return True

    def _drain(self) -> None:
        assert self._file is not None
        while data := os.read(self._file, PIECE):
            *lines, self._rest = (self._rest + data).split(b"\n")
            self._keep([line for line in lines if self.mark in line])

    def _keep(self, lines: list[bytes]) -> None:
        if not lines or self.full:
            return
        data = b"\n".join(lines) + b"\n"
        with self.into.open("ab") as out:
            out.write(data)
        self.copied += len(lines)
        self._written += len(data)
        self.full = self._written > MOST_BYTES

    def _turned(self) -> bool:
        """Whether another file stands under the name; the old one has been read to its end."""
        assert self._file is not None
        try:
            there = os.stat(self.source)
        except OSError:  # the stack is gone, or about to begin its next file
            return False
        if os.path.samestat(there, os.fstat(self._file)):
            return False
        self.close()
        self._rest = b""
        return True

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


class GatewayLogs:
    """The logs of all gateways and pickers of a run."""

    def __init__(self, token: str) -> None:
        self._mark = f'"{token}/'.encode()
        self._tails: dict[tuple[Path, Path], Tail] = {}

    def find(self, fleet: Fleet | None, decision_log: str | None, run_dir: Path) -> tuple[str, ...]:
        """Follow what a fleet writes, its decisions as `decision_log` says if it does; those logs."""
        decisions = (decision_log,) if decision_log else fleet.decision_logs if fleet else ()
        for log in decisions:
            self.follow(log, run_dir / DECISIONS)
        for log in fleet.access_logs if fleet else ():
            self.follow(log, run_dir / ACCESS)
        return decisions

    def follow(self, source: str, into: Path) -> None:
        """Begin with a log, if it is not followed already."""
        path = Path(source)
        if (path, into) in self._tails or _same(path, into):
            return
        tail = self._tails[path, into] = Tail(path, into, self._mark)
        tail.open()

    async def run(self) -> None:
        """Read at intervals until cancelled."""
        while True:
            await asyncio.sleep(EVERY)
            self.read()

    def read(self) -> None:
        for tail in self._tails.values():
            tail.read()

    async def settled(self, attempts: int) -> None:
        """Read until each kind of log has a line for every attempt, or as long as lines may be under way."""
        begin = monotonic()
        while True:
            self.read()
            copied: dict[Path, int] = {}
            for tail in self._tails.values():
                copied[tail.into] = copied.get(tail.into, 0) + tail.copied
            if all(count >= attempts for count in copied.values()) or monotonic() - begin > SETTLE:
                return
            await asyncio.sleep(0.1)

    @property
    def notes(self) -> list[str]:
        """What was left out."""
        return [
            f"{tail.source}: more than {MOST_BYTES >> 20} MiB of it are about this run; the rest is left out"
            for tail in self._tails.values()
            if tail.full
        ]

    def close(self) -> None:
        for tail in self._tails.values():
            tail.close()


def _same(a: Path, b: Path) -> bool:
    return a.resolve() == b.resolve()
