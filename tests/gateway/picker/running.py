"""A picker that serves, model servers that it scrapes, and the data plane's side of an ext_proc stream."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb

from gateway.picker.app import Picker
from gateway.picker.options import parse_options
from tests.gateway.picker.factories import config
from tests.ports import free_port
from tests.waiting import until_async

PAGE = """\
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting {waiting}
# TYPE vllm:gpu_cache_usage_perc gauge
vllm:gpu_cache_usage_perc {kv}
"""


class ModelServer:
    """Answers GET with whatever `answer` gives; counts requests, also by connection, and connections."""

    def __init__(self) -> None:
        self.page = PAGE.format(waiting=0, kv=0).encode()
        self.status = "200 OK"
        self.requests = 0
        self.connections = 0
        self.by_connection: collections.Counter[int] = collections.Counter()
        self.hold: asyncio.Event | None = None
        self.answer = self._answer
        self.head = b""
        self._writers: set[asyncio.StreamWriter] = set()

    def _answer(self) -> bytes:
        head = f"HTTP/1.1 {self.status}\r\nContent-Length: {len(self.page)}\r\n\r\n"
        return head.encode() + self.page

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        self._writers.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                self.head = await reader.readuntil(b"\r\n\r\n")
                self.requests += 1
                self.by_connection[number] += 1
                if self.hold is not None:
                    await self.hold.wait()
                writer.write(self.answer())
                await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        self._writers.discard(writer)

    @contextlib.asynccontextmanager
    async def running(self, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[int]:
        port = port or free_port()
        server = await asyncio.start_server(self._serve, host, port)
        try:
            yield port
        finally:
            server.close()
            if self.hold is not None:
                self.hold.set()
            for writer in list(self._writers):
                writer.close()
            await until_async(lambda: not self._writers, what="the connections to end")


def endpoints_text(*places: tuple[str, str, int]) -> str:
    return json.dumps(
        {"endpoints": [{"name": n, "namespace": "ns", "address": a, "port": str(p)} for n, a, p in places]}
    )


@contextlib.asynccontextmanager
async def picker(
    directory: Path,
    *flags: str,
    text: str | None = None,
    endpoints: Sequence[tuple[str, str, int]] = (("a", "127.0.0.2", 9), ("b", "127.0.0.3", 9)),
) -> AsyncIterator[Picker]:
    """A picker in this process, on free ports. Nothing listens at the endpoints unless a test says so."""
    file = directory / "endpoints.json"
    file.write_text(endpoints_text(*endpoints))
    ports = {"grpc-port", "grpc-health-port", "metrics-port"}
    argv = ["--pool-name", "pool", "--pool-namespace", "ns", "--endpoints-file", str(file), *flags]
    argv += ["--config-text", text or config("{type: queue-scorer}"), "--drain-timeout", "0s"]
    if not any("secure-serving" in flag for flag in flags):
        argv.append("--secure-serving=false")
    for name in ports:
        argv.append(f"--{name}={free_port()}")
    running = Picker(parse_options(argv, {}))
    try:
        await running.start()
        yield running
    finally:
        await running.stop()


def headers(kind: str, values: Mapping[str, str], end_of_stream: bool = False) -> Any:
    message = pb.ProcessingRequest()
    part = getattr(message, kind)
    part.end_of_stream = end_of_stream
    for name, value in values.items():
        header = part.headers.headers.add()
        header.key, header.raw_value = name, value.encode()
    return message


def body(kind: str, data: bytes, end_of_stream: bool = False) -> Any:
    message = pb.ProcessingRequest()
    part = getattr(message, kind)
    part.body, part.end_of_stream = data, end_of_stream
    return message


class Stream:
    """One ext_proc stream, through the official gRPC library."""

    def __init__(self, call: Any) -> None:
        self._call = call

    async def send(self, *messages: Any) -> None:
        for message in messages:
            await self._call.write(message)

    async def next(self) -> Any:
        async with asyncio.timeout(5):
            reply = await self._call.read()
        return None if reply is grpc.aio.EOF else reply

    async def body(self, kind: str) -> tuple[bytes, int]:
        """(body, chunks) of the replies up to the one that ends it."""
        whole, chunks = bytearray(), 0
        while True:
            reply = await self.next()
            assert reply.WhichOneof("response") == kind
            streamed = getattr(reply, kind).response.body_mutation.streamed_response
            assert len(streamed.body) <= 62000
            whole += streamed.body
            chunks += 1
            if streamed.end_of_stream:
                return bytes(whole), chunks

    async def close(self) -> None:
        await self._call.done_writing()
        while await self.next() is not None:
            pass

    def cancel(self) -> None:
        self._call.cancel()


@contextlib.asynccontextmanager
async def data_plane(
    port: int, credentials: grpc.ChannelCredentials | None = None
) -> AsyncIterator[Callable[[], Stream]]:
    """Opens ext_proc streams."""
    options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    address = f"127.0.0.1:{port}"
    if credentials is None:
        channel = grpc.aio.insecure_channel(address, options=options)
    else:
        channel = grpc.aio.secure_channel(address, credentials, options=options)
    method = channel.stream_stream(
        "/envoy.service.ext_proc.v3.ExternalProcessor/Process",
        request_serializer=pb.ProcessingRequest.SerializeToString,
        response_deserializer=pb.ProcessingResponse.FromString,
    )
    async with channel:
        yield lambda: Stream(method())


def set_headers(mutation: Any) -> dict[str, str]:
    return {option.header.key: option.header.raw_value.decode() for option in mutation.set_headers}


POST = {
    ":method": "POST",
    ":path": "/v1/completions",
    "content-type": "application/json",
    "x-request-id": "r-1",
}
Talk = Callable[[Picker, Stream], Awaitable[None]]


def converse(directory: Path, talk: Talk, *flags: str, text: str | None = None, **how: object) -> Picker:
    """Run one conversation with a picker of its own."""

    async def scenario() -> Picker:
        async with picker(directory, *flags, text=text, **how) as running:  # type: ignore[arg-type]
            async with data_plane(running.options.grpc_port) as connect:
                async with asyncio.timeout(20):
                    await talk(running, connect())
            return running

    return asyncio.run(scenario())


async def ask(stream: Stream, payload: bytes, **extra: str) -> None:
    await stream.send(headers("request_headers", {**POST, **extra}), body("request_body", payload, True))


def prompt(**fields: object) -> bytes:
    return json.dumps({"model": "m", "prompt": "x", **fields}).encode()
