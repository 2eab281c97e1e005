"""The synchronous writer: nothing waits, slow readers are kept apart, and a round's pieces leave together."""

from __future__ import annotations

import asyncio
from typing import Any

from simulator.server.http.writer import Rounds, Writer


class Transport:
    """A server's `send` that takes messages at once, or waits while it is full."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.writable = asyncio.Event()
        self.writable.set()

    async def send(self, message: Any) -> None:
        if not self.writable.is_set():
            await self.writable.wait()
        self.messages.append(message)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages)


def run(test: Any) -> None:
    asyncio.run(test())


def test_writes_without_a_task() -> None:
    async def check() -> None:
        transport = Transport()
        writer = Writer(transport.send, Rounds())
        writer.start(200, [])
        writer.finish(b"whole")
        assert [message["type"] for message in transport.messages] == [
            "http.response.start",
            "http.response.body",
        ]
        assert transport.messages[1]["more_body"] is False
        assert writer.finished
        assert not writer.blocked

    run(check)


def test_the_first_piece_of_a_round_leaves_at_once_and_the_rest_together() -> None:
    async def check() -> None:
        transport, rounds = Transport(), Rounds()
        writer = Writer(transport.send, rounds)
        writer.start(200, [])
        for i in range(5):
            writer.write(b"%d" % i)
        assert transport.body == b"0"
        await asyncio.sleep(0)
        assert transport.body == b"01234"
        assert len(transport.messages) == 3
        writer.write(b"5")
        assert transport.body == b"012345"
        writer.write(b"6", more=False)
        assert writer.blocked
        await asyncio.sleep(0)
        assert transport.messages[-1] == {"type": "http.response.body", "body": b"6", "more_body": False}

    run(check)


def test_a_slow_reader_costs_only_itself() -> None:
    async def check() -> None:
        slow, fast, rounds = Transport(), Transport(), Rounds()
        writers = [Writer(slow.send, rounds), Writer(fast.send, rounds)]
        slow.writable.clear()
        for writer in writers:
            writer.start(200, [])
        for i in range(4):
            for writer in writers:
                writer.write(b"%d" % i, more=i < 3)
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert fast.body == b"0123"
        assert slow.messages == []
        assert writers[0].blocked
        slow.writable.set()
        for _ in range(5):
            await asyncio.sleep(0)
        assert slow.body == b"0123"
        assert slow.messages[0]["type"] == "http.response.start"
        assert slow.messages[-1]["more_body"] is False
        assert not writers[0].blocked

    run(check)


def test_a_send_that_yields_bare_goes_on_in_the_next_round() -> None:
    async def check() -> None:
        messages = []

        async def send(message: Any) -> None:
            await asyncio.sleep(0)
            messages.append(message)

        writer = Writer(send, Rounds())
        writer.start(200, [])
        writer.finish(b"x")
        for _ in range(6):
            await asyncio.sleep(0)
        assert [message["type"] for message in messages] == ["http.response.start", "http.response.body"]

    run(check)
