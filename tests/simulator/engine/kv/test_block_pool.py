"""The block pool against a model of it that is too simple to be wrong."""

from __future__ import annotations

from random import Random

import pytest

from simulator.engine.kv.block_pool import BlockPool
from simulator.engine.kv.events import AllBlocksCleared, BlockRemoved, KVEvent
from simulator.errors import InvariantError


class PlainPool:
    """vLLM's free queue as one list."""

    def __init__(self, blocks: int, lifo: bool) -> None:
        self.queue = list(range(1, blocks))
        self.refs = [0] * blocks
        self.hashes: dict[int, int] = {}
        self.lifo = lifo

    def take(self, count: int) -> list[int]:
        taken, self.queue = self.queue[:count], self.queue[count:]
        for block in taken:
            self.refs[block] = 1
            self.hashes.pop(block, None)
        return taken

    def touch(self, blocks: list[int]) -> None:
        for block in blocks:
            if not self.refs[block]:
                self.queue.remove(block)
            self.refs[block] += 1

    def free(self, blocks: list[int]) -> None:
        first, last = [], []
        for block in blocks:
            self.refs[block] -= 1
            if not self.refs[block]:
                (first if self.lifo and block not in self.hashes else last).append(block)
        self.queue = first + self.queue + last


@pytest.mark.parametrize("free_list", ["empty-first", "lru"])
@pytest.mark.parametrize("seed", range(20))
def test_random_use(free_list: str, seed: int) -> None:
    rng = Random(seed)
    size = rng.randint(3, 40)
    pool = BlockPool(size, "empty-first" if free_list == "empty-first" else "lru")
    plain = PlainPool(size, lifo=free_list == "empty-first")
    holders: list[list[int]] = []
    for _ in range(600):
        act = rng.random()
        if act < 0.4 and pool.num_free:
            count = rng.randint(1, pool.num_free)
            taken = pool.take(count) if count > 1 or rng.random() < 0.5 else [pool.take_one()]
            assert taken == plain.take(len(taken))
            holders.append(taken)
        elif act < 0.6 and holders:
            for block in rng.choice(holders):
                if block not in plain.hashes:
                    content = rng.randint(1, 15)
                    pool.insert([content], [block])
                    plain.hashes[block] = content
        elif act < 0.75 and pool.cached:
            found = rng.choice(list(pool.cached.values()))
            hit = [next(iter(found)) if isinstance(found, dict) else found]
            pool.touch(hit)
            plain.touch(hit)
            holders.append(hit)
        elif holders:
            gone = holders.pop(rng.randrange(len(holders)))[::-1]
            pool.free(gone)
            plain.free(gone)
        assert pool.free_order() == plain.queue
        assert pool.num_free == len(plain.queue)
        assert pool.usage == 1 - len(plain.queue) / (size - 1)
        pool.check_invariants(holders)


def test_untouched_blocks_cost_nothing() -> None:
    pool = BlockPool(1_000_000, "empty-first")
    assert pool.take(3) == [1, 2, 3]
    assert len(pool.hashes) == 4
    assert pool.num_free == 999_996


def test_events_of_eviction_and_reset() -> None:
    events: list[KVEvent] = []
    pool = BlockPool(3, "empty-first", events)
    blocks = pool.take(2)
    pool.insert([10, -1], blocks)
    assert not pool.reset()  # in use
    pool.free(blocks[::-1])
    pool.take_one()
    assert events == [BlockRemoved((2**64 - 1,))]
    pool.free([2])
    assert pool.reset()
    assert events[1:] == [AllBlocksCleared()]
    assert pool.cached == {}


def test_the_copy_that_was_cached_first_is_found() -> None:
    pool = BlockPool(10, "empty-first")
    first, second, third = pool.take(3)
    for block in (second, first, third):
        pool.insert([7], [block])
    assert pool.cached[7] == {second: None, first: None, third: None}
    pool.free([second])
    pool.take(7)  # comes to `second` last
    assert pool.cached[7] == {first: None, third: None}


def test_broken_state_is_found() -> None:
    pool = BlockPool(10, "empty-first")
    blocks = pool.take(2)
    with pytest.raises(InvariantError, match="ref_cnt"):
        pool.check_invariants([])
    pool.check_invariants([blocks])
    pool.num_free += 1
    with pytest.raises(InvariantError, match="num_free"):
        pool.check_invariants([blocks])
