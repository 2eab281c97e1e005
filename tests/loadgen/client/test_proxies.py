"""Proxies of the environment: which are asked, absolute requests, tunnels, and their keys."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from loadgen.client.exchange import Exchange
from loadgen.client.proxies import Proxy, proxy_of
from loadgen.client.target import parse_target
from loadgen.client.wire import Wire, open_wire
from loadgen.errors import ScenarioError, TargetError
from loadgen.scenario.scenario import Tls
from tests.loadgen.fakes import FakeServer, Reply, Seen, free_port, good_stream
from tests.loadgen.tls import make_certificate, server_context

KEYS = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
PROXY = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in KEYS:
        monkeypatch.delenv(key, raising=False)
        monkeypatch.delenv(key.upper(), raising=False)


def found(url: str) -> Proxy | None:
    parts = urlsplit(url)
    return proxy_of(parts, parts.port or (443 if parts.scheme == "https" else 80))


@pytest.mark.parametrize(
    ("environment", "url", "asked"),
    [
        ({}, "http://model.test", False),
        ({"http_proxy": PROXY}, "http://model.test", True),
        ({"HTTP_PROXY": PROXY}, "http://model.test", True),
        ({"http_proxy": PROXY}, "https://model.test", False),
        ({"https_proxy": PROXY}, "https://model.test", True),
        ({"all_proxy": PROXY}, "https://model.test", True),
        ({"http_proxy": "127.0.0.1:9"}, "http://model.test", True),
        *(({"http_proxy": PROXY}, f"http://{host}:8000", False)
          for host in ("127.0.0.1", "localhost", "[::1]", "127.8.9.1", "a.localhost")),
        *(({"http_proxy": PROXY, "no_proxy": names}, "http://a.model.test:8000", False)
          for names in ("*", "a.model.test", "model.test", ".model.test", "*.model.test", "x, MODEL.test",
                        "model.test:8000")),
        *(({"http_proxy": PROXY, "no_proxy": names}, "http://a.model.test:8000", True)
          for names in ("", "b.model.test", "odel.test", "model.test:80", "10.0.0.0/8")),
        *(({"http_proxy": PROXY, "no_proxy": names}, "http://10.1.2.3:8000", False)
          for names in ("10.1.2.3", "10.0.0.0/8", "x,10.1.2.3/32", "10.1.2.3:8000")),
        ({"http_proxy": PROXY, "no_proxy": "11.0.0.0/8"}, "http://10.1.2.3:8000", True),
        ({"http_proxy": PROXY, "no_proxy": "fd00::/8"}, "http://[fd00::1]:8000", False),
    ],
)  # fmt: skip
def test_which_proxy_is_asked(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], url: str, asked: bool
) -> None:
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    proxy = found(url)
    assert (proxy is not None) is asked
    if proxy is not None:
        assert (proxy.address, proxy.port, proxy.authorization) == ("127.0.0.1", 9, None)


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        ("socks5://127.0.0.1:9", ScenarioError, "must look like http://HOST:PORT; no_proxy=model.test"),
        ("http://127.0.0.1:99999", ScenarioError, "the port is no number"),
        ("http://nowhere.invalid:9", TargetError, "cannot resolve"),
    ],
)
def test_proxies_that_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch, value: str, error: type[Exception], words: str
) -> None:
    monkeypatch.setenv("http_proxy", value)
    with pytest.raises(error, match=words):
        found("http://model.test")


def test_the_key_of_a_proxy_is_in_no_url_that_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://me:se%3Acret@127.0.0.1:9")
    proxy = found("http://model.test")
    assert proxy is not None
    assert proxy.url == "http://127.0.0.1:9"
    assert proxy.authorization == f"Basic {base64.b64encode(b'me:se:cret').decode()}"


async def ask(wire: Wire) -> Exchange:
    done: asyncio.Future[Exchange] = asyncio.get_running_loop().create_future()
    wire.submit(Exchange(wire.render("/v1/completions", {}, b"{}"), done.set_result, timeout=20.0))
    try:
        return await asyncio.wait_for(done, 30)
    finally:
        wire.close()


async def answers(_: Seen, reply: Reply) -> None:
    await reply.send(good_stream(2))


def test_an_http_target_is_asked_for_by_its_whole_url(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> tuple[Exchange, Seen]:
        async with FakeServer(answers) as proxy:
            monkeypatch.setenv("http_proxy", f"http://me:pw@127.0.0.1:{proxy.port}")
            target = parse_target("http://model.test:8000/base")  # a name that only the proxy knows
            found = await ask(open_wire(asyncio.get_running_loop(), target))
            return found, proxy.seen[0]

    exchange, seen = asyncio.run(main())
    assert exchange.outcome == "ok"
    assert seen.path == "http://model.test:8000/base/v1/completions"
    assert seen.headers["host"] == "model.test:8000"
    assert seen.headers["proxy-authorization"] == f"Basic {base64.b64encode(b'me:pw').decode()}"


class Tunnels:
    """A proxy that opens tunnels to one port of loopback, whatever it is asked for."""

    def __init__(self, port: int, status: str = "200 Connection established") -> None:
        self.to, self.status = port, status
        self.port = free_port()
        self.heads: list[str] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Tunnels:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        ends = [writer]
        try:
            self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            writer.write(f"HTTP/1.1 {self.status}\r\nx: y\r\n\r\n".encode())
            if self.status.startswith("2"):
                back, forth = await asyncio.open_connection("127.0.0.1", self.to)
                ends.append(forth)
                await asyncio.gather(self._copy(reader, forth), self._copy(back, writer))
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            for end in ends:
                end.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("tls"))


def test_an_https_target_is_reached_through_a_tunnel(
    monkeypatch: pytest.MonkeyPatch, certificate: tuple[Path, Path]
) -> None:
    async def main() -> tuple[Exchange, Seen, str]:
        async with (
            FakeServer(answers, tls=server_context(certificate)) as server,
            Tunnels(server.port) as proxy,
        ):
            monkeypatch.setenv("https_proxy", f"http://me:pw@127.0.0.1:{proxy.port}")
            target = parse_target("https://model.test:4443", Tls(ca=str(certificate[0])))
            found = await ask(open_wire(asyncio.get_running_loop(), target))
            return found, server.seen[0], proxy.heads[0]

    exchange, seen, head = asyncio.run(main())
    assert exchange.outcome == "ok", exchange.error
    assert seen.path == "/v1/completions"
    assert "proxy-authorization" not in seen.headers
    assert head.startswith("CONNECT model.test:4443 HTTP/1.1\r\nhost: model.test:4443\r\n")
    assert f"proxy-authorization: Basic {base64.b64encode(b'me:pw').decode()}\r\n" in head


@pytest.mark.parametrize("status", ["407 Proxy Authentication Required", "503 No route"])
def test_a_tunnel_that_is_not_opened_says_so(monkeypatch: pytest.MonkeyPatch, status: str) -> None:
    async def main() -> Exchange:
        async with Tunnels(1, status) as proxy:
            monkeypatch.setenv("https_proxy", f"http://me:pw@127.0.0.1:{proxy.port}")
            return await ask(open_wire(asyncio.get_running_loop(), parse_target("https://model.test")))

    found = asyncio.run(main())
    assert found.outcome == "connect_error"
    assert f"opens no tunnel to model.test:443: {status}" in (found.error or "")
    assert "pw" not in (found.error or "").replace("http", "")


def test_a_proxy_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(url: str) -> Exchange:
        return await ask(open_wire(asyncio.get_running_loop(), parse_target(url)))

    for key in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(key, f"http://127.0.0.1:{free_port()}")
    for scheme in ("http", "https"):
        found = asyncio.run(main(f"{scheme}://model.test"))
        assert (found.outcome, found.error) == ("connect_error", "Connection refused")
