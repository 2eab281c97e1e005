"""KV offloaded to the host's memory: a second tier behind the GPU's prefix cache.

As vLLM's native OffloadingConnector: what becomes full on the GPU is copied to the host, least recently used
blocks leave it, and a prompt's blocks that the GPU has lost are loaded back instead of computed. A copy to
the host is there at once here; in vLLM it takes until the step's end.
"""

from __future__ import annotations

from collections.abc import Sequence

from simulator.engine.config import EngineConfig
from simulator.engine.kv.block_hash import BlockHash
from simulator.engine.stats import EngineStats


class HostCache:
    """`capacity` blocks by their content. Times are the link's: bytes over bandwidth."""

    __slots__ = ("_block_bytes", "_blocks", "_stats", "bandwidth", "capacity")

    def __init__(self, config: EngineConfig, stats: EngineStats) -> None:
        self._block_bytes = config.block_size * config.kv_bytes_per_token
        self.capacity = config.kv_offload_bytes // self._block_bytes
        self.bandwidth = config.kv_offload_bandwidth
        self._blocks: dict[BlockHash, None] = {}  # in order of use
        self._stats = stats

    def store(self, hashes: Sequence[BlockHash]) -> None:
        """Copy blocks to the host; those that are there already are only used again."""
        blocks, new = self._blocks, 0
        for block_hash in hashes:
            if block_hash in blocks:
                del blocks[block_hash]
            else:
                new += 1
            blocks[block_hash] = None
        while len(blocks) > self.capacity:
            del blocks[next(iter(blocks))]
        if new:
            size = new * self._block_bytes
            self._stats.kv_offload_store_bytes += size
            self._stats.kv_offload_store_time += size / self.bandwidth
            self._stats.kv_offload_store_size.observe(size)

    def find(self, hashes: Sequence[BlockHash]) -> int:
        """How many of these blocks are here, from the first on; they are used again."""
        blocks, found = self._blocks, 0
        for block_hash in hashes:
            if block_hash not in blocks:
                break
            found += 1
        for block_hash in hashes[:found]:
            del blocks[block_hash]
            blocks[block_hash] = None
        return found

    def load(self, num_blocks: int) -> float:
        """Seconds that it takes to bring so many blocks back; counted."""
        size = num_blocks * self._block_bytes
        seconds = size / self.bandwidth
        self._stats.kv_offload_load_bytes += size
        self._stats.kv_offload_load_time += seconds
        self._stats.kv_offload_load_size.observe(size)
        return seconds
