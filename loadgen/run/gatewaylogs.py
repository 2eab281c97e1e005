"""Copies into the run's directory what the logs of gateways and pickers say about this run.

Each request names itself `RUN/ID` (records.CLIENT_ID), so a line that holds the run's token is this run's,
whoever else uses the gateway. The logs go when their stack does, and turn over when they are full: they are
read while the run lasts. What lies on another machine cannot be read, which the report then says.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import monotonic

from kit.logtail import Tail
from loadgen.numbers.jsonl import write_private
from loadgen.records.rundir import ACCESS, DECISIONS
from loadgen.run.fleetlist import Fleet

EVERY = 0.5
SETTLE = 2.0  # seconds that the last lines are waited for; Envoy writes them ten times a second
MOST_BYTES = 512 << 20  # of each log, so that a long run with a hundred pods does not fill the disk


class Copy:
    """One log, read from its present end on; `copied` lines of it were this run's."""

    def __init__(self, source: Path, into: Path, mark: bytes) -> None:
        self.source = source
        self.into = into
        self.copied = 0
        self.full = False
        self._mark = mark
        self._written = 0
        self._tail = Tail(source, from_end=True)
        if self._tail.is_open:
            write_private(into, b"")  # an empty copy says that there is such a log

    def read(self) -> None:
        """Copy what was written since, through a change of files too."""
        for lines in self._tail.pieces():
            self._keep([line for line in lines if self._mark in line])

    def _keep(self, lines: list[bytes]) -> None:
        if not lines or self.full:
            return
        data = b"\n".join(lines) + b"\n"
        with self.into.open("ab") as out:
            out.write(data)
        self.copied += len(lines)
        self._written += len(data)
        self.full = self._written > MOST_BYTES

    def close(self) -> None:
        self._tail.close()


class GatewayLogs:
    """The logs of all gateways and pickers of a run."""

    def __init__(self, token: str) -> None:
        self._mark = f'"{token}/'.encode()
        self._copies: dict[tuple[Path, Path], Copy] = {}

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
        if (path, into) in self._copies or _same(path, into):
            return
        self._copies[path, into] = Copy(path, into, self._mark)

    async def run(self) -> None:
        """Read at intervals until cancelled."""
        while True:
            await asyncio.sleep(EVERY)
            self.read()

    def read(self) -> None:
        for copy in self._copies.values():
            copy.read()

    async def settled(self, attempts: int) -> None:
        """Read until each kind of log has a line for every attempt, or as long as lines may be under way."""
        begin = monotonic()
        while True:
            self.read()
            copied: dict[Path, int] = {}
            for copy in self._copies.values():
                copied[copy.into] = copied.get(copy.into, 0) + copy.copied
            if all(count >= attempts for count in copied.values()) or monotonic() - begin > SETTLE:
                return
            await asyncio.sleep(0.1)

    @property
    def notes(self) -> list[str]:
        """What was left out."""
        return [
            f"{copy.source}: more than {MOST_BYTES >> 20} MiB of it are about this run; the rest is left out"
            for copy in self._copies.values()
            if copy.full
        ]

    def close(self) -> None:
        for copy in self._copies.values():
            copy.close()


def _same(a: Path, b: Path) -> bool:
    return a.resolve() == b.resolve()
