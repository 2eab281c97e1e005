"""The KV blocks of one engine: who holds them, which are free, and which content they keep.

Blocks are integers; block 0 is the null block and is never given out. The free queue is vLLM's, in three
parts so that untouched blocks cost no memory: a stack of blocks to reuse first, the blocks that were never
used, in order of id, and a queue of the others, least recently freed first. A cached block that nobody holds
stays in that queue and can be touched or, when its turn comes, evicted.

Wanted, per token and in constant time: take the head of the queue, give back in order of eviction, hold a
cached block that is somewhere in the queue, find content. A linked list as vLLM has it costs an object for
each block; this is a list and an ordered dict, and nothing at all for blocks never used.

What always holds (`check_invariants` looks at all of it):
- a usable block is held (`refs` > 0), or in exactly one of: `_first`, the ids from len(refs) on, `_last`;
  `num_free` is the size of the three together;
- the queue's head is the top of `_first`, then the lowest unused id, then the oldest of `_last`;
- `_first` has only blocks without content, and stays empty with the free list "lru";
- `hashes[block]` and `cached` say the same: a content's one block as an int, several as a dict in order of
  insertion (the first is what a look-up finds); most contents have one, and an int costs a fifth;
- `watched` is the content that the head of the waiting queue misses. Whoever makes it findable, or changes
  which copy is found, sets it to None; `KVCacheManager.stays_out` relies on that and on nothing else.
`take_one` and the plain branch of `insert` say again what `take` and `insert_one` do, for the common case.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from typing import Literal

from simulator.engine.kv.block_hash import BlockHash, event_hash
from simulator.engine.kv.events import AllBlocksCleared, BlockRemoved, KVEvent
from simulator.errors import InvariantError


class BlockPool:
    """`events` collects what happens to cached content, or is None where nobody listens."""

    __slots__ = (
        "_empty_first",
        "_first",
        "_last",
        "cached",
        "events",
        "hashes",
        "num_free",
        "num_gpu_blocks",
        "refs",
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
        self.refs = [1]  # by block id, as far as blocks have been used; the null block is always held
        self.hashes: list[BlockHash | None] = [None]
        self.cached: dict[
            BlockHash, int | dict[int, None]
        ] = {}  # content -> block, or blocks in order of insertion
        # Content that somebody waits for; None once it was cached, or a duplicate has changed what is found.
        self.watched: BlockHash | None = None
        self.events = events
        self._empty_first = free_list == "empty-first"
        self._first: list[int] = []  # reused first; the top of the stack is the head of the queue
        self._last: OrderedDict[int, None] = OrderedDict()

    @property
    def usage(self) -> float:
        """Fraction of the usable blocks that somebody holds."""
        return 1.0 - self.num_free / (self.num_gpu_blocks - 1)

    def take(self, count: int) -> list[int]:
        """`count` blocks from the head of the free queue; the caller has checked `num_free`."""
        self.num_free -= count
        refs, first = self.refs, self._first
        taken: list[int] = []
        if first:
            taken = first[: -count - 1 : -1]
            del first[-len(taken) :]
            for block in taken:
                refs[block] = 1
            count -= len(taken)
        fresh = min(count, self.num_gpu_blocks - len(refs))
        if fresh:
            taken.extend(range(len(refs), len(refs) + fresh))
            refs.extend([1] * fresh)
            self.hashes.extend([None] * fresh)
            count -= fresh
        popitem, hashes, cached = self._last.popitem, self.hashes, self.cached
        for _ in range(count):
            block = popitem(last=False)[0]
            block_hash = hashes[block]
            if block_hash is not None:
                hashes[block] = None
                found = cached.pop(block_hash)
                if found != block or self.events is not None:
                    self._evicted(block, block_hash, found)
            refs[block] = 1
            taken.append(block)
        return taken

    def take_one(self) -> int:
        """The block at the head of the free queue; as `take(1)`."""
        refs = self.refs
        if self._first:
            block = self._first.pop()
        elif len(refs) < self.num_gpu_blocks:
            block = len(refs)
            refs.append(0)
            self.hashes.append(None)
        else:
            block = self._last.popitem(last=False)[0]
            block_hash = self.hashes[block]
            if block_hash is not None:
                self.hashes[block] = None
                found = self.cached.pop(block_hash)
                if found != block or self.events is not None:
                    self._evicted(block, block_hash, found)
        self.num_free -= 1
        refs[block] = 1
        return block

    def _evicted(self, block: int, block_hash: BlockHash, found: int | dict[int, None]) -> None:
        """The content of a block was forgotten: keep its other copies, and tell."""
        if isinstance(found, dict):
            self.watched = None
            del found[block]
            if found:
                self.cached[block_hash] = found
        if self.events is not None:
            self.events.append(BlockRemoved((event_hash(block_hash),)))

    def touch(self, blocks: Iterable[int]) -> None:
        """Hold cached blocks once more, taking those that nobody held out of the free queue."""
        refs = self.refs
        for block in blocks:
            if refs[block] == 0:
                del self._last[block]
                self.num_free -= 1
            refs[block] += 1

    def free(self, blocks: Sequence[int]) -> None:
        """Give up one hold on each; `blocks` in order of eviction priority, first evicted first."""
        refs, hashes, last = self.refs, self.hashes, self._last
        empty_first = self._empty_first
        first: list[int] = []
        freed = 0
        for block in blocks:
            left = refs[block] - 1
            refs[block] = left
            if not left:
                freed += 1
                if empty_first and hashes[block] is None:
                    first.append(block)
                else:
                    last[block] = None
        self.num_free += freed
        if first:
            first.reverse()
            self._first += first

    def insert(self, block_hashes: Sequence[BlockHash], blocks: Sequence[int]) -> None:
        """Cache the content of full blocks; equal content in other blocks stays where it is."""
        hashes, cached, watched = self.hashes, self.cached, self.watched
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
        return [*reversed(self._first), *range(len(self.refs), self.num_gpu_blocks), *self._last]

    def sizes(self) -> dict[str, int]:
        """Numbers of blocks, for people: all, free ones, and those whose content can be found again."""
        return {"total": self.num_gpu_blocks - 1, "free": self.num_free, "cached": len(self.cached)}

    def check_invariants(self, holders: Iterable[Sequence[int]]) -> None:
        """`holders`: the block lists of everybody who holds blocks. Raises InvariantError."""
        held = Counter(block for blocks in holders for block in blocks)
        self._check_references(held)
        self._check_index()

    def _check_references(self, held: Counter[int]) -> None:
        for block, refs in enumerate(self.refs[1:], 1):
            if refs != held[block]:
                raise InvariantError(f"block {block} has ref_cnt {refs}, {held[block]} hold it")
        queue = self.free_order()
        if len(queue) != self.num_free or len(set(queue)) != len(queue):
            raise InvariantError(f"free queue of {len(queue)} blocks, num_free says {self.num_free}")
        if any(block < len(self.refs) and self.refs[block] for block in queue):
            raise InvariantError("a held block stands in the free queue")
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
