"""A server that speaks something else than was asked for is told before the run, at once and in words."""

from __future__ import annotations

import asyncio
import ssl
import time
from pathlib import Path
from typing import Any

import pytest

from loadgen.client.target import parse_target
from loadgen.errors import TargetError
from loadgen.run.probe import Readiness, wait_ready
from loadgen.scenario.scenario import Tls
from tests.loadgen.fakes import FakeServer, Reply, Script, Seen, answer_models, free_port, plain
from tests.loadgen.tls import make_certificate, server_context

LONG = 60.0
"""Seconds that a target may take; nothing here waits for them."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("tls"))


async def models(_: Seen, reply: Reply) -> None:
    await answer_models(reply, "m")


def probe(
    script: Script,
    scheme: str,
    *,
    http2: bool = False,
    tls: ssl.SSLContext | None = None,
    ca: str | None = None,
) -> Readiness:
    async def main() -> Readiness:
        async with FakeServer(script, tls=tls) as server:
            target = parse_target(f"{scheme}://127.0.0.1:{server.port}", Tls(ca=ca, server_name="localhost"))
            return await wait_ready(target, ["m"], LONG, http2=http2)

    return asyncio.run(main())


def refused(words: str, *arguments: Any, **options: Any) -> None:
    begin = time.monotonic()
    with pytest.raises(TargetError, match=words):
        probe(*arguments, **options)
    assert time.monotonic() - begin < LONG / 2, "it was waited for"


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n", b""])
def test_https_to_a_plain_server(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """One refuses the handshake's first bytes, another waits for the end of their line."""
    monkeypatch.setattr("loadgen.run.probe.ASK_SECONDS", 1.0)

    class Plain(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            good = b'HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{"data":[]}'
            self.transport.write(good if data.startswith(b"GET") else answer)

    async def main() -> None:
        port = free_port()
        server = await asyncio.get_running_loop().create_server(Plain, "127.0.0.1", port)
        try:
            await wait_ready(parse_target(f"https://127.0.0.1:{port}"), [], LONG)
        finally:
            server.close()

    with pytest.raises(TargetError, match="say http://"):
        asyncio.run(main())


def test_http_to_a_tls_server(certificate: tuple[Path, Path]) -> None:
    refused("speaks TLS: say https://", models, "http", tls=server_context(certificate))


@pytest.mark.parametrize(
    "words",
    ["The plain HTTP request was sent to HTTPS port", "Client sent an HTTP request to an HTTPS server."],
)
def test_http_to_a_tls_server_that_answers_in_words(words: str) -> None:
    async def script(_: Seen, reply: Reply) -> None:
        await reply.send(plain(400, words))

    refused("say https://", script, "http")


@pytest.mark.parametrize("polite", [False, True])
def test_http2_to_a_server_of_http1(polite: bool) -> None:
    """One answers the preface with 400, another closes without a word."""
    pytest.importorskip("h2", reason="the extra h2 is not installed")

    async def script(seen: Seen, reply: Reply) -> None:
        if seen.method == "GET":
            await answer_models(reply, "m")
        elif polite:
            await reply.send(plain(400, "what is PRI?"))
        else:
            reply.cut()

    refused("speaks HTTP/1.1: leave --http2 out", script, "http", http2=True)


def test_http2_to_a_tls_server_of_http1(certificate: tuple[Path, Path]) -> None:
    pytest.importorskip("h2", reason="the extra h2 is not installed")
    for alpn in ((), ("http/1.1",)):
        context = server_context(certificate, *alpn)
        refused("HTTP/2", models, "https", http2=True, tls=context, ca=str(certificate[0]))


def test_http1_to_a_server_of_http2() -> None:
    class Settings(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            transport.write(b"\0\0\0\x04\0\0\0\0\0")

    async def main() -> None:
        port = free_port()
        server = await asyncio.get_running_loop().create_server(Settings, "127.0.0.1", port)
        try:
            await wait_ready(parse_target(f"http://127.0.0.1:{port}"), [], LONG)
        finally:
            server.close()

    with pytest.raises(TargetError, match="speaks HTTP/2: give --http2"):
        asyncio.run(main())


def test_a_redirect_to_another_server_names_it() -> None:
    async def script(_: Seen, reply: Reply) -> None:
        await reply.send(plain(301, "", location="https://model.test/v1/models"))

    refused("301 leads to https://model.test/v1/models: give that as the target", script, "http")


def test_a_redirect_on_the_same_server_is_a_note() -> None:
    async def script(_: Seen, reply: Reply) -> None:
        await reply.send(plain(307, "", location="/v1/models/"))

    found = probe(script, "http")
    assert (found.models, found.note) == (
        None,
        "/v1/models answers 307 leads to /v1/models/: model names are not checked",
    )
