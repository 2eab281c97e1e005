"""Block hashes: vLLM's values, chains, and their price."""

from __future__ import annotations

import time

import pytest

from simulator.engine.config import EngineConfig, HashAlgo
from simulator.engine.kv.block_hash import event_hash
from simulator.engine.kv.hashing import BlockHasher, event_keys
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


@pytest.mark.parametrize("algo", ["fast", "sha256", "sha256_cbor"])
def test_a_chain_depends_on_all_before_it(algo: HashAlgo) -> None:
    tokens = [1, 2, 70_000, 300, *range(92)]
    assert len(hashes(tokens, algo)) == 3
    assert hashes(tokens[:64], algo) == hashes(tokens, algo)[:2]
    changed = hashes([9, *tokens[1:]], algo)
    assert not set(changed) & set(hashes(tokens, algo))
    lora = hashes(tokens, algo, lora=LoRARequest("l", 1))
    salt = hashes(tokens, algo, cache_salt="s")
    assert len({*lora, *salt, *hashes(tokens, algo), *hashes(tokens, algo, lora=LoRARequest("m", 2))}) == 12


def test_output_tokens_extend_the_chain() -> None:
    whole = list(range(200))
    made = Request("a", whole[:70])
    hasher = BlockHasher(EngineConfig(block_size=32))
    for laid_out in (70, 95, 96, 200):
        made.script = whole[70:laid_out]
        hasher.extend(made)
        assert len(made.block_hashes) == laid_out // 32
    assert [event_hash(one) for one in made.block_hashes] == hashes(whole)


def test_no_two_of_a_hundred_thousand_blocks_agree() -> None:
    hasher = BlockHasher(EngineConfig(block_size=16))
    seen = set()
    for i in range(1000):
        made = Request("a", [i % 7] * 800 + [i] * 800)
        made.num_tokens = 1600
        hasher.extend(made)
        seen.update(made.block_hashes)
    assert len(seen) == 7 * 50 + 1000 * 50


def test_keys_in_events_have_no_tags() -> None:
    made = Request("a", [1], lora=LoRARequest("l", 1), cache_salt="s")
    assert (event_keys(made, 0), event_keys(made, 1)) == (("l", "s"), ("l",))
    assert event_keys(Request("a", [1]), 0) is None


@pytest.mark.parametrize("algo", ["fast", "sha256", "sha256_cbor"])
def test_a_prompt_of_100_000_tokens_is_cheap(algo: HashAlgo) -> None:
    hasher = BlockHasher(EngineConfig(block_size=16, hash_algo=algo))
    best = 1.0
    for _ in range(3):
        made = Request("a", [i * 7919 % 128_000 for i in range(100_000)])
        made.num_tokens = 100_000
        begin = time.process_time()
        hasher.extend(made)
        best = min(best, time.process_time() - begin)
    assert best < 0.05
