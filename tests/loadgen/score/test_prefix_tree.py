"""The radix tree against plain comparison of all prompts, and the bound of caches against caches."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.score import prefix_tree
from loadgen.score.prefix_tree import HEAD, Paths, PrefixTree, best_hits, common_prefix

prompts = st.lists(st.tuples(st.sampled_from("ab"), st.text("xyz", max_size=12).map(str.encode)), max_size=25)
paths = st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=4, unique=True), max_size=14)


def shared(a: Sequence[int], b: Sequence[int]) -> int:
    """How many items two sequences have in common from their start on, one by one."""
    return next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


@given(st.binary(max_size=300), st.binary(max_size=300), st.binary(max_size=300))
def test_common_prefix(start: bytes, a: bytes, b: bytes) -> None:
    assert common_prefix(start + a, start + b) == shared(start + a, start + b)


@given(prompts)
def test_each_prompt_meets_the_longest_that_an_earlier_one_shares(
    asked: list[tuple[str, bytes]],
) -> None:
    tree = PrefixTree()
    for number, (space, content) in enumerate(asked):
        earlier = [shared(other, content) for place, other in asked[:number] if place == space]
        assert tree.insert(space, content)[0] == max(earlier, default=0)


@given(prompts)
def test_paths_add_up_to_their_prompts_and_part_where_prompts_part(asked: list[tuple[str, bytes]]) -> None:
    tree = PrefixTree()
    ends = [tree.insert(space, content)[1] for space, content in asked]
    lengths = tree.lengths()
    found = [tree.path(end) for end in ends]
    for (_, content), path in zip(asked, found, strict=True):
        assert sum(lengths[node] for node in path) == len(content)
        assert len(set(path)) == len(path)
    for (here, a), first in zip(asked, found, strict=True):
        for (there, b), second in zip(asked, found, strict=True):
            both = shared(first, second)
            together = sum(lengths[node] for node in first[:both])
            assert together == (shared(a, b) if here == there else 0)
            assert here == there or not set(first) & set(second)


@given(prompts)
def test_the_tree_is_as_large_as_what_its_prompts_do_not_share(asked: list[tuple[str, bytes]]) -> None:
    tree = PrefixTree()
    fresh = sum(len(content) - tree.insert(space, content)[0] for space, content in asked)
    assert sum(tree.lengths()) == fresh


@given(prompts, st.randoms())
def test_the_order_of_prompts_changes_no_length(asked: list[tuple[str, bytes]], order: Random) -> None:
    def splits(order: list[tuple[str, bytes]]) -> list[list[int]]:
        tree = PrefixTree()
        ends = {(space, content): tree.insert(space, content)[1] for space, content in order}
        lengths = tree.lengths()
        return [[int(lengths[node]) for node in tree.path(ends[key])] for key in sorted(ends)]

    shuffled = list(asked)
    order.shuffle(shuffled)
    assert splits(asked) == splits(shuffled)


def lru(asked: list[list[int]], capacity: int) -> list[int]:
    """Hits of a cache that forgets what was used longest ago; nodes of size one."""
    cache: OrderedDict[int, None] = OrderedDict()
    hits = []
    for path in asked:
        hits.append(sum(node in cache for node in path))
        for node in path:
            cache[node] = None
            cache.move_to_end(node)
        while len(cache) > capacity:
            cache.popitem(last=False)
    return hits


@given(paths, st.integers(0, 8))
def test_no_cache_of_that_size_does_better(asked: list[list[int]], capacity: int) -> None:
    best = best_hits(Paths(asked), [1.0] * 7, capacity)
    assert sum(best) >= sum(lru(asked, capacity)) - 1e-9
    assert all(0 <= hit <= len(path) for hit, path in zip(best, asked, strict=True))


@given(paths, st.lists(st.floats(0.5, 4), min_size=7, max_size=7))
def test_a_cache_without_end_hits_all_that_came_before(asked: list[list[int]], weights: list[float]) -> None:
    best = best_hits(Paths(asked), weights, 1e9)
    seen: set[int] = set()
    for path, hit in zip(asked, best, strict=True):
        assert hit == pytest.approx(sum(weights[node] for node in path if node in seen))
        seen |= set(path)
    assert best_hits(Paths(asked), weights, 0.0) == pytest.approx([0.0] * len(asked), abs=1e-9)


@given(paths, st.floats(0, 10), st.floats(0, 10))
def test_a_larger_cache_is_no_worse(asked: list[list[int]], a: float, b: float) -> None:
    weights = [1.0, 2.0, 1.0, 3.0, 1.0, 2.0, 1.0]
    small, large = (sum(best_hits(Paths(asked), weights, size)) for size in sorted((a, b)))
    assert small <= large + 1e-9


@given(paths, st.integers(1, 8))
def test_worth_scales_what_is_hit_and_not_what_is_kept(asked: list[list[int]], capacity: int) -> None:
    weights = [1.0] * 7
    plain = best_hits(Paths(asked), weights, capacity)
    double = best_hits(Paths(asked), weights, capacity, [2.0] * 7)
    assert double == pytest.approx([2 * hit for hit in plain])


long_prompts = st.lists(
    st.tuples(
        st.sampled_from(["", "a" * HEAD, "a" * (HEAD - 1), "ab" * HEAD, "a" * (3 * HEAD)]),
        st.text("ab", max_size=4),
        st.sampled_from(["", "c" * HEAD, "c" * (2 * HEAD), "cd"]),
        st.text("cd", max_size=3),
    ).map(lambda parts: "".join(parts).encode()),
    max_size=25,
)


@given(long_prompts)
def test_a_tree_that_keeps_beginnings_only_is_the_same_tree(asked: list[bytes]) -> None:
    whole, short = PrefixTree(), PrefixTree(asked.__getitem__)
    ends = []
    for source, content in enumerate(asked):
        (common, end), again = whole.insert("s", content), short.insert("s", content, source)
        assert again[0] == common
        ends.append((end, again[1]))
    lengths, same = whole.lengths(), short.lengths()
    for end, again in ends:
        assert [lengths[node] for node in whole.path(end)] == [same[node] for node in short.path(again)]


@given(prompts)
def test_uses_are_the_paths_through_a_node(asked: list[tuple[str, bytes]]) -> None:
    tree = PrefixTree()
    ends = [tree.insert(space, content)[1] for space, content in asked]
    through = Counter(node for end in ends for node in tree.path(end))
    uses = tree.uses(ends)
    assert all(uses[node] == count for node, count in through.items())
    most = np.zeros(len(uses))
    for number, end in enumerate(ends):
        most[end] = max(most[end], number)
    tree.raise_most(most)
    for number, end in enumerate(ends):
        assert all(most[node] >= number for node in tree.path(end))


def test_a_cache_that_clears_its_heap_hits_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = Random(5)
    asked = Paths(rng.sample(range(60), rng.randint(1, 5)) for _ in range(400))
    weights = [rng.uniform(0.5, 3) for _ in range(60)]
    found = best_hits(asked, weights, 30.0)
    monkeypatch.setattr(prefix_tree, "_STALE", 0)
    assert best_hits(asked, weights, 30.0) == found
