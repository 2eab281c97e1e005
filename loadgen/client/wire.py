"""What sends exchanges: the face of all pools, and the one that speaks a target's HTTP version."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

from loadgen.client.connection import Pool
from loadgen.client.exchange import Exchange
from loadgen.client.target import Target


class Wire(Protocol):
    """connection.Pool over HTTP/1.1, http2.Http2Pool over HTTP/2."""

    opened: int

    def submit(self, exchange: Exchange) -> None: ...
    def render(self, path: str, headers: Mapping[str, str], body: bytes, method: str = "POST") -> bytes: ...
    def cancel_all(self, outcome: str, error: str) -> None: ...
    def close(self) -> None: ...
    async def warm(self, count: int) -> None: ...


def open_wire(
    loop: asyncio.AbstractEventLoop, target: Target, *, http2: bool = False, idle_timeout: float = 4.0
) -> Wire:
    """A pool for the target; ScenarioError when HTTP/2 is asked for without the extra h2."""
    if http2:
        from loadgen.client.http2 import Http2Pool  # noqa: PLC0415  # the h2 extra

        return Http2Pool(loop, target, idle_timeout=idle_timeout)
    return Pool(loop, target, idle_timeout=idle_timeout)
