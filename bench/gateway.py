"""What the gateway costs: added latency of Envoy and the reference picker against a pod asked directly.

`python bench/gateway.py [--rates 50,500] [--seconds 10]` brings a stack of three instant replicas up, sends
the same requests open loop to one pod and through the gateway in turn, and prints p50 and p99 of both, their
difference, and the highest rate that the gateway sustains (closed loop, 32 in flight). Latency counts from
the moment a request is written. Everything shares this machine's cores, as it does for a user.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import tempfile
import time
from typing import Any, cast
from urllib.parse import urlsplit

import httptools
import uvloop

from bench.entry import ROOT, parser
from kit.children import python


class Connection(asyncio.Protocol):
    """One keep-alive connection; one request at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.parser = httptools.HttpResponseParser(self)
        self.done: asyncio.Future[int] | None = None
        self.is_open = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        status = self.parser.get_status_code()
        self.parser = httptools.HttpResponseParser(self)
        if self.done is not None and not self.done.done():
            self.done.set_result(status)

    def connection_lost(self, error: Exception | None) -> None:
        self.is_open = False
        if self.done is not None and not self.done.done():
            self.done.set_exception(ConnectionError("closed"))

    async def ask(self, request: bytes) -> int:
        self.done = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self.done


class Client:
    """A pool of connections to one address."""

    def __init__(self, url: str, body: dict[str, Any]) -> None:
        place = urlsplit(url)
        self.host, self.port = place.hostname, place.port
        self.body = body
        self.idle: list[Connection] = []
        self.count = 0

    def request(self) -> bytes:
        self.count += 1
        payload = json.dumps({**self.body, "prompt": f"{self.body['prompt']} {self.count}"}).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nHost: {self.host}\r\ncontent-type: application/json\r\n"
        return f"{head}content-length: {len(payload)}\r\n\r\n".encode() + payload

    async def ask(self) -> float:
        """Seconds from writing a request to the last byte of its answer; an error unless it is 200."""
        self.idle = [connection for connection in self.idle if connection.is_open]
        if self.idle:
            connection = self.idle.pop()
        else:
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_connection(Connection, self.host, self.port)
        request = self.request()
        start = time.perf_counter()
        status = await connection.ask(request)
        took = time.perf_counter() - start
        if status != 200:
            raise RuntimeError(f"status {status} from {self.host}:{self.port}")
        self.idle.append(connection)
        return took


async def open_loop(client: Client, rate: float, seconds: float) -> list[float]:
    """Latencies of requests started on an absolute schedule."""
    begin = time.perf_counter() + 0.05
    tasks = []
    for i in range(int(rate * seconds)):
        delay = begin + i / rate - time.perf_counter()
        if delay > 0:
            await asyncio.sleep(delay)
        tasks.append(asyncio.create_task(client.ask()))
    return list(await asyncio.gather(*tasks))


async def closed_loop(client: Client, users: int, seconds: float) -> float:
    """Requests per second of `users` that ask again as soon as they are answered."""
    end = time.perf_counter() + seconds
    counts = [0] * users

    async def user(i: int) -> None:
        while time.perf_counter() < end:
            await client.ask()
            counts[i] += 1

    begin = time.perf_counter()
    await asyncio.gather(*(user(i) for i in range(users)))
    return sum(counts) / (time.perf_counter() - begin)


def quantile(values: list[float], q: float) -> float:
    """Milliseconds."""
    return 1000 * sorted(values)[min(len(values) - 1, int(q * len(values)))]


async def measure(url: str, pod: str, body: dict[str, Any], rates: list[float], seconds: float) -> None:
    gateway, direct = Client(url, body), Client(pod, body)
    for client in (gateway, direct):
        await open_loop(client, 50, 1.0)  # connections, caches, code paths
    print(f"{'rate/s':>7} {'':9} {'p50 ms':>8} {'p99 ms':>8} {'mean ms':>8}")
    for rate in rates:
        alone, through = [], []
        for _ in range(2):  # interleaved: the machine's mood falls on both
            alone += await open_loop(direct, rate, seconds / 2)
            through += await open_loop(gateway, rate, seconds / 2)
        for name, values in (("direct", alone), ("gateway", through)):
            mean = 1000 * statistics.fmean(values)
            print(
                f"{rate:7g} {name:9} {quantile(values, 0.5):8.2f} {quantile(values, 0.99):8.2f} {mean:8.2f}"
            )
        added = [quantile(through, q) - quantile(alone, q) for q in (0.5, 0.99)]
        print(f"{rate:7g} {'added':9} {added[0]:8.2f} {added[1]:8.2f}")
    for name, client in (("direct", direct), ("gateway", gateway)):
        print(f"highest rate, {name}, 32 in flight: {await closed_loop(client, 32, 5.0):.0f} requests/s")


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--rates", default="50,500")
    options.add_argument("--seconds", type=float, default=10.0)
    options.add_argument("up", nargs="*", help="more arguments of `simfleet up`, after --")
    arguments = options.parse_args()
    state = tempfile.mkdtemp(prefix="bench")
    environment = {**os.environ, "SIMFLEET_STATE_DIR": state}
    simfleet = python("-c", "import sys; from gateway.cli import main; sys.exit(main())")
    up = [*simfleet, "up", "--name", "bench", "--detach", "--epp", "reference", *arguments.up]
    subprocess.run(up, env=environment, cwd=ROOT, check=True)
    try:
        ps = subprocess.run(
            [*simfleet, "ps", "--format", "json"], env=environment, cwd=ROOT, check=True, capture_output=True
        )
        stack = json.loads(ps.stdout)["stacks"][0]
        body = {"model": stack["pods"][0]["models"][0], "prompt": "What do reviewers think", "max_tokens": 16}
        rates = [float(rate) for rate in arguments.rates.split(",")]
        uvloop.run(measure(stack["url"], stack["pods"][0]["urls"][0], body, rates, arguments.seconds))
    finally:
        subprocess.run([*simfleet, "down", "--name", "bench"], env=environment, cwd=ROOT, check=False)
        os.rmdir(state)


if __name__ == "__main__":
    main()
