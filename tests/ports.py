"""Ports for the servers of tests.

Each process of tests has a slice of its own, so that suites beside each other (workers of pytest-xdist, two
checkouts) never meet; stacks look for theirs from 18000 on.
"""

from __future__ import annotations

import fcntl
import itertools
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

FIRST, SIZE, SLICES = 10000, 500, 16

_locks: list[object] = []  # open for as long as the process lives; the kernel ends the lock with it


def _slice() -> int:
    """The first port of a slice that no other process has."""
    for number in range(SLICES):
        lock = Path(tempfile.gettempdir(), f"simfleet-test-ports-{number}.lock").open("w")  # noqa: SIM115
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            continue
        _locks.append(lock)
        return FIRST + number * SIZE
    raise AssertionError(f"{SLICES} suites run on this machine already")


def _walk() -> Iterator[int]:
    first = _slice()
    yield from itertools.cycle(range(first, first + SIZE))


_ports = _walk()


def free_port(host: str = "127.0.0.1") -> int:
    """A port of this process's slice that nobody listens on; the same comes again after a round only."""
    for port in itertools.islice(_ports, SIZE):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
        return port
    raise AssertionError("every port of the slice is taken")
