"""Chained hashes of full KV blocks.

`fast` chains Python's own hash of (parent, token ids), 64 bits without a per-process seed, and is what an
engine uses whose hashes nobody compares with vLLM's: ten times cheaper than SHA-256.
`sha256` and `sha256_cbor` reproduce vLLM's values bit for bit (vLLM `v1/core/kv_cache_utils.py`,
`utils/hashing.py`): the hash of (parent, token ids, extra keys), pickled or as canonical CBOR.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Literal

from simulator.engine.config import EngineConfig
from simulator.engine.kv.block_hash import BlockHash
from simulator.engine.request import Request

_DEFAULT_SEED = "vllm-none-hash"  # what vLLM 0.33 hashes when PYTHONHASHSEED is not set
ExtraKeys = tuple[object, ...] | None


class BlockHasher:
    """Extends `request.block_hashes` over the full blocks of its tokens, laid out ones to come included."""

    __slots__ = ("_algo", "_block_size", "_lookahead", "_root", "_serialize", "_tagged")

    def __init__(self, config: EngineConfig) -> None:
        self._block_size = config.block_size
        self._lookahead = config.spec.hash_lookahead if config.spec is not None else 0
        self._algo = config.hash_algo
        self._tagged = config.hash_keys == "tagged"
        self._serialize: Callable[[bytes, Sequence[int], ExtraKeys], bytes] = (
            _pickled if config.hash_algo == "sha256" else _cbor
        )
        seed = config.hash_seed if config.hash_seed is not None else _DEFAULT_SEED
        self._root = _root_hash(config.hash_algo, seed)

    def extend(self, request: Request) -> None:
        """Hash the blocks that are full, or will be, and are not hashed yet: many at once cost less."""
        size = self._block_size
        hashes = request.block_hashes
        prompt = request.prompt_token_ids
        num_prompt = len(prompt)
        ahead = self._lookahead
        start, end = len(hashes) * size, (num_prompt + len(request.script) - ahead) // size * size
        if start >= end:
            return
        if end + ahead <= num_prompt:
            tokens = prompt[start : end + ahead]
        elif start >= num_prompt:
            tokens = request.script[start - num_prompt : end + ahead - num_prompt]
        else:
            tokens = prompt[start:] + request.script[: end + ahead - num_prompt]
        if ahead:
            self._extend_ahead(request, hashes, tokens)
        elif self._algo == "fast":
            parent = hashes[-1] if hashes else self._fast_root(request)
            for block in zip(*[iter(tokens)] * size, strict=True):
                parent = hash((parent, block))
                hashes.append(parent)
        else:
            self._extend_vllm(request, hashes, tokens)

    def _extend_ahead(self, request: Request, hashes: list[BlockHash], tokens: list[int]) -> None:
        """Hashes that cover the tokens behind their block too, as an extra key: a drafter has read them."""
        size, ahead = self._block_size, self._lookahead
        for at in range(0, len(tokens) - ahead, size):
            block, behind = tokens[at : at + size], tuple(tokens[at + size : at + size + ahead])
            if self._algo == "fast":
                parent: BlockHash = hashes[-1] if hashes else self._fast_root(request)
                hashes.append(hash((parent, tuple(block), behind)))
                continue
            keys = (self._hash_keys(request, is_first=not hashes), *behind)
            parent = hashes[-1] if hashes else self._root
            assert isinstance(parent, bytes)
            hashes.append(sha256(self._serialize(parent, block, keys)).digest())

    def _fast_root(self, request: Request) -> int:
        if request.lora is None and not request.cache_salt:
            return 0
        lora = (request.lora.name, request.lora.path) if request.lora else None
        return int.from_bytes(sha256(repr((lora, request.cache_salt)).encode()).digest()[:8], "big")

    def _extend_vllm(self, request: Request, hashes: list[BlockHash], tokens: list[int]) -> None:
        size = self._block_size
        for at in range(0, len(tokens), size):
            keys = self._hash_keys(request, is_first=not hashes)
            parent = hashes[-1] if hashes else self._root
            assert isinstance(parent, bytes)
            hashes.append(sha256(self._serialize(parent, tokens[at : at + size], keys)).digest())

    def _hash_keys(self, request: Request, is_first: bool) -> ExtraKeys:
        """Extra keys as they enter vLLM's hash: tagged in 0.33, in 0.11 the adapter's id and the salt."""
        keys: list[object] = []
        if request.lora is not None:
            lora = request.lora
            keys.append(("lora", lora.name, lora.path) if self._tagged else lora.int_id)
        if is_first and request.cache_salt:
            keys.append(("cache_salt", request.cache_salt) if self._tagged else request.cache_salt)
        return tuple(keys) or None


def event_keys(request: Request, block_index: int) -> tuple[str, ...] | None:
    """Extra keys of one block as KV events show them: without tags."""
    keys = [request.lora.name] if request.lora else []
    if block_index == 0 and request.cache_salt:
        keys.append(request.cache_salt)
    return tuple(keys) or None


def _root_hash(algo: Literal["fast", "sha256", "sha256_cbor"], seed: str) -> bytes:
    if algo == "sha256":
        return sha256(pickle.dumps(seed, protocol=pickle.HIGHEST_PROTOCOL)).digest()
    if algo == "sha256_cbor":
        return sha256(_cbor_value(seed)).digest()
    return b""


def _pickled(parent: bytes, tokens: Sequence[int], keys: ExtraKeys) -> bytes:
    return pickle.dumps((parent, tuple(tokens), keys), protocol=pickle.HIGHEST_PROTOCOL)


def _cbor(parent: bytes, tokens: Sequence[int], keys: ExtraKeys) -> bytes:
    body = b"".join(map(_cbor_token, tokens))
    return b"\x83\x58\x20" + parent + _cbor_head(4, len(tokens)) + body + _cbor_value(keys)


def _cbor_token(token: int) -> bytes:
    """`_cbor_head(0, token)` in one expression for each width: a long prompt has very many."""
    if token >= 1 << 16:
        return (0x1A << 32 | token).to_bytes(5, "big")
    if token >= 1 << 8:
        return (0x19 << 16 | token).to_bytes(3, "big")
    return (0x18 << 8 | token).to_bytes(2, "big") if token >= 24 else token.to_bytes(1, "big")


def _cbor_head(major: int, value: int) -> bytes:
    """A CBOR data item head (RFC 8949 section 3), shortest form."""
    kind = major << 5
    if value < 24:
        return bytes((kind | value,))
    for code, width in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if value < 1 << 8 * width:
            return bytes((kind | code,)) + value.to_bytes(width, "big")
    raise OverflowError(f"{value} does not fit a CBOR head")


def _cbor_value(value: object) -> bytes:
    """None, int, str and tuples of them; all that extra keys hold."""
    if value is None:
        return b"\xf6"
    if isinstance(value, str):
        raw = value.encode()
        return _cbor_head(3, len(raw)) + raw
    if isinstance(value, int):
        return _cbor_head(0, value)
    if isinstance(value, tuple):
        return _cbor_head(4, len(value)) + b"".join(map(_cbor_value, value))
    raise TypeError(f"no CBOR form for {type(value).__name__}")
