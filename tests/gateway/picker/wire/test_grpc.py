"""Calls over GrpcPort, with grpcio as the client: replies at once and later, errors, and who leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from hpack import Encoder

from gateway.picker.wire import grpc as grpc_module
from gateway.picker.wire.calls import GrpcError, Method, OpenCall, Unary
from gateway.picker.wire.frames import PREFACE, frame
from gateway.picker.wire.grpc import GrpcPort
from tests.ports import free_port


class Echo:
    """Answers each message with `times` copies, after `gate` when there is one; counts who closed it."""

    closed = 0
    kept = 0

    def __init__(self, gate: asyncio.Event | None = None, times: int = 1) -> None:
        self.finished = False
        self._gate, self._times = gate, times

    def begin(self, headers: list[tuple[str, str]]) -> None:
        return

    def receive(self, message: bytes) -> Iterable[bytes] | Awaitable[Iterable[bytes]]:
        if message == b"refuse":
            raise GrpcError(7, "not for you: ü")
        if message == b"fail":
            raise RuntimeError("a secret of the picker")
        self.finished = message == b"last"
        return self._later(message) if self._gate else [message] * self._times

    async def _later(self, message: bytes) -> Iterable[bytes]:
        assert self._gate is not None
        await self._gate.wait()
        if message == b"fail later":
            raise RuntimeError("a secret of the picker")
        return [message] * self._times

    def close(self) -> None:
        type(self).closed += 1


@asynccontextmanager
async def serving(methods: Mapping[str, Method]) -> AsyncIterator[grpc.aio.Channel]:
    port = GrpcPort(methods)
    await port.start("127.0.0.1", free_port())
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port.port}") as channel:
            yield channel
    finally:
        await port.stop(0)


async def talk(channel: grpc.aio.Channel, *messages: bytes) -> list[bytes]:
    call = channel.stream_stream("/s/Echo")(iter(messages))
    return [reply async for reply in call]


def test_replies_to_each_message_in_order() -> None:
    async def scenario() -> None:
        async with serving({"/s/Echo": lambda: Echo(times=2)}) as channel:
            assert (
                await talk(channel, b"a", b"", b"b" * 70_000) == [b"a"] * 2 + [b""] * 2 + [b"b" * 70_000] * 2
            )
            assert await talk(channel) == []
            assert await talk(channel, b"a", b"last", b"never") == [b"a", b"a", b"last", b"last"]

    asyncio.run(scenario())


def test_messages_wait_while_a_reply_is_awaited() -> None:
    async def scenario() -> None:
        gate = asyncio.Event()
        async with serving({"/s/Echo": lambda: Echo(gate)}) as channel:
            call = channel.stream_stream("/s/Echo")()
            for message in (b"1", b"2", b"3"):
                await call.write(message)
            await call.done_writing()
            gate.set()
            assert [reply async for reply in call] == [b"1", b"2", b"3"]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("path", "message", "later", "status", "details"),
    [
        ("/s/Echo", b"refuse", False, grpc.StatusCode.PERMISSION_DENIED, "not for you: ü"),
        ("/s/Echo", b"fail", False, grpc.StatusCode.INTERNAL, "the picker failed on this request"),
        ("/s/Echo", b"fail later", True, grpc.StatusCode.INTERNAL, "the picker failed on this request"),
        ("/s/Gone", b"a", False, grpc.StatusCode.UNIMPLEMENTED, "unknown method /s/Gone"),
    ],
)
def test_errors_end_their_own_call_only(
    path: str, message: bytes, later: bool, status: grpc.StatusCode, details: str
) -> None:
    async def scenario() -> None:
        gate = asyncio.Event() if later else None
        if gate:
            gate.set()
        async with serving({"/s/Echo": lambda: Echo(gate)}) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await channel.unary_unary(path)(message)
            assert error.value.code() is status
            assert details in str(error.value.details())
            assert "secret" not in str(error.value.details())
            assert await talk(channel, b"still here") == [b"still here"]

    asyncio.run(scenario())


def test_a_client_that_leaves_closes_its_call() -> None:
    async def scenario() -> None:
        gate = asyncio.Event()
        Echo.closed = 0
        async with serving({"/s/Echo": lambda: Echo(gate)}) as channel:
            call: Any = channel.stream_stream("/s/Echo")()
            await call.write(b"waits for ever")
            other = asyncio.create_task(talk(channel, b"x"))
            call.cancel()
            async with asyncio.timeout(10):
                while not Echo.closed:
                    await asyncio.sleep(0)
            gate.set()
            assert await other == [b"x"]

    asyncio.run(scenario())


def test_unary_calls_and_compressed_messages() -> None:
    async def scenario() -> None:
        async with serving({"/s/Double": lambda: Unary(lambda m: m * 2)}) as channel:
            assert await channel.unary_unary("/s/Double")(b"ab") == b"abab"
            with pytest.raises(grpc.aio.AioRpcError, match="compressed messages are not supported"):
                await channel.unary_unary("/s/Double")(b"a" * 5000, compression=grpc.Compression.Gzip)

    asyncio.run(scenario())


def test_a_message_larger_than_grpc_takes_ends_its_call_only() -> None:
    async def scenario() -> None:
        async with serving({"/s/Echo": Echo}) as channel:
            with pytest.raises(grpc.aio.AioRpcError, match="larger than max") as error:
                await channel.unary_unary("/s/Echo")(b"x" * (4 << 20) + b"x")
            assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert await talk(channel, b"still here") == [b"still here"]

    asyncio.run(scenario())


def test_a_stream_that_ends_inside_a_message() -> None:
    async def scenario() -> None:
        port = GrpcPort({"/s/Echo": Echo})
        await port.start("127.0.0.1", free_port())
        reader, writer = await asyncio.open_connection("127.0.0.1", port.port)
        fields = [(":method", "POST"), (":scheme", "http"), (":path", "/s/Echo")]
        opening = frame(4, 0, 0) + frame(1, 4, 1, Encoder().encode(fields))
        writer.write(PREFACE + opening + frame(0, 1, 1, b"\0\0\0\0\x09abc"))
        async with asyncio.timeout(10):
            await reader.readuntil(b"grpc-status\x0213")
        writer.close()
        await port.stop(0)

    asyncio.run(scenario())


def test_who_does_not_greet_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_module, "GREETING_S", 0.05)

    async def scenario() -> None:
        port = GrpcPort({"/s/Echo": Echo})
        await port.start("127.0.0.1", free_port())
        reader, writer = await asyncio.open_connection("127.0.0.1", port.port)
        async with asyncio.timeout(10):
            await reader.read()  # SETTINGS, then the end
        writer.close()
        await port.stop(0)

    asyncio.run(scenario())


def test_more_messages_than_may_wait() -> None:
    call = OpenCall(Echo(), 100)
    for _ in range(1000):
        call.wait(b"abc")
    with pytest.raises(GrpcError, match="more than 1000 messages wait"):
        call.wait(b"abc")
    while call.backlog:
        assert call.next() == b"abc"
    assert call.queued == 0
