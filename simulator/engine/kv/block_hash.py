"""The hash that stands for the content of a full block and of all blocks before it.

`hashing` makes them; requests, pool and events only carry and compare them.
"""

from __future__ import annotations

BlockHash = int | bytes  # 64 bits, or vLLM's 32 bytes


def event_hash(block_hash: BlockHash) -> int:
    """The 64-bit integer that stands for a hash in KV events: its last 8 bytes, big-endian."""
    if isinstance(block_hash, int):
        return block_hash & 0xFFFFFFFFFFFFFFFF
    return int.from_bytes(block_hash[-8:], "big")
