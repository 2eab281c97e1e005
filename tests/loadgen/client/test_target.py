"""Targets: URLs, TLS, and the bytes of a request."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from loadgen.client.connection import Pool
from loadgen.client.exchange import Exchange
from loadgen.client.target import Renderer, parse_target
from loadgen.errors import ScenarioError, TargetError
from loadgen.run.probe import wait_ready
from loadgen.scenario.scenario import Tls
from tests.loadgen.drive import one_exchange
from tests.loadgen.fakes import FakeServer, Reply, Seen, good_stream, plain
from tests.loadgen.tls import make_certificate, server_context


@pytest.mark.parametrize(
    ("url", "authority", "path"),
    [
        ("http://127.0.0.1:8080", "127.0.0.1:8080", ""),
        ("127.0.0.1:8080", "127.0.0.1:8080", ""),
        ("http://127.0.0.1", "127.0.0.1", ""),
        ("https://127.0.0.1", "127.0.0.1", ""),
        ("http://127.0.0.1:1/base/", "127.0.0.1:1", "/base"),
        ("http://[::1]:99", "[::1]:99", ""),
    ],
)
def test_urls(url: str, authority: str, path: str) -> None:
    target = parse_target(url)
    assert (target.authority, target.base_path) == (authority, path)


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://x:99999", "http://x:y"])
def test_bad_urls(url: str) -> None:
    with pytest.raises(ScenarioError, match="target"):
        parse_target(url)


def test_the_bytes_of_a_request() -> None:
    renderer = Renderer(parse_target("http://127.0.0.1:8080/base"))
    data = renderer.render("/v1/completions", {"x-a": "b"}, b"{}")
    assert data == (
        b"POST /base/v1/completions HTTP/1.1\r\nhost: 127.0.0.1:8080\r\ncontent-type: application/json\r\n"
        b"x-a: b\r\ncontent-length: 2\r\n\r\n{}"
    )


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        ({"host": "gw.example"}, b"host: gw.example\r\ncontent-type: application/json\r\n"),
        ({"content-type": "text/plain"}, b"host: 127.0.0.1:8080\r\ncontent-type: text/plain\r\n"),
        ({}, b"host: 127.0.0.1:8080\r\ncontent-type: application/json\r\n"),
        ({"x": "\xe9"}, b"host: 127.0.0.1:8080\r\ncontent-type: application/json\r\nx: \xe9\r\n"),
    ],
)
def test_headers_of_the_class_win_and_none_stands_twice(headers: dict[str, str], wanted: bytes) -> None:
    renderer = Renderer(parse_target("http://127.0.0.1:8080"))
    data = renderer.render("/p", headers, b"ab")
    assert data == b"POST /p HTTP/1.1\r\n" + wanted + b"content-length: 2\r\n\r\nab"


@pytest.mark.parametrize(
    ("method", "body", "end"),
    [
        ("GET", b"", b"host: a.test\r\n\r\n"),
        ("POST", b"", b"host: a.test\r\ncontent-length: 0\r\n\r\n"),
        ("PUT", b"{}", b"host: a.test\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"),
    ],
)
def test_a_request_without_a_body_says_nothing_of_one(method: str, body: bytes, end: bytes) -> None:
    renderer = Renderer(parse_target("http://127.0.0.1:8080"))
    data = renderer.render("/p?q=1", {"host": "a.test"}, body, method)
    assert data == f"{method} /p?q=1 HTTP/1.1\r\n".encode() + end


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("tls"))


async def tls_exchange(certificate: tuple[Path, Path], tls: Tls) -> Exchange:
    async def script(seen: Seen, reply: Reply) -> None:
        models = plain(200, {"data": [{"id": "m"}]})
        await reply.send(models if seen.method == "GET" else good_stream(2))

    async with FakeServer(script, tls=server_context(certificate)) as server:
        target = parse_target(server.url, tls)
        pool = Pool(asyncio.get_running_loop(), target)
        try:
            exchange = await one_exchange(server.url, pool=pool)
            if exchange.outcome == "ok":
                assert (await wait_ready(target, ["m"], 1.0)).models == ["m"]
            else:
                with pytest.raises(TargetError, match="TLS: certificate not accepted"):
                    await wait_ready(target, ["m"], 1.0)
            return exchange
        finally:
            pool.close()


def test_tls_is_verified_unless_told_otherwise(certificate: tuple[Path, Path]) -> None:
    refused = asyncio.run(tls_exchange(certificate, Tls()))
    assert refused.outcome == "connect_error"
    assert "TLS: certificate not accepted" in (refused.error or "")
    trusted = Tls(ca=str(certificate[0]), server_name="localhost")
    assert asyncio.run(tls_exchange(certificate, trusted)).outcome == "ok"
    assert asyncio.run(tls_exchange(certificate, Tls(insecure=True))).outcome == "ok"


def test_a_ca_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    target = parse_target("https://127.0.0.1:1", Tls(ca=str(tmp_path / "ca.pem")))

    async def main() -> None:
        Pool(asyncio.get_running_loop(), target)

    with pytest.raises(TargetError, match="CA file"):
        asyncio.run(main())
