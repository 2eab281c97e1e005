"""Publishes an engine's KV events over ZMQ, byte for byte as vLLM and llm-d-inference-sim do.

A message is three frames: topic, sequence number (8 bytes, big-endian), msgpack of [time, events, rank]. A
step without events publishes nothing. The replay socket (ROUTER) answers a start number with every kept
message from there on and a terminator. Needs the extra `kv-events` (pyzmq, msgpack).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from simulator.config.serve import KVEventsConfig
from simulator.engine.kv.events import AllBlocksCleared, BlockRemoved, BlockStored, KVEvent
from simulator.engine.outputs import StepOutput
from simulator.errors import ConfigError, FleetError

_MEDIUM = "GPU"
_END = (-1).to_bytes(8, "big", signed=True)
_FLUSH_SECONDS = 1.0  # llm-d-inference-sim sends a batch that does not fill after a second
_WILDCARDS = ("*", "::", "0.0.0.0", "ipc://", "inproc://")


def encode_map(event: KVEvent, as_hash: Callable[[int], int | bytes]) -> dict[str, Any]:
    """vLLM since June 2026: maps, tagged by `type`."""
    if isinstance(event, BlockStored):
        parent = event.parent_block_hash
        return {
            "type": "BlockStored",
            "block_hashes": [as_hash(block) for block in event.block_hashes],
            "parent_block_hash": None if parent is None else as_hash(parent),
            "token_ids": list(event.token_ids),
            "block_size": event.block_size,
            "lora_id": event.lora_id,
            "medium": _MEDIUM,
            "lora_name": event.lora_name,
            "extra_keys": [None if keys is None else list(keys) for keys in event.extra_keys],
            "group_idx": 0,
            "kv_cache_spec_kind": "full_attention",
        }
    if isinstance(event, BlockRemoved):
        return {
            "type": "BlockRemoved",
            "block_hashes": [as_hash(block) for block in event.block_hashes],
            "medium": _MEDIUM,
            "group_idx": 0,
        }
    assert isinstance(event, AllBlocksCleared)
    return {"type": "AllBlocksCleared"}


def encode_array(event: KVEvent, as_hash: Callable[[int], int | bytes]) -> list[Any]:
    """vLLM 0.11 and llm-d-inference-sim: positional, the event's name first."""
    if isinstance(event, BlockStored):
        parent = event.parent_block_hash
        fields: list[Any] = [
            "BlockStored",
            [as_hash(block) for block in event.block_hashes],
            None if parent is None else as_hash(parent),
            list(event.token_ids),
            event.block_size,
            event.lora_id,
            _MEDIUM,
        ]
        return fields if event.lora_name is None else [*fields, event.lora_name]
    if isinstance(event, BlockRemoved):
        return ["BlockRemoved", [as_hash(block) for block in event.block_hashes], _MEDIUM]
    assert isinstance(event, AllBlocksCleared)
    return ["AllBlocksCleared"]


def _as_int(block: int) -> int:
    return block


def _as_bytes(block: int) -> bytes:
    return block.to_bytes(8, "big")


def _import_zmq() -> tuple[Any, Any]:
    try:
        import msgpack  # type: ignore[import-untyped]  # noqa: PLC0415 - an extra
        import zmq  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(
            f"KV events need the package {error.name}: pip install 'vllm-simfleet[kv-events]'"
        ) from None
    return zmq, msgpack


class KVEventPublisher:
    """The publisher of one engine. Must be made and used in the loop's thread."""

    def __init__(self, config: KVEventsConfig, rank: int = 0, host: str = "") -> None:
        """`host`: the replica's own address, which stands for every address of its pod."""
        self._zmq, msgpack = _import_zmq()
        self._pack = msgpack.packb
        self._encode = encode_map if config.encoding == "map" else encode_array
        self._as_hash: Callable[[int], int | bytes] = _as_int if config.int_hashes else _as_bytes
        self._topic = config.topic.encode()
        self._rank = rank
        self._sequence = config.first_sequence
        self._kept: deque[tuple[int, bytes]] = deque(maxlen=config.buffer_steps)
        self._batch_size = config.batch_size
        self._pending: list[Any] = []
        self._flush_timer: asyncio.TimerHandle | None = None
        self._host = host
        self._context = self._zmq.Context()
        self._replay: Any = None
        self._publish: Any = None
        self._publish = self._socket(self._zmq.PUB, config.endpoint, rank, config.hwm)
        if config.replay_endpoint:
            self._replay = self._socket(self._zmq.ROUTER, config.replay_endpoint, rank, config.hwm)
            asyncio.get_running_loop().add_reader(self._replay.fileno(), self._on_replay)

    def _socket(self, kind: int, endpoint: str, rank: int, hwm: int) -> Any:
        socket = self._context.socket(kind)
        socket.setsockopt(self._zmq.LINGER, 0)
        socket.setsockopt(self._zmq.SNDHWM, hwm)
        address = own_address(_of_rank(endpoint, rank), self._host)
        binds = kind == self._zmq.ROUTER or any(mark in endpoint for mark in _WILDCARDS)
        try:
            socket.bind(address) if binds else socket.connect(address)
        except self._zmq.ZMQError as error:
            self.close()
            raise FleetError(
                f"KV events: cannot {'bind' if binds else 'connect'} {address}: {error}"
            ) from None
        return socket

    def on_step(self, step: StepOutput) -> None:
        """Publish the step's events; called for every step."""
        if step.kv_events:
            self.publish(step.kv_events)

    def publish(self, events: Sequence[KVEvent]) -> None:
        """Send, or keep until a batch is full (llm-d's --event-batch-size) or a second has passed."""
        self._pending.extend(self._encode(event, self._as_hash) for event in events)
        if len(self._pending) >= self._batch_size:
            self.flush()
        elif self._flush_timer is None:
            self._flush_timer = asyncio.get_running_loop().call_later(_FLUSH_SECONDS, self.flush)

    def flush(self) -> None:
        """Send what is pending as one message."""
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        if not self._pending:
            return
        payload: bytes = self._pack([time.time(), self._pending, self._rank])
        self._pending = []
        self._kept.append((self._sequence, payload))
        frames = (self._topic, self._sequence.to_bytes(8, "big"), payload)
        # A subscriber that is slower than hwm messages loses some; the replay socket has them.
        with contextlib.suppress(self._zmq.Again):
            self._publish.send_multipart(frames, flags=self._zmq.DONTWAIT)
        self._sequence += 1

    def _on_replay(self) -> None:
        """Answer every question that is there: ZMQ's descriptor is edge-triggered."""
        while self._replay is not None and self._replay.getsockopt(self._zmq.EVENTS) & self._zmq.POLLIN:
            frames = self._replay.recv_multipart(flags=self._zmq.DONTWAIT)
            identity, start = frames[0], int.from_bytes(frames[-1], "big")
            for sequence, payload in self._kept:
                if sequence >= start:
                    self._answer(identity, self._topic, sequence.to_bytes(8, "big"), payload)
            self._answer(identity, b"", _END, b"")

    def _answer(self, identity: bytes, *frames: bytes) -> None:
        self._replay.send_multipart((identity, b"", *frames), flags=self._zmq.DONTWAIT)

    def close(self) -> None:
        """Drop what is pending and free the sockets."""
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        if self._replay is not None:
            asyncio.get_running_loop().remove_reader(self._replay.fileno())
            self._replay.close(linger=0)
            self._replay = None
        if self._publish is not None:
            self._publish.close(linger=0)
        self._context.destroy(linger=0)


def _of_rank(endpoint: str, rank: int) -> str:
    """vLLM adds the rank to a TCP port, and to the name of another transport."""
    if not rank:
        return endpoint
    head, colon, port = endpoint.rpartition(":")
    if endpoint.startswith("tcp://") and colon and port.isdigit():
        return f"{head}:{int(port) + rank}"
    return f"{endpoint}_dp{rank}"


def own_address(endpoint: str, host: str) -> str:
    """A TCP wildcard as the replica's own loopback address: several replicas on one host do not collide."""
    for wildcard in ("tcp://*:", "tcp://0.0.0.0:"):
        if endpoint.startswith(wildcard) and host.startswith("127."):
            return f"tcp://{host}:{endpoint.removeprefix(wildcard)}"
    return endpoint
