"""The synchronous writer: nothing waits, slow readers are kept apart, and a round's pieces leave together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from simulator.server.http.incoming import Incoming
from simulator.server.http.writer import Rounds, Writer, header_lines
from simulator.server.turns import Turns


class Wire:
    """A connection that takes what is written, or is full."""

    default_headers = b"server: x\r\n"

    def __init__(self) -> None:
        self.is_gone = self.is_full = False
        self.writes: list[bytes] = []
        self.ends = 0

    def write(self, data: bytes) -> None:
        assert not self.is_full
        self.writes.append(data)

    def end_answer(self) -> None:
        self.ends += 1

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"no writer calls {name} here")


def writing(rounds: Rounds | None = None, version: str = "1.1", method: str = "POST") -> tuple[Wire, Writer]:
    wire = Wire()
    incoming = Incoming(method, b"/", [], version, keep_alive=version == "1.1", expects=False)
    incoming.complete = True
    writer = Writer(wire, incoming)  # type: ignore[arg-type] # only what these tests need
    writer.rounds = rounds
    return wire, writer


def body_of(wire: Wire) -> bytes:
    """What the chunks hold that have been written."""
    data = b"".join(wire.writes).partition(b"\r\n\r\n")[2]
    pieces = []
    while data:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        pieces.append(data[:length])
        data = data[length + 2 :]
    return b"".join(pieces)


def run(test: Any) -> None:
    asyncio.run(test())


def test_a_whole_answer_is_one_write() -> None:
    wire, writer = writing()
    writer.respond(200, header_lines([(b"A", b"1")]), b"whole")
    assert wire.writes == [b"HTTP/1.1 200 OK\r\nserver: x\r\ncontent-length: 5\r\na: 1\r\n\r\nwhole"]
    assert (wire.ends, writer.finished, writer.blocked, writer.bytes_out) == (1, True, False, 5)


def test_a_head_alone_answers_head() -> None:
    wire, writer = writing(method="HEAD")
    writer.respond(599, b"", b"whole")
    assert wire.writes == [b"HTTP/1.1 599 \r\nserver: x\r\ncontent-length: 5\r\n\r\n"]


def test_old_clients_get_no_chunks() -> None:
    wire, writer = writing(version="1.0")
    writer.start(200, b"")
    writer.write(b"a")
    writer.write(b"b", more=False)
    assert wire.writes == [b"HTTP/1.1 200 OK\r\nserver: x\r\nconnection: close\r\n\r\n", b"a", b"b"]


@pytest.mark.parametrize(
    "header",
    [(b"", b"1"), (b"a b", b"1"), (b"a:", b"1"), (b"a", b"1\r\nb: 2"), (b"a", b"\n"), (b"a", b"\x00")],
)
def test_headers_cannot_be_smuggled_out(header: tuple[bytes, bytes]) -> None:
    with pytest.raises(ValueError, match="cannot be a header"):
        header_lines([(b"good", b"x\ty"), header])


def test_the_first_piece_of_a_round_leaves_at_once_and_the_rest_together() -> None:
    async def check() -> None:
        wire, writer = writing(Rounds())
        writer.start(200, b"")
        for i in range(5):
            writer.write(b"%d" % i)
        assert body_of(wire) == b"0"
        await asyncio.sleep(0)
        assert wire.writes[1:] == [b"1\r\n0\r\n", b"4\r\n1234\r\n"]
        writer.write(b"5")
        assert body_of(wire) == b"012345"
        writer.write(b"6", more=False)
        assert writer.blocked
        assert not wire.ends
        await asyncio.sleep(0)
        assert wire.writes[-1] == b"1\r\n6\r\n0\r\n\r\n"
        assert wire.ends == 1

    run(check)


def test_a_slow_reader_costs_only_itself() -> None:
    async def check() -> None:
        rounds = Rounds()
        (slow, slow_writer), (fast, fast_writer) = writing(rounds), writing(rounds)
        slow.is_full = True
        writers = (slow_writer, fast_writer)
        for writer in writers:
            writer.start(200, b"")
        for i in range(4):
            for writer in writers:
                writer.write(b"%d" % i, more=i < 3)
            await asyncio.sleep(0)
        assert body_of(fast) == b"0123"
        assert fast.ends == 1
        assert slow.writes == []
        assert slow_writer.blocked
        slow.is_full = False
        slow_writer.flush()
        assert len(slow.writes) == 1
        assert slow.writes[0].startswith(b"HTTP/1.1 200 OK\r\n")
        assert slow.writes[0].endswith(b"\r\n\r\n4\r\n0123\r\n0\r\n\r\n")
        assert slow.ends == 1
        assert not slow_writer.blocked

    run(check)


def test_room_in_the_middle_of_a_round() -> None:
    """The end is held by the round when the connection takes more: it comes once, and last."""

    async def check() -> None:
        wire, writer = writing(Rounds())
        wire.is_full = True
        writer.start(200, b"")
        writer.write(b"a")
        writer.write(b"b", more=False)
        wire.is_full = False
        writer.flush()
        assert body_of(wire) == b"a"
        assert not wire.ends
        await asyncio.sleep(0)
        assert b"".join(wire.writes).endswith(b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n")
        assert wire.ends == 1

    run(check)


def test_nothing_is_written_to_nobody() -> None:
    for respond in (True, False):
        wire, writer = writing()
        wire.is_gone = True
        if respond:
            writer.respond(200, b"", b"x")
        else:
            writer.start(200, b"")
            writer.write(b"x", more=False)
        assert not wire.writes
        assert not writer.blocked


def test_a_reader_who_stands_still_is_told_of_and_let_go_on() -> None:
    async def check() -> None:
        wire, writer = writing(Rounds())
        rooms: list[bool] = []
        writer.on_room = lambda: rooms.append(writer.full)
        writer.start(200, b"")
        wire.is_full = True
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
        wire.is_full = False
        writer.flush()
        assert rooms == [False]
        assert body_of(wire) == piece * 300
        assert not writer.blocked

    run(check)


def test_a_round_goes_on_while_engines_take_turns() -> None:
    async def check() -> None:
        turns = Turns(asyncio.get_running_loop())
        wire, writer = writing(Rounds(turns))
        writer.start(200, b"")
        left = iter(range(50))
        sizes: list[int] = []

        def turn(_deadline: float) -> None:
            writer.write(b"x")
            sizes.append(len(body_of(wire)))
            if next(left, None) is not None:
                turns.join(turn)

        turns.join(turn)
        while turns.busy:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(sizes) == 51
        assert body_of(wire) == b"x" * 51
        assert len(wire.writes) < 51, "pieces leave together"

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
