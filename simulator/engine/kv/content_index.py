"""Which block keeps a content: a table over the blocks' own contents, 8 to 16 bytes a block.

A dict from content to block costs 100 bytes and more an entry, for its slot and for two integers as objects.
Here `contents` holds each block's content once, in an array, and an open-addressing table with linear probing
holds nothing but block ids; block 0 is the null block, which never has content, so that 0 is an empty slot.

What always holds:
- `contents[block]` is 0 where a block has no content that can be found; a hash of 0 (one in 2**64) is taken
  for that and never found;
- of the blocks with one content exactly one stands in the table, the one that was added first; `copies` has
  all of them in order, where there are several;
- the table is at most half full, and between the home of a content and the slot of its block none is empty
  (`remove_all` moves what stands behind a gap).
It grows fourfold until it has 2**14 slots and then at once to what all blocks need: a growth is a pause, and
none is longer than some milliseconds so.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import cast

from simulator.engine.kv.block_hash import BlockHash

_FIRST_SLOTS = 64
_LAST_SMALL = 1 << 14


class ContentIndex:
    """`wide`: contents are vLLM's 32 bytes rather than integers; kept as objects they cost 70 bytes more."""

    __slots__ = ("_mask", "_most", "_slots", "contents", "copies", "num_contents")

    def __init__(self, num_blocks: int, *, wide: bool = False) -> None:
        # By block id; an array takes what a list of integers takes.
        self.contents: list[BlockHash] = [0] if wide else cast("list[BlockHash]", array("q", (0,)))
        self.copies: dict[BlockHash, dict[int, None]] = {}
        self.num_contents = 0
        self._most = 1 << (2 * num_blocks - 1).bit_length()
        self._resize(min(_FIRST_SLOTS, self._most))

    def _resize(self, slots: int) -> None:
        self._slots = array("i", bytes(4 * slots))
        self._mask = slots - 1

    def more_blocks(self, count: int) -> None:
        """Room for the contents of `count` further blocks."""
        if count == 1:
            self.contents.append(0)
        else:
            self.contents += self.contents[:1] * count

    def find(self, content: BlockHash) -> int:
        """The block that had this content first; 0 where none has it."""
        slots, contents, mask = self._slots, self.contents, self._mask
        at = hash(content) & mask
        while block := slots[at]:
            if contents[block] == content:
                return block
            at = (at + 1) & mask
        return 0

    def find_first(self, wanted: Iterable[BlockHash]) -> list[int]:
        """The blocks of these contents up to the first that none has."""
        slots, contents, mask = self._slots, self.contents, self._mask
        found: list[int] = []
        for content in wanted:
            at = hash(content) & mask
            while block := slots[at]:
                if contents[block] == content:
                    found.append(block)
                    break
                at = (at + 1) & mask
            else:
                break
        return found

    def add(self, content: BlockHash, block: int) -> None:
        """A block has this content from now on; it had none, or this one."""
        self.add_all((content,), (block,))

    def add_all(self, contents: Iterable[BlockHash], blocks: Iterable[int]) -> None:
        """As `add`, for pairs."""
        slots, kept, mask = self._slots, self.contents, self._mask
        for content, block in zip(contents, blocks, strict=True):
            at = hash(content) & mask
            while there := slots[at]:
                if kept[there] == content:
                    if there != block:
                        self.copies.setdefault(content, {there: None})[block] = None
                        kept[block] = content
                    break
                at = (at + 1) & mask
            else:
                if not content:
                    continue
                slots[at] = block
                kept[block] = content
                self.num_contents += 1
                if self.num_contents * 2 > mask:
                    self._grow()
                    slots, mask = self._slots, self._mask

    def remove_all(self, blocks: Iterable[int]) -> bool:
        """Forget the contents of these blocks; True where another block is found for one of them now."""
        slots, contents, mask, copies = self._slots, self.contents, self._mask, self.copies
        changed = False
        for block in blocks:
            content = contents[block]
            if not content:
                continue
            if copies and content in copies:
                self._remove_copy(content, block)
                changed = True
                continue
            gap = hash(content) & mask
            while slots[gap] != block:
                gap = (gap + 1) & mask
            contents[block] = 0
            self.num_contents -= 1
            at = (gap + 1) & mask
            while moved := slots[at]:
                if (at - hash(contents[moved])) & mask >= (at - gap) & mask:  # its home is not behind the gap
                    slots[gap] = moved
                    gap = at
                at = (at + 1) & mask
            slots[gap] = 0
        return changed

    def _remove_copy(self, content: BlockHash, block: int) -> None:
        copies = self.copies[content]
        first = next(iter(copies))
        del copies[block]
        following = next(iter(copies))
        if first == block:
            slots, mask = self._slots, self._mask
            at = hash(content) & mask
            while slots[at] != block:
                at = (at + 1) & mask
            slots[at] = following
        if len(copies) == 1:
            del self.copies[content]
        self.contents[block] = 0

    def _grow(self) -> None:
        small = self._mask + 1 << 2
        old = self._slots
        self._resize(small if small <= min(_LAST_SMALL, self._most) else self._most)
        slots, contents, mask = self._slots, self.contents, self._mask
        for block in old:
            if block:
                at = hash(contents[block]) & mask
                while slots[at]:
                    at = (at + 1) & mask
                slots[at] = block

    def clear(self) -> None:
        """Forget all content."""
        self.copies.clear()
        self.num_contents = 0
        blocks = len(self.contents)
        self.contents[:] = self.contents[:1] * blocks
        self._resize(min(_FIRST_SLOTS, self._most))

    def by_content(self) -> dict[BlockHash, list[int]]:
        """The blocks of each content, first added first; for tests and people."""
        contents = self.contents
        alone = {contents[block]: [block] for block in self._slots if block}
        return alone | {content: list(copies) for content, copies in self.copies.items()}
