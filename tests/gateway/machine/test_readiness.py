"""What the smallest of HTTP clients makes of answers: whole, in chunks, cut off, and none."""

from __future__ import annotations

import asyncio

import pytest

from gateway.machine.ports import free_port
from gateway.machine.readiness import grpc_is_serving, http_get, http_post

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


async def answered(raw: bytes, method: str = "GET") -> tuple[tuple[int, bytes], bytes]:
    """What the client makes of the bytes `raw`, and what it asked."""
    asked = b""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked = await reader.readuntil(b"\r\n\r\n")
        writer.write(raw)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        client = http_get if method == "GET" else http_post
        return await client("127.0.0.1", port, "/x?y", timeout_s=10), asked


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
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(24)
            writer.write(raw)
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            assert not await grpc_is_serving("127.0.0.1", port)

    asyncio.run(scenario())
