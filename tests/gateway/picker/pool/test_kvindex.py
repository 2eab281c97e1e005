"""KV events: what an index makes of them, and how they come over ZMQ, dialled or to a central socket."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.picker.compat import LLMD_V010, LLMD_V07
from gateway.picker.errors import PickerConfigError
from gateway.picker.plugins.precise import PreciseScorer
from gateway.picker.pool.endpoints import Endpoint
from gateway.picker.pool.kvindex import KVIndex, block_keys
from gateway.picker.pool.kvsubscriber import KVEventSettings, KVSubscriber
from simulator.config.serve import KVEventsConfig
from simulator.engine.kv.events import AllBlocksCleared, BlockRemoved, BlockStored
from simulator.errors import FleetError
from simulator.server.kv_events import KVEventPublisher, own_address
from tests.gateway.picker.factories import candidate, config, load, request
from tests.ports import free_port
from tests.waiting import until_async

TOKENS = list(range(64))


def stored(
    hashes: list[Any], tokens: list[int], parent: Any = None, size: int = 16, **more: Any
) -> dict[str, Any]:
    return {
        "type": "BlockStored",
        "block_hashes": hashes,
        "parent_block_hash": parent,
        "token_ids": tokens,
        "block_size": size,
        **more,
    }


def counts(index: KVIndex, tokens: list[int] = TOKENS, model: str = "m", *names: str) -> dict[str, int]:
    found = index.matches(index.keys(tokens, model), names or ("a", "b"))
    return {name: count for name, (_, count) in found.items()}


def test_keys_are_chained_over_whole_blocks() -> None:
    keys = block_keys([*TOKENS, 1], 16, "m", "")
    assert len(keys) == 4
    assert block_keys(TOKENS[:32], 16, "m", "") == keys[:2]
    assert block_keys(TOKENS[32:], 16, "m", "", keys[1]) == keys[2:]
    assert len({block_keys(TOKENS, 16, *who)[0] for who in (("m", ""), ("n", ""), ("m", "s"))}) == 3


def test_blocks_count_up_to_the_first_gap() -> None:
    index = KVIndex()
    index.apply("a", "m", [stored([1, 2, 3, 4], TOKENS)])
    index.apply("b", "m", [stored([1, 2, 3, 4], TOKENS), {"type": "BlockRemoved", "block_hashes": [2]}])
    assert counts(index) == {"a": 4, "b": 1}
    assert counts(index, [9, *TOKENS[1:]]) == {}
    assert index.sizes() == {"a": 4, "b": 3}


def test_blocks_may_build_on_one_that_another_endpoint_told_of() -> None:
    index = KVIndex()
    index.apply("a", "m", [stored([1], TOKENS[:16]), stored([2], TOKENS[16:32], 1)])
    index.apply("b", "m", [stored([9], TOKENS[16:32], 77)])  # of what was never heard
    assert counts(index) == {"a": 2}


def test_arrays_models_adapters_and_kinds_of_caches() -> None:
    index = KVIndex()
    array = ["BlockStored", [b"x" * 8], None, TOKENS[:16], 16, None, "GPU", "adapter"]
    index.apply("a", "m", [array, ["BlockStored"], "nothing", 5, ["BlockRemoved", [b"never"], "GPU"]])
    assert counts(index, model="adapter") == {"a": 1}
    assert counts(index) == {}
    index.apply("a", "m", [stored([5], TOKENS[:16], kv_cache_spec_kind="sliding_window")])
    assert counts(index) == {}
    index.apply("a", "m", [["BlockRemoved", [b"x" * 8], "GPU"]])
    assert counts(index, model="adapter") == {}


@pytest.mark.parametrize(("block", "engine"), [(16, 32), (32, 16), (16, 64)])
def test_blocks_of_other_sizes_than_the_engines(block: int, engine: int) -> None:
    index = KVIndex(block)
    hashes = list(range(1, 64 // engine + 1))
    index.apply("a", "m", [stored(hashes, TOKENS, size=engine)])
    assert counts(index) == {"a": 64 // block}
    index.apply("a", "m", [{"type": "BlockRemoved", "block_hashes": hashes[-1:]}])
    assert counts(index) == ({"a": (64 - max(engine, block)) // block} if max(engine, block) < 64 else {})


def test_a_block_stored_twice_goes_with_its_second_removal() -> None:
    index = KVIndex()
    twice = [stored([1], TOKENS[:16])] * 2
    index.apply("a", "m", [*twice, {"type": "BlockRemoved", "block_hashes": [1]}])
    assert counts(index) == {"a": 1}
    index.apply("a", "m", [{"type": "BlockRemoved", "block_hashes": [1]}] * 2)
    assert counts(index) == {}


def test_tiers_have_weights_and_clearing_takes_all() -> None:
    index = KVIndex()
    index.apply(
        "a", "m", [stored([1], TOKENS[:16], medium="CPU"), stored([2], TOKENS[16:32], 1, medium="GPU")]
    )
    assert index.matches(index.keys(TOKENS, "m"), ["a"]) == {"a": (1.8, 2)}
    index.apply("a", "m", [{"type": "AllBlocksCleared"}])
    assert counts(index) == {}
    assert index.sizes() == {}


def place(host: int, port: int) -> Endpoint:
    address = f"127.0.8.{host}"
    return Endpoint(f"p{host}-rank-0", "ns", address, port, f"{address}:{port}", {}, f"p{host}")


def publisher(host: str, endpoint: str, topic: str) -> KVEventPublisher:
    return KVEventPublisher(KVEventsConfig(enabled=True, endpoint=endpoint, topic=topic), 0, host)


BLOCKS = BlockStored((1, 2, 3, 4), None, tuple(TOKENS), 16, None, None, (None,) * 4)


def test_replicas_on_one_host_are_dialled_at_their_own_addresses() -> None:
    """`tcp://*:5557` of each pod is its own address, so they do not collide."""

    async def scenario() -> None:
        port = free_port()
        index, places = KVIndex(), [place(2, 8000), place(3, 8000)]
        subscriber = KVSubscriber(index, KVEventSettings(port=port), with_port=True)
        subscriber.start("127.0.0.1")
        servers = [publisher(p.address, f"tcp://*:{port}", f"kv@{p.address}:8000@m") for p in places]
        try:
            for endpoint in places:
                subscriber.add(endpoint)
            names = [endpoint.host_port for endpoint in places]

            def known(number: int) -> bool:
                servers[number].publish([BLOCKS])  # again, until it is subscribed
                return counts(index, TOKENS, "m", *names).get(names[number]) == 4

            await until_async(lambda: known(0), what="the first replica's blocks")
            assert names[1] not in index.sizes()
            await until_async(lambda: known(1), what="the second replica's blocks")
            subscriber.remove(places[1])
            assert counts(index, TOKENS, "m", *names) == {names[0]: 4}
            servers[0].publish([AllBlocksCleared()])
            await until_async(lambda: not index.sizes(), what="the first replica's clearing")
        finally:
            for server in servers:
                server.close()
            subscriber.stop()

    asyncio.run(scenario())


def test_all_send_to_one_socket_and_topics_that_are_not_asked_for_are_passed_over() -> None:
    async def scenario() -> None:
        port = free_port()
        index = KVIndex()
        settings = KVEventSettings(f"tcp://*:{port}", dials=False)
        subscriber = KVSubscriber(index, settings, with_port=False)
        subscriber.start("127.0.8.9")
        subscriber.add(place(2, 8000))
        address = f"tcp://127.0.8.9:{port}"
        server = publisher("127.0.8.2", address, "kv@127.0.8.2@m")
        other = publisher("127.0.8.3", address, "other@127.0.8.3@m")
        try:

            def known() -> bool:
                other.publish([BLOCKS])
                server.publish([BLOCKS])
                return counts(index, TOKENS, "m", "127.0.8.2").get("127.0.8.2") == 4

            await until_async(known, what="the replica's blocks")
            assert index.sizes().keys() == {"127.0.8.2"}
            blocked = KVSubscriber(KVIndex(), settings, with_port=False)
            with pytest.raises(PickerConfigError, match="zmqEndpoint: cannot bind"):
                blocked.start("127.0.8.9")
            server.publish([BlockRemoved((1,))])
        finally:
            server.close()
            other.close()
            subscriber.stop()

    asyncio.run(scenario())


def test_a_wildcard_is_the_own_loopback_address() -> None:
    assert own_address("tcp://*:5557", "127.0.0.5") == "tcp://127.0.0.5:5557"
    assert own_address("tcp://0.0.0.0:5557", "127.0.0.5") == "tcp://127.0.0.5:5557"
    assert own_address("tcp://*:5557", "0.0.0.0") == "tcp://*:5557"
    assert own_address("tcp://epp:5557", "127.0.0.5") == "tcp://epp:5557"


def test_a_second_publisher_at_the_same_address_is_an_error() -> None:
    async def scenario() -> None:
        port = free_port()
        first = publisher("127.0.8.2", f"tcp://*:{port}", "t")
        try:
            with pytest.raises(FleetError, match=f"cannot bind tcp://127.0.8.2:{port}"):
                publisher("127.0.8.2", f"tcp://*:{port}", "t")
        finally:
            first.close()

    asyncio.run(scenario())


def scorer_of(compat: Any) -> PreciseScorer:
    api = "llm-d" if compat.strict_parameters else "gie"
    plugin = load(config("{type: precise-prefix-cache-scorer}", api=api), compat).plugins
    scorer = plugin["precise-prefix-cache-scorer"]
    assert isinstance(scorer, PreciseScorer)
    return scorer


@pytest.mark.parametrize(("compat", "scores"), [(LLMD_V010, [1.0, 0.25, 0.0]), (LLMD_V07, [1.0, 0.0, 0.0])])
def test_scores(compat: Any, scores: list[float]) -> None:
    """The share of the blocks from llm-d-router v0.9 on; before, spread between the least and the most."""
    scorer = scorer_of(compat)
    candidates = [candidate("a", 2), candidate("b", 3), candidate("c", 4)]
    names = [scorer.precise.subscriber.name_of(c.endpoint) for c in candidates]
    scorer.precise.index.apply(names[0], "m", [stored([1, 2, 3, 4], TOKENS)])
    scorer.precise.index.apply(names[1], "m", [stored([1], TOKENS[:16])])
    asked = request(prompt=TOKENS)
    scorer.prepare(asked, candidates)
    assert list(scorer.score(asked, candidates)) == scores
    text = request(prompt="words")
    scorer.prepare(text, candidates)
    assert list(scorer.score(text, candidates)) == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ("{tokenProcessorConfig: {blockSizeTokens: -1}}", "blockSizeTokens must be greater than 0"),
        ("{indexerConfig: {tokenizersPoolConfig: {workersCount: 1}}}", "configure a token-producer"),
        ("{kvEventsConfig: {engineType: sglang}}", "only vllm's are read"),
        ("{speculativeTTL: soon}", "speculativeTTL"),
    ],
)
def test_refusals(parameters: str, words: str) -> None:
    text = config(f"{{type: precise-prefix-cache-producer, parameters: {parameters}}}", api="llm-d")
    with pytest.raises(PickerConfigError, match=words):
        load(text, LLMD_V010)


def test_what_has_no_effect_is_said() -> None:
    heard: list[str] = []
    parameters = "{speculativeIndexing: true, kvEventsConfig: {podDiscoveryConfig: {replaySocketPort: 1}}}"
    tokens = "{type: token-producer, parameters: {vllm: {url: http://x}}}"
    text = config(f"{{type: precise-prefix-cache-producer, parameters: {parameters}}}", tokens, api="llm-d")
    load(text, LLMD_V010, heard)
    for name in ("speculativeIndexing", "replaySocketPort"):
        assert any(f"{name} has no effect in the reference picker" in message for message in heard)
    assert any("vllm is not asked for tokens: the endpoints are" in message for message in heard)
