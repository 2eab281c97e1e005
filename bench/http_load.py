"""A load client that costs little: raw asyncio protocols, keep-alive, one request after the other on each.

It counts answers and events, not their content. Runs in a process of its own, so that it can have a core.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from typing import Any, cast

from bench.entry import parser


class _Closed(asyncio.Protocol):
    """One connection in a closed loop: sends the next request when an answer is complete."""

    def __init__(self, request: bytes, end: bytes, counts: list[int], until: Callable[[], bool]) -> None:
        self._request = request
        self._end = end  # what the last bytes of an answer contain
        self._counts = counts  # answers, events
        self._until = until
        self._tail = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not subclasses
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._counts[1] += data.count(b"data: {")
        seen = self._tail + data[-64:]
        if self._end not in seen:
            self._tail = seen[-len(self._end) :]
            return
        self._tail = b""
        self._counts[0] += 1
        assert self._transport is not None
        if self._until():
            self._transport.write(self._request)


def post(path: str, body: dict[str, Any]) -> bytes:
    """An HTTP/1.1 request with a JSON body."""
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(data)}\r\n\r\n".encode() + data


async def closed_loop(
    port: int, request: bytes, end: bytes, connections: int, seconds: float
) -> tuple[list[float], list[int]]:
    """Answers and events per second over `seconds`, after a tenth of them as warm-up; and all of both."""
    loop = asyncio.get_running_loop()
    counts = [0, 0]
    running = True
    transports = []
    for _ in range(connections):
        transport, _ = await loop.create_connection(
            lambda: _Closed(request, end, counts, lambda: running), "127.0.0.1", port
        )
        transports.append(transport)
    await asyncio.sleep(seconds / 10)
    before, began = list(counts), time.monotonic()
    await asyncio.sleep(seconds)
    took = time.monotonic() - began
    rates = [(now - then) / took for now, then in zip(counts, before, strict=True)]
    running = False
    for transport in transports:
        transport.abort()
    return rates, counts


def main() -> None:
    """Reads a job as JSON from stdin, prints its outcome as JSON."""
    parser(__doc__).parse_args()
    import uvloop  # noqa: PLC0415 - only this process needs it

    job = json.load(sys.stdin)
    request = post(job["path"], job["body"])
    work = closed_loop(job["port"], request, job["end"].encode(), job["connections"], job["seconds"])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(work)))


if __name__ == "__main__":
    main()
