"""Prompts laid out by structure share exactly the engine blocks that prompts of real ids share."""

from __future__ import annotations

import random

import pytest

from simulator.engine.config import EngineConfig
from simulator.engine.kv.hashing import BlockHasher
from simulator.engine.request import Request
from simulator.replay.prompts import Prefixes, Prompt


def random_prompts(seed: int, block: int) -> list[Prompt]:
    """Prompts that begin alike, end anywhere in a block, and repeat blocks in other places."""
    rng = random.Random(seed)
    prompts = []
    for number in range(60):
        names = tuple(rng.choice((1, 2, 3)) for _ in range(rng.randrange(6)))
        length = rng.randrange(1, block * (len(names) + 1) + 1)
        prompts.append(Prompt(length, blocks=names, block_tokens=block, own=-1 - number))
    return prompts


def real_hashes(prompt: Prompt, size: int) -> list[object]:
    request = Request("r", prompt.token_ids())
    BlockHasher(EngineConfig(block_size=size, max_model_len=4096, num_gpu_blocks=4096)).extend(request)
    return list(request.block_hashes)


@pytest.mark.parametrize(("block", "size"), [(64, 16), (512, 16), (64, 64), (48, 16), (50, 16), (64, 24)])
def test_two_prompts_share_the_blocks_that_they_would_with_real_ids(block: int, size: int) -> None:
    prompts, prefixes = random_prompts(block + size, block), Prefixes(size)
    laid = [prefixes.lay_out(prompt) for prompt in prompts]
    real = [real_hashes(prompt, size) for prompt in prompts]
    made = [list(hashes) or _hashed(ids, size) for ids, hashes in laid]
    for (ids, _), prompt, mine, theirs in zip(laid, prompts, made, real, strict=True):
        assert len(ids) == prompt.length
        assert len(mine) == len(theirs)
    for one in range(len(prompts)):
        for other in range(len(prompts)):
            for at in range(min(len(made[one]), len(made[other]))):
                assert (made[one][at] == made[other][at]) == (real[one][at] == real[other][at])


def _hashed(ids: list[int], size: int) -> list[object]:
    request = Request("r", ids)
    BlockHasher(EngineConfig(block_size=size, max_model_len=4096, num_gpu_blocks=4096)).extend(request)
    return list(request.block_hashes)


def test_the_tail_behind_the_last_full_block_is_equal_where_the_content_is() -> None:
    prefixes = Prefixes(16)
    one, other = (Prompt(530, blocks=(7, 8), block_tokens=512, own=own) for own in (-1, -2))
    alone = Prompt(530, blocks=(7,), block_tokens=512, own=-3)
    first, second, third = (prefixes.lay_out(prompt)[0][528:] for prompt in (one, other, alone))
    assert first == second
    assert first != third


def test_adapters_share_nothing() -> None:
    prefixes, prompt = Prefixes(16), Prompt(64, blocks=(1,), block_tokens=64)
    assert not set(prefixes.lay_out(prompt)[1]) & set(prefixes.lay_out(prompt, "adapter")[1])
