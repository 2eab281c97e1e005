"""KVCacheManager: which blocks a request holds, what it finds in the cache and what it adds.

Source: vLLM `v1/core/kv_cache_manager.py`, `single_type_kv_cache_manager.py` (full attention, one group).
"""

from __future__ import annotations

from collections.abc import Iterable

from simulator.engine.config import EngineConfig
from simulator.engine.kv.block_hash import BlockHash, event_hash
from simulator.engine.kv.block_pool import BlockPool
from simulator.engine.kv.events import BlockStored, KVEvent
from simulator.engine.kv.hashing import BlockHasher, event_keys
from simulator.engine.kv.host_cache import HostCache
from simulator.engine.request import Request

_NOTHING = b""  # no block has this content


class KVCacheManager:
    """Sizes are in blocks unless a name says tokens."""

    __slots__ = (
        "_refused",
        "block_size",
        "caching",
        "drops_block",
        "events",
        "hash_lookahead",
        "hasher",
        "host",
        "lookahead",
        "max_model_len",
        "pool",
        "refused_at",
        "unsettled",
        "watermark_blocks",
        "whole_prompt",
    )

    def __init__(self, config: EngineConfig) -> None:
        self.block_size = config.block_size
        self.max_model_len = config.max_model_len
        self.caching = config.enable_prefix_caching
        self.whole_prompt = config.admission == "whole-prompt"
        self.watermark_blocks = int(config.watermark * config.num_gpu_blocks)
        spec = config.spec
        self.lookahead = spec.lookahead if spec is not None else 0  # tokens that a drafter writes ahead
        self.hash_lookahead = spec.hash_lookahead if spec is not None else 0
        # several modules of a drafter may compute the last tokens of a prefix again
        self.unsettled = max(spec.prefill_lookahead - 1, 0) if spec is not None else 0
        self.drops_block = spec is not None and spec.drops_block
        self.host: HostCache | None = None  # where blocks are copied as they become full
        self.hasher = BlockHasher(config)
        self._refused: tuple[Request, BlockHash, int] | None = (
            None  # who, the content it misses first, blocks
        )
        self.refused_at = 0  # index of that block
        self.events: list[KVEvent] | None = [] if config.kv_events else None
        self.pool = BlockPool(config.num_gpu_blocks, config.free_list, self.events)

    def find_cached(self, request: Request) -> list[int]:
        """The longest cached prefix in full blocks that leaves at least one token to compute."""
        most = (request.num_tokens - 1) // self.block_size
        if not self.caching or not most:
            return []
        self.hasher.extend(request)
        hit: list[int] = []
        get = self.pool.cached.get
        if self.hash_lookahead:
            most = min(most, self.num_hashed(request))
        for block_hash in request.block_hashes[:most]:
            found = get(block_hash)
            if found is None:
                break
            hit.append(next(iter(found)) if isinstance(found, dict) else found)
        if hit and self.drops_block:
            hit.pop()
        return hit

    def num_hashed(self, request: Request) -> int:
        """Full blocks of its known tokens, as far as they are hashed; tokens to come may be hashed too."""
        return min(len(request.block_hashes), (request.num_tokens - self.hash_lookahead) // self.block_size)

    def blocks_for(self, num_tokens: int) -> int:
        return -(-num_tokens // self.block_size)

    def fits(
        self,
        request: Request,
        hit: list[int],
        num_tokens: int,
        *,
        others_running: bool,
        reserved: int = 0,
    ) -> bool:
        """Whether the request can be admitted with blocks for its first `num_tokens` tokens.

        A hit block that nobody holds counts as needed: it leaves the free queue too. The watermark applies
        when something else is running already. `reserved` blocks stay free for others.
        """
        headroom = self.watermark_blocks if others_running else 0
        decisive = request.num_tokens if self.whole_prompt else num_tokens
        if self._missing(request, hit, decisive) + headroom > self.pool.num_free:
            return False
        return (
            not (reserved or self.lookahead)
            or self._missing(request, hit, num_tokens) + headroom <= self.pool.num_free - reserved
        )

    def stays_out(self, request: Request, others_running: bool) -> bool:
        """Whether a request that did not fit before still does not, as far as is known without a look-up.

        What it misses can only shrink when the block that its look-up ended at enters the cache: nothing else
        is admitted while it is first in the queue.
        """
        refused = self._refused
        if refused is None or refused[0] is not request or self.pool.watched != refused[1]:
            return False
        headroom = self.watermark_blocks if others_running else 0
        return refused[2] + headroom > self.pool.num_free

    def refuse(self, request: Request, hit: list[int]) -> None:
        """Remember what a request lacks for the whole of it that does not fit."""
        if not self.whole_prompt:
            return
        is_known = len(hit) < self.num_hashed(request)
        wanted: BlockHash = request.block_hashes[len(hit)] if is_known else _NOTHING
        self.pool.watched = wanted
        self.refused_at = len(hit)
        self._refused = (request, wanted, self._missing(request, hit, request.num_tokens))

    def _missing(self, request: Request, hit: list[int], num_tokens: int) -> int:
        """Blocks that would leave the free queue."""
        idle_hits = self.pool.num_idle(hit) if hit else 0
        needed = self.blocks_for(min(num_tokens, self.max_model_len))
        return max(needed - len(hit) - len(request.block_ids), 0) + idle_hits

    def admit(self, request: Request, hit: list[int], num_tokens: int) -> None:
        """Hold the hit and give blocks up to `num_tokens`; `fits` has said yes."""
        if hit:
            self.pool.touch(hit)
            request.block_ids += hit
            request.num_cached_blocks = len(hit)
        needed = self.blocks_for(min(num_tokens, self.max_model_len)) - len(request.block_ids)
        if needed > 0:
            request.block_ids += self.pool.take(needed)
        self.set_limit(request)

    def extend(self, request: Request, num_blocks: int) -> None:
        """Give more blocks to a running request; the caller has checked that they are free."""
        if num_blocks == 1:
            request.block_ids.append(self.pool.take_one())
        else:
            request.block_ids += self.pool.take(num_blocks)
        self.set_limit(request)

    def set_limit(self, request: Request) -> None:
        """Note how far the request can go on without a call to `extend` or `cache`."""
        size, cached, last = self.block_size, request.num_cached_blocks, request.last_position
        blocks = len(request.block_ids)
        if self.caching and blocks > cached:
            full = (cached + 1) * size
            request.ahead_limit, request.token_limit = min(last, full), min(last, full - 1)
        else:
            request.ahead_limit = request.token_limit = min(last, blocks * size)

    def cache(self, request: Request, num_tokens: int) -> None:
        """Put the blocks that are full within the first `num_tokens` known tokens into the prefix cache."""
        known = request.num_tokens
        full = min(num_tokens - self.unsettled, known - self.hash_lookahead) // self.block_size
        start = request.num_cached_blocks
        if full <= start or not self.caching:
            return
        if full == start + 1:
            self.cache_next(request)
        else:
            hashes = request.block_hashes
            if len(hashes) < full:
                self.hasher.extend(request)
            self.pool.insert(hashes[start:full], request.block_ids[start:full])
            request.num_cached_blocks = full
            if self.host is not None:
                self.host.store(hashes[start:full])
            if self.events is not None:
                self.events.append(self._stored(request, start, full))
        self.set_limit(request)

    def cache_next(self, request: Request) -> None:
        """Put its next block, which is full, into the prefix cache; `set_limit` is left to the caller."""
        start = request.num_cached_blocks
        hashes = request.block_hashes
        if len(hashes) <= start:
            self.hasher.extend(request)
        self.pool.insert_one(hashes[start], request.block_ids[start])
        request.num_cached_blocks = start + 1
        if self.host is not None:
            self.host.store(hashes[start : start + 1])
        if self.events is not None:
            self.events.append(self._stored(request, start, start + 1))

    def free(self, request: Request) -> None:
        """Give all blocks back, the tail first, so that it is evicted first."""
        if request.block_ids:
            request.block_ids.reverse()
            self.pool.free(request.block_ids)
            request.block_ids = []
        request.num_cached_blocks = 0
        request.token_limit = request.ahead_limit = 0

    def detach(self, request: Request) -> list[int]:
        """Take the blocks away from the request without freeing them; tail first, as `pool.free` wants."""
        blocks = request.block_ids[::-1]
        request.block_ids = []
        request.num_cached_blocks = 0
        request.token_limit = request.ahead_limit = 0
        return blocks

    def take_events(self) -> list[KVEvent]:
        """What happened since the last call."""
        if not self.events:
            return []
        taken = self.events[:]
        self.events.clear()
        return taken

    def check_invariants(self, requests: Iterable[Request], detached: Iterable[list[int]]) -> None:
        self.pool.check_invariants([*(request.block_ids for request in requests), *detached])

    def _stored(self, request: Request, start: int, full: int) -> BlockStored:
        size, num_prompt = self.block_size, request.num_prompt_tokens
        first, last = start * size, full * size
        tokens = request.prompt_token_ids[first:last]
        if last > num_prompt:
            tokens = tokens + request.script[max(first - num_prompt, 0) : last - num_prompt]
        hashes = request.block_hashes
        return BlockStored(
            block_hashes=tuple(event_hash(h) for h in hashes[start:full]),
            parent_block_hash=event_hash(hashes[start - 1]) if start else None,
            token_ids=tuple(tokens),
            block_size=size,
            lora_id=request.lora.int_id if request.lora else None,
            lora_name=request.lora.name if request.lora else None,
            extra_keys=tuple(event_keys(request, i) for i in range(start, full)),
        )
