"""512 streams of a token every 20 ms: how late tokens leave, seen by a client on another core, and the
server's CPU.

python bench/paced.py. 32 replicas of 16 streams in one process, their steps spread over the 20 ms. The lag
of a token is its arrival minus its place on its stream's 20 ms grid; the grid's origin is the stream's
earliest token. Targets: 99th percentile under 1 ms, under half a core.
"""

from __future__ import annotations

import asyncio
import json
import os
import time

import uvloop

from bench.client import Server, connect, percentile, request
from bench.entry import parser

REPLICAS, STREAMS, STEP, PORT = 32, 16, 0.020, 18082
WARM_SECONDS, SECONDS = 2.0, 6.0
FLAT = {"c0": STEP * 1e6, "c1": 0, "c2": 0, "k": 1, "c3": 0, "c4": 0, "c5": 0}


class Stream:
    """Arrival times of the events of one stream."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_data(self, data: bytes) -> None:
        self.times.extend([time.monotonic()] * data.count(b"data: {"))

    def lags(self, since: float, until: float) -> list[float]:
        offsets = [t - number * STEP for number, t in enumerate(self.times) if since <= t < until]
        origin = min(offsets)
        return [offset - origin for offset in offsets]


async def measure(server: Server) -> tuple[list[float], float, int]:
    """(lags, the server's share of a core, tokens that arrived in the time measured)."""
    body = json.dumps(
        {"prompt": "p", "max_tokens": 20_000, "stream": True, "ignore_eos": True, "temperature": 1}
    ).encode()
    streams: list[Stream] = []
    began = time.monotonic()
    for replica in range(REPLICAS):
        host = f"127.0.6.{replica + 1}"
        made = [Stream() for _ in range(STREAMS)]
        wires = [await connect(host, PORT, stream.on_data) for stream in made]
        due = began + 0.5 + replica * (STEP * 3 + STEP / REPLICAS)  # a slot of its own within the 20 ms
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        for wire in wires:
            wire.transport.write(request("/v1/completions", host, body))
        streams += made
    await asyncio.sleep(WARM_SECONDS)
    since, cpu = time.monotonic(), server.cpu_seconds()
    await asyncio.sleep(SECONDS)
    until = time.monotonic()
    share = (server.cpu_seconds() - cpu) / (until - since)
    lags = [lag for stream in streams for lag in stream.lags(since, until)]
    return lags, share, len(lags)


def main() -> None:
    parser(__doc__).parse_args()
    os.sched_setaffinity(0, {1})
    fleet = ["fleet", "--replicas", str(REPLICAS), "--address", "127.0.6.1", "--port", str(PORT)]
    flags = ["--model", "bench", "--step-model", json.dumps(FLAT)]
    with (
        Server([*fleet, *flags], f"127.0.6.{REPLICAS}", PORT, pin=0) as server,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        lags, share, tokens = runner.run(measure(server))
    rate = REPLICAS * STREAMS / STEP
    print(f"tokens           {tokens / SECONDS:9.0f} /s of {rate:.0f} intended")
    print(f"lag p50          {percentile(lags, 50) * 1e3:9.3f} ms")
    print(f"lag p99          {percentile(lags, 99) * 1e3:9.3f} ms   target 1")
    print(f"lag p99.9        {percentile(lags, 99.9) * 1e3:9.3f} ms")
    print(f"server           {share:9.3f} of a core   target 0.5")


if __name__ == "__main__":
    main()
