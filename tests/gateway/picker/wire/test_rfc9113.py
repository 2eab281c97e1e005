"""Every row of the table of RFC 9113 on a real socket, against our server and grpcio's."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Iterable, Iterator
from concurrent import futures
from contextlib import closing

import grpc
import pytest

from gateway.picker.wire.frames import PREFACE, frame
from gateway.picker.wire.grpc import GrpcPort
from tests.gateway.picker.wire.rfc9113 import CASES, ECHO, GOAWAY, GRPCIO, HOLD, PING, RST, Case
from tests.ports import free_port

NAMES = {1: "PROTOCOL_ERROR", 2: "INTERNAL_ERROR", 3: "FLOW_CONTROL_ERROR", 5: "STREAM_CLOSED"}
NAMES |= {
    6: "FRAME_SIZE_ERROR",
    7: "REFUSED_STREAM",
    8: "CANCEL",
    9: "COMPRESSION_ERROR",
    11: "ENHANCE_YOUR_CALM",
}
ARE_WE_THERE = b"sentinel"


class Echo:
    """Answers once; Hold never does."""

    kept = 0

    def __init__(self, hold: bool) -> None:
        self.finished = False
        self._hold = hold

    def begin(self, headers: list[tuple[str, str]]) -> None:
        return

    def receive(self, message: bytes) -> Iterable[bytes] | Awaitable[Iterable[bytes]]:
        if self._hold:
            return asyncio.Event().wait()  # type: ignore[return-value]
        self.finished = True
        return (message,)

    def close(self) -> None:
        return


@pytest.fixture(scope="module")
def ours() -> Iterator[int]:
    """The port of a server in a thread of its own."""
    port, ready, over = free_port(), threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        server = GrpcPort({ECHO: lambda: Echo(False), HOLD: lambda: Echo(True)})
        await server.start("127.0.0.1", port)
        ready.set()
        await over.wait()
        await server.stop(0)

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(10)
    yield port
    loop.call_soon_threadsafe(over.set)
    thread.join(10)
    loop.close()


def outcome(port: int, case: Case, after: float = 0.0) -> str:
    """What a server does. It may think `after` seconds longer than the PING behind the case takes."""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as peer:
        preface = b"" if case.greeting.startswith(b"GET") else PREFACE
        peer.sendall(preface + case.greeting + case.sent + frame(PING, 0, 0, ARE_WE_THERE))
        buffer, reset = b"", ""
        while True:
            try:
                data = peer.recv(65536)
            except TimeoutError:
                return reset or "ok"
            except ConnectionError:
                data = b""
            if not data:
                return reset or "closed"
            buffer += data
            while len(buffer) >= 9 and len(buffer) >= (end := 9 + int.from_bytes(buffer[:3], "big")):
                kind, payload, buffer = buffer[3], buffer[9:end], buffer[end:]
                if kind == GOAWAY and any(payload[4:8]):
                    return f"connection {NAMES[payload[7]]}"
                if kind == RST and any(payload) and not reset:
                    reset = f"stream {NAMES[payload[3]]}"
                if kind == PING and payload == ARE_WE_THERE:
                    if not after:
                        return reset or "ok"
                    peer.settimeout(after)


def row(case: Case) -> str:
    return f"{case.section} {case.name}"


@pytest.mark.parametrize("case", CASES, ids=row)
def test_our_answer(ours: int, case: Case) -> None:
    assert outcome(ours, case) == case.ours


def test_the_table_is_whole() -> None:
    assert len(CASES) >= 66
    assert len({row(case) for case in CASES}) == len(CASES)
    for case in CASES:
        stricter = case.ours.replace("connection", "stream") == case.asked
        assert case.ours == case.asked or stricter, f"{row(case)}: {case.ours} is not what the RFC asks"
    assert {name for names in GRPCIO.values() for name in names} <= {row(case) for case in CASES}


class Theirs(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # the stubs are generic, it is not
    """The same two methods for grpcio."""

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        def echo(messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            for message in messages:
                over = threading.Event()
                if details.method == HOLD and context.add_callback(over.set):
                    over.wait(10)
                yield message
                return

        return grpc.stream_stream_rpc_method_handler(echo) if details.method in (ECHO, HOLD) else None


@pytest.mark.slow
def test_where_grpcio_differs() -> None:
    port = free_port()
    server = grpc.server(futures.ThreadPoolExecutor(64), handlers=[Theirs()])
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    recorded = {name: how for (how, _), names in GRPCIO.items() for name in names}
    try:
        with futures.ThreadPoolExecutor(16) as pool:
            found = list(pool.map(lambda case: outcome(port, case, after=1.0), CASES))
    finally:
        server.stop(0).wait()
    assert dict(zip(map(row, CASES), found, strict=True)) == {
        row(case): recorded.get(row(case), case.ours) for case in CASES
    }
