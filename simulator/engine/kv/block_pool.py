"""The KV blocks of one engine: who holds them, which are free, and which content they keep.

Blocks are integers; block 0 is the null block and is never given out. The free queue is vLLM's, in three
parts so that untouched blocks cost no memory: a stack of blocks to reuse first, the blocks that were never
used, in order of id, and a queue of the others, least recently freed first. A cached block that nobody holds
stays in that queue and can be touched or, when its turn comes, evicted.

Wanted, per token and in constant time: take the head of the queue, give back in order of eviction, hold a
cached block that is somewhere in the queue, find content. A linked list as vLLM has it costs an object for
each block; this is a list and a dict in order of insertion, and nothing at all for blocks never used. Prompts
take and give back hundreds of blocks at once: these go through `map` and `update`, which loop in C.

What always holds (`check_invariants` looks at all of it):
- a usable block is held, or in exactly one of: `_first`, the ids from len(hashes) on, `_last`; `num_free` is
  the size of the three together; `_more` counts the holds beyond the first, of blocks that have any;
- `_oldest` is the beginning of `_last`, backwards, as far as it is known;
- the queue's head is the top of `_first`, then the lowest unused id, then the oldest of `_last`;
- `_first` has only blocks without content, and stays empty with the free list "lru";
- `hashes[block]` and `cached` say the same: a content's one block as an int, several as a dict in order of
  insertion (the first is what a look-up finds); most contents have one, and an int costs a fifth;
- `watched` is the content that the head of the waiting queue misses. Whoever makes it findable, or changes
  which copy is found, sets it to None; `KVCacheManager.stays_out` relies on that and on nothing else.
`take_one` and the plain branches of `insert` and `free` say again what the others do, for the common case.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from itertools import filterfalse, islice, repeat
from operator import itemgetter
from typing import Any, Literal

from simulator.engine.kv.block_hash import BlockHash, event_hash
from simulator.engine.kv.events import AllBlocksCleared, BlockRemoved, KVEvent
from simulator.errors import InvariantError

# Blocks of the queue's beginning that are looked up at once; each look passes the gaps before them.
_LOOK_AHEAD = 256


class BlockPool:
    """`events` collects what happens to cached content, or is None where nobody listens."""

    __slots__ = (
        "_empty_first",
        "_first",
        "_last",
        "_more",
        "_oldest",
        "cached",
        "events",
        "hashes",
        "num_free",
        "num_gpu_blocks",
        "watched",
    )

    def __init__(
        self,
        num_gpu_blocks: int,
        free_list: Literal["empty-first", "lru"],
        events: list[KVEvent] | None = None,
    ) -> None:
        self.num_gpu_blocks = num_gpu_blocks
        self.num_free = num_gpu_blocks - 1
        # by block id, as far as blocks have been used; the null block is always held
        self.hashes: list[BlockHash | None] = [None]
        self.cached: dict[
            BlockHash, int | dict[int, None]
        ] = {}  # content -> block, or blocks in order of insertion
        # Content that somebody waits for; None once it was cached, or a duplicate has changed what is found.
        self.watched: BlockHash | None = None
        self.events = events
        self._empty_first = free_list == "empty-first"
        self._first: list[int] = []  # reused first; the top of the stack is the head of the queue
        self._last: dict[int, None] = {}
        self._oldest: list[int] = []
        self._more: dict[int, int] = {}

    @property
    def usage(self) -> float:
        """Fraction of the usable blocks that somebody holds."""
        return 1.0 - self.num_free / (self.num_gpu_blocks - 1)

    def take(self, count: int) -> list[int]:
        """`count` blocks from the head of the free queue; the caller has checked `num_free`."""
        self.num_free -= count
        first, hashes = self._first, self.hashes
        taken: list[int] = []
        if first:
            taken = first[: -count - 1 : -1]
            del first[-len(taken) :]
            count -= len(taken)
        fresh = min(count, self.num_gpu_blocks - len(hashes))
        if fresh:
            taken.extend(range(len(hashes), len(hashes) + fresh))
            hashes.extend([None] * fresh)
            count -= fresh
        if count:
            taken += self._take_oldest(count)
        return taken

    def take_one(self) -> int:
        """The block at the head of the free queue; as `take(1)`."""
        self.num_free -= 1
        if self._first:
            return self._first.pop()
        hashes = self.hashes
        if len(hashes) < self.num_gpu_blocks:
            hashes.append(None)
            return len(hashes) - 1
        if not self._oldest:
            self._look_up_oldest(1)
        block = self._oldest.pop()
        del self._last[block]
        block_hash = hashes[block]
        if block_hash is not None:
            hashes[block] = None
            found = self.cached.pop(block_hash)
            if found != block or self.events is not None:
                self._evicted(block, block_hash, found)
        return block

    def _take_oldest(self, count: int) -> list[int]:
        """`count` blocks of `_last`, least recently freed first, whose content is forgotten."""
        if len(self._oldest) < count:
            self._look_up_oldest(count)
        blocks = self._oldest[: -count - 1 : -1]
        del self._oldest[-count:]
        _do(map(self._last.__delitem__, blocks))
        contents = _each(self.hashes, blocks)
        _do(map(self.hashes.__setitem__, blocks, repeat(None)))
        cached = self.cached
        if self.events is None and None not in contents:
            found = list(map(cached.pop, contents, repeat(None)))
            if found != blocks:  # one of several copies; of a further one nothing was found, now it is
                for block, content, was in zip(blocks, contents, found, strict=True):
                    if was != block:
                        self._evicted(block, content, cached.pop(content) if was is None else was)
            return blocks
        for block, content in zip(blocks, contents, strict=True):
            if content is not None:
                was = cached.pop(content)
                if was != block or self.events is not None:
                    self._evicted(block, content, was)
        return blocks

    def _look_up_oldest(self, count: int) -> None:
        self._oldest = list(islice(self._last, max(count, _LOOK_AHEAD)))
        self._oldest.reverse()

    def _evicted(self, block: int, block_hash: BlockHash, found: int | dict[int, None]) -> None:
        """The content of a block was forgotten: keep its other copies, and tell."""
        if isinstance(found, dict):
            self.watched = None
            del found[block]
            if found:
                self.cached[block_hash] = found
        if self.events is not None:
            self.events.append(BlockRemoved((event_hash(block_hash),)))

    def num_idle(self, blocks: Iterable[int]) -> int:
        """How many of these cached blocks nobody holds."""
        return sum(map(self._last.__contains__, blocks))

    def touch(self, blocks: Iterable[int]) -> None:
        """Hold cached blocks once more, taking those that nobody held out of the free queue."""
        last, more = self._last, self._more
        before = len(last)
        for block in blocks:
            if block in last:
                del last[block]
            else:
                more[block] = more.get(block, 0) + 1
        if before != len(last):
            self.num_free -= before - len(last)
            self._oldest = []

    def free(self, blocks: Sequence[int]) -> None:
        """Give up one hold on each; `blocks` in order of eviction priority, first evicted first."""
        more, hashes = self._more, self.hashes
        if not more.keys().isdisjoint(blocks):
            held_on = more.keys() & blocks
            for block in held_on:
                if more[block] > 1:
                    more[block] -= 1
                else:
                    del more[block]
            blocks = list(filterfalse(held_on.__contains__, blocks))
        self.num_free += len(blocks)
        if self._empty_first:
            contents = _each(hashes, blocks)
            if None in contents:
                # for a sequence that ended: the last block or two
                empty = [block for block, content in zip(blocks, contents, strict=True) if content is None]
                empty.reverse()
                self._first += empty
                if len(empty) == len(blocks):
                    return
                blocks = [block for block in blocks if hashes[block] is not None]
        self._last.update(dict.fromkeys(blocks))

    def insert(self, block_hashes: Sequence[BlockHash], blocks: Sequence[int]) -> None:
        """Cache the content of full blocks; equal content in other blocks stays where it is."""
        hashes, cached, watched = self.hashes, self.cached, self.watched
        if cached.keys().isdisjoint(block_hashes) and watched not in block_hashes:
            cached.update(zip(block_hashes, blocks, strict=True))
            _do(map(hashes.__setitem__, blocks, block_hashes))
            return
        for block_hash, block in zip(block_hashes, blocks, strict=True):
            if block_hash in cached or block_hash == watched:
                self.insert_one(block_hash, block)
            else:
                cached[block_hash] = block
                hashes[block] = block_hash

    def insert_one(self, block_hash: BlockHash, block: int) -> None:
        """As `insert`, for one."""
        if block_hash == self.watched:
            self.watched = None
        self.hashes[block] = block_hash
        found = self.cached.setdefault(block_hash, block)
        if found is not block:
            if isinstance(found, dict):
                found[block] = None
            elif found != block:
                self.cached[block_hash] = {found: None, block: None}

    def reset(self) -> bool:
        """Forget all content; False while any block is held."""
        if self.num_free != self.num_gpu_blocks - 1:
            return False
        self.cached.clear()
        self.watched = None
        self.hashes = [None] * len(self.hashes)
        if self.events is not None:
            self.events.append(AllBlocksCleared())
        return True

    def free_order(self) -> list[int]:
        """The free queue from its head, for tests and people."""
        return [*reversed(self._first), *range(len(self.hashes), self.num_gpu_blocks), *self._last]

    def sizes(self) -> dict[str, int]:
        """Numbers of blocks, for people: all, free ones, and those whose content can be found again."""
        return {"total": self.num_gpu_blocks - 1, "free": self.num_free, "cached": len(self.cached)}

    def check_invariants(self, holders: Iterable[Sequence[int]]) -> None:
        """`holders`: the block lists of everybody who holds blocks. Raises InvariantError."""
        held = Counter(block for blocks in holders for block in blocks)
        self._check_references(held)
        self._check_index()

    def _check_references(self, held: Counter[int]) -> None:
        queue = self.free_order()
        if len(queue) != self.num_free or len(set(queue)) != len(queue):
            raise InvariantError(f"free queue of {len(queue)} blocks, num_free says {self.num_free}")
        free = set(queue)
        for block in range(1, self.num_gpu_blocks):
            refs = self._more.get(block, 0) + (block not in free)
            if refs != held[block]:
                raise InvariantError(f"block {block} has ref_cnt {refs}, {held[block]} hold it")
        if self._oldest[::-1] != list(islice(self._last, len(self._oldest))):
            raise InvariantError("the oldest blocks are not the beginning of the free queue")
        usable = self.num_gpu_blocks - 1
        if self.num_free + len(held) != usable:
            raise InvariantError(f"{self.num_free} free and {len(held)} held of {usable} blocks")

    def _check_index(self) -> None:
        indexed = {
            block: content
            for content, found in self.cached.items()
            for block in (found if isinstance(found, dict) else (found,))
        }
        if indexed != {block: content for block, content in enumerate(self.hashes) if content is not None}:
            raise InvariantError("the prefix cache's index and the blocks' hashes disagree")


def _do(calls: Iterable[Any]) -> None:
    """Make all calls of a `map`."""
    deque(calls, maxlen=0)


def _each(items: Sequence[Any], places: Sequence[int]) -> Sequence[Any]:
    """The items at these places."""
    if len(places) > 1:
        return itemgetter(*places)(items)  # type: ignore[no-any-return]
    return [items[place] for place in places]
