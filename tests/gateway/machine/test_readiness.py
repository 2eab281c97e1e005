"""What the smallest of HTTP clients makes of answers: whole, in chunks, cut off, and none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent import futures
from contextlib import asynccontextmanager

import grpc
import pytest

from gateway.machine.readiness import grpc_is_serving, http_get, http_post
from tests.ports import free_port

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@asynccontextmanager
async def answering(raw: bytes, asked: list[bytes], upto: bytes = b"\r\n\r\n") -> AsyncIterator[int]:
    """The port of a server that answers whatever ends in `upto` with `raw`, and then hangs up."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(upto))
        writer.write(raw)
        writer.close()

    port = free_port()
    async with await asyncio.start_server(answer, "127.0.0.1", port):
        yield port


async def answered(raw: bytes, method: str = "GET") -> tuple[tuple[int, bytes], bytes]:
    """What the client makes of the bytes `raw`, and what it asked."""
    asked: list[bytes] = []
    client = http_get if method == "GET" else http_post
    async with answering(raw, asked) as port:
        return await client("127.0.0.1", port, "/x?y", timeout_s=10), asked[0]


@pytest.mark.parametrize(
    ("raw", "status", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
        (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
        (CHUNKED + b"2\r\nab\r\n-1\r\nx\r\n0\r\n\r\n", 200, b"ab"),
        (CHUNKED + b"two\r\nab\r\n0\r\n\r\n", 200, b""),
        (b"HTTP/1.0 503 Busy\r\n\r\n", 503, b""),
        (CHUNKED + b"2\r\nab\r\n3;x=y\r\ncde\r\n0\r\n\r\n", 200, b"abcde"),
        (CHUNKED + b"5\r\nab", 200, b"ab"),
        (CHUNKED, 200, b""),
        (b"", 0, b""),
        (b"SSH-2.0-x\r\n", 0, b""),
        (b"HTTP/1.1 20x OK\r\n\r\n", 0, b""),
    ],
)
def test_answers(raw: bytes, status: int, body: bytes) -> None:
    assert asyncio.run(answered(raw))[0] == (status, body)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_is_asked(method: str) -> None:
    _, asked = asyncio.run(answered(b"HTTP/1.1 200 OK\r\n\r\n", method))
    assert asked.startswith(f"{method} /x?y HTTP/1.1\r\nHost: 127.0.0.1:".encode())
    assert b"\r\nConnection: close\r\n" in asked


def test_nobody_listens() -> None:
    async def scenario() -> None:
        port = free_port()
        assert await http_get("127.0.0.1", port, "/") == (0, b"")
        assert not await grpc_is_serving("127.0.0.1", port)

    asyncio.run(scenario())


@pytest.mark.parametrize("raw", [b"", b"HTTP/1.1 400 Bad\r\n\r\n", b"\0\0\0\x04\0\0\0\0\0"])
def test_who_speaks_no_grpc_does_not_serve(raw: bytes) -> None:
    async def scenario() -> None:
        async with answering(raw, [], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") as port:
            assert not await grpc_is_serving("127.0.0.1", port)

    asyncio.run(scenario())


class Health(grpc.GenericRpcHandler):  # type: ignore[misc]
    """grpc.health.v1 by hand: `good` is serving, the rest is not."""

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if details.method != "/grpc.health.v1.Health/Check":
            return None

        def check(request: bytes, _: grpc.ServicerContext) -> bytes:
            return b"\x08\x01" if request.endswith(b"good") else b"\x08\x02"

        return grpc.unary_unary_rpc_method_handler(check)


@pytest.fixture
def health() -> Iterator[int]:
    server = grpc.server(futures.ThreadPoolExecutor(1), handlers=[Health()])
    port = free_port()
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    yield port
    server.stop(None).wait()


def test_grpc_health(health: int) -> None:
    async def ask(service: str, port: int) -> bool:
        return await grpc_is_serving("127.0.0.1", port, service, timeout_s=10)

    assert asyncio.run(ask("good", health))
    assert not asyncio.run(ask("bad", health))
    assert not asyncio.run(ask("good", free_port())), "nobody listens"
