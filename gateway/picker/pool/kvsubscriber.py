"""KV events of the model servers over ZMQ: each endpoint dialled, or one socket to which all of them send.

A message is topic, sequence number and msgpack of [time, events, rank]; the topic is `kv@POD@MODEL`. Needs
the extra `kv-events` (pyzmq, msgpack).
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

from gateway.picker.errors import PickerConfigError
from gateway.picker.pool.endpoints import Endpoint
from gateway.picker.pool.kvindex import KVIndex

# Messages that one socket gives before others have their turn.
_TURN = 100
_log = logging.getLogger("picker.kv-events")


@dataclass(frozen=True, slots=True)
class KVEventSettings:
    """Where events come from; `endpoint` is a central socket, `port` that of each pod's own."""

    endpoint: str = ""
    port: int = 5557
    topic: str = "kv@"
    dials: bool = True


class KVSubscriber:
    """All sockets of one index, in the loop's thread. `with_port`: pods are told by host:port."""

    def __init__(self, index: KVIndex, settings: KVEventSettings, *, with_port: bool) -> None:
        self._zmq, self._msgpack = _import_zmq()
        self._index, self._settings, self._with_port = index, settings, with_port
        self._context: Any = None
        self._sockets: dict[str, Any] = {}  # by endpoint id; "" is the central one
        self.received = 0

    def name_of(self, endpoint: Endpoint) -> str:
        """What an endpoint is called in the index."""
        return endpoint.host_port if self._with_port else endpoint.address

    def start(self, host: str) -> None:
        """Bind the central socket, where there is one; PickerConfigError when it cannot be had."""
        self._context = self._zmq.Context()
        if not self._settings.endpoint:
            return
        address = self._settings.endpoint.replace("tcp://*:", f"tcp://{host}:")
        socket = self._socket()
        try:
            socket.bind(address)
        except self._zmq.ZMQError as error:
            self.stop()
            raise PickerConfigError(f"kvEventsConfig.zmqEndpoint: cannot bind {address}: {error}") from None
        self._listen("", socket, None)

    def add(self, endpoint: Endpoint) -> None:
        """Dial an endpoint; its rank counts up from the port."""
        if not self._settings.dials or self._context is None:
            return
        _, _, rank = endpoint.name.rpartition("-rank-")
        port = self._settings.port + (int(rank) if rank.isdecimal() else 0)
        socket = self._socket()
        socket.connect(f"tcp://{endpoint.address}:{port}")
        self._listen(endpoint.id, socket, self.name_of(endpoint))

    def remove(self, endpoint: Endpoint) -> None:
        """An endpoint has left the pool, and its blocks with it."""
        self._close(endpoint.id)
        self._index.clear(self.name_of(endpoint))

    def stop(self) -> None:
        """Close everything."""
        for name in list(self._sockets):
            self._close(name)
        if self._context is not None:
            self._context.destroy(linger=0)
            self._context = None

    def _socket(self) -> Any:
        socket = self._context.socket(self._zmq.SUB)
        socket.setsockopt(self._zmq.LINGER, 0)
        socket.setsockopt(self._zmq.RECONNECT_IVL_MAX, 1000)
        socket.setsockopt(self._zmq.SUBSCRIBE, self._settings.topic.encode())
        return socket

    def _listen(self, name: str, socket: Any, source: str | None) -> None:
        self._close(name)
        self._sockets[name] = socket
        loop = asyncio.get_running_loop()
        loop.add_reader(socket.fileno(), self._read, name, source)
        loop.call_soon(self._read, name, source)  # the descriptor tells of changes only

    def _close(self, name: str) -> None:
        socket = self._sockets.pop(name, None)
        if socket is not None:
            asyncio.get_running_loop().remove_reader(socket.fileno())
            socket.close(linger=0)

    def _read(self, name: str, source: str | None) -> None:
        """Take what is there, a turn of it: ZMQ's descriptor is edge-triggered."""
        socket = self._sockets.get(name)
        if socket is None:
            return
        for _ in range(_TURN):
            if not socket.getsockopt(self._zmq.EVENTS) & self._zmq.POLLIN:
                return
            frames = socket.recv_multipart(flags=self._zmq.DONTWAIT)
            self._take(frames, source)
        asyncio.get_running_loop().call_soon(self._read, name, source)

    def _take(self, frames: list[bytes], source: str | None) -> None:
        self.received += 1
        if len(frames) != 3 or len(frames[1]) < 8:
            _log.warning("a KV event of %d frames is passed over", len(frames))
            return
        try:
            batch = self._msgpack.unpackb(frames[2], strict_map_key=False)
            parts = frames[0].decode("utf-8", "replace").split("@")
            pod, model = (
                (parts[1], parts[2]) if len(parts) == 3 else (frames[0].decode("utf-8", "replace"), "")
            )
            self._index.apply(source or pod, model, batch[1])
        except Exception as error:  # noqa: BLE001 - whatever a peer sends ends its own message only
            _log.warning("a KV event that cannot be read: %s", error)


def _import_zmq() -> tuple[Any, Any]:
    try:
        import msgpack  # type: ignore[import-untyped]  # noqa: PLC0415 - an extra
        import zmq  # noqa: PLC0415
    except ImportError as error:
        raise PickerConfigError(
            f"KV events need the package {error.name}: pip install 'vllm-simfleet[kv-events]'"
        ) from None
    return zmq, msgpack
