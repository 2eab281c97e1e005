"""KV events as data, against a recorded run of vLLM 0.33, whose events are written out here.

The recorded server had block_size 32, 21 blocks, sha256_cbor and PYTHONHASHSEED=42.
"""

from __future__ import annotations

import pytest

from simulator.engine.config import EngineConfig
from simulator.engine.core import Engine
from simulator.engine.kv.events import AllBlocksCleared, BlockRemoved, BlockStored, KVEvent
from simulator.engine.pace.latency import ZeroLatency
from simulator.engine.request import LoRARequest, Request, SamplingParams
from simulator.engine.text.text_source import ConstantText

FIRST, SECOND, THIRD = 18168584000289579919, 13629943782531060781, 256098480582483614
WITH_LORA_AND_SALT = 15582749963132031333
EVICTING = [
    [3315560132120917989, 13908545240845832717, 10994235189161249308, 3263493294895010713],
    [14605259146183938233, 18301690060466323233, 5550095668351863314, 11703923879577768314],
    [16473400217938365751, 14972063178356245637, 2364885461196847282, 2346315728023920583],
    [806228042746723350, 14128058050613806605, 16366853373328015017, 5338977704894427942],
]


class Recorded:
    """An engine set up like the recorded server."""

    def __init__(self, async_scheduling: bool) -> None:
        config = EngineConfig(
            block_size=32,
            num_gpu_blocks=21,
            hash_algo="sha256_cbor",
            hash_seed="42",
            kv_events=True,
            enable_lora=True,
            async_scheduling=async_scheduling,
        )
        self.engine = Engine(config, ZeroLatency(), ConstantText(163), None)
        self.now = 0.0

    def ask(
        self, prompt: list[int], max_tokens: int, lora: LoRARequest | None = None, salt: str | None = None
    ) -> tuple[Request, list[list[KVEvent]]]:
        """The request, done, and the batches of events that its steps published."""
        self.now += 1
        request = Request(
            f"r{self.now}", prompt, SamplingParams(max_tokens=max_tokens), lora=lora, cache_salt=salt
        )
        self.engine.add_request(request, self.now)
        steps = self.engine.fast_forward(self.now)
        self.engine.check_invariants()
        return request, [list(step.kv_events) for step in steps if step.kv_events]


def stored(hashes: list[int], parent: int | None, tokens: list[int]) -> BlockStored:
    return BlockStored(tuple(hashes), parent, tuple(tokens), 32, None, None, (None,) * len(hashes))


@pytest.mark.parametrize("async_scheduling", [False, True])
def test_the_recorded_experiment(async_scheduling: bool) -> None:
    server = Recorded(async_scheduling)
    assert server.engine.reset_prefix_cache(0.0)
    prompt = list(range(100, 170))

    _request, batches = server.ask(prompt, 2)
    assert batches == [[AllBlocksCleared(), stored([FIRST, SECOND], None, prompt[:64])]]

    request, batches = server.ask(prompt, 2)
    assert request.num_cached_tokens == 64
    assert batches == []

    request, batches = server.ask(prompt[:64], 34)
    assert request.num_cached_tokens == 32  # the last full block is computed again, and stored again
    assert batches == [
        [stored([SECOND], FIRST, prompt[32:64])],
        [stored([THIRD], SECOND, [163] * 32)],
    ]

    _request, batches = server.ask(prompt[:40], 1, LoRARequest("lora-a", 1, "/loras/a"), "s1")
    assert [type(event) for batch in batches for event in batch] == [BlockStored]
    event = batches[0][0]
    assert isinstance(event, BlockStored)
    assert (event.lora_id, event.lora_name, event.extra_keys) == (1, "lora-a", (("lora-a", "s1"),))
    assert event.parent_block_hash is None
    assert event.token_ids == tuple(prompt[:32])


def test_hashes_are_vllms() -> None:
    server = Recorded(async_scheduling=False)
    for value, hashes in zip((500, 501, 502), EVICTING, strict=False):
        _request, batches = server.ask([value] * 140, 1)
        assert batches == [[stored(hashes, None, [value] * 128)]]


def test_eviction_of_one_copy_is_told_although_another_remains() -> None:
    server = Recorded(async_scheduling=False)
    prompt = list(range(64))
    for _ in range(2):
        server.ask(prompt, 1)  # the second block is kept twice, the first is shared
    copies = server.engine._kv.pool.index.copies.values()
    assert [len(found) for found in copies] == [2]
    removed: list[int] = []
    for value in range(1000, 1008):
        _request, batches = server.ask([value] * 130, 1)
        removed += [
            event.block_hashes[0] for batch in batches for event in batch if isinstance(event, BlockRemoved)
        ]
    assert max(removed.count(block_hash) for block_hash in removed) == 2


def test_steps_without_changes_publish_nothing() -> None:
    server = Recorded(async_scheduling=False)
    _request, batches = server.ask([1, 2, 3], 8)
    assert batches == []
