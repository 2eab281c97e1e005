"""HTTP/2: many exchanges on one connection, windows respected, streams ended one by one."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.loadgen.drive import drive
from tests.ports import free_port

pytest.importorskip("h2", reason="the extra h2 is not installed")
import h2.config
import h2.connection
import h2.events

from loadgen.client.http2 import Http2Pool
from loadgen.client.target import parse_target
from loadgen.records.records import Record


class Http2Server(asyncio.Protocol):
    """Answers streams of completions; `/reset` in the body resets, `/goaway` says goodbye afterwards."""

    connections = 0
    most = 0
    bodies: list[bytes] = []  # noqa: RUF012  # one server a test

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        type(self).connections += 1
        self.transport = transport
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
        if b"/reset" in body:
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


def run(tmp_path: Path, text: str) -> tuple[list[Record], type[Http2Server]]:
    kind = type("Server", (Http2Server,), {"connections": 0, "most": 0, "bodies": []})

    async def main() -> list[Record]:
        loop = asyncio.get_running_loop()
        port = free_port()
        server = await loop.create_server(kind, "127.0.0.1", port)
        pool = Http2Pool(loop, parse_target(f"http://127.0.0.1:{port}"))
        try:
            return await drive(tmp_path, text, f"http://127.0.0.1:{port}", wire=pool)
        finally:
            pool.close()
            server.close()

    return asyncio.run(main()), kind


def test_many_requests_share_one_connection(tmp_path: Path) -> None:
    text = "model: m\nclasses: {a: {arrival: {process: burst, size: 40}, input_tokens: 5}}"
    records, server = run(tmp_path, text)
    assert [record.outcome for record in records] == ["ok"] * 40
    assert {record.pod for record in records} == {"p2"}
    assert [record.output_tokens for record in records] == [2] * 40
    assert server.connections == 1
    assert server.most > 20


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
