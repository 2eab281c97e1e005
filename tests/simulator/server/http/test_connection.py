"""Connections on the wire: raw bytes in, raw bytes out, against a handler and an app of a few lines."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from simulator.server.http import connection
from simulator.server.http.bridge import Receive, Scope, Send, bridged
from simulator.server.http.incoming import Incoming
from simulator.server.http.listener import HTTPServer, Listener
from simulator.server.http.writer import Writer
from tests.ports import free_port
from tests.simulator.server.inprocess import run

KIB = 1024


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Tells what it was asked; /twice reads nothing, /stream has no length, /long is long, /bug fails."""
    path = scope["path"]
    if path == "/bug":
        raise ValueError("a bug")
    body, more = b"", path != "/early"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        more = message["more_body"]
    told = {
        "path": path,
        "method": scope["method"],
        "body": len(body),
        "query": scope["query_string"].decode(),
    }
    told["headers"] = len(scope["headers"])
    data = json.dumps(told).encode() if path != "/long" else b"x" * (4 << 20)
    headers = [(b"content-length", str(len(data)).encode())] if path != "/stream" else []
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": data[:5], "more_body": True})
    if path == "/half":
        raise ValueError("a bug in the middle")
    await send({"type": "http.response.body", "body": data[5:]})


class Hot:
    """A handler: /hot answers when the body is there, /later when it is told to; the rest is the app's."""

    def __init__(self) -> None:
        self.later: list[Callable[[], None]] = []
        self.ended: list[str] = []
        self._rest = bridged(app)

    def __call__(self, incoming: Incoming, writer: Writer, state: Mapping[str, Any]) -> None:
        if incoming.path not in ("/hot", "/later"):
            self._rest(incoming, writer, state)
            return

        def read() -> None:
            if not incoming.complete:
                writer.allow_body()
            elif incoming.path == "/hot":
                answer()
            else:
                self.later.append(answer)

        def answer() -> None:
            writer.respond(200, b"", b"%s %d" % (incoming.path.encode(), incoming.size))

        incoming.on_data = read
        incoming.on_end = lambda: self.ended.append(incoming.path)
        read()


class World:
    """A listener and its clients."""

    def __init__(self, keep_alive_seconds: int = 5) -> None:
        self.hot = Hot()
        self.port = free_port()
        self.server = HTTPServer(self.hot)
        self.listener = Listener(self.server, "127.0.0.1", self.port, keep_alive_seconds=keep_alive_seconds)

    async def __aenter__(self) -> World:
        await self.listener.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.listener.stop_listening()
        self.listener.reset_connections()
        assert await self.listener.wait_answered(10)
        self.server.close()

    async def say(
        self, *pieces: bytes, close: bool = False
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=64 << 20)
        raw: socket.socket = writer.get_extra_info("socket")
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0)  # so that the server may read it by itself
        return reader, writer

    async def exchange(self, *pieces: bytes) -> bytes:
        """Everything that comes until the server closes."""
        reader, writer = await self.say(*pieces)
        try:
            return await reader.read()
        finally:
            writer.close()


def checked(check: Callable[[World], Awaitable[None]], keep_alive_seconds: int = 5) -> None:
    async def main() -> None:
        async with World(keep_alive_seconds) as world:
            await check(world)

    run(main(), 60)


def get(path: str = "/hot", *headers: str, last: bool = False, method: str = "GET") -> bytes:
    lines = [
        f"{method} {path} HTTP/1.1",
        "host: x",
        *headers,
        *(["connection: close"] if last else []),
        "",
        "",
    ]
    return "\r\n".join(lines).encode()


def post(body: bytes, path: str = "/hot", *headers: str, last: bool = True) -> bytes:
    return get(path, f"content-length: {len(body)}", *headers, last=last, method="POST") + body


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", answer)]


@pytest.mark.parametrize("path", ["/hot", "/app"])
def test_a_request_split_at_every_position(path: str) -> None:
    request = post(b"0123456789", path + "?a=b%20c")

    async def check(world: World) -> None:
        whole = await world.exchange(request)
        assert statuses(whole) == [200]
        body = whole.partition(b"\r\n\r\n")[2]
        for at in range(1, len(request)):
            answer = await world.exchange(request[:at], request[at:])
            assert answer.partition(b"\r\n\r\n")[2] == body

    checked(check)


@pytest.mark.parametrize("path", ["/hot", "/app"])
def test_byte_by_byte(path: str) -> None:
    async def check(world: World) -> None:
        answer = await world.exchange(*(bytes([byte]) for byte in post(b"0123", path)))
        assert statuses(answer) == [200]

    checked(check)


def test_pipelined_requests_are_answered_in_order() -> None:
    """Also where the first is the last to be ready, and kinds are mixed."""

    async def check(world: World) -> None:
        reader, writer = await world.say(get("/later") + get("/app") + get("/hot", last=True) + get("/never"))
        while not world.hot.later:
            await asyncio.sleep(0.001)
        assert world.listener.num_begun == 1
        world.hot.later.pop()()
        answer = await reader.read()
        assert statuses(answer) == [200, 200, 200]
        assert answer.index(b"/later 0") < answer.index(b'"/app"') < answer.index(b"/hot 0")
        assert world.listener.num_begun == 3, "nothing is read behind the last"
        writer.close()

    checked(check)


def test_three_in_a_read_and_split_anywhere() -> None:
    requests = post(b"abc", last=False) + get("/app") + post(b"de", last=True)

    async def check(world: World) -> None:
        for at in range(0, len(requests), 7):
            answer = await world.exchange(requests[:at], requests[at:])
            assert statuses(answer) == [200, 200, 200]
            assert answer.index(b"/hot 3") < answer.index(b'"/app"') < answer.index(b"/hot 2")

    checked(check)


@pytest.mark.parametrize("path", ["/hot", "/app"])
def test_leave_to_send_a_body(path: str) -> None:
    async def check(world: World) -> None:
        request = post(b"0123", path, "expect: 100-continue")
        reader, writer = await world.say(request[:-4])
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(request[-4:])
        assert statuses(await reader.read()) == [200]
        writer.close()

    checked(check)


def test_no_leave_no_next_request() -> None:
    """Whether a body follows after all is not known, so the connection ends."""

    async def check(world: World) -> None:
        request = post(b"0123", "/early", "expect: 100-continue", last=False)
        answer = await world.exchange(request[:-4])
        assert statuses(answer) == [200]
        assert b"\r\nconnection: close\r\n" in answer

    checked(check)


@pytest.mark.parametrize("path", ["/hot", "/app"])
def test_chunks_extensions_and_trailers(path: str) -> None:
    """Trailers are no headers."""
    chunks = b"5;a=b\r\n01234\r\n3\r\n567\r\n0\r\nauthorization: me\r\nx: y\r\n\r\n"
    request = get(path, "transfer-encoding: chunked", method="POST") + chunks + get(path, last=True)

    async def check(world: World) -> None:
        for at in range(len(request) - len(chunks), len(request), 3):
            answer = await world.exchange(request[:at], request[at:])
            assert statuses(answer) == [200, 200]
            assert (b"/hot 8" if path == "/hot" else b'"body": 8') in answer
            assert path == "/hot" or b'"headers": 2' in answer

    checked(check)


def test_a_long_body_is_read_as_the_app_asks() -> None:
    async def check(world: World) -> None:
        size = 3 << 20
        assert b'"body": %d' % size in await world.exchange(post(b"x" * size, "/app"))
        assert b"/hot %d" % size in await world.exchange(post(b"x" * size, "/hot"))
        assert statuses(await world.exchange(post(b"x" * size, "/early"))) == [200]

    checked(check)


def test_head_has_no_body() -> None:
    async def check(world: World) -> None:
        answer = await world.exchange(get("/hot", method="HEAD") + get("/app", method="HEAD", last=True))
        assert statuses(answer) == [200, 200]
        assert answer.count(b"\r\n\r\n") == 2
        assert answer.endswith(b"\r\n\r\n")

    checked(check)


CHUNKED = get("/hot", "transfer-encoding: chunked", method="POST")
SMUGGLED = get("/smuggled")
SMUGGLERS = {
    "TE and CL": get("/hot", "transfer-encoding: chunked", "content-length: 5", method="POST") + b"0\r\n\r\n",
    "CL and TE": get("/hot", "content-length: 5", "transfer-encoding: chunked", method="POST") + b"0\r\n\r\n",
    "two CL": get("/hot", "content-length: 5", "content-length: 0", method="POST"),
    "TE that is not chunked": get("/hot", "transfer-encoding: xchunked", method="POST") + b"0\r\n\r\n",
    "TE not last": get("/hot", "transfer-encoding: chunked, identity", method="POST") + b"0\r\n\r\n",
    "space before the colon": get("/hot", "transfer-encoding : chunked", method="POST") + b"0\r\n\r\n",
    "signed length": get("/hot", "content-length: +0", method="POST"),
    "length of no number": get("/hot", "content-length: 0x0", method="POST"),
    "length without end": get("/hot", f"content-length: {'9' * 30}", method="POST"),
    "bare LF": b"GET /hot HTTP/1.1\nhost: x\n\n",
    "bare CR": b"GET /hot HTTP/1.1\r\nhost: x\rtransfer-encoding: chunked\r\n\r\n",
    "folded header": get("/hot", "x: y", " transfer-encoding: chunked"),
    "NUL in a header": get("/hot", "x: a\x00b"),
    "chunk of no size": CHUNKED + b"g\r\nx\r\n0\r\n\r\n",
    "chunk longer than its size": get("/hot", "transfer-encoding: chunked", method="POST")
    + b"1\r\nabc\r\n0\r\n\r\n",
    "space in the target": b"GET /hot x HTTP/1.1\r\nhost: x\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
    "method of no token": b"G@T /hot HTTP/1.1\r\nhost: x\r\n\r\n",
}


@pytest.mark.parametrize("name", SMUGGLERS)
def test_smugglers_are_refused_and_nothing_after_them_is_read(name: str) -> None:
    async def check(world: World) -> None:
        answer = await world.exchange(SMUGGLERS[name] + SMUGGLED)
        assert statuses(answer) == [400]
        assert b"connection: close" in answer
        assert "/smuggled" not in answer.decode("latin-1")

    checked(check)


def test_nonsense_after_good_requests_is_refused_after_their_answers() -> None:
    async def check(world: World) -> None:
        reader, writer = await world.say(get("/later") + b"nonsense\r\n\r\n")
        while not world.hot.later:
            await asyncio.sleep(0.001)
        world.hot.later.pop()()
        answer = await reader.read()
        assert statuses(answer) == [200, 400]
        assert answer.index(b"/later 0") < answer.index(b"400")
        writer.close()

    checked(check)


@pytest.mark.parametrize("upgrade", ["websocket", "h2c"])
def test_an_upgrade_is_not_taken_up(upgrade: str) -> None:
    """The request is answered as it is, and the connection goes on."""
    asked = ("connection: upgrade", f"upgrade: {upgrade}", "sec-websocket-version: 13")

    async def check(world: World) -> None:
        requests = get("/hot", *asked) + get("/app", *asked) + get("/hot", last=True)
        for at in range(len(requests) // 4, len(requests), 11):
            assert statuses(await world.exchange(requests[:at], requests[at:])) == [200, 200, 200]

    checked(check)


@pytest.mark.parametrize(
    "start",
    [
        b"GET /" + b"x" * (80 * KIB),
        b"GET /hot HTTP/1.1\r\n" + b"a: b\r\n" * 20_000,
        b"GET /hot HTTP/1.1\r\na: ",
    ],
    ids=["target", "headers", "value"],
)
def test_a_head_has_a_bound(start: bytes) -> None:
    async def check(world: World) -> None:
        reader, writer = await world.say(start)
        for _ in range(64):  # 4 MiB at most
            writer.write(b"y" * (64 * KIB))
            await asyncio.sleep(0)
        answer = await reader.read()
        assert statuses(answer) == [431]
        writer.close()

    checked(check)


@pytest.mark.parametrize("rest", [b"0\r\nx: ", b"1;a="], ids=["trailer", "extension"])
def test_what_is_no_body_has_a_bound(rest: bytes) -> None:
    async def check(world: World) -> None:
        reader, writer = await world.say(CHUNKED + rest)
        for _ in range(64):
            writer.write(b"y" * (64 * KIB))
            await asyncio.sleep(0)
        assert statuses(await reader.read()) == [431]
        assert world.hot.ended == ["/hot"]
        writer.close()

    checked(check)


def test_a_large_head_is_read() -> None:
    async def check(world: World) -> None:
        assert statuses(await world.exchange(get("/hot", "a: " + "x" * (60 * KIB), last=True))) == [200]

    checked(check)


LATE = {
    "nothing": (b"", []),
    "half a head": (b"GET /hot HTTP/1.1\r\nhost", [408]),
    "half a body": (post(b"0123")[:-2], [408]),
    "half a body for the app": (post(b"0123", "/app")[:-2], [408]),
    "half a body that nobody wants": (post(b"0123", "/early", last=False)[:-2], [200]),
    "no next request": (get("/hot"), [200]),
    "half a next head": (get("/hot") + b"GET", [200, 408]),
}


@pytest.mark.parametrize("name", LATE)
def test_who_says_nothing_more_is_hung_up_on(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("_HEAD_SECONDS", "_BODY_SECONDS", "_SILENT_SECONDS"):
        monkeypatch.setattr(connection, limit, 0.3)
    said, expected = LATE[name]

    async def check(world: World) -> None:
        answer = await world.exchange(said)
        assert statuses(answer) == expected
        assert await world.listener.wait_answered(0)

    checked(check, keep_alive_seconds=1)


def test_a_slow_body_is_read_while_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_BODY_SECONDS", 2.0)

    async def check(world: World) -> None:
        request = post(b"x" * (6 * KIB))
        reader, writer = await world.say(request[: -6 * KIB])
        for _ in range(6):
            await asyncio.sleep(0.5)  # the client's pace, which is what is tested
            writer.write(b"x" * KIB)
        assert statuses(await reader.read()) == [200]
        writer.close()

    checked(check)


def test_a_reader_who_waits_gets_all_of_it() -> None:
    async def check(world: World) -> None:
        reader, writer = await world.say(get("/long", last=True))
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.2)  # the buffers of the kernel and of the transport are full meanwhile
        assert len(await reader.read()) == 4 << 20
        writer.close()

    checked(check)


def test_a_closed_connection_that_nobody_reads_is_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_LINGER_SECONDS", 0.2)
    monkeypatch.setattr(connection, "_LEAVE_SECONDS", 0.2)

    async def check(world: World) -> None:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, ("127.0.0.1", world.port))
        with sock:
            await loop.sock_sendall(sock, get("/long", last=True))
            while not world.listener.num_begun:
                await asyncio.sleep(0.001)
            while world.listener.num_connections:
                await asyncio.sleep(0.01)  # between two looks

    checked(check)


def test_bugs_of_an_app_are_500_or_a_reset(caplog: pytest.LogCaptureFixture) -> None:
    async def check(world: World) -> None:
        answer = await world.exchange(get("/bug"))
        assert statuses(answer) == [500]
        assert b"connection: close" in answer
        head, _, body = (await world.exchange(get("/half"))).partition(b"\r\n\r\n")
        assert not head or len(body) < 10, "it is cut off"

    checked(check)
    assert "a bug in the middle" in caplog.text


def test_a_client_that_leaves_is_told_to_who_answers() -> None:
    async def check(world: World) -> None:
        _, writer = await world.say(get("/later") + get("/hot"))
        while not world.hot.later:
            await asyncio.sleep(0.001)
        writer.transport.abort()
        assert await world.listener.wait_answered(10)
        assert world.hot.ended == ["/later"]
        world.hot.later.pop()()  # an answer to nobody

    checked(check)


def test_who_sends_far_ahead_is_not_read() -> None:
    async def check(world: World) -> None:
        reader, writer = await world.say(get("/later"))
        while not world.hot.later:
            await asyncio.sleep(0.001)
        count = 20_000
        writer.write(get("/hot") * count)
        (connection_,) = world.listener._service.connections
        while not connection_._holds:  # type: ignore[attr-defined]
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.1)
        assert len(connection_._waiting) < count, "what one read has brought"  # type: ignore[attr-defined]
        world.hot.later.pop()()
        for _ in range(count):
            await reader.readuntil(b"/hot 0")
        writer.close()

    checked(check)


def test_draining_ends_connections_after_their_answers() -> None:
    async def check(world: World) -> None:
        idle, idle_writer = await world.say(get("/hot"))
        await idle.readuntil(b"/hot 0")
        busy, busy_writer = await world.say(get("/later") + get("/hot") + get("/app"))
        while not world.hot.later:
            await asyncio.sleep(0.001)
        world.listener.stop_listening()
        world.listener.close_idle()
        assert await idle.read() == b""
        assert not await world.listener.wait_answered(0.01)
        world.hot.later.pop()()
        answer = await busy.read()
        assert statuses(answer) == [200, 200, 200]
        assert answer.count(b"connection: close") == 1
        await world.listener.wait_closed()
        assert not world.listener.num_connections
        for writer in (idle_writer, busy_writer):
            writer.close()

    checked(check)


def test_old_clients() -> None:
    """HTTP/1.0: no keep-alive, no chunks."""

    async def check(world: World) -> None:
        for path in ("/hot", "/app", "/stream"):
            answer = await world.exchange(f"GET {path} HTTP/1.0\r\nconnection: keep-alive\r\n\r\n".encode())
            assert statuses(answer) == [200]
            assert b"transfer-encoding" not in answer
        answer = await world.exchange(get("/stream", last=True))
        assert b"transfer-encoding: chunked" in answer
        assert answer.endswith(b"\r\n0\r\n\r\n")

    checked(check)


@pytest.mark.parametrize(
    ("target", "path"),
    [("http://x/app?q", "/app"), ("http://x", "/"), ("/a%20b", "/a b"), ("//a/../b", "//a/../b")],
)
def test_targets(target: str, path: str) -> None:
    async def check(world: World) -> None:
        answer = await world.exchange(get(target, last=True))
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["path"] == path

    checked(check)


@pytest.mark.parametrize("target", ["x", "http://", "/\xff", "http://[::1"])
def test_what_is_no_target_is_400(target: str) -> None:
    async def check(world: World) -> None:
        assert statuses(
            await world.exchange(f"GET {target} HTTP/1.1\r\nhost: x\r\n\r\n".encode("latin-1"))
        ) == [400]

    checked(check)
