"""Answers without end: what has to be kept of one is bounded, and the request says which bound it was."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from loadgen.client import limits
from loadgen.client.connection import Pool
from loadgen.client.exchange import Exchange
from loadgen.client.target import parse_target
from tests.loadgen.drive import one_exchange
from tests.loadgen.fakes import FakeServer, Reply, Seen, chunk, event, good_stream, sse_head, token

PIECE = b"x" * (1 << 16)
EVENT = event(token(" word"))
BARE = "more than 1 MiB of headers, or of what is no body"
JSON_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
ERROR_HEAD = b"HTTP/1.1 500 Oh\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bounds, reached sooner."""
    monkeypatch.setattr(limits, "MOST_BODY", 3 << 20)
    monkeypatch.setattr(limits, "MOST_EVENT", 2 << 20)
    monkeypatch.setattr(limits, "MOST_EVENTS", 50_000)


def endless(head: bytes, piece: bytes) -> tuple[list[int], Callable[[Seen, Reply], object]]:
    """A script that sends `piece` for ever, and how many bytes it got rid of."""
    sent = [0]

    async def script(_: Seen, reply: Reply) -> None:
        await reply.send(head)
        while True:
            await reply.send(piece)
            sent[0] += len(piece)

    return sent, script


@pytest.mark.parametrize(
    ("head", "piece", "outcome", "words"),
    [
        (JSON_HEAD, chunk(PIECE), "stream_truncated", "a body of more than 3 MiB"),
        (ERROR_HEAD, chunk(PIECE), "upstream_5xx", "(a body of more than 3 MiB)"),
        (sse_head(), chunk(PIECE), "stream_truncated", "one event of more than 2 MiB"),
        (sse_head(), EVENT * 2000, "stream_truncated", "a stream of more than 50,000 events"),
        (b"HTTP/1.1 200 OK\r\nx-endless: ", PIECE, "reset", BARE),
        (b"HTTP/1.1 200 OK\r\n", b"x-many: more\r\n" * 4000, "reset", BARE),
        (b"", b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" * 2000, "reset", BARE),
        (JSON_HEAD + chunk(b"{}") + b"0\r\nx-trailer: ", PIECE, "stream_truncated", BARE),
    ],
    ids=["body", "error", "event", "events", "header", "headers", "interim", "trailer"],
)
def test_an_answer_without_end_is_left(head: bytes, piece: bytes, outcome: str, words: str) -> None:
    sent, script = endless(head, piece)

    async def main() -> Exchange:
        async with FakeServer(script) as server:  # type: ignore[arg-type]
            return await one_exchange(server.url, timeout=20)

    exchange = asyncio.run(main())
    assert exchange.outcome == outcome
    assert words in (exchange.error or "")
    assert sent[0] < 40 << 20


def test_a_long_stream_of_small_events_is_read_to_its_end() -> None:
    async def script(_: Seen, reply: Reply) -> None:
        await reply.send(good_stream(45_000))

    async def main() -> Exchange:
        async with FakeServer(script) as server:
            return await one_exchange(server.url, timeout=30)

    exchange = asyncio.run(main())
    assert exchange.bytes_in > limits.MOST_BODY
    assert exchange.outcome == "ok"


def test_a_connection_is_good_for_the_next_request_after_a_large_answer() -> None:
    """What was no body of one answer does not count against the next."""

    async def script(_: Seen, reply: Reply) -> None:
        await reply.send(good_stream(20_000))

    async def main() -> list[str]:
        async with FakeServer(script) as server:
            pool = Pool(asyncio.get_running_loop(), parse_target(server.url))
            try:
                ends = [await one_exchange(server.url, timeout=30, pool=pool) for _ in range(3)]
            finally:
                pool.close()
            assert server.connections == 1
            return [end.outcome for end in ends]

    assert asyncio.run(main()) == ["ok"] * 3


def test_opening_ends_with_the_request_that_wanted_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that never answers a SYN keeps no task behind the timeouts of its requests."""
    monkeypatch.setattr("loadgen.client.connection.SPARE", 0.1)

    async def main() -> tuple[str, int]:
        loop = asyncio.get_running_loop()
        silent: asyncio.Future[None] = loop.create_future()
        begun = asyncio.Event()

        async def connect(*_: object, **__: object) -> None:
            begun.set()
            await silent

        pool = Pool(loop, parse_target("http://127.0.0.1:1"))
        monkeypatch.setattr(loop, "create_connection", connect)
        done: asyncio.Future[Exchange] = loop.create_future()
        pool.submit(Exchange(b"GET / HTTP/1.1\r\n\r\n", done.set_result, timeout=0.2))
        await asyncio.wait_for(begun.wait(), 10)
        exchange = await asyncio.wait_for(done, 10)
        opening = list(pool._opening)
        await asyncio.wait_for(asyncio.gather(*opening), 10)
        pool.close()
        return exchange.outcome, len(pool._opening)

    assert asyncio.run(main()) == ("timeout", 0)
