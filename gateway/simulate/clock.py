"""The virtual clock as the picker and its plugins read it: the `time` module, and asyncio's timers.

The picker's code asks `time.monotonic()` and its flow control sets timers of the event loop. Both run
unchanged: inside `virtual_time` the functions of the `time` module tell the world's time, and the loop of
`run_in` waits by letting the world go on. Nothing sleeps, and durations of Python code are 0: the same inputs
give the same outputs.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import time
from collections.abc import Coroutine, Iterator
from math import inf
from typing import Any, TypeVar

from gateway.errors import SimulateError
from simulator.replay.world import World

T = TypeVar("T")

START = 1000.0  # monotonic seconds at which a world begins; some code takes 0 for "never"
WALL = 1_767_225_600.0  # unix seconds at START: 2026-01-01T00:00:00Z, so that runs repeat to the bit


def wall_of(moment: float) -> float:
    """Unix seconds of a moment of the world."""
    return WALL + (moment - START)


@contextlib.contextmanager
def virtual_time(world: World) -> Iterator[None]:
    """The functions of the `time` module tell the world's time."""
    told = {
        "monotonic": lambda: world.now,
        "perf_counter": lambda: world.now,
        "time": lambda: wall_of(world.now),
        "monotonic_ns": lambda: round(world.now * 1e9),
        "perf_counter_ns": lambda: round(world.now * 1e9),
        "time_ns": lambda: round(wall_of(world.now) * 1e9),
    }
    kept = {name: getattr(time, name) for name in told}
    for name, function in told.items():
        setattr(time, name, function)
    try:
        yield
    finally:
        for name, function in kept.items():
            setattr(time, name, function)


class _Selector(selectors.SelectSelector):
    """Waits for nothing: the world goes on until the next timer, or until an event has woken the loop."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        world = self._world
        if timeout is None or timeout > 0:
            world.run_until(inf if timeout is None else world.now + timeout)
            if timeout is None and not world.interrupted:
                raise SimulateError("the simulation stands still: requests wait and nothing will happen")
        return []


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, world: World) -> None:
        super().__init__(_Selector(world))
        self._world = world

    def time(self) -> float:
        return self._world.now


def run_in(world: World, main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on the world's clock. SimulateError where it waits for what never comes."""
    loop = _Loop(world)
    try:
        return loop.run_until_complete(main)
    finally:
        loop.close()
