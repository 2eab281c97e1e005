"""What prompts have in common, and how much of it a cache of a given size could have served.

A radix tree over prompt bytes splits prompts wherever any two of them part. Between two splits all bytes
are always asked for together, so a node is one object of the cache however many blocks it spans; that makes
the optimum below cheap without making it coarse.

Knows nothing of pods' true state or of HTTP.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class Node:
    """A stretch of prompt between two places where prompts part."""

    edge: bytes
    children: dict[int, Node] = field(default_factory=dict)
    number: int = -1
    """Set by `PrefixTree.number`; stable from then on."""


class PrefixTree:
    """All prompts of one run; the first byte string of a path is its space (model, adapter, salt)."""

    def __init__(self) -> None:
        self._roots: dict[str, Node] = {}

    def insert(self, space: str, content: bytes) -> int:
        """Add a prompt; returns how many of its bytes an earlier prompt of the same space had in common."""
        node = self._roots.setdefault(space, Node(b""))
        matched = 0
        while matched < len(content):
            child = node.children.get(content[matched])
            if child is None:
                node.children[content[matched]] = Node(content[matched:])
                return matched
            shared = common_prefix(child.edge, content[matched : matched + len(child.edge)])
            matched += shared
            if shared < len(child.edge):
                upper = Node(child.edge[:shared], {child.edge[shared]: child})
                node.children[child.edge[0]] = upper
                child.edge = child.edge[shared:]
                child = upper
            node = child
        return matched

    def number(self) -> list[int]:
        """Give every node its number; returns their lengths in bytes by number. Insert nothing after."""
        lengths: list[int] = []
        stack = list(self._roots.values())
        while stack:
            node = stack.pop()
            node.number = len(lengths)
            lengths.append(len(node.edge))
            stack.extend(node.children.values())
        return lengths

    def path(self, space: str, content: bytes) -> list[int]:
        """The numbers of the nodes that make up a prompt inserted before, from the root on."""
        node = self._roots[space]
        numbers: list[int] = []
        at = 0
        while at < len(content):
            node = node.children[content[at]]
            numbers.append(node.number)
            at += len(node.edge)
        return numbers


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


def best_hits(
    paths: Sequence[Sequence[int]],
    weights: Sequence[float],
    capacity: float,
    worth: Sequence[float] | None = None,
) -> list[float]:
    """For each request the worth of what an optimal cache of `capacity` would have held of its path.

    weights: the room that each node takes. worth: what a hit on all of it counts, by default its weight.

    Belady's rule with bypass: whatever is needed again last goes first. No placement on pods whose caches
    sum to `capacity` can serve more in total: pooling, foresight, and forgetting that a block is of use only
    behind its predecessors each can only add hits. Ties leave a path from its end, so chains stay whole.
    """
    upcoming = _next_uses(paths)
    held: dict[int, float] = {}
    heap: list[tuple[int, int, int]] = []  # (-next use, -depth, node); stale entries are skipped
    due: dict[int, int] = {}
    free = capacity
    hits: list[float] = []
    scale = [b / a if a else 0.0 for a, b in zip(weights, worth or weights, strict=True)]
    for request, path in enumerate(paths):
        hits.append(sum(held.get(node, 0.0) * scale[node] for node in path))
        for depth, node in enumerate(path):
            again = upcoming[request][depth]
            free += held.pop(node, 0.0)
            due.pop(node, None)
            if again < 0:
                continue
            held[node] = weights[node]
            due[node] = again
            free -= weights[node]
            heapq.heappush(heap, (-again, -depth, node))
        while free < 0 and heap:
            again, depth_key, node = heapq.heappop(heap)
            if due.get(node) != -again:
                continue
            kept = max(0.0, held[node] + free)
            free += held[node] - kept
            if kept:
                held[node] = kept
                heapq.heappush(heap, (again, depth_key, node))
            else:
                del held[node], due[node]
    return hits


def _next_uses(paths: Sequence[Sequence[int]]) -> list[list[int]]:
    """For each entry of each path the next request that asks for the same node, -1 when none does."""
    following: dict[int, int] = {}
    out: list[list[int]] = [[] for _ in paths]
    for request in range(len(paths) - 1, -1, -1):
        out[request] = [following.get(node, -1) for node in paths[request]]
        for node in paths[request]:
            following[node] = request
    return out


def held_by(pods: Iterable[str], path: Sequence[int], holders: dict[int, set[str]]) -> dict[str, int]:
    """How many nodes of `path`, from its start without a gap, each pod has been sent before."""
    depth = dict.fromkeys(pods, 0)
    for index, node in enumerate(path):
        alive = holders.get(node)
        if not alive:
            break
        for pod in alive:
            if depth.get(pod) == index:
                depth[pod] = index + 1
    return depth
