"""What a request was made of goes with it, without a garbage collection: those are rare on purpose.

A circle of references in each request would grow a busy fleet by gigabytes between two collections.
"""

from __future__ import annotations

import asyncio
import gc
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from simulator.config.resolve import parse_args
from simulator.fleet.fleet import Fleet, ReplicaSpec
from simulator.server.answers.generation import Generation, Sequence
from simulator.server.driver import Driver
from simulator.server.http.connection import Connection
from simulator.server.http.deadline import Deadline
from simulator.server.http.exchange import Exchange
from simulator.server.http.incoming import Incoming
from simulator.server.http.listener import Listener
from simulator.server.http.reader import Reader
from simulator.server.http.writer import Writer
from simulator.server.metrics.exposition import Exposition
from simulator.server.prepared import Prepared
from simulator.server.replica import Replica
from simulator.server.routes.generate import GenerateCall
from tests.ports import free_port
from tests.simulator.server.inprocess import run
from tests.soaking import ask_all

COUNT = 20
OF_A_REQUEST = (Incoming, Writer, Exchange, GenerateCall, Generation, Sequence)
OF_A_CONNECTION = (Connection, Deadline, Reader)
COMPLETION: dict[str, Any] = {"model": "m", "prompt": "x", "max_tokens": 3}
CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 3}


@contextmanager
def uncollected() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def alive(*kinds: type) -> Counter[str]:
    return Counter(type(one).__name__ for one in gc.get_objects() if isinstance(one, kinds))


def post(path: str, body: dict[str, Any]) -> bytes:
    data = json.dumps(body).encode()
    return b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (path.encode(), len(data), data)


REQUESTS = {
    "whole": (post("/v1/completions", COMPLETION), False),
    "stream": (post("/v1/completions", {**COMPLETION, "stream": True}), True),
    "many": (post("/v1/completions", {**COMPLETION, "n": 100, "temperature": 1}), False),
    "logprobs": (post("/v1/completions", {**COMPLETION, "logprobs": 2}), False),
    "chat": (post("/v1/chat/completions", CHAT), False),
    "chat-stream": (post("/v1/chat/completions", {**CHAT, "stream": True}), True),
    "responses": (post("/v1/responses", {"model": "m", "input": "x", "max_output_tokens": 3}), False),
    "messages": (post("/v1/messages", CHAT), False),
    "framework": (b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n", False),
    "metrics": (b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n", False),
}


@pytest.mark.parametrize("kind", REQUESTS)
def test_an_answered_request_leaves_nothing(kind: str) -> None:
    async def main() -> tuple[Counter[str], Counter[str]]:
        config = parse_args(["--model", "m", "--latency", "zero"], {})
        async with Fleet() as fleet:
            port = free_port()
            await fleet.add(ReplicaSpec("p", "127.0.0.1", (port,), config))
            with uncollected():
                before = alive(*OF_A_REQUEST, *OF_A_CONNECTION)
                requests = iter([REQUESTS[kind]] * COUNT)
                assert await ask_all([("127.0.0.1", port)], requests, lambda _: True, each=5) == COUNT
                listener = fleet._members["p"].listeners[0]
                await listener.wait_closed()
                return before, alive(*OF_A_REQUEST, *OF_A_CONNECTION)

    before, after = run(main())
    left = after - before
    for kind_of_object, count in left.items():
        assert count < 5, (kind_of_object, left)  # what a last frame still holds, and no one for each request


def test_a_restarted_replica_leaves_its_engines_state_only() -> None:
    """Sockets, routes, metrics and driver go at once; circles inside an engine wait for a collection."""

    async def main() -> Counter[str]:
        config = parse_args(["--model", "m", "--latency", "zero"], {})
        async with Fleet() as fleet:
            await fleet.add(ReplicaSpec("p", "127.0.0.1", (free_port(),), config))
            with uncollected():
                for _ in range(COUNT):
                    await fleet.restart("p")
                    await asyncio.sleep(0)  # the loop closes what was given up
                return alive(Replica, Prepared, Driver, Exposition, Listener)

    for kind, count in run(main()).items():
        assert count < 5, (kind, count)
