"""Which endpoint has which blocks in its KV cache, by what the engines themselves say.

An engine names its blocks by hashes of its own; here a block is named by its tokens and those before it, so
that a prompt's blocks can be looked up. Events are vLLM's: maps with a `type`, or arrays with it in front.
Sources: llm-d-router's kvcache/ and kvevents/.
"""

from __future__ import annotations

import itertools
import struct
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import xxhash

# Kinds of caches whose blocks stand for all tokens before them.
_INDEXABLE = frozenset({"full_attention", "mla_attention", "sink_full", ""})
# The order of an array's fields after its name.
_STORED = ("block_hashes", "parent_block_hash", "token_ids", "block_size", "lora_id", "medium", "lora_name")
_REMOVED = ("block_hashes", "medium")
MOST_BLOCKS = 2_000_000
# What a block counts for, by where it is.
WEIGHTS: Mapping[str, float] = {"gpu": 1.0, "cpu": 0.8}
EngineKey = int | bytes


def block_keys(
    tokens: Sequence[int], block: int, model: str, seed: str, parent: int | None = None
) -> list[int]:
    """Keys of the whole blocks of `tokens`, each made of the one before and its own tokens."""
    key = parent
    if key is None:
        key = xxhash.xxh64_intdigest(f"{seed}\0{model}".encode())
    keys = []
    for start in range(0, len(tokens) - block + 1, block):
        packed = struct.pack(f"<Q{block}Q", key, *tokens[start : start + block])
        key = xxhash.xxh64_intdigest(packed)
        keys.append(key)
    return keys


class KVIndex:
    """Blocks by key, with the endpoints that have them and where; the oldest goes beyond MOST_BLOCKS."""

    def __init__(self, block: int = 16, seed: str = "", weights: Mapping[str, float] | None = None) -> None:
        self.block = block
        self._seed = seed
        self._weights = weights or WEIGHTS
        self._holders: OrderedDict[int, dict[str, set[str]]] = OrderedDict()
        self._keys: dict[EngineKey, tuple[int, ...]] = {}  # by the engine's name of a block
        self._stored: dict[str, Counter[tuple[EngineKey, str]]] = {}  # how often, by endpoint
        self.events = 0

    def keys(self, tokens: Sequence[int], model: str) -> list[int]:
        """The keys of a prompt's blocks."""
        return block_keys(tokens, self.block, model, self._seed)

    def matches(self, keys: Sequence[int], endpoints: Iterable[str]) -> dict[str, tuple[float, int]]:
        """(weighted, plain) count of the blocks from the first on that each endpoint has without a gap."""
        found: dict[str, tuple[float, int]] = {}
        active = set(endpoints)
        for key in keys:
            holders = self._holders.get(key, {})
            active &= holders.keys()
            if not active:
                break
            for endpoint in active:
                weight = max(self._weights.get(tier, 1.0) for tier in holders[endpoint])
                score, count = found.get(endpoint, (0.0, 0))
                found[endpoint] = score + weight, count + 1
        return found

    def apply(self, endpoint: str, model: str, events: Iterable[Any]) -> None:
        """Take in a batch of an engine's events; what is no event of a known kind is passed over."""
        for event in events:
            kind, fields = _fields_of(event)
            if kind == "BlockStored" and fields.get("kv_cache_spec_kind", "") in _INDEXABLE:
                self._store(endpoint, fields.get("lora_name") or model, fields)
            elif kind == "BlockRemoved":
                self._remove(endpoint, fields)
            elif kind == "AllBlocksCleared":
                self.clear(endpoint)
            self.events += 1

    def add(self, keys: Iterable[int], endpoint: str, tier: str = "gpu") -> None:
        """Say that an endpoint has these blocks."""
        holders = self._holders
        for key in keys:
            holders.setdefault(key, {}).setdefault(endpoint, set()).add(tier)
        while len(holders) > MOST_BLOCKS:
            holders.popitem(last=False)

    def discard(self, keys: Iterable[int], endpoint: str, tier: str = "gpu") -> None:
        """Take that back; of a block that several of the engine's make up, one is enough."""
        for key in keys:
            holders = self._holders.get(key)
            tiers = holders.get(endpoint) if holders else None
            if holders is None or tiers is None:
                continue
            tiers.discard(tier)
            if not tiers:
                del holders[endpoint]
            if not holders:
                del self._holders[key]

    def clear(self, endpoint: str) -> None:
        """An endpoint has nothing any more."""
        for engine_key, tier in self._stored.pop(endpoint, {}):
            self.discard(self._keys.get(engine_key, ()), endpoint, tier)

    def sizes(self) -> dict[str, int]:
        """Blocks per endpoint."""
        return dict(Counter(endpoint for holders in self._holders.values() for endpoint in holders))

    def _store(self, endpoint: str, model: str, fields: Mapping[str, Any]) -> None:
        hashes, tokens = fields.get("block_hashes") or (), fields.get("token_ids") or ()
        tier = str(fields.get("medium") or "gpu").lower()
        parent = fields.get("parent_block_hash")
        before = self._keys.get(parent) if parent else None
        if not hashes or (parent and before is None):
            return  # what it builds on was never heard of
        if tokens:
            keys = block_keys(tokens, self.block, model, self._seed, before[-1] if before else None)
            self._name(hashes, keys)
        for engine_key in hashes:
            stored = self._stored.setdefault(endpoint, Counter())
            stored[engine_key, tier] += 1
            if stored[engine_key, tier] == 1:
                self.add(self._keys.get(engine_key, ()), endpoint, tier)

    def _name(self, hashes: Sequence[EngineKey], keys: Sequence[int]) -> None:
        """Remember which of our blocks the engine's names stand for."""
        for engine_key, mine in zip(hashes, _shared_out(keys, len(hashes)), strict=True):
            self._keys[engine_key] = mine
        if len(self._keys) > 2 * MOST_BLOCKS:
            known = self._holders
            self._keys = {k: mine for k, mine in self._keys.items() if mine and mine[-1] in known}

    def _remove(self, endpoint: str, fields: Mapping[str, Any]) -> None:
        tier = str(fields.get("medium") or "gpu").lower()
        stored = self._stored.get(endpoint, Counter())
        for engine_key in fields.get("block_hashes") or ():
            if (count := stored.get((engine_key, tier), 0)) <= 0:
                continue  # said before
            stored[engine_key, tier] = count - 1
            if count == 1:
                del stored[engine_key, tier]
                self.discard(self._keys.get(engine_key, ()), endpoint, tier)


def _fields_of(event: Any) -> tuple[str, Mapping[str, Any]]:
    if isinstance(event, Mapping):
        return str(event.get("type")), event
    if isinstance(event, list) and event:
        names = _STORED if event[0] == "BlockStored" else _REMOVED
        return str(event[0]), dict(zip(names, event[1:], strict=False))
    return "", {}


def _shared_out(keys: Sequence[int], engine_blocks: int) -> list[tuple[int, ...]]:
    """Our blocks that each of the engine's stands for, where theirs are larger or smaller than ours."""
    count = len(keys)
    if count <= engine_blocks:
        return [tuple(keys[i * count // engine_blocks :][:1]) for i in range(engine_blocks)]
    bounds = [i * count // engine_blocks for i in range(engine_blocks + 1)]
    return [tuple(keys[start:end]) for start, end in itertools.pairwise(bounds)]
