"""Requests through a real Envoy with our configuration; figures are those of real Istio's (istio-measured.md)."""

import asyncio
from pathlib import Path

import httpx
import pytest

from tests.e2e import worlds
from tests.gateway.envoy.running import Picker, Server, dead, running

POOL = [
    worlds.gateway("gw"),
    worlds.pool("p", "x", "epp"),
    worlds.service("epp", "epp", 9002, appProtocol="http2"),
]
TO_POOL = [*POOL, worlds.route("r", "gw", worlds.rule(worlds.to_pool("p")))]


async def posts(url: str, number: int, size: int) -> list[int]:
    """Status codes of `number` POSTs, one after the other."""
    async with httpx.AsyncClient(timeout=20.0) as client:
        return [(await client.post(url, content=b"x" * size)).status_code for _ in range(number)]


@pytest.mark.parametrize(("size", "messages"), [(1, 3), (100_000, 3), (900_000, 4)])
def test_a_large_body_reaches_the_picker_s_second_choice(tmp_path: Path, size: int, messages: int) -> None:
    """The messages are those of the best of 20 requests: a client that is stopped sends in more pieces."""

    async def scenario() -> None:
        server, gone = Server(), dead()
        picker = Picker(gone, server.address)
        async with running(tmp_path, TO_POOL, [gone, server.address], server, picker) as url:
            assert await posts(url, 20, size) == [200] * 20
        assert [length for _, _, length in server.asked] == [size] * 20
        assert len(picker.messages) == 20
        assert min(picker.messages.values()) <= messages

    asyncio.run(scenario())


@pytest.mark.parametrize("size", [100_000, 900_000])
def test_a_large_body_is_sent_again(tmp_path: Path, size: int) -> None:
    """One of a Service's two endpoints is dead."""
    round_robin = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": worlds.meta("rule"),
        "spec": {"host": "svc", "trafficPolicy": {"loadBalancer": {"simple": "ROUND_ROBIN"}}},
    }
    objects = [
        worlds.gateway("gw"),
        worlds.service("svc", "x", 80),
        worlds.route("r", "gw", worlds.rule(worlds.to_service("svc", 80))),
        round_robin,
    ]

    async def scenario() -> None:
        server = Server()
        async with running(tmp_path, objects, [dead(), server.address], server) as url:
            assert await posts(url, 30, size) == [200] * 30

    asyncio.run(scenario())
