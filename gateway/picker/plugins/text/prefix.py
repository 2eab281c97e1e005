"""Which endpoint probably has a prompt's prefix cached: hashes of its blocks, and who was sent them before.

A prediction from past routing, never from engine state. Sources: GIE v1.2 multi/prefix; GIE v1.5 and
llm-d-router approximateprefix.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice, repeat, takewhile

import xxhash

from gateway.picker.plugins.text.assets import Estimate
from gateway.picker.plugins.text.prompts import BYTES_PER_TOKEN, prompt_bytes, pseudo_tokens
from gateway.picker.pool.endpoints import Candidate, Endpoint
from gateway.picker.request import InferenceRequest

DEFAULT_CAPACITY = 31250
# llm-d-router hashes in blocks of at least this many tokens, whatever the engine's block size.
MIN_PSEUDO_BLOCK = 64


@dataclass(frozen=True, slots=True)
class PrefixSettings:
    """How prompts are cut and how much is remembered; `scheme` is Compat.prefix_hash."""

    scheme: str
    auto_tune: bool
    block_chars: int  # "chars": bytes of a block when the endpoint does not tell its block size
    block_tokens: int  # the other schemes: tokens of a block
    max_blocks: int  # 0: no limit
    max_tokens: int  # > 0 wins over max_blocks
    capacity: int  # blocks remembered per endpoint that does not tell num_gpu_blocks
    strays: bool


def chain_chars(prompt: bytes, block: int, max_blocks: int, seed: bytes) -> list[int]:
    """h_i = XXH64(block_i + LE64(h_{i-1})) over whole blocks of `block` bytes; h_{-1} = XXH64(seed)."""
    digest = xxhash.xxh64_intdigest
    previous = digest(seed)
    count = len(prompt) // block
    hashes = []
    for start in range(0, (min(count, max_blocks) if max_blocks else count) * block, block):
        previous = digest(prompt[start : start + block] + previous.to_bytes(8, "little"))
        hashes.append(previous)
    return hashes


def chain_tokens(tokens: bytes, block_tokens: int, max_blocks: int, seed: bytes) -> list[int]:
    """h_i = XXH64(LE64(XXH64(block_i)) + LE64(h_{i-1})); the last, partial block counts."""
    digest = xxhash.xxh64_intdigest
    previous = digest(seed)
    step = block_tokens * BYTES_PER_TOKEN
    count = -(-len(tokens) // step)
    hashes = []
    for start in range(0, (min(count, max_blocks) if max_blocks else count) * step, step):
        block = digest(tokens[start : start + step])
        previous = digest(block.to_bytes(8, "little") + previous.to_bytes(8, "little"))
        hashes.append(previous)
    return hashes


class PrefixIndex:
    """Block hash -> the endpoints that were sent it, bounded per endpoint by an LRU.

    The endpoints of a hash are a bit mask: equal masks along a prompt are then counted in one step.
    """

    def __init__(self, strays: bool = False) -> None:
        self._masks: dict[int, int] = {}
        self._lrus: dict[str, dict[int, None]] = {}  # least recent first
        self._capacities: dict[str, int] = {}
        self._bits: dict[str, int] = {}
        self._free_bits: list[int] = []
        self._strays = strays

    def match(self, hashes: Sequence[int]) -> dict[str, int]:
        """Blocks each endpoint is believed to have, up to the first block that nobody has.

        Every endpoint that has a block gets one for it, whether or not it had the block before.
        """
        masks = Counter(takewhile(bool, map(self._masks.get, hashes, repeat(0))))
        if not masks:
            return {}
        found = {}
        for endpoint, bit in self._bits.items():
            matched = sum([count for mask, count in masks.items() if mask & bit])
            if matched:
                found[endpoint] = matched
        return found

    def add(self, hashes: Iterable[int], endpoint: str, capacity: int) -> None:
        """Remember that `endpoint` was sent these blocks; its capacity is the one of its first time."""
        lru = self._lrus.get(endpoint)
        if lru is None:
            lru = self._lrus[endpoint] = {}
            self._capacities[endpoint] = capacity
            self._bits[endpoint] = self._free_bits.pop() if self._free_bits else 1 << len(self._bits)
        bit, limit, masks = self._bits[endpoint], self._capacities[endpoint], self._masks
        blocks = list(hashes)
        forget, get = lru.pop, masks.get
        for block in blocks:
            forget(block, None)
            lru[block] = None
            held = get(block)
            # the endpoint's own number where it is alone: one of a thousand bits is 160 bytes
            masks[block] = bit if held is None else held | bit
        if len(lru) > limit:
            for block in list(islice(lru, len(lru) - limit)):
                del lru[block]
                self._clear(block, bit)
        if self._strays:
            # Up to v1.5 the lookup table is filled after the LRU: what the prompt itself pushed out stays.
            for block in blocks:
                masks[block] = masks.get(block, 0) | bit

    def remove(self, endpoint: str) -> None:
        """Forget an endpoint."""
        lru = self._lrus.pop(endpoint, None)
        if lru is None:
            return
        bit = self._bits.pop(endpoint)
        del self._capacities[endpoint]
        for block in lru if not self._strays else list(self._masks):
            self._clear(block, bit)
        self._free_bits.append(bit)

    def endpoints(self) -> list[str]:
        return list(self._lrus)

    def sizes(self) -> dict[str, int]:
        """Blocks remembered per endpoint."""
        return {endpoint: len(lru) for endpoint, lru in self._lrus.items()}

    def _clear(self, block: int, bit: int) -> None:
        rest = self._masks.get(block, 0) & ~bit
        if rest:
            self._masks[block] = rest
        else:
            self._masks.pop(block, None)


class PrefixTracker:
    """Hashes a request, tells each candidate how much of it it has, and remembers where it went."""

    def __init__(self, settings: PrefixSettings, estimate: Estimate | None = None) -> None:
        self.settings = settings
        self.estimate = estimate or Estimate()
        self.index = PrefixIndex(settings.strays)

    def hash(self, request: InferenceRequest, candidates: Sequence[Candidate]) -> list[list[int]]:
        """Block hashes, one list per prompt of the request."""
        settings = self.settings
        seed = request.target_model.encode() + request.body.cache_salt.encode()
        if settings.scheme == "pseudo-tokens":
            block = self.block_tokens(candidates)
            limit = self._limit(block)
            prompts = pseudo_tokens(request, self.estimate)
            return [chain_tokens(tokens, block, limit, seed) for tokens in prompts]
        block = self.block_chars(candidates)
        limit = settings.max_blocks if settings.scheme == "chars" else self._limit(block // BYTES_PER_TOKEN)
        return [chain_chars(prompt_bytes(request.body), block, limit, seed)]

    def prepare(self, request: InferenceRequest, candidates: Sequence[Candidate]) -> None:
        """Fill in what each candidate has of the prompt."""
        prompts = self.hash(request, candidates)
        matched: Counter[str] = Counter()
        for hashes in prompts:
            matched.update(self.index.match(hashes))
        total = sum(map(len, prompts))
        tokens = self.block_tokens(candidates)
        for candidate in candidates:
            candidate.prefix_matched = matched[candidate.endpoint.id]
            candidate.prefix_total = total
            candidate.prefix_block_tokens = tokens
        request.state["prefix-hashes"] = prompts

    def record(self, request: InferenceRequest, target: Candidate) -> tuple[int, int]:
        """Remember where the request goes; bytes matched and bytes in all, for the metrics."""
        prefill: list[Candidate] = request.state.get("profiles", {}).get("prefill", [])
        prompts = request.state.pop("prefix-hashes", ())
        for place in (target, *prefill[:1]):
            for hashes in prompts:
                self.index.add(hashes, place.endpoint.id, self.capacity(place))
        block = self.block_chars([target])
        return target.prefix_matched * block, target.prefix_total * block

    def capacity(self, target: Candidate) -> int:
        if self.settings.auto_tune and target.metrics.num_blocks > 0:
            return target.metrics.num_blocks
        # v1.4 and v1.5 forget the configured capacity here.
        return DEFAULT_CAPACITY if self.settings.scheme == "chars-tokens" else self.settings.capacity

    def block_tokens(self, candidates: Sequence[Candidate]) -> int:
        """Tokens of a block: the first candidate's block size, or the configured one."""
        settings = self.settings
        size = settings.block_tokens
        if settings.auto_tune and candidates and candidates[0].metrics.block_size > 0:
            size = candidates[0].metrics.block_size
        return max(size, MIN_PSEUDO_BLOCK) if settings.scheme == "pseudo-tokens" else size

    def block_chars(self, candidates: Sequence[Candidate]) -> int:
        """Bytes of a block, at 4 per token."""
        settings = self.settings
        tuned = settings.auto_tune and candidates and candidates[0].metrics.block_size > 0
        if settings.scheme == "chars" and not tuned:
            return settings.block_chars
        return self.block_tokens(candidates) * BYTES_PER_TOKEN

    def forget(self, present: Iterable[Endpoint]) -> None:
        """Drop every endpoint that is no longer in the pool."""
        ids = {endpoint.id for endpoint in present}
        for endpoint in self.index.endpoints():
            if endpoint not in ids:
                self.index.remove(endpoint)

    def _limit(self, block_tokens: int) -> int:
        if self.settings.max_tokens > 0:
            return max(self.settings.max_tokens // block_tokens, 1)
        return self.settings.max_blocks
