"""One replica: configuration, engine, driver and the state that routes read and change.

A replica is an object, not a process, and one port is one replica: the data-parallel ranks of a pod are replicas
that know each other as `peers`. What a process shares (timer, tokenizer) comes in from outside. A route finds its
replica in `scope["state"]["replica"]`: the listening socket puts it there.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simulator.config import ServeConfig
from simulator.engine.core import Engine
from simulator.engine.request import LoRARequest
from simulator.engine.tokenizer import Tokenizer
from simulator.server.driver import Driver
from simulator.server.http_metrics import HTTPMetrics

if TYPE_CHECKING:
    from simulator.server.exposition import Exposition


@dataclass(slots=True)
class LoRAEntry:
    """An adapter as /v1/models lists it."""

    request: LoRARequest
    base_model_name: str | None = None


class LoRARegistry:
    """The adapters a replica answers to, by name, in order of registration. Ids count from 1 and never repeat."""

    def __init__(self) -> None:
        self._entries: dict[str, LoRAEntry] = {}
        self._last_id = 0

    def add(self, name: str, path: str, base_model_name: str | None = None) -> LoRAEntry:
        """Register, or replace in place under the id it has."""
        known = self._entries.get(name)
        if known is None:
            self._last_id += 1
        int_id = known.request.int_id if known else self._last_id
        entry = LoRAEntry(LoRARequest(name, int_id, path), base_model_name)
        self._entries[name] = entry
        return entry

    def remove(self, name: str) -> LoRAEntry | None:
        """Forget the name; requests in flight keep their adapter. None: it was not there."""
        return self._entries.pop(name, None)

    def get(self, name: str) -> LoRAEntry | None:
        return self._entries.get(name)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def __iter__(self) -> Any:
        return iter(self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)


@dataclass(slots=True)
class ReplicaState:
    """What changes while a replica lives, besides the engine."""

    started: float  # monotonic
    ready_at: float  # monotonic; readiness routes answer 503 before (--startup-duration)
    draining: bool = False  # readiness 503, requests are still served
    shutting_down: bool = False  # vLLM's drain: requests that come now end at once with finish_reason abort
    paused: bool = False  # /pause: 503 for generating routes
    sleep_level: int | None = None  # None: awake
    server_load: int = 0  # /load, with --enable-server-load-tracking
    in_flight: int = 0  # generating HTTP requests accepted and not yet answered to the end

    def is_ready(self) -> bool:
        return not (self.draining or self.shutting_down) and time.monotonic() >= self.ready_at


class Replica:
    """One vLLM server on one port."""

    config: ServeConfig
    name: str
    host: str
    port: int
    rank: int
    peers: tuple[Replica, ...]  # all ranks of this pod, this one among them
    engine: Engine
    driver: Driver
    tokenizer: Tokenizer
    loras: LoRARegistry
    state: ReplicaState
    http: HTTPMetrics
    exposition: Exposition

    def metrics(self) -> bytes:
        """The body of GET /metrics; its content type is `exposition.CONTENT_TYPE`."""
        return self.exposition.render()
