"""Both indexes of contents against a dict of lists."""

from __future__ import annotations

import sys
from hashlib import sha256
from random import Random

import pytest

from simulator.engine.kv.block_hash import BlockHash
from simulator.engine.kv.content_index import ContentIndex
from simulator.engine.kv.dict_index import DictIndex


def content_of(number: int, wide: bool) -> BlockHash:
    return sha256(str(number).encode()).digest() if wide else hash((number, number))


@pytest.mark.parametrize(("kind", "wide"), [("compact", False), ("compact", True), ("dict", False)])
@pytest.mark.parametrize("seed", range(3))
def test_random_use_through_every_growth(seed: int, kind: str, wide: bool) -> None:
    rng = Random(seed)
    index = DictIndex() if kind == "dict" else ContentIndex(3000, wide=wide)
    index.more_blocks(2999)
    plain: dict[BlockHash, list[int]] = {}
    kept: dict[int, BlockHash] = {}
    for step in range(12_000):
        block = rng.randrange(1, 3000)
        if block in kept:
            blocks = plain[kept[block]]
            was_first = len(blocks) > 1
            assert index.remove_all((block,)) is was_first
            blocks.remove(block)
            if not blocks:
                del plain[kept[block]]
            del kept[block]
        else:
            content = content_of(rng.randrange(1500 if step % 2 else 100_000), wide)
            index.add(content, block)
            plain.setdefault(content, []).append(block)
            kept[block] = content
        if step % 500 == 0:
            assert index.by_content() == plain
    assert index.num_contents == len(plain)
    for content, blocks in plain.items():
        assert index.find(content) == blocks[0]
    assert index.find(content_of(-1, wide)) == 0


def test_contents_that_meet_in_one_slot_are_found_after_a_gap() -> None:
    index = ContentIndex(100)
    index.more_blocks(99)
    collide = [7 + 256 * n for n in range(20)] + [8 + 256 * n for n in range(20)]
    for block, content in enumerate(collide, 1):
        index.add(content, block)
    for gone in (1, 5, 30, 21, 20):
        index.remove_all((gone,))
    left = [(content, block) for block, content in enumerate(collide, 1) if block not in (1, 5, 30, 21, 20)]
    assert index.by_content() == {content: [block] for content, block in left}
    assert all(index.find(content) == block for content, block in left)
    assert index.find_first([collide[1], collide[2], collide[0], collide[3]]) == [2, 3]


@pytest.mark.parametrize("index", [ContentIndex(10), DictIndex()], ids=["compact", "dict"])
def test_a_hash_of_zero_is_no_content(index: ContentIndex | DictIndex) -> None:
    index.more_blocks(9)
    index.add(0, 1)
    assert index.find(0) == 0
    assert index.by_content() == {}


@pytest.mark.parametrize("index", [ContentIndex(10), DictIndex()], ids=["compact", "dict"])
def test_forgetting_everything(index: ContentIndex | DictIndex) -> None:
    index.more_blocks(9)
    for block in (1, 2, 3):
        index.add(5, block)
    index.clear()
    assert index.by_content() == {}
    assert index.find(5) == index.num_contents == 0
    index.add(5, 2)
    assert index.find(5) == 2


def test_a_cached_block_costs_at_most_26_bytes_here() -> None:
    blocks = 40_000
    index = ContentIndex(blocks)
    index.more_blocks(blocks - 1)
    for block in range(1, blocks):
        index.add(hash((block, 1)), block)
    assert (sys.getsizeof(index.contents) + sys.getsizeof(index._slots)) / blocks <= 26
