"""What stands between an engine's outputs and a choice: merging, intervals, cuts; and long work in slices."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.engine.outputs import RequestOutput
from simulator.engine.request import FinishReason
from simulator.server.answers.sinks import CuttingSink, Held, IntervalSink
from simulator.server.answers.slices import run_in_slices
from tests.simulator.server.inprocess import Kept, request, run

REQUEST = request("r")


def output(*ids: int, end: FinishReason | None = None) -> RequestOutput:
    return RequestOutput(REQUEST, list(ids), "".join(f"<{i}>" for i in ids), 1.0, end)


@given(st.lists(st.lists(st.integers(0, 99), max_size=4), max_size=8))
@settings(max_examples=50, deadline=None)
def test_what_is_held_is_taken_as_one(pieces: list[list[int]]) -> None:
    held = Held()
    for piece in pieces:
        held.add(output(*piece))
    every = [i for piece in pieces for i in piece]
    assert len(held) == len(every)
    taken = held.take()
    if not pieces:
        assert taken is None
        return
    assert taken is not None
    assert (taken.new_token_ids, taken.text) == (every, output(*every).text)
    assert (len(held), held.take()) == (0, None)


def test_the_last_piece_says_how_it_ended() -> None:
    held = Held()
    held.add(output(1))
    held.add(output(2, end=FinishReason.LENGTH))
    taken = held.take()
    assert taken is not None
    assert taken.finish_reason is FinishReason.LENGTH


async def intervals(interval: int, pieces: list[int], end: bool) -> list[list[int]]:
    kept = Kept()
    sink = IntervalSink(kept, interval)
    number = 0
    for i, size in enumerate(pieces):
        ids = range(number, number + size)
        number += size
        sink.on_output(output(*ids, end=FinishReason.STOP if end and i == len(pieces) - 1 else None))
    return [one.new_token_ids for one in kept.outputs]


@pytest.mark.parametrize(
    ("interval", "pieces", "end", "sizes"),
    [
        (3, [1, 1, 1, 1, 1, 1, 1], False, [1, 3, 3]),
        (3, [1, 1, 1, 1, 1, 1], True, [1, 3, 2]),
        (3, [1], True, [1]),
        (3, [2, 2, 2], False, [2, 4]),
        (3, [1, 0, 0], True, [1, 0]),
        (1, [1, 1, 1], False, [1, 1, 1]),
        (100, [1, 5, 5], False, [1]),
    ],
)
def test_intervals(interval: int, pieces: list[int], end: bool, sizes: list[int]) -> None:
    came = run(intervals(interval, pieces, end))
    assert [len(ids) for ids in came] == sizes
    assert [i for ids in came for i in ids] == list(range(sum(sizes)))


@pytest.mark.parametrize(
    ("limit", "streams", "passed", "cuts"),
    [
        (3, True, [1, 2, 3], 1),
        (3, False, [1, 2], 1),
        (1, True, [1], 1),
        (1, False, [], 1),
        (9, True, [1, 2, 3, 4], 0),
    ],
)
def test_cuts(limit: int, streams: bool, passed: list[int], cuts: int) -> None:
    async def main() -> None:
        kept = Kept()
        calls: list[int] = []
        sink = CuttingSink(kept, limit, streams, lambda: calls.append(1))
        for i in (1, 2, 3, 4):
            sink.on_output(output(i))
            if calls:
                break
        assert [i for one in kept.outputs for i in one.new_token_ids] == passed
        assert len(calls) == cuts

    run(main())


def test_an_answer_that_ends_at_the_limit_is_cut_all_the_same() -> None:
    async def main() -> None:
        kept = Kept()
        calls: list[int] = []
        sink = CuttingSink(kept, 2, True, lambda: calls.append(1))
        sink.on_output(output(1, 2, end=FinishReason.LENGTH))
        assert (kept.outputs, calls) == ([], [1])

    run(main())


def never(error: Exception) -> None:
    raise AssertionError(error)


def test_short_work_is_done_at_once() -> None:
    done: list[int] = []
    run_in_slices(map(done.append, range(3)), lambda: True, never)  # without a loop: it never yields
    assert done == [0, 1, 2]


def slow(done: list[int], count: int) -> Iterator[None]:
    for i in range(count):
        until = time.monotonic() + 3e-3
        while time.monotonic() < until:
            pass
        done.append(i)
        yield


def test_long_work_lets_others_have_their_turn() -> None:
    async def main() -> None:
        done: list[int] = []
        seen: list[int] = []
        run_in_slices(slow(done, 4), lambda: True, never)
        assert done == [0]
        while len(done) < 4:
            seen.append(len(done))
            await asyncio.sleep(0)
        assert seen[:1] == [1]
        assert len(set(seen)) == 3

    run(main())


def test_work_stops_where_nobody_wants_it() -> None:
    async def main() -> None:
        done: list[int] = []
        run_in_slices(slow(done, 50), lambda: len(done) < 2, never)
        for _ in range(20):
            await asyncio.sleep(0)
        assert done == [0, 1]

    run(main())


def test_what_work_raises_goes_to_its_owner() -> None:
    def broken() -> Iterator[None]:
        yield from slow([], 1)
        raise ValueError("late")

    async def main() -> None:
        errors: list[Exception] = []
        run_in_slices(broken(), lambda: True, errors.append)
        for _ in range(5):
            await asyncio.sleep(0)
        assert [str(error) for error in errors] == ["late"]

    run(main())
