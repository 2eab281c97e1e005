"""Turns: first come first served, never from inside, with breaths of the loop between rounds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from simulator.config.resolve import parse_args
from simulator.fleet.fleet import Fleet, ReplicaSpec
from simulator.server.turns import Turns
from tests.ports import free_port
from tests.simulator.server.inprocess import run


async def settle(turns: Turns) -> None:
    while turns.busy:
        await asyncio.sleep(0)


def test_turns_come_in_the_order_of_joining_and_not_at_once() -> None:
    async def main() -> list[str]:
        turns = Turns(asyncio.get_running_loop())
        seen: list[str] = []
        for name in "abc":
            turns.join(lambda _, name=name: seen.append(name))  # type: ignore[misc]
        assert seen == []
        assert turns.busy
        await settle(turns)
        return seen

    assert run(main()) == ["a", "b", "c"]


def test_who_has_left_has_no_turn() -> None:
    async def main() -> None:
        turns = Turns(asyncio.get_running_loop())
        seen: list[str] = []

        def stay(_: float) -> None:
            seen.append("stay")

        def leave(_: float) -> None:
            seen.append("leave")

        turns.join(leave)
        turns.join(stay)
        turns.leave(leave)
        with pytest.raises(ValueError, match=r".+"):
            turns.leave(leave)
        await settle(turns)
        assert seen == ["stay"]

    run(main())


def busy(turns: Turns, seen: list[str], name: str, rounds: int) -> Callable[[float], None]:
    """A turn that uses all its time and joins again, so many times."""
    left = [rounds]

    def turn(until: float) -> None:
        seen.append(name)
        while time.monotonic() < until:
            pass
        left[0] -= 1
        if left[0]:
            turns.join(turn)

    return turn


def test_the_loop_breathes_between_rounds_and_nobody_is_left_out() -> None:
    async def main() -> None:
        turns = Turns(asyncio.get_running_loop())
        seen: list[str] = []
        for name in "ab":
            turns.join(busy(turns, seen, name, 5))
        breaths = []
        while turns.busy:
            before = len(seen)
            await asyncio.sleep(0)
            breaths.append(len(seen) == before)
        assert sorted(seen) == ["a"] * 5 + ["b"] * 5
        for i, name in enumerate(seen):
            assert abs(seen[: i + 1].count("a") - seen[: i + 1].count("b")) <= 1, (i, name)
        assert breaths.count(True) >= 4 * (len(breaths) - breaths.count(True) - 1)

    run(main())


def test_a_turn_that_fails_does_not_stop_the_others() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        errors: list[str] = []
        loop.set_exception_handler(lambda _, context: errors.append(str(context["exception"])))
        turns = Turns(loop)
        seen: list[str] = []

        def fail(_: float) -> None:
            raise RuntimeError("broken")

        turns.join(fail)
        turns.join(lambda _: seen.append("next"))
        await settle(turns)
        assert (seen, errors) == (["next"], ["broken"])
        turns.join(lambda _: seen.append("later"))
        await settle(turns)
        assert seen == ["next", "later"]

    run(main())


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/version", "/load", "/metrics"])
def test_few_rounds_of_the_loop_to_an_answer(path: str) -> None:
    """Each may hold a turn of everybody else; a hop over a thread would take dozens."""

    async def main() -> int:
        loop = asyncio.get_running_loop()
        config = parse_args(["--model", "m", "--latency", "zero"], {})
        async with Fleet() as fleet:
            port = free_port()
            await fleet.add(ReplicaSpec("p", "127.0.0.1", (port,), config))
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            fewest = 1000
            for _ in range(5):  # the machine may take a while to carry the bytes
                rounds, answered = 0, False

                def count() -> None:
                    nonlocal rounds
                    rounds += 1
                    if not answered:  # noqa: B023 - of this round
                        loop.call_soon(count)

                writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
                count()
                head = await reader.readuntil(b"\r\n\r\n")
                answered = True
                await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
                await asyncio.sleep(0)
                fewest = min(fewest, rounds)
            writer.close()
            return fewest

    assert run(main()) <= 8
