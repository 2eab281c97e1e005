"""What prompts have in common, and how much of it a cache of a given size could have served.

A radix tree over prompt bytes splits prompts wherever any two of them part. Between two splits all bytes
are always asked for together, so a node is one object of the cache however many blocks it spans; that makes
the optimum below cheap without making it coarse.

A node is a row of arrays and not an object, and of the bytes that one prompt alone has only the first are
kept: a million prompts take some hundred megabytes, however long they are.

Knows nothing of pods' true state or of HTTP.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

HEAD = 32  # bytes kept of what only one prompt has; most prompts part within them
NONE = -1


class PrefixTree:
    """All prompts of one run, under one root for each space (model, adapter, salt).

    remade: gives the whole prompt of a source again, when what is kept of it is not enough.
    """

    def __init__(self, remade: Callable[[int], bytes] | None = None) -> None:
        self._remade = remade
        self._roots: dict[str, int] = {}
        self._bytes = bytearray()
        self._where = array("q")  # of each node: the place of its first bytes in _bytes,
        self._kept = array("i")  # how many of its bytes stand there,
        self._source = array("i")  # and the prompt that has the others
        self.ends = array("i")
        """Of each node the bytes from the root to its end, which no later split changes."""
        self.parents = array("i")
        self._child = array("i")
        self._sibling = array("i")

    def insert(self, space: str, content: bytes, source: int = NONE) -> tuple[int, int]:
        """Add a prompt: how many bytes an earlier one of its space had in common, and the node it ends in.

        source: what `remade` gives the prompt for; without it all bytes are kept.
        """
        node = self._roots.get(space, NONE)
        if node == NONE:
            node = self._roots[space] = self._add(b"", 0, NONE, NONE)
        size, at, pool = len(content), 0, self._bytes
        while at < size:
            first, before, child = content[at], NONE, self._child[node]
            while child != NONE and pool[self._where[child]] != first:
                before, child = child, self._sibling[child]
            if child == NONE:
                return at, self._leaf(node, content, at, source)
            place, kept = self._where[child], self._kept[child]
            if content[at : at + kept] == pool[place : place + kept] and at + kept == self.ends[child]:
                node, at = child, at + kept
                continue
            shared = self._shared(child, content, at)
            at += shared
            if at < self.ends[child]:
                child = self._split(child, before, at)
            node = child
        return at, node

    def _shared(self, child: int, content: bytes, at: int) -> int:
        """How many bytes of a node `content` has from `at` on; so many of the node's are then kept."""
        place, kept = self._where[child], self._kept[child]
        shared = common_prefix(bytes(self._bytes[place : place + kept]), content[at : at + kept])
        if shared < kept or at + kept in (len(content), self.ends[child]):
            return shared
        assert self._remade is not None  # nodes without a source are kept whole
        edge = self._remade(self._source[child])[at : self.ends[child]]
        shared = common_prefix(edge, content[at : at + len(edge)])
        self._keep(child, edge, shared + HEAD)
        return shared

    def _keep(self, node: int, edge: bytes, count: int) -> None:
        self._where[node], self._kept[node] = len(self._bytes), min(count, len(edge))
        self._bytes += edge[:count]

    def _leaf(self, parent: int, content: bytes, at: int, source: int) -> int:
        node = self._add(
            content[at:] if source < 0 else content[at : at + HEAD], len(content), parent, source
        )
        self._sibling[node], self._child[parent] = self._child[parent], node
        return node

    def _add(self, edge: bytes, end: int, parent: int, source: int) -> int:
        self._where.append(len(self._bytes))
        self._kept.append(len(edge))
        self._bytes += edge
        for column, value in (
            (self._source, source),
            (self.ends, end),
            (self.parents, parent),
            (self._child, NONE),
            (self._sibling, NONE),
        ):
            column.append(value)
        return len(self.ends) - 1

    def _split(self, child: int, before: int, at: int) -> int:
        """A node for the part of `child` up to `at`, in its place among its siblings and above it."""
        parent = self.parents[child]
        shared = at - self.ends[parent]
        upper = self._add(b"", at, parent, NONE)
        self._where[upper], self._kept[upper] = self._where[child], shared
        self._where[child] += shared
        self._kept[child] -= shared
        if before == NONE:
            self._child[parent] = upper
        else:
            self._sibling[before] = upper
        self._sibling[upper], self._sibling[child] = self._sibling[child], NONE
        self._child[upper], self.parents[child] = child, upper
        if self._kept[child] == 0:
            edge = self._remade(self._source[child])[at : self.ends[child]]  # type: ignore[misc]
            self._keep(child, edge, HEAD)
        return upper

    def lengths(self) -> NDArray[np.int32]:
        """The bytes of each node, by its number; insert nothing after."""
        ends, parents = np.frombuffer(self.ends, np.int32), np.frombuffer(self.parents, np.int32)
        return np.asarray(np.where(parents == NONE, 0, ends - ends[parents]))

    def path(self, end: int) -> list[int]:
        """The nodes from a root (which is left out) down to `end`."""
        nodes = []
        while (parent := self.parents[end]) != NONE:
            nodes.append(end)
            end = parent
        return nodes[::-1]

    def uses(self, ends: Sequence[int] | NDArray[Any]) -> array[int]:
        """How many of the paths that end in `ends` go through each node."""
        counts = array("q", np.bincount(np.asarray(ends, np.int64), minlength=len(self.ends)).tobytes())
        parents = self.parents
        for node in self._upwards():
            if parents[node] != NONE:
                counts[parents[node]] += counts[node]
        return counts

    def raise_most(self, values: NDArray[np.float64]) -> None:
        """Let each node have the largest value of those below it."""
        found, parents = values.tolist(), self.parents
        for node in self._upwards():
            if parents[node] != NONE and found[node] > found[parents[node]]:
                found[parents[node]] = found[node]
        values[:] = found

    def _upwards(self) -> Iterator[int]:
        """All nodes, each before the one above it."""
        order = np.argsort(np.frombuffer(self.ends, np.int32))[::-1]
        return iter(array("q", order.tobytes()))


def common_prefix(a: bytes, b: bytes) -> int:
    """Length of the longest common prefix; compares slices, so cost is C speed times log of the length."""
    low, high = 0, min(len(a), len(b))
    if a[:high] == b[:high]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle
    return low


class Paths:
    """Many paths in one array, in the order in which they are asked for."""

    def __init__(self, paths: Iterable[Iterable[int]] = ()) -> None:
        self.nodes = array("i")
        self.bounds = array("q", [0])
        """Where each path begins in `nodes`, and the end of the last."""
        for path in paths:
            self.add(path)

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def add(self, path: Iterable[int]) -> None:
        """Append a path; no node stands twice in one."""
        self.nodes.extend(path)
        self.bounds.append(len(self.nodes))


def best_hits(
    paths: Paths, weights: Sequence[float], capacity: float, worth: Sequence[float] | None = None
) -> list[float]:
    """For each request the worth of what an optimal cache of `capacity` would have held of its path.

    weights: the room that each node takes. worth: what a hit on all of it counts, by default its weight.

    Belady's rule with bypass: whatever is needed again last goes first. No placement on pods whose caches
    sum to `capacity` can serve more in total: pooling, foresight, and forgetting that a block is of use only
    behind its predecessors each can only add hits. Ties leave a path from its end, so chains stay whole.
    """
    cache = _Belady(weights, capacity, len(paths))
    scale = [b / a if a else 0.0 for a, b in zip(weights, worth or weights, strict=True)]
    upcoming, hits, held = _next_uses(paths), [], cache.held
    for begin, end in pairwise(paths.bounds):
        path = paths.nodes[begin:end]
        hits.append(sum([held[node] * scale[node] for node in path]))
        cache.ask(path, upcoming[begin:end])
    return hits


class _Belady:
    """A cache that knows when each of its nodes is asked for again."""

    def __init__(self, weights: Sequence[float], capacity: float, requests: int) -> None:
        self._weights, self._free, self._requests = weights, capacity, requests
        self.held = array("d", bytes(8 * len(weights)))
        self._due = array("q", [NONE]) * len(weights)
        self._count = 0
        self._heap: list[int] = []  # latest next use first, then deepest; stale entries are skipped

    def ask(self, path: Sequence[int], upcoming: Sequence[int]) -> None:
        """Let a path pass, of whose nodes each is asked for again by the request in `upcoming`."""
        held, due, weights = self.held, self._due, self._weights
        for depth, (node, again) in enumerate(zip(path, upcoming, strict=True)):
            self._free += held[node]
            held[node] = 0.0
            self._count += (again >= 0) - (due[node] >= 0)
            due[node] = again
            if again >= 0:
                held[node] = weights[node]
                self._free -= weights[node]
                heapq.heappush(self._heap, self._key(node, again, depth))
        self._forget()

    def _key(self, node: int, again: int, depth: int) -> int:
        return ((self._requests - again << _DEPTH) - depth) * len(self._weights) + node

    def _named(self, key: int) -> tuple[int, int]:
        """Node and next use of a key."""
        above, node = divmod(key, len(self._weights))
        return node, self._requests - (-(-above >> _DEPTH))

    def _forget(self) -> None:
        held, due, heap = self.held, self._due, self._heap
        while self._free < 0 and heap:
            key = heapq.heappop(heap)
            node, again = self._named(key)
            if due[node] != again:
                continue
            if held[node] + self._free > 0:  # a part of it may stay
                held[node], self._free = held[node] + self._free, 0.0
                heapq.heappush(heap, key)
            else:
                self._free += held[node]
                held[node], due[node] = 0.0, NONE
                self._count -= 1
        if len(heap) > 2 * self._count + _STALE:
            heap[:] = [key for key in heap if due[(named := self._named(key))[0]] == named[1]]
            heapq.heapify(heap)


_DEPTH = 20  # bits for the depth in a path
_STALE = 4096  # entries of the heap that need not be cleared away


def _next_uses(paths: Paths) -> array[int]:
    """For each entry of `paths.nodes` the next request that asks for the same node, -1 when none does."""
    nodes = np.frombuffer(paths.nodes, np.int32)
    requests = np.repeat(np.arange(len(paths), dtype=np.int32), np.diff(paths.bounds))
    order = np.argsort(nodes, kind="stable")
    again = np.full(len(nodes), NONE, np.int32)
    same = nodes[order[1:]] == nodes[order[:-1]]
    again[order[:-1][same]] = requests[order[1:][same]]
    return array("i", again.tobytes())
