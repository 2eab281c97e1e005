"""A `simfleet serve` of one's own: started on a free port below 32768, ready, and ended by its process id."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.ports import free_port

ROOT = Path(__file__).parents[3]


@dataclass
class Reply:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Server:
    """A running server."""

    port: int
    process: subprocess.Popen[str]

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        raw: bytes | None = None,
    ) -> Reply:
        """One request on a connection of its own; `body` goes as JSON, `raw` as it is."""
        data = raw if body is None else json.dumps(body).encode()
        sent = dict(headers or {})
        if body is not None:
            sent.setdefault("content-type", "application/json")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.putrequest(method, path)
            for name, value in sent.items():
                connection.putheader(name, value)
            if data is not None and "transfer-encoding" not in sent:
                connection.putheader("content-length", str(len(data)))
            connection.endheaders(data or None)
            response = connection.getresponse()
            return Reply(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    @property
    def in_flight(self) -> float:
        """Running and waiting, from one page."""
        page = self.request("GET", "/metrics").body.decode()
        pattern = r"^vllm:num_requests_(?:running|waiting)\{.*\} (.*)$"
        return sum(map(float, re.findall(pattern, page, re.MULTILINE)))

    def metric(self, name: str) -> float:
        """The sum of all series of a family on /metrics."""
        lines = self.request("GET", "/metrics").body.decode().splitlines()
        values = [
            float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((name + "{", name + " "))
        ]
        return sum(values)


@contextmanager
def serving(*flags: str, env: Mapping[str, str] | None = None, ready: str = "/health") -> Iterator[Server]:
    """`simfleet serve FLAGS` until the block ends."""
    port = free_port()
    command = [sys.executable, "-m", "simulator", "serve", "--host", "127.0.0.1", "--port", str(port), *flags]
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("VLLM_", "POD_", "NAMESPACE"))}
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**clean, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    server = Server(port, process)
    try:
        _await_ready(server, ready)
        yield server
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate(timeout=10)


def _await_ready(server: Server, path: str) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            raise RuntimeError(
                f"serve ended with {server.process.returncode}: {server.process.communicate()[0]}"
            )
        try:
            if server.request("GET", path).status == 200:
                return
        except OSError:
            time.sleep(0.02)  # between two tries, not in place of one
    raise RuntimeError("serve was not ready within 20 s")
