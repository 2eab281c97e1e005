"""Turns at things: those of different things do not wait, and one at everything waits for all."""

from __future__ import annotations

import asyncio

from gateway.machine.turns import Turns


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_turns() -> None:
    async def scenario() -> None:
        turns, done = Turns(), list[str]()
        held = {name: asyncio.Event() for name in ("a", "a again", "b", "all", "late")}

        async def one(name: str, *things: str) -> None:
            async with turns.of(*things) if things else turns.everything():
                done.append(name)
                await held[name].wait()

        tasks = [asyncio.create_task(one("a", "a")), asyncio.create_task(one("a again", "a", "c"))]
        tasks.append(asyncio.create_task(one("b", "b")))
        await settled()
        assert done == ["a", "b"]
        tasks += [asyncio.create_task(one("all")), asyncio.create_task(one("late", "z"))]
        await settled()
        assert done == ["a", "b"], "who wants everything keeps those that come later waiting"
        held["b"].set()
        held["a"].set()
        await settled()
        assert done == ["a", "b", "all"]
        held["all"].set()
        await settled()
        assert sorted(done[3:]) == ["a again", "late"]
        for event in held.values():
            event.set()
        await asyncio.gather(*tasks)

    asyncio.run(scenario())


def test_who_gives_up_leaves_nothing_behind() -> None:
    async def scenario() -> None:
        turns = Turns()
        async with turns.of("a"):
            waiting = [asyncio.create_task(turns.everything().__aenter__())]
            waiting.append(asyncio.create_task(turns.of("a").__aenter__()))
            await settled()
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            async with asyncio.timeout(10), turns.of("b"):
                pass
        async with asyncio.timeout(10), turns.everything():
            pass

    asyncio.run(scenario())
