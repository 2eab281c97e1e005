"""Prompts of known structure as token ids and block hashes, without a word of text.

A trace says which blocks of a prompt are equal to which of another's (Mooncake's `hash_ids`). All that a
prefix cache asks of a prompt is whether its n-th full block, and all blocks before it, are those of another
prompt; `Prefixes` answers with hashes that are equal exactly then: each (blocks before, block) pair has a
node of its own, and a node's hashes are numbers that no other node has. No two different prefixes can meet,
which not even a real hash promises. Ids matter only behind the last full block, where the answer's tokens
join them in one block: there they are the node's number, equal for equal content and for no other.

Where the engine's block does not divide the trace's, ids are laid out one by one and hashed by the engine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from simulator.engine.kv.block_hash import BlockHash

_MAX_TOKEN_ID = 1 << 31
_SPREAD = 2_654_435_761  # Knuth's multiplier: neighbouring identities begin far from each other


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a trace knows of a prompt: its ids, or its length and which blocks it shares.

    `blocks` are names of blocks of `block_tokens` tokens each, equal where the content is; what they do not
    cover belongs to this prompt alone, under the name `own` (negative, so that it is no block's).
    """

    length: int
    ids: list[int] | None = None
    blocks: tuple[int, ...] = ()
    block_tokens: int = 0
    own: int = -1

    @classmethod
    def of_ids(cls, ids: list[int]) -> Prompt:
        return cls(len(ids), ids)

    def parts(self) -> Iterator[tuple[int, int]]:
        """(name, tokens) of each stretch, in order; the last ones may be cut by the prompt's length."""
        left = self.length
        for name in self.blocks:
            count = min(self.block_tokens, left)
            if count <= 0:
                return
            yield name, count
            left -= count
        if left > 0:
            yield self.own, left

    def token_ids(self) -> list[int]:
        """Ids that are equal for equal blocks and, in practice, for no others."""
        if self.ids is not None:
            return self.ids
        ids: list[int] = []
        for name, count in self.parts():
            first = (name * _SPREAD) % _MAX_TOKEN_ID
            ids += range(first, first + count)
        return ids


@dataclass(slots=True)
class _Node:
    """A block behind certain others: the hashes of its full engine blocks, and the blocks behind it."""

    number: int
    hashes: list[BlockHash] = field(default_factory=list)
    after: dict[int, _Node] = field(default_factory=dict)


class Prefixes:
    """Lays prompts out for engines of one block size; `root` keeps prompts of different adapters apart."""

    def __init__(self, block_size: int) -> None:
        self._size = block_size
        self._next = 1
        self._roots: dict[str, _Node] = {}

    def lay_out(self, prompt: Prompt, root: str = "") -> tuple[list[int], list[BlockHash]]:
        """Token ids and the hashes of the full blocks; no hashes: the engine has to hash the ids."""
        if prompt.ids is not None:
            return prompt.ids, []
        if prompt.block_tokens % self._size:
            return prompt.token_ids(), []
        size, hashes = self._size, []
        node = self._roots.get(root)
        if node is None:
            node = self._roots[root] = self._node(0)
        tail: list[int] = []
        for name, count in prompt.parts():
            full, rest = divmod(count, size)
            if name < 0:  # nobody else's: nothing is remembered of it
                node = self._node(full)
            else:
                known = node.after.get(name)
                node = (
                    known
                    if known is not None
                    else node.after.setdefault(name, self._node(self._full(prompt)))
                )
            hashes += node.hashes[:full] if full < len(node.hashes) else node.hashes
            tail = [node.number % _MAX_TOKEN_ID] * rest
        ids = [0] * (prompt.length - len(tail))
        return ids + tail if tail else ids, hashes

    def _full(self, prompt: Prompt) -> int:
        return prompt.block_tokens // self._size

    def _node(self, full: int) -> _Node:
        """A node with hashes that no other has; its own number is one of them."""
        first = self._next
        self._next += full + 1
        return _Node(first, list(range(first + 1, first + 1 + full)))
