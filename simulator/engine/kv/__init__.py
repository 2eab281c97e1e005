"""The KV cache: blocks, hashes, eviction and events."""
