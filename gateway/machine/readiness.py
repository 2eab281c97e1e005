"""Is it ready? One GET of HTTP/1.1, and one call of gRPC's health service, on bare asyncio streams.

The health call speaks just enough HTTP/2 to send one request and find the one byte of the answer that counts,
so that the process that supervises need not import gRPC, whose threads do not survive a fork.
"""

from __future__ import annotations

import asyncio
import re
import struct

_DATA, _HEADERS, _SETTINGS, _PING = 0x0, 0x1, 0x4, 0x6
_END_STREAM, _END_HEADERS, _ACK = 0x1, 0x4, 0x1
_SERVING = 1


async def http_get(host: str, port: int, path: str, timeout_s: float = 1.0) -> tuple[int, bytes]:
    """Status and body; (0, b"") when nobody answers within `timeout_s` seconds, or not in HTTP."""
    return await _http("GET", host, port, path, timeout_s)


async def http_post(host: str, port: int, path: str, timeout_s: float = 1.0) -> tuple[int, bytes]:
    """The same for a POST without body."""
    return await _http("POST", host, port, path, timeout_s)


async def _http(method: str, host: str, port: int, path: str, timeout_s: float) -> tuple[int, bytes]:
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                ask = f"{method} {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n"
                writer.write(f"{ask}Content-Length: 0\r\n\r\n".encode())
                answer = await reader.read(-1)
            finally:
                writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        status = int(head.split(None, 2)[1])  # a reason need not follow
        return status, _dechunked(body) if b"transfer-encoding: chunked" in head.lower() else body
    except (OSError, TimeoutError, ValueError, IndexError):
        return 0, b""


def _dechunked(body: bytes) -> bytes:
    result = bytearray()
    while body:
        size_line, _, rest = body.partition(b"\r\n")
        digits = re.match(rb"[0-9a-fA-F]{1,8}", size_line)
        size = int(digits[0], 16) if digits else 0
        if size == 0:
            break
        result += rest[:size]
        body = rest[size + 2 :]
    return bytes(result)


async def grpc_is_serving(host: str, port: int, service: str = "", timeout_s: float = 1.0) -> bool:
    """Whether grpc.health.v1.Health/Check of `service` answers SERVING, without TLS."""
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(_health_request(f"{host}:{port}", service))
                return await _health_answer(reader, writer)
            finally:
                writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return False


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def _literal(name: str, value: str) -> bytes:
    """An HPACK literal without indexing and without Huffman coding (RFC 7541, 6.2.2)."""
    return bytes((0, len(name))) + name.encode() + bytes((len(value),)) + value.encode()


def _health_request(authority: str, service: str) -> bytes:
    headers = b"".join(
        _literal(name, value)
        for name, value in (
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/grpc.health.v1.Health/Check"),
            (":authority", authority),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        )
    )
    name = service.encode()
    message = (b"\x0a" + bytes((len(name),)) + name) if name else b""
    body = b"\x00" + struct.pack(">I", len(message)) + message
    return (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        + _frame(_SETTINGS, 0, 0, b"")
        + _frame(_HEADERS, _END_HEADERS, 1, headers)
        + _frame(_DATA, _END_STREAM, 1, body)
    )


async def _health_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Read frames of stream 1 up to its end; its only message is `08 <status>`."""
    data = b""
    while True:
        head = await reader.readexactly(9)
        payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
        kind, flags, stream = head[3], head[4], int.from_bytes(head[5:9], "big") & 0x7FFFFFFF
        if kind in {_SETTINGS, _PING} and not flags & _ACK:
            writer.write(_frame(kind, _ACK, 0, payload if kind == _PING else b""))
        elif kind == _DATA and stream == 1:
            data += payload
        if stream == 1 and (flags & _END_STREAM or kind == 0x3):
            message = data[5:]
            return len(message) >= 2 and message[0] == 0x08 and message[1] == _SERVING
