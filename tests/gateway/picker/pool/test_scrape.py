"""Scraping real sockets: what is kept, what is skipped, what fails."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest

from gateway.picker.compat import GIE_V12, GIE_V15
from gateway.picker.errors import ScrapeError
from gateway.picker.pool.endpoints import Endpoint
from gateway.picker.pool.metric_specs import Engines, vllm_mapping
from gateway.picker.pool.scrape import HttpPage, Scraper, ScrapeSettings
from tests.gateway.picker.running import PAGE, ModelServer
from tests.ports import free_port
from tests.waiting import until_async


@contextlib.asynccontextmanager
async def scraping(port: int, compat: object = GIE_V12, **settings: object) -> AsyncIterator[Endpoint]:
    """One endpoint on that port, scraped every 10 ms."""
    place = Endpoint("a", "ns", "127.0.0.1", port, f"127.0.0.1:{port}", {}, "a")
    rules = ScrapeSettings(**{"interval": 0.01, **settings})  # type: ignore[arg-type]
    scraper = Scraper(Engines(vllm_mapping(GIE_V12, {})), rules, compat)  # type: ignore[arg-type]
    scraper.add(place)
    try:
        yield place
    finally:
        scraper.stop()


def page(waiting: int = 0, kv: float = 0.0) -> bytes:
    return PAGE.format(waiting=waiting, kv=kv).encode()


def test_metrics_follow_the_server_over_one_connection() -> None:
    async def scenario() -> None:
        server = ModelServer()
        async with server.running() as port, scraping(port) as place:
            server.page = page(3, 0.5)
            await until_async(lambda: place.metrics.waiting == 3, what="the first metrics")
            assert place.metrics.kv_usage == 0.5
            assert place.metrics.age(time.monotonic()) < 1
            server.page = page(4)
            await until_async(lambda: place.metrics.waiting == 4, what="the change")
            await until_async(lambda: place.scrapes > 5, what="more scrapes")
            assert (server.connections, place.scrape_failures) == (1, 0)
            assert server.head.startswith(b"GET /metrics HTTP/1.1\r\n")
            assert b"accept" not in server.head.lower()

    asyncio.run(scenario())


def test_failed_scrapes_leave_the_last_metrics_for_ever() -> None:
    async def scenario() -> None:
        server = ModelServer()
        port = free_port()
        async with scraping(port) as place:
            await until_async(lambda: place.scrape_failures > 1, what="refused connections")
            async with server.running(port=port):
                server.page = page(7)
                await until_async(lambda: place.metrics.waiting == 7, what="the server")
                server.status = "503 Service Unavailable"
                failed = place.scrape_failures
                await until_async(lambda: place.scrape_failures > failed + 2, what="failures")
                assert place.metrics.waiting == 7
                server.status = "200 OK"
                server.page = page(8)
                await until_async(lambda: place.metrics.waiting == 8, what="the recovery")
            failed = place.scrape_failures
            await until_async(lambda: place.scrape_failures > failed, what="the server's end")
            assert place.metrics.waiting == 8

    asyncio.run(scenario())


def test_a_broken_line_anywhere_throws_the_scrape_away() -> None:
    async def scenario() -> None:
        server = ModelServer()
        server.page = page(5) + b"{broken\n"
        async with server.running() as port, scraping(port) as place:
            await until_async(lambda: place.scrape_failures > 2, what="failures")
            assert place.scrapes == 0
            server.page = page(5)
            await until_async(lambda: place.metrics.waiting == 5, what="the mended page")

    asyncio.run(scenario())


def test_slow_scrapes_skip_ticks_and_time_out() -> None:
    async def scenario() -> None:
        server = ModelServer()
        server.hold = asyncio.Event()
        async with server.running() as port, scraping(port, timeout=0.2) as place:
            await until_async(lambda: server.requests == 1, what="the first request")
            await until_async(lambda: place.scrape_failures == 1, what="the timeout")
            assert server.requests <= 2  # no second request while the first was awaited
            server.hold.set()
            server.page = page(2)
            await until_async(lambda: place.metrics.waiting == 2, what="the recovery")

    asyncio.run(scenario())


def test_chunked_pages_and_servers_that_close() -> None:
    async def scenario() -> None:
        server = ModelServer()

        def chunked() -> bytes:
            data = page(6)
            parts = [data[:7], data[7:50], data[50:]]
            coded = b"".join(b"%x;ext=1\r\n%s\r\n" % (len(part), part) for part in parts)
            return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + coded + b"0\r\n\r\n"

        server.answer = chunked
        async with server.running() as port, scraping(port) as place:
            await until_async(lambda: place.metrics.waiting == 6, what="the chunked page")
            assert server.connections == 1
            server.answer = lambda: (
                b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"
                % (len(page(9)), page(9))
            )
            await until_async(lambda: place.metrics.waiting == 9, what="the page of a server that closes")
            await until_async(lambda: server.connections > 3, what="new connections")

    asyncio.run(scenario())


def test_stop_ends_the_connection() -> None:
    async def scenario() -> None:
        server = ModelServer()
        async with server.running() as port:
            async with scraping(port) as place:
                await until_async(lambda: place.scrapes > 0, what="a scrape")
            seen = place.scrapes
            await asyncio.sleep(0)
            assert place.scrapes == seen

    asyncio.run(scenario())


def test_later_releases_only_count_pages_that_have_something() -> None:
    async def scenario() -> None:
        server = ModelServer()
        server.page = b"# nothing of ours\n"
        async with server.running() as port, scraping(port, GIE_V15) as place:
            await until_async(lambda: place.scrapes > 1, what="scrapes")
            assert place.metrics.age(time.monotonic()) == float("inf")

    asyncio.run(scenario())


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_pages_in_pieces(cut: int) -> None:
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    http = HttpPage()
    assert http.feed(whole[:cut]) == (None if cut < len(whole) else b"hello")
    if cut < len(whole):
        assert http.feed(whole[cut:]) == b"hello"


def test_pages_that_end_with_the_connection() -> None:
    http = HttpPage()
    assert http.feed(b"HTTP/1.0 200 OK\r\n\r\nabc") is None
    assert http.closed() == b"abc"
    assert not http.keep_alive
    assert HttpPage().closed() is None


@pytest.mark.parametrize("junk", [b"SSH-2.0\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n"])
def test_what_is_no_http(junk: bytes) -> None:
    with pytest.raises(ScrapeError, match="not HTTP"):
        HttpPage().feed(junk)


def test_bad_chunk_size() -> None:
    with pytest.raises(ScrapeError, match="not a chunk size"):
        HttpPage().feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n")
