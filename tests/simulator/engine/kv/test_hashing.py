"""Block hashes: vLLM's values, chains, and their price."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from functools import partial
from hashlib import sha256

import pytest

from simulator.engine.config import EngineConfig, HashAlgo
from simulator.engine.kv.block_hash import event_hash
from simulator.engine.kv.hashing import BlockHasher
from simulator.engine.request import LoRARequest, Request

# From vLLM 0.33's hash_block_tokens with the default seed: tokens 100..131, 132..163, and 100..131 with an
# adapter at /tmp/lora-a and a salt.
VLLM = {
    "sha256": [702757842669265042, 12727516518541667169, 11692550992384762191],
    "sha256_cbor": [3409002902183495342, 15439503024339957432, 16436508085470971427],
}


def hashes(tokens: list[int], algo: HashAlgo = "fast", **fields: object) -> list[int]:
    made = Request("a", tokens, **fields)  # type: ignore[arg-type]
    made.num_tokens = len(tokens)
    BlockHasher(EngineConfig(block_size=32, hash_algo=algo)).extend(made)
    return [event_hash(one) for one in made.block_hashes]


@pytest.mark.parametrize("algo", ["sha256", "sha256_cbor"])
def test_values_are_vllms(algo: HashAlgo) -> None:
    tokens = list(range(100, 170))
    salted = hashes(tokens[:40], algo, lora=LoRARequest("lora-a", 1, "/tmp/lora-a"), cache_salt="s1")
    assert hashes(tokens, algo) + salted == VLLM[algo]


def _seconds(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


def _bare(tokens: list[int], algo: HashAlgo) -> object:
    """The hashes themselves, without a chain, requests or keys."""
    blocks = zip(*[iter(tokens)] * 16, strict=True)
    if algo == "fast":
        return [hash((0, block)) for block in blocks]
    return [sha256(pickle.dumps((b"", block, None))).digest() for block in blocks]


@pytest.mark.parametrize(("algo", "bound"), [("fast", 4), ("sha256", 4), ("sha256_cbor", 12)])
def test_a_long_prompt_costs_little_more_than_its_hashes(algo: HashAlgo, bound: float) -> None:
    tokens = [i * 7919 % 128_000 for i in range(100_000)]
    hasher = BlockHasher(EngineConfig(block_size=16, hash_algo=algo))
    ours, bare = [], []
    for _ in range(7):
        bare.append(_seconds(partial(_bare, tokens, algo)))
        made = Request("a", tokens)
        made.num_tokens = 100_000
        ours.append(_seconds(partial(hasher.extend, made)))
    assert min(ours) < bound * min(bare), f"{min(ours) / min(bare):.1f} times the bare hashes"
