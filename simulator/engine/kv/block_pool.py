"""The KV blocks of one engine: who holds them, which are free, and which content they keep.

Blocks are integers; block 0 is the null block and is never given out. The free queue is vLLM's, in three
parts so that untouched blocks cost no memory: a stack of blocks to reuse first, the blocks that were never
used, in order of id, and a queue of the others, least recently freed first. A cached block that nobody holds
stays in that queue and can be touched or, when its turn comes, evicted.

Wanted, per token and in constant time: take the head of the queue, give back in order of eviction, hold a
cached block that is somewhere in the queue, find content. A linked list as vLLM has it costs an object for
each block; this is arrays of integers, 28 to 36 bytes a block with the index of contents, and nothing at all
for blocks never used.

What always holds (`check_invariants` looks at all of it):
- a usable block is held (`refs` > 0), or in exactly one of: `_first`, the ids from len(refs) on, the queue of
  `_next` and `_previous`; `num_free` is the size of the three together;
- the queue's head is the top of `_first`, then the lowest unused id, then `_next[0]`, the least recently
  freed; block 0 closes the ring;
- `_first` has only blocks without content, and stays empty with the free list "lru";
- `refs`, `_next`, `_previous` and `index.contents` are equally long;
- `watched` is the content that the head of the waiting queue misses. Whoever makes it findable, or changes
  which copy is found, sets it to None; `KVCacheManager.stays_out` relies on that and on nothing else.
`take_one` says again what `take` does, for the common case.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

from simulator.engine.kv.block_hash import BlockHash, event_hash
from simulator.engine.kv.content_index import ContentIndex
from simulator.engine.kv.dict_index import DictIndex
from simulator.engine.kv.events import AllBlocksCleared, BlockRemoved, KVEvent
from simulator.errors import InvariantError

_HELD, _NONE = array("i", (1,)), array("i", (0,))


class BlockPool:
    """`events` collects what happens to cached content, or is None where nobody listens."""

    __slots__ = (
        "_empty_first",
        "_first",
        "_next",
        "_previous",
        "events",
        "index",
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
        index: ContentIndex | DictIndex | None = None,
    ) -> None:
        self.num_gpu_blocks = num_gpu_blocks
        self.num_free = num_gpu_blocks - 1
        # By block id, as far as blocks have been used; the null block is always held.
        self.refs = array("i", (1,))
        self._next = array("i", (0,))
        self._previous = array("i", (0,))
        self.index = index if index is not None else ContentIndex(num_gpu_blocks)
        # Content that somebody waits for; None once it was cached, or a duplicate has changed what is found.
        self.watched: BlockHash | None = None
        self.events = events
        self._empty_first = free_list == "empty-first"
        self._first: list[int] = []  # reused first; the top of the stack is the head of the queue

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
            self._use_more(fresh)
            count -= fresh
        if count:
            following, block = self._next, 0
            reused: list[int] = []
            for _ in range(count):
                block = following[block]
                refs[block] = 1
                reused.append(block)
            following[0] = head = following[block]
            self._previous[head] = 0
            self._evict(reused)
            taken += reused
        return taken

    def take_one(self) -> int:
        """The block at the head of the free queue; as `take(1)`."""
        refs = self.refs
        if self._first:
            block = self._first.pop()
        elif len(refs) < self.num_gpu_blocks:
            block = len(refs)
            self._use_more(1)
        else:
            block = self._next[0]
            self._next[0] = head = self._next[block]
            self._previous[head] = 0
            if self.index.contents[block]:
                self._evict((block,))
        self.num_free -= 1
        refs[block] = 1
        return block

    def _use_more(self, count: int) -> None:
        """`count` blocks that were never used, held once."""
        if count == 1:
            self.refs.append(1)
            self._next.append(0)
            self._previous.append(0)
        else:
            self.refs += _HELD * count
            self._next += _NONE * count
            self._previous += _NONE * count
        self.index.more_blocks(count)

    def _evict(self, blocks: Sequence[int]) -> None:
        """Forget the content of blocks, keep its other copies, and tell."""
        contents = self.index.contents
        if self.events is not None:
            self.events += [BlockRemoved((event_hash(contents[b]),)) for b in blocks if contents[b]]
        if self.index.remove_all(blocks):
            self.watched = None

    def touch(self, blocks: Iterable[int]) -> None:
        """Hold cached blocks once more, taking those that nobody held out of the free queue."""
        refs, following, previous = self.refs, self._next, self._previous
        for block in blocks:
            if refs[block] == 0:
                before, behind = previous[block], following[block]
                following[before] = behind
                previous[behind] = before
                self.num_free -= 1
            refs[block] += 1

    def free(self, blocks: Sequence[int]) -> None:
        """Give up one hold on each; `blocks` in order of eviction priority, first evicted first."""
        refs, contents, following, previous = self.refs, self.index.contents, self._next, self._previous
        empty_first = self._empty_first
        first: list[int] = []
        freed = 0
        last = previous[0]
        for block in blocks:
            left = refs[block] - 1
            refs[block] = left
            if not left:
                freed += 1
                if empty_first and not contents[block]:
                    first.append(block)
                else:
                    following[last] = block
                    previous[block] = last
                    last = block
        following[last] = 0
        previous[0] = last
        self.num_free += freed
        if first:
            first.reverse()
            self._first += first

    def insert(self, block_hashes: Sequence[BlockHash], blocks: Sequence[int]) -> None:
        """Cache the content of full blocks; equal content in other blocks stays where it is."""
        watched = self.watched
        if watched is not None and watched in block_hashes:
            self.watched = None
        self.index.add_all(block_hashes, blocks)

    def insert_one(self, block_hash: BlockHash, block: int) -> None:
        """As `insert`, for one."""
        if block_hash == self.watched:
            self.watched = None
        self.index.add(block_hash, block)

    def reset(self) -> bool:
        """Forget all content; False while any block is held."""
        if self.num_free != self.num_gpu_blocks - 1:
            return False
        self.index.clear()
        self.watched = None
        if self.events is not None:
            self.events.append(AllBlocksCleared())
        return True

    def free_order(self) -> list[int]:
        """The free queue from its head, for tests and people."""
        queue, block = [*reversed(self._first), *range(len(self.refs), self.num_gpu_blocks)], 0
        while block := self._next[block]:
            queue.append(block)
        return queue

    def sizes(self) -> dict[str, int]:
        """Numbers of blocks, for people: all, free ones, and those whose content can be found again."""
        return {"total": self.num_gpu_blocks - 1, "free": self.num_free, "cached": self.index.num_contents}

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
        indexed = {block: content for content, found in self.index.by_content().items() for block in found}
        if indexed != {block: content for block, content in enumerate(self.index.contents) if content}:
            raise InvariantError("the prefix cache's index and the blocks' contents disagree")
        if any(self.index.find(content) != found[0] for content, found in self.index.by_content().items()):
            raise InvariantError("a cached content cannot be found")
