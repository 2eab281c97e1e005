"""Replicas of one process: addresses, life and death, ranks."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from simulator.config.resolve import parse_args
from simulator.errors import FleetError, InvariantError
from simulator.fleet.fleet import Fleet, ReplicaSpec
from tests.ports import free_port
from tests.simulator.server.inprocess import run
from tests.simulator.steps import FLAT_20_MS

HOST = "127.0.0.2"


def spec(name: str, port: int, *flags: str, host: str = HOST, ranks: int = 1) -> ReplicaSpec:
    config = parse_args(["--model", "m", "--pod-name", name, *flags], {})
    return ReplicaSpec(name, host, tuple(range(port, port + ranks)), config)


@asynccontextmanager
async def fleet_of(*specs: ReplicaSpec) -> AsyncIterator[Fleet]:
    async with Fleet() as fleet:
        await fleet.add_all(specs)
        yield fleet


async def ask(
    port: int, path: str, body: object = None, host: str = HOST
) -> tuple[int, dict[str, str], bytes]:
    """One request on a connection of its own."""
    reader, writer = await asyncio.open_connection(host, port)
    data = b"" if body is None else json.dumps(body).encode()
    method = "GET" if body is None else "POST"
    head = f"{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {len(data)}\r\n\r\n"
    writer.write(head.encode() + data)
    try:
        whole = await reader.read()
    finally:
        writer.close()
    answer, _, rest = whole.partition(b"\r\n\r\n")
    lines = answer.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:])
    return int(lines[0].split()[1]), headers, rest


async def say(port: int, max_tokens: int = 4, host: str = HOST) -> tuple[int, str]:
    """(status, x-inference-pod) of a completion."""
    body = {"prompt": "hello", "max_tokens": max_tokens, "ignore_eos": True}
    status, headers, _ = await ask(port, "/v1/completions", body, host)
    return status, headers["x-inference-pod"]


def refuses(port: int, host: str = HOST) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex((host, port)) != 0


def test_each_replica_has_an_address_and_an_engine_of_its_own() -> None:
    async def main() -> None:
        port = free_port()
        async with fleet_of(*(spec(f"pod-{i}", port, host=f"127.0.0.{2 + i}") for i in range(3))) as fleet:
            assert list(fleet.replicas) == ["pod-0", "pod-1", "pod-2"]
            for i in range(3):
                assert await say(port, 4 + i, f"127.0.0.{2 + i}") == (200, f"pod-{i}")
            tokens = [replica.engine.stats.generation_tokens for replica in fleet.replicas.values()]
            assert tokens == [4, 5, 6]
            assert await say(port, 1, "127.0.0.3") == (200, "pod-1")
        assert all(refuses(port, f"127.0.0.{2 + i}") for i in range(3))

    run(main())


def test_ranks_are_replicas_on_consecutive_ports() -> None:
    async def main() -> None:
        port = free_port()
        async with fleet_of(spec("pod", port, "--data-parallel-size", "2", ranks=2)) as fleet:
            first, second = fleet.replicas["pod"].peers
            assert (await ask(port + 1, "/v1/completions", {"prompt": "x"}))[1]["x-inference-port"] == str(
                port + 1
            )
            assert first.engine.stats.generation_tokens == 0
            assert second.engine.stats.generation_tokens > 0
            assert b'engine="1"' in (await ask(port + 1, "/metrics"))[2]

    run(main())


def test_kill_refuses_and_resets_and_restart_begins_anew() -> None:
    async def main() -> None:
        port = free_port()
        async with fleet_of(spec("pod", port, "--step-model", FLAT_20_MS)) as fleet:
            reader, writer = await asyncio.open_connection(HOST, port)
            body = b'{"prompt": "x", "max_tokens": 1000, "stream": true, "ignore_eos": true}'
            writer.write(
                b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body
            )
            await reader.readuntil(b"data: ")
            fleet.kill("pod")
            assert refuses(port)
            assert not fleet.is_listening("pod")
            with pytest.raises(ConnectionResetError):
                await reader.readuntil(b"data: [DONE]")
            writer.close()
            await fleet.restart("pod")
            assert await say(port) == (200, "pod")
            assert fleet.replicas["pod"].engine.stats.generation_tokens == 4

    run(main())


@pytest.mark.parametrize("latency", ["--step-model=" + FLAT_20_MS, "--latency=zero"], ids=["20ms", "zero"])
def test_kill_after_tokens(latency: str) -> None:
    async def main() -> None:
        port = free_port()
        async with fleet_of(spec("pod", port, latency)) as fleet:
            fleet.kill("pod", after_tokens=5)
            assert await say(port, 2) == (200, "pod")
            with pytest.raises((ConnectionResetError, IndexError)):
                await say(port, 100)
            assert refuses(port)
            assert fleet.replicas["pod"].engine.stats.generation_tokens == 5

    run(main())


def test_drain_is_unready_first_and_finishes_what_it_has() -> None:
    async def main() -> None:
        port = free_port()
        async with fleet_of(spec("pod", port, "--step-model", FLAT_20_MS)) as fleet:
            asked = [asyncio.ensure_future(say(port, 60)) for _ in range(8)]
            await asyncio.sleep(0.1)
            draining = asyncio.ensure_future(fleet.drain("pod", 30))
            await asyncio.sleep(0.05)
            assert (await ask(port, "/health/ready"))[0] == 503
            assert (await ask(port, "/health"))[0] == 200
            assert await say(port) == (200, "pod"), "who comes while it drains is served"
            assert await draining
            assert await asyncio.gather(*asked) == [(200, "pod")] * 8
            assert refuses(port)

    run(main())


def test_drain_answers_who_had_connected_and_not_yet_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulator.server.http.listener._FIRST_REQUEST_SECONDS", 15.0)

    async def main() -> None:
        port = free_port()
        async with fleet_of(spec("pod", port)) as fleet:
            reader, writer = await asyncio.open_connection(HOST, port)
            draining = asyncio.ensure_future(fleet.drain("pod", 30))
            while fleet.is_listening("pod"):
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)
            writer.write(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
            assert (await reader.read(-1)).startswith(b"HTTP/1.1 200 ")
            assert await draining
            writer.close()

    run(main())


def test_drain_that_takes_too_long_says_so() -> None:
    async def main() -> None:
        port = free_port()
        async with fleet_of(spec("pod", port, "--step-model", FLAT_20_MS)) as fleet:
            asked = asyncio.ensure_future(say(port, 1000))
            await asyncio.sleep(0.1)
            assert not await fleet.drain("pod", 0.2)
            with pytest.raises((ConnectionResetError, IndexError)):
                await asked

    run(main())


def test_remove_forgets_and_the_address_is_free_again() -> None:
    async def main() -> None:
        port = free_port()
        async with fleet_of(spec("pod", port)) as fleet:
            await fleet.remove("pod", grace_s=1.0)
            assert refuses(port)
            assert not fleet.replicas
            await fleet.add(spec("other", port))
            assert await say(port) == (200, "other")

    run(main())


def test_a_dead_engine_answers_as_vllms_does(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        port = free_port()
        async with fleet_of(spec("pod", port, "--step-model", FLAT_20_MS)) as fleet:
            body = {"prompt": "x", "max_tokens": 500, "ignore_eos": True}
            asked = asyncio.ensure_future(ask(port, "/v1/completions", body))
            engine = fleet.replicas["pod"].engine
            while not engine.num_unfinished:
                await asyncio.sleep(0.005)

            def fail(until: float, max_steps: int = 0) -> None:
                raise InvariantError("on purpose")

            monkeypatch.setattr(engine, "fast_forward", fail)
            status, _, body = await asked
            assert status == 500
            assert json.loads(body)["error"]["type"] == "InternalServerError"
            assert (await ask(port, "/health"))[0] == 503
            assert (await ask(port, "/v1/completions", {"prompt": "x"}))[0] == 500
            await fleet.restart("pod")
            assert (await ask(port, "/health"))[0] == 200

    run(main())


def test_mistakes_are_named() -> None:
    async def main() -> None:
        port = free_port()
        async with fleet_of(spec("pod", port)) as fleet:
            with pytest.raises(FleetError, match="there is a replica 'pod' already"):
                await fleet.add(spec("pod", port + 1))
            with pytest.raises(FleetError, match="no replica 'pot'; there are pod"):
                fleet.kill("pot")
            with pytest.raises(FleetError, match=f"cannot listen on {HOST}:{port}: .*in use"):
                await fleet.add(spec("second", port))
            assert list(fleet.replicas) == ["pod"]
            assert await say(port) == (200, "pod")
        with pytest.raises(FleetError, match="has not been entered"):
            await Fleet().add(spec("pod", port))

    run(main())


def test_memory_of_a_replica_is_kilobytes() -> None:
    """A loose bound; the figure is bench/fleet.py's."""

    async def main() -> int:
        port = free_port()
        async with fleet_of(*(spec(f"pod-{i}", port, host=f"127.1.0.{1 + i}") for i in range(200))) as fleet:
            return len(fleet.replicas)

    assert run(main()) == 200


def test_restarts_and_removals_at_once_leave_one_socket_or_none() -> None:
    async def main() -> None:
        port = free_port()
        async with fleet_of(spec("a", port)) as fleet:
            await asyncio.gather(*(fleet.restart("a") for _ in range(3)))
            assert (await say(port)) == (200, "a")
            await asyncio.gather(fleet.remove("a"), fleet.remove("a", 0.1), return_exceptions=True)
            assert refuses(port)
            assert not fleet.replicas

    run(main())


def test_a_rank_asked_by_way_of_another_owns_the_request() -> None:
    async def main() -> None:
        port = free_port()
        async with fleet_of(spec("a", port, "--step-model", FLAT_20_MS, ranks=2)) as fleet:
            ranks = fleet.replicas["a"].peers
            body = b'{"prompt": "x", "max_tokens": 500, "ignore_eos": true}'
            head = (
                "POST /v1/completions HTTP/1.1\r\nhost: x\r\nx-request-id: same\r\n"
                f"x-data-parallel-rank: 1\r\ncontent-length: {len(body)}\r\n\r\n"
            )
            writers = []
            for asked in (port, port + 1):  # equal ids must not meet in the engine of rank 1
                _, writer = await asyncio.open_connection(HOST, asked)
                writer.write(head.encode() + body)
                writers.append(writer)
            while ranks[1].engine.stats.num_requests_running < 2:
                await asyncio.sleep(0.005)
            assert [len(rank.prepared.active) for rank in ranks] == [0, 2]
            for writer in writers:
                writer.close()
            while ranks[1].engine.num_unfinished:
                await asyncio.sleep(0.005)
            assert not ranks[1].prepared.active

    run(main())
