"""KV events on the wire: frames, encodings, topics, batches and replay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from simulator.config.serve import KVEventsConfig
from simulator.engine.kv.events import AllBlocksCleared, BlockRemoved, BlockStored
from simulator.errors import FleetError
from simulator.server import kv_events
from simulator.server.kv_events import KVEventPublisher, encode_array, encode_map
from tests.ports import free_port
from tests.simulator.server.inprocess import Kept, replica, request, run

zmq = pytest.importorskip("zmq", reason="the extra kv-events is not installed")
zmq_asyncio = pytest.importorskip("zmq.asyncio")
msgpack = pytest.importorskip("msgpack", reason="the extra kv-events is not installed")

STORED = BlockStored((1, 2**64 - 1), 7, (10, 11, 12, 13), 2, 1, "lora-a", (("lora-a", "s1"), None))
END = b"\xff" * 8


def as_int(block: int) -> int:
    return block


def test_maps_as_recorded() -> None:
    assert encode_map(STORED, as_int) == {
        "type": "BlockStored",
        "block_hashes": [1, 2**64 - 1],
        "parent_block_hash": 7,
        "token_ids": [10, 11, 12, 13],
        "block_size": 2,
        "lora_id": 1,
        "medium": "GPU",
        "lora_name": "lora-a",
        "extra_keys": [["lora-a", "s1"], None],
        "group_idx": 0,
        "kv_cache_spec_kind": "full_attention",
    }
    removed = {"type": "BlockRemoved", "block_hashes": [3], "medium": "GPU", "group_idx": 0}
    assert encode_map(BlockRemoved((3,)), as_int) == removed
    assert encode_map(AllBlocksCleared(), as_int) == {"type": "AllBlocksCleared"}


def test_arrays_of_011_and_llmd() -> None:
    fields = ["BlockStored", [1, 2**64 - 1], 7, [10, 11, 12, 13], 2, 1, "GPU", "lora-a"]
    assert encode_array(STORED, as_int) == fields
    base = BlockStored((1,), None, (5, 6), 2, None, None, (None,))
    assert encode_array(base, as_int) == ["BlockStored", [1], None, [5, 6], 2, None, "GPU"]
    assert encode_array(BlockRemoved((3,)), as_int) == ["BlockRemoved", [3], "GPU"]
    assert encode_array(AllBlocksCleared(), as_int) == ["AllBlocksCleared"]


class Listening:
    """A subscriber's and a replay client's end."""

    def __init__(
        self, context: Any, subscriber: Any, publisher: KVEventPublisher, replay: str | None
    ) -> None:
        self.context = context
        self.subscriber = subscriber
        self.publisher = publisher
        self.replay = replay

    async def receive(self) -> tuple[str, int, list[Any]]:
        topic, sequence, payload = await asyncio.wait_for(self.subscriber.recv_multipart(), 5)
        return topic.decode(), int.from_bytes(sequence, "big"), msgpack.unpackb(payload)

    async def ask(self, start: int) -> list[list[bytes]]:
        """Every message from `start` on, and the terminator."""
        dealer = self.context.socket(zmq.DEALER)
        dealer.connect(self.replay)
        try:
            await dealer.send_multipart([b"", start.to_bytes(8, "big")])
            answers: list[list[bytes]] = []
            while not answers or answers[-1][-2] != END:
                answers.append(await asyncio.wait_for(dealer.recv_multipart(), 5))
            return answers
        finally:
            dealer.close(linger=0)


@asynccontextmanager
async def listening(rank: int = 0, **fields: Any) -> AsyncIterator[Listening]:
    """A publisher that connects to a subscriber which binds: nothing is lost before they know each other."""
    context = zmq_asyncio.Context()
    subscriber = context.socket(zmq.SUB)
    port = free_port()
    subscriber.bind(f"tcp://127.0.0.1:{port + rank}")
    subscriber.subscribe(b"")
    replay = f"tcp://127.0.0.1:{free_port()}" if fields.pop("with_replay", False) else None
    config = KVEventsConfig(
        enabled=True, endpoint=f"tcp://127.0.0.1:{port}", replay_endpoint=replay, topic="kv@pod1@m", **fields
    )
    publisher = KVEventPublisher(config, rank)
    heard = Listening(context, subscriber, publisher, replay)
    try:
        await _until_subscribed(heard)
        yield heard
    finally:
        publisher.close()
        subscriber.close(linger=0)
        context.destroy(linger=0)


async def _until_subscribed(heard: Listening) -> None:
    """A PUB socket drops what it sends before the subscription has arrived; ask until something comes."""
    publisher = heard.publisher
    before, size = publisher._sequence, publisher._batch_size
    publisher._batch_size = 1
    for _ in range(500):
        publisher.publish([AllBlocksCleared()])
        if await heard.subscriber.poll(10):
            break
    last = -1
    while last != publisher._sequence - 1:  # once one has come, all that follow do
        _, last, _ = await heard.receive()
    publisher._sequence, publisher._batch_size = before, size
    publisher._kept.clear()


def test_three_frames_and_a_sequence() -> None:
    async def main() -> None:
        async with listening() as heard:
            heard.publisher.publish([STORED, BlockRemoved((3,))])
            heard.publisher.publish([AllBlocksCleared()])
            topic, sequence, (when, events, rank) = await heard.receive()
            assert (topic, sequence, rank) == ("kv@pod1@m", 0, 0)
            assert isinstance(when, float)
            assert events == [encode_map(STORED, as_int), encode_map(BlockRemoved((3,)), as_int)]
            assert (await heard.receive())[1] == 1

    run(main())


def test_batches_fill_or_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        monkeypatch.setattr(kv_events, "_FLUSH_SECONDS", 3600.0)
        async with listening(batch_size=3, encoding="array", first_sequence=1) as heard:
            heard.publisher.publish([BlockRemoved((1,)), BlockRemoved((2,))])
            assert not await heard.subscriber.poll(100)
            heard.publisher.publish([BlockRemoved((3,)), BlockRemoved((4,))])
            _, sequence, (_, events, _) = await heard.receive()
            assert sequence == 1
            assert [event[1] for event in events] == [[1], [2], [3], [4]]
            monkeypatch.setattr(kv_events, "_FLUSH_SECONDS", 0.05)
            heard.publisher.publish([BlockRemoved((5,))])
            assert (await heard.receive())[2][1] == [["BlockRemoved", [5], "GPU"]]

    run(main())


def test_hashes_as_bytes_and_rank() -> None:
    async def main() -> None:
        async with listening(rank=2, int_hashes=False) as heard:
            heard.publisher.publish([BlockRemoved((258,))])
            _, _, (_, events, rank) = await heard.receive()
            assert events[0]["block_hashes"] == [b"\x00\x00\x00\x00\x00\x00\x01\x02"]
            assert rank == 2

    run(main())


def test_replay_from_a_number_and_from_nothing() -> None:
    async def main() -> None:
        async with listening(with_replay=True, buffer_steps=3) as heard:
            for block in range(5):
                heard.publisher.publish([BlockRemoved((block,))])
            answers = await heard.ask(3)
            assert [int.from_bytes(answer[2], "big") for answer in answers[:-1]] == [3, 4]
            assert answers[0][:2] == [b"", b"kv@pod1@m"]
            assert answers[-1] == [b"", b"", END, b""]
            everything = await heard.ask(0)
            assert len(everything) == 4, "only buffer_steps messages are kept"

    run(main())


def test_a_prompt_of_two_blocks_is_published_once() -> None:
    """From the engine through the driver to the socket; again the same prompt: a hit, nothing new."""

    async def main() -> None:
        port = free_port()
        context = zmq_asyncio.Context()
        subscriber = context.socket(zmq.SUB)
        subscriber.bind(f"tcp://127.0.0.1:{port}")
        subscriber.subscribe(b"kv@")
        settings = (
            f'{{"enable_kv_cache_events": true, "endpoint": "tcp://127.0.0.1:{port}", "topic": "kv@p@m"}}'
        )
        pod = replica("--kv-events-config", settings, "--block-size", "32")
        assert pod.kv_events is not None
        heard = Listening(context, subscriber, pod.kv_events, None)
        await _until_subscribed(heard)
        for name in ("first", "again"):
            sink = Kept()
            pod.driver.submit(request(name, max_tokens=2, prompt=70), sink)
            await sink.done.wait()
        _, sequence, (_, events, _) = await heard.receive()
        stored = [event for event in events if event["type"] == "BlockStored"]
        assert sequence == 0
        assert [len(event["block_hashes"]) for event in stored] == [2]
        assert stored[0]["token_ids"] == list(range(10, 74))
        assert stored[0]["parent_block_hash"] is None
        assert not await subscriber.poll(50)
        pod.close()
        context.destroy(linger=0)

    run(main())


def test_an_endpoint_that_cannot_be_bound_is_named() -> None:
    async def main() -> None:
        config = KVEventsConfig(enabled=True, endpoint="tcp://*:notaport")
        with pytest.raises(FleetError, match=r"KV events: cannot bind tcp://\*:notaport"):
            KVEventPublisher(config)

    run(main())
