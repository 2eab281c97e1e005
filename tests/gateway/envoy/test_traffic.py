"""Requests through a real Envoy with our configuration; figures are real Istio's (istio-measured.md)."""

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

import h11
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


def test_100_continue_is_the_model_server_s_to_say(tmp_path: Path) -> None:
    """Envoy answers no Expect itself: the picker waits for a body that the client sends in the end unasked.

    Where Envoy answers itself, its 100 Continue is under way before the picker is asked.
    """

    async def scenario() -> None:
        server = Server()
        picker = Picker(server.address)
        async with running(tmp_path, TO_POOL, [server.address], server, picker) as url:
            place = urlsplit(url)
            reader, writer = await asyncio.open_connection(place.hostname, place.port)
            client = h11.Connection(h11.CLIENT)
            head = [("host", "lab"), ("expect", "100-continue"), ("content-length", "5")]
            writer.write(client.send(h11.Request(method="POST", target="/", headers=head)) or b"")
            await asyncio.wait_for(picker.seen.wait(), 10)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.3)
            assert server.asked == []
            for part in (h11.Data(b"hello"), h11.EndOfMessage()):
                writer.write(client.send(part) or b"")
            answers = []
            while not isinstance(event := client.next_event(), h11.EndOfMessage):
                if event is h11.NEED_DATA:
                    client.receive_data(await asyncio.wait_for(reader.read(65536), 10))
                elif isinstance(event, h11.InformationalResponse | h11.Response):
                    answers.append(event.status_code)
            writer.close()
        ((_, headers, length),) = server.asked
        assert (answers[-1], headers["expect"], length) == (200, "100-continue", 5)

    asyncio.run(scenario())
