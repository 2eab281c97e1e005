"""Servers of the tests: real sockets on loopback, answers scripted byte by byte."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tests.ports import free_port


@dataclass
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, object]:
        value = json.loads(self.body)
        assert isinstance(value, dict)
        return value


class Reply:
    """What a script does with a request: `send` bytes, `cut` the connection, or fall silent."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.closed = False

    async def send(self, *parts: bytes) -> None:
        self._writer.write(b"".join(parts))
        await self._writer.drain()

    def cut(self, *, reset: bool = False) -> None:
        if reset:
            linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
            self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self._writer.transport.abort()
        else:
            self._writer.close()
        self.closed = True


Script = Callable[[Seen, Reply], Awaitable[None]]


@dataclass
class FakeServer:
    """An HTTP/1.1 server that keeps what it saw and lets a script answer."""

    script: Script
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    tls: ssl.SSLContext | None = None
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> FakeServer:
        self.port = self.port or free_port()
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, limit=1 << 21, ssl=self.tls
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        reply = Reply(writer)
        try:
            while not reply.closed:
                seen = await read_request(reader)
                if seen is None:
                    break
                self.seen.append(seen)
                await self.script(seen, reply)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()


async def read_request(reader: asyncio.StreamReader) -> Seen | None:
    """The next request of a connection, None at its end."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    lines = head.split("\r\n")
    method, path, _ = lines[0].split(" ")
    headers = {
        key.strip().lower(): value.strip()
        for key, _, value in (line.partition(":") for line in lines[1:] if line)
    }
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Seen(method, path, headers, body)


def plain(status: int, body: object, **headers: str) -> bytes:
    """A complete answer with a JSON body (or the text as it is)."""
    data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    fields = {"content-type": "application/json", "content-length": str(len(data))}
    fields.update({key.replace("_", "-"): value for key, value in headers.items()})
    head = "".join(f"{key}: {value}\r\n" for key, value in fields.items())
    return f"HTTP/1.1 {status} Reason\r\n{head}\r\n".encode() + data


def sse_head(**headers: str) -> bytes:
    """The head of a stream."""
    head = "".join(f"{key.replace('_', '-')}: {value}\r\n" for key, value in headers.items())
    kind = "content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n"
    return f"HTTP/1.1 200 OK\r\n{kind}{head}\r\n".encode()


def chunk(data: bytes | str) -> bytes:
    """One chunk of chunked coding."""
    raw = data.encode() if isinstance(data, str) else data
    return f"{len(raw):x}\r\n".encode() + raw + b"\r\n"


def event(payload: object) -> bytes:
    """One server-sent event as a chunk."""
    text = payload if isinstance(payload, str) else json.dumps(payload, separators=(",", ":"))
    return chunk(f"data: {text}\n\n")


def token(text: str, finish: str | None = None) -> dict[str, object]:
    """A completions event with text."""
    return {"id": "cmpl-1", "choices": [{"index": 0, "text": text, "finish_reason": finish}]}


def usage(prompt: int, output: int, cached: int | None = None) -> dict[str, object]:
    """The last event of a stream that was asked for usage."""
    counts: dict[str, object] = {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
    }
    if cached is not None:
        counts["prompt_tokens_details"] = {"cached_tokens": cached}
    return {"id": "cmpl-1", "choices": [], "usage": counts}


DONE = event("[DONE]") + b"0\r\n\r\n"


async def answer_models(reply: Reply, *names: str) -> None:
    """The list of /v1/models."""
    await reply.send(plain(200, {"object": "list", "data": [{"id": name} for name in names]}))


def good_stream(words: int = 3, pod: str = "pod-0", **headers: str) -> bytes:
    """A whole streamed answer of so many one-word tokens."""
    events = [event(token(f" w{i}")) for i in range(words)]
    return sse_head(x_inference_pod=pod, **headers) + b"".join(events) + event(usage(10, words, 4)) + DONE
