"""KV events as data: what vLLM publishes when blocks enter and leave the prefix cache.

Hashes are 64-bit integers, the low 8 bytes of vLLM's 32-byte hash where the configured algorithm is one of
vLLM's. Encoding and transport are the server's work.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BlockStored:
    """Blocks of one request that became full in one step; `token_ids` is their concatenation.

    `extra_keys` holds one entry for each block: None, or the keys without tags as vLLM's events show them,
    ("lora-name", "salt").
    """

    block_hashes: tuple[int, ...]
    parent_block_hash: int | None
    token_ids: tuple[int, ...]
    block_size: int
    lora_id: int | None
    lora_name: str | None
    extra_keys: tuple[tuple[str, ...] | None, ...]


@dataclass(frozen=True, slots=True)
class BlockRemoved:
    """Blocks that were evicted; one event for each copy, even where another copy of the content remains."""

    block_hashes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class AllBlocksCleared:
    """The prefix cache was reset."""


KVEvent = BlockStored | BlockRemoved | AllBlocksCleared
