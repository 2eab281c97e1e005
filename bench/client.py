"""What the benchmarks share: a server as a child process, its CPU time, and bare HTTP clients."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from bench.entry import ROOT
from kit.children import python

_TICK = os.sysconf("SC_CLK_TCK")


class Server:
    """`python -m simulator ARGS` as a child; ended by its process id."""

    def __init__(self, args: Sequence[str], host: str, port: int, pin: int | None = None) -> None:
        self._process = subprocess.Popen(
            python("-m", "simulator", *args), cwd=ROOT, stdout=subprocess.DEVNULL
        )
        if pin is not None:
            os.sched_setaffinity(self._process.pid, {pin})
        self._await(host, port)

    def _await(self, host: str, port: int) -> None:
        for _ in range(1000):
            with socket.socket() as sock:
                if sock.connect_ex((host, port)) == 0:
                    return
            if self._process.poll() is not None:
                raise RuntimeError(f"the server ended with {self._process.returncode}")
            time.sleep(0.01)
        raise RuntimeError("the server does not listen")

    @property
    def pid(self) -> int:
        return self._process.pid

    def cpu_seconds(self) -> float:
        """User and system time so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICK

    def resident_mb(self) -> float:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise RuntimeError("no VmRSS")

    def stop(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=20)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Wire(asyncio.Protocol):
    """A connection that hands each piece of data to a callback."""

    def __init__(self, on_data: Callable[[bytes], None]) -> None:
        self._on_data = on_data
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._on_data(data)


async def connect(host: str, port: int, on_data: Callable[[bytes], None]) -> Wire:
    """Connect; `on_data` gets every read."""
    loop = asyncio.get_running_loop()
    _, wire = await loop.create_connection(lambda: Wire(on_data), host, port)
    return wire


def request(path: str, host: str, body: bytes | None = None) -> bytes:
    """The bytes of an HTTP/1.1 request: GET, or POST with a JSON body."""
    if body is None:
        return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def percentile(values: Sequence[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
