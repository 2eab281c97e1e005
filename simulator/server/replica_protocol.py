"""What the HTTP routes ask of a replica; `simulator.server.replica.Replica` is it.

One app serves all replicas of a process. The listening socket that a request came in by (`scope["server"]`)
says which one is meant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from simulator.compat import Compat
from simulator.config import ServeConfig
from simulator.engine.tokenizer import Tokenizer
from simulator.server.driver import Driver
from simulator.server.faults import Faults
from simulator.server.lora_registry import LoRARegistry

Address = tuple[str, int | None]
Scope = Mapping[str, Any]


class HttpMetrics(Protocol):
    """The http_* families; called once per finished request, handler "none" where no route matched."""

    def record(
        self, handler: str, method: str, status: int, seconds: float, request_bytes: int, response_bytes: int
    ) -> None: ...


class ReplicaAPI(Protocol):
    """One model server (one data parallel rank) as the routes see it."""

    config: ServeConfig
    compat: Compat
    tokenizer: Tokenizer
    driver: Driver
    loras: LoRARegistry
    faults: Faults
    http: HttpMetrics
    fingerprint: str  # system_fingerprint of answers
    name: str
    port: int  # the port it is reached by; x-inference-port
    draining: bool  # readiness answers 503
    drain_rejects: bool  # new generations end at once with finish_reason abort (vLLM's drain)
    server_load: int  # requests in flight on generating routes, for /load

    @property
    def ready(self) -> bool:
        """Not draining and past --startup-duration."""

    def metrics(self) -> bytes:
        """The exposition, rendered now."""

    def count_rejection(self, reason: str) -> None:
        """admission_rejections_total; reason is max_num_queued_reqs or max_num_queued_tokens."""

    def kv_event_sources(self) -> dict[str, Any]:
        """/kv_event_sources: the KV event configuration per rank."""


Lookup = Callable[[Address | None], ReplicaAPI]
"""The replica behind a listening address; raises LookupError for a socket that belongs to none."""
