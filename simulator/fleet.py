"""N replicas in one process, each on its own address.

A replica's socket is its life: close it and clients get ECONNREFUSED, bind it again and the replica is back. One
timer, one tokenizer, one HTTP configuration serve all; a replica adds kilobytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from simulator.config import ServeConfig
from simulator.server.replica import Replica


@dataclass(frozen=True, slots=True)
class ReplicaSpec:
    """A replica to be: several ports are data-parallel ranks 0, 1, ... of one pod."""

    name: str
    host: str
    ports: tuple[int, ...]
    config: ServeConfig


class Fleet:
    """The replicas of this process by name; an async context manager that stops them all on exit.

    Every method raises FleetError for a name that is unknown or taken, and for an address that cannot be bound.
    """

    @property
    def replicas(self) -> Mapping[str, Replica]:
        """Rank 0 of each; the other ranks are its `peers`. A killed or drained replica is still listed."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def add(self, spec: ReplicaSpec) -> Replica:
        """Build and listen; the replica answers when this returns."""
        ...

    async def remove(self, name: str, grace_s: float = 0.0) -> None:
        """Stop listening, give requests in flight `grace_s` seconds, reset what is left, forget the replica."""

    def kill(self, name: str, after_tokens: int | None = None) -> None:
        """Close the sockets and reset the connections at once, or when it has generated that many more tokens."""

    async def drain(self, name: str, timeout_s: float) -> bool:
        """Readiness 503 first, requests in flight finish, then the sockets close. False: timeout_s passed first."""
        ...

    async def restart(self, name: str) -> Replica:
        """A fresh engine with empty caches on the same address; a replica that still runs is killed first."""
        ...
