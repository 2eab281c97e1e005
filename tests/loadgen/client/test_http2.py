"""HTTP/2: many exchanges on one connection, windows respected, streams ended one by one."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

import pytest

from tests.loadgen.drive import drive
from tests.loadgen.tls import make_certificate, server_context
from tests.ports import free_port

pytest.importorskip("h2", reason="the extra h2 is not installed")
import h2.config
import h2.connection
import h2.events

from loadgen.client import http2
from loadgen.client.exchange import Exchange
from loadgen.client.http2 import Http2Connection, Http2Pool
from loadgen.client.target import parse_target
from loadgen.records.records import Record
from loadgen.scenario.scenario import Tls


def goaway(last: int) -> bytes:
    """GOAWAY that takes no stream above `last`."""
    return b"\0\0\x08\x07\0\0\0\0\0" + last.to_bytes(4, "big") + b"\0\0\0\0"


def odd_status(stream: int) -> bytes:
    """Headers with ":status: abc", HPACK's entry 8 with a value of its own."""
    return b"\0\0\x05\x01\x04" + stream.to_bytes(4, "big") + b"\x08\x03abc"


class Http2Server(asyncio.Protocol):
    """Answers streams of completions; `/reset` in the body resets, `/goaway` says goodbye afterwards."""

    connections = 0
    most = 0
    bodies: list[bytes] = []  # noqa: RUF012  # one server a test
    open: list[asyncio.BaseTransport] = []  # noqa: RUF012

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        type(self).connections += 1
        self.transport = transport
        self.open.append(transport)
        self.conn = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        )
        self.conn.initiate_connection()
        self.received: dict[int, bytearray] = {}
        self.flush()

    def flush(self) -> None:
        self.transport.write(self.conn.data_to_send())  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        for event in self.conn.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                self.received[event.stream_id] = bytearray()
                type(self).most = max(type(self).most, len(self.received))
            elif isinstance(event, h2.events.DataReceived):
                self.received[event.stream_id] += event.data
                self.conn.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                body = bytes(self.received[event.stream_id])
                self.bodies.append(body)
                asyncio.get_running_loop().call_later(0.02, self.answer, event.stream_id, body)
        self.flush()

    def answer(self, stream: int, body: bytes) -> None:
        del self.received[stream]
        if b"/goaway" in body:
            self.transport.write(goaway(stream))  # type: ignore[attr-defined]
        if b"/status" in body:
            self.transport.write(odd_status(stream))  # type: ignore[attr-defined]
        elif b"/reset" in body:
            self.conn.reset_stream(stream, error_code=2)
        elif b"/shed" in body:
            self.conn.send_headers(stream, [(":status", "429"), ("retry-after", "1")])
            self.conn.send_data(stream, b'{"error":{"message":"busy"}}', end_stream=True)
        else:
            head = [(":status", "200"), ("content-type", "text/event-stream"), ("x-inference-pod", "p2")]
            self.conn.send_headers(stream, head)
            for word in ("a", "b"):
                event = json.dumps({"choices": [{"text": f" {word}"}]})
                self.conn.send_data(stream, f"data: {event}\n\n".encode())
            self.conn.send_data(stream, b"data: [DONE]\n\n", end_stream=True)
        self.flush()


class Early(Http2Server):
    """Answers before it has read the body, for which it gives no window."""

    def data_received(self, data: bytes) -> None:
        for event in self.conn.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                self.conn.send_headers(event.stream_id, [(":status", "413")])
                self.conn.send_data(event.stream_id, b"too large", end_stream=True)
        self.flush()


class Asking(Http2Server):
    """Asks for ever and never reads."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self.transport.pause_reading()  # type: ignore[attr-defined]
        self.ask()

    def ask(self) -> None:
        if not self.transport.is_closing():  # type: ignore[attr-defined]
            self.transport.write((b"\0\0\x08\x06" + b"\0" * 13) * 500)  # type: ignore[attr-defined]
            asyncio.get_running_loop().call_later(0.001, self.ask)


def run(
    tmp_path: Path,
    text: str,
    base: type[Http2Server] = Http2Server,
    certificate: tuple[Path, Path] | None = None,
) -> tuple[list[Record], type[Http2Server]]:
    kind = type("Server", (base,), {"connections": 0, "most": 0, "bodies": [], "open": []})

    async def main() -> list[Record]:
        loop = asyncio.get_running_loop()
        port = free_port()
        context = server_context(certificate, "h2", "http/1.1") if certificate else None
        server = await loop.create_server(kind, "127.0.0.1", port, ssl=context)
        tls = Tls(ca=str(certificate[0]), server_name="localhost") if certificate else None
        pool = Http2Pool(loop, parse_target(f"http{'s' if tls else ''}://127.0.0.1:{port}", tls))
        try:
            return await drive(tmp_path, text, f"http://127.0.0.1:{port}", wire=pool)
        finally:
            pool.close()
            server.close()
            for transport in kind.open:
                transport.abort()  # type: ignore[attr-defined]
            await asyncio.sleep(0.01)  # the loop closes their sockets on its next turn

    return asyncio.run(main()), kind


def test_many_requests_share_one_connection(tmp_path: Path) -> None:
    text = "model: m\nclasses: {a: {arrival: {process: burst, size: 40}, input_tokens: 5}}"
    records, server = run(tmp_path, text)
    assert [record.outcome for record in records] == ["ok"] * 40
    assert {record.pod for record in records} == {"p2"}
    assert [record.output_tokens for record in records] == [2] * 40
    assert server.connections == 1
    assert server.most > 20


def test_over_tls_as_agreed_by_alpn(tmp_path: Path) -> None:
    text = "model: m\nclasses: {a: {arrival: {process: burst, size: 20}, input_tokens: 5}}"
    records, server = run(tmp_path, text, certificate=make_certificate(tmp_path))
    assert [record.outcome for record in records] == ["ok"] * 20
    assert [record.output_tokens for record in records] == [2] * 20
    assert server.connections == 1


def test_timeouts_and_the_end_of_a_run_are_those_of_http1() -> None:
    class Silent(Http2Server):
        open: list[asyncio.BaseTransport] = []  # noqa: RUF012

        def answer(self, stream: int, body: bytes) -> None:
            self.conn.send_headers(stream, [(":status", "200"), ("content-type", "text/event-stream")])
            if body == b"begins":
                self.conn.send_data(stream, b'data: {"choices": [{"text": "a"}]}\n\n')
            self.flush()

    async def main() -> list[Exchange]:
        loop = asyncio.get_running_loop()
        port = free_port()
        server = await loop.create_server(Silent, "127.0.0.1", port)
        pool = Http2Pool(loop, parse_target(f"http://127.0.0.1:{port}"))

        def send(
            body: bytes, timeout: float, patience: tuple[float | None, float | None] | None = None
        ) -> None:
            done: asyncio.Future[Exchange] = loop.create_future()
            pool.submit(
                Exchange(pool.render("/p", {}, body), done.set_result, timeout=timeout, patience=patience)
            )
            waiting.append(done)

        waiting: list[asyncio.Future[Exchange]] = []
        send(b"silent", 0.1)
        send(b"silent", 30.0, (0.1, None))
        send(b"begins", 30.0, (20.0, 0.1))
        send(b"begins", 30.0)
        try:
            ended = [await asyncio.wait_for(each, 20) for each in waiting[:3]]
            pool.cancel_all("client_cancel", "over")
            return [*ended, await waiting[3]]
        finally:
            pool.close()
            server.close()

    found = asyncio.run(main())
    assert [(each.outcome, each.error) for each in found] == [
        ("timeout", "no complete answer within 0.1 s"),
        ("timeout", "no first token within 0.1 s"),
        ("timeout", "no token for 0.1 s after 1"),
        ("client_cancel", "over"),
    ]


def test_more_streams_than_fit_open_another_connection(tmp_path: Path) -> None:
    text = "model: m\nclasses: {a: {arrival: {process: burst, size: 150}, input_tokens: 5}}"
    records, server = run(tmp_path, text)
    assert {record.outcome for record in records} == {"ok"}
    assert server.connections == 2


def test_a_megabyte_passes_the_servers_window(tmp_path: Path) -> None:
    text = "model: m\nclasses: {a: {arrival: {process: burst, size: 2}, input_tokens: 150000}}"
    records, server = run(tmp_path, text)
    assert [record.outcome for record in records] == ["ok", "ok"]
    assert all(len(body) > 900_000 for body in server.bodies)
    assert all(record.sent is not None for record in records)


def test_outcomes_are_those_of_http1(tmp_path: Path) -> None:
    burst = "arrival: {process: burst, size: 1}"
    prompts = {"a": "/shed", "b": "/reset", "c": "x"}
    classes = ", ".join(f"{name}: {{{burst}, prompt: {prompt}}}" for name, prompt in prompts.items())
    text = f"model: m\nclasses: {{{classes}}}"
    records, _ = run(tmp_path, text)
    assert {record.cls: record.outcome for record in records} == {"a": "shed_429", "b": "reset", "c": "ok"}


def test_leaving_early_resets_the_stream_only(tmp_path: Path) -> None:
    text = """
model: m
classes:
  a: {arrival: {process: burst, size: 4}, input_tokens: 5, cancel_after: 1}
  b: {arrival: {process: burst, size: 4}, input_tokens: 5}
"""
    records, server = run(tmp_path, text)
    assert {record.cls: record.outcome for record in records} == {"a": "client_cancel", "b": "ok"}
    assert server.connections == 1


@pytest.mark.parametrize(
    ("headers", "authority", "kind"),
    [
        ({}, "127.0.0.1:8080", "application/json"),
        ({"host": "gw.example"}, "gw.example", "application/json"),
        ({"content-type": "text/plain"}, "127.0.0.1:8080", "text/plain"),
    ],
)
def test_headers_of_the_class_win_and_none_stands_twice(
    headers: dict[str, str], authority: str, kind: str
) -> None:
    async def main() -> list[tuple[str, str]]:
        pool = Http2Pool(asyncio.get_running_loop(), parse_target("http://127.0.0.1:8080/base"))
        try:
            payload = pool.render("/p", {"x-a": "b", **headers}, b"ab")
        finally:
            pool.close()
        assert payload == b"ab"
        fields: list[tuple[str, str]] = payload.headers  # type: ignore[attr-defined]
        return fields

    fields = asyncio.run(main())
    assert dict(fields) == {
        ":method": "POST", ":scheme": "http", ":authority": authority, ":path": "/base/p",
        "content-type": kind, "content-length": "2", "x-a": "b",
    }  # fmt: skip
    assert len(fields) == len(dict(fields))


def test_an_answer_before_the_body_has_gone_out(tmp_path: Path) -> None:
    text = "model: m\nclasses: {a: {arrival: {process: burst, size: 3}, input_tokens: 50000}}"
    records, server = run(tmp_path, text, Early)
    assert [(record.outcome, record.status) for record in records] == [("rejected_4xx", 413)] * 3
    assert server.connections == 1


def test_goaway_ends_what_stands_above_it_and_nothing_else(tmp_path: Path) -> None:
    burst = "arrival: {process: burst, size: 1}"
    text = f"model: m\nclasses: {{a: {{{burst}, prompt: /goaway}}, b: {{{burst}, prompt: x}}}}"
    records, _ = run(tmp_path, text)
    found = {record.cls: record.outcome for record in records}
    # Whichever came second stands above the last stream; it may also have had its answer before.
    assert found["a"] == "ok"
    assert found["b"] in ("ok", "reset")


def test_a_status_that_is_no_number(tmp_path: Path) -> None:
    text = "model: m\nclasses: {a: {arrival: {process: burst, size: 1}, prompt: /status}}"
    records, _ = run(tmp_path, text)
    assert [record.outcome for record in records] == ["reset"]
    assert "the status 'abc'" in str(records[0].error)


def test_a_server_that_asks_and_does_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Http2Connection.connection_made

    def with_a_small_buffer(self: Http2Connection, transport: asyncio.BaseTransport) -> None:
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        made(self, transport)

    monkeypatch.setattr(Http2Connection, "connection_made", with_a_small_buffer)
    monkeypatch.setattr(http2, "UNREAD", 500)
    text = "model: m\nclasses: {a: {arrival: {process: burst, size: 1}, input_tokens: 5}}"
    records, _ = run(tmp_path, text, Asking)
    assert [record.outcome for record in records] == ["reset"]
    assert "does not read" in str(records[0].error)
