"""The synchronous writer: nothing waits, slow readers are kept apart, and a round's pieces leave together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from simulator.server.http.writer import Rounds, Writer
from simulator.server.turns import Turns


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


def test_a_reader_who_stands_still_is_told_of_and_let_go_on() -> None:
    async def check() -> None:
        transport = Transport()
        writer = Writer(transport.send, Rounds())
        rooms: list[bool] = []
        writer.on_room = lambda: rooms.append(writer.full)
        writer.start(200, [])
        transport.writable.clear()
        piece = b"x" * 1024
        for _ in range(200):
            writer.write(piece)
            await asyncio.sleep(0)
        assert not writer.full, "who is only slow gets every event"
        for _ in range(100):
            writer.write(piece)
            await asyncio.sleep(0)
        assert writer.full
        assert rooms == []
        transport.writable.set()
        for _ in range(5):
            await asyncio.sleep(0)
        assert rooms == [False]
        assert transport.body == piece * 300
        assert not writer.blocked

    run(check)


def test_a_round_goes_on_while_engines_take_turns() -> None:
    async def check() -> None:
        transport, turns = Transport(), Turns(asyncio.get_running_loop())
        writer = Writer(transport.send, Rounds(turns))
        writer.start(200, [])
        left = iter(range(50))
        sizes: list[int] = []

        def turn(_deadline: float) -> None:
            writer.write(b"x")
            sizes.append(len(transport.body))
            if next(left, None) is not None:
                turns.join(turn)

        turns.join(turn)
        while turns.busy:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(sizes) == 51
        assert transport.body == b"x" * 51
        assert len(transport.messages) < 51, "pieces leave together"

    run(check)


def test_turns_are_taken_in_order_and_the_loop_breathes() -> None:
    async def check() -> None:
        turns = Turns(asyncio.get_running_loop())
        seen: list[str] = []

        def turn(name: str, rounds: int) -> Callable[[float], None]:
            def take(deadline: float) -> None:
                nonlocal rounds
                seen.append(name)
                while time.monotonic() < deadline:  # work
                    pass
                rounds -= 1
                if rounds:
                    turns.join(take)

            return take

        gone = turn("gone", 1)
        for each in (turn("a", 3), gone, turn("b", 3)):
            turns.join(each)
        turns.leave(gone)
        breaths = 0
        while turns.busy:
            await asyncio.sleep(0)
            breaths += 1
        assert sorted(seen) == ["a"] * 3 + ["b"] * 3
        assert seen[:2] == ["a", "b"]
        assert breaths > 4, "others run in between"

    run(check)
