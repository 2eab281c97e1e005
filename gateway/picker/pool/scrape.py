"""Reads /metrics of each endpoint every 50 ms over one kept-alive connection, as lean as Python allows.

A scrape that fails leaves the last metrics in place, for ever, as in the EPP. A scrape that takes longer than
the interval makes the next ticks be skipped. Accept-Encoding is not sent: a compressed page would cost both
sides more than loopback bytes do.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from dataclasses import dataclass
from typing import cast

from gateway.picker.compat import Compat
from gateway.picker.errors import ScrapeError
from gateway.picker.pool.endpoints import Endpoint
from gateway.picker.pool.extract import extract, validate
from gateway.picker.pool.metric_specs import Engines

# A page is read as a whole, to find a broken line that is not asked for, at most this often per endpoint.
VALIDATE_S = 1.0
# Successive endpoints start this share of an interval apart, so that scrapes spread over the interval.
_GOLDEN = 0.618033988749895
_log = logging.getLogger("picker.scrape")


@dataclass(frozen=True, slots=True)
class ScrapeSettings:
    """Of all endpoints; seconds."""

    interval: float = 0.05
    timeout: float = 5.0
    scheme: str = "http"
    path: str = "/metrics"
    verify_tls: bool = False


@dataclass(frozen=True, slots=True)
class ScrapeRules:
    """What all endpoints of a pool have in common."""

    engines: Engines
    settings: ScrapeSettings
    compat: Compat
    tls: ssl.SSLContext | None = None


class HttpPage:
    """The bytes of one HTTP/1.1 response, fed as they come; no more of HTTP than a metrics page needs."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._body_at = 0
        self._length = -1  # -1: chunked, -2: until the connection closes
        self.status = 0
        self.keep_alive = True

    def feed(self, data: bytes) -> bytes | None:
        """The body when it is complete."""
        self._data += data
        if not self._body_at and not self._read_head():
            return None
        if self._length >= 0:
            end = self._body_at + self._length
            return bytes(self._data[self._body_at : end]) if len(self._data) >= end else None
        return self._dechunked() if self._length == -1 else None

    def closed(self) -> bytes | None:
        """The body, if the response is one that ends with the connection."""
        if not self._body_at or self._length != -2:
            return None
        self.keep_alive = False
        return bytes(self._data[self._body_at :])

    def _read_head(self) -> bool:
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = bytes(self._data[:end])
        first, *lines = head.split(b"\r\n")
        parts = first.split(b" ", 2)
        if len(parts) < 2 or not parts[0].startswith(b"HTTP/1.") or not parts[1].isdigit():
            raise ScrapeError(f"not HTTP: {first[:60]!r}")
        self.status = int(parts[1])
        self.keep_alive = parts[0] != b"HTTP/1.0"
        self._length = -2
        for line in lines:
            name, _, value = line.partition(b":")
            lowered, value = name.strip().lower(), value.strip().lower()
            if lowered == b"content-length" and value.isdigit() and self._length != -1:
                self._length = int(value)
            elif lowered == b"transfer-encoding" and b"chunked" in value:
                self._length = -1
            elif lowered == b"connection":
                self.keep_alive = value != b"close"
        self._body_at = end + 4
        return True

    def _dechunked(self) -> bytes | None:
        data, at = self._data, self._body_at
        parts: list[bytes] = []
        while (line_end := data.find(b"\r\n", at)) >= 0:
            try:
                size = int(bytes(data[at:line_end]).partition(b";")[0], 16)
            except ValueError:
                raise ScrapeError(f"not a chunk size: {bytes(data[at:line_end])[:20]!r}") from None
            start = line_end + 2
            if len(data) < start + size + 2:
                return None
            if size == 0:
                return b"".join(parts)
            parts.append(bytes(data[start : start + size]))
            at = start + size + 2
        return None


class _Connection(asyncio.Protocol):
    """A connection to one endpoint; hands pages and failures to its scraper."""

    def __init__(self, scraper: EndpointScraper) -> None:
        self._scraper = scraper
        self._page: HttpPage | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def request(self, head: bytes) -> None:
        self._page = HttpPage()
        if self.transport is not None:
            self.transport.write(head)

    def data_received(self, data: bytes) -> None:
        page = self._page
        if page is None:
            return
        try:
            body = page.feed(data)
        except ScrapeError as error:
            self._scraper.failed(str(error))
            return
        if body is not None:
            self._finish(page, body)

    def connection_lost(self, exc: Exception | None) -> None:
        page, self.transport = self._page, None
        body = page.closed() if page is not None else None
        if page is not None and body is not None:
            self._finish(page, body)
        else:
            self._scraper.lost(self, str(exc or "connection closed"))

    def _finish(self, page: HttpPage, body: bytes) -> None:
        self._page = None
        if not page.keep_alive and self.transport is not None:
            self.transport.close()
            self.transport = None
        if page.status != 200:
            self._scraper.failed(f"unexpected status code {page.status}")
        else:
            self._scraper.received(body)


class EndpointScraper:
    """Keeps one endpoint's metrics fresh until `stop`."""

    def __init__(self, endpoint: Endpoint, rules: ScrapeRules, phase: float) -> None:
        self._endpoint = endpoint
        self._rules = rules
        settings = rules.settings
        host, _, port = endpoint.metrics_host.rpartition(":")
        self._address = (host.strip("[]"), int(port))
        self._head = (
            f"GET {settings.path} HTTP/1.1\r\nHost: {endpoint.metrics_host}\r\n"
            "User-Agent: Go-http-client/1.1\r\n\r\n"
        ).encode()
        self._loop = asyncio.get_running_loop()
        self._connection: _Connection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._sent_at: float | None = None
        self._hints: dict[bytes, int] = {}
        self._validate_at = 0.0
        self._complained = ""
        self._stopped = False
        self._next = self._loop.time() + settings.interval * phase
        self._timer = self._loop.call_at(self._next, self._tick)

    def stop(self) -> None:
        self._stopped = True
        self._timer.cancel()
        if self._connecting is not None:
            self._connecting.cancel()
        self._drop()

    def received(self, body: bytes) -> None:
        """A page has come."""
        now = time.monotonic()
        self._sent_at = None
        try:
            if now >= self._validate_at:
                validate(body)
                self._validate_at = now + VALIDATE_S
            mapping = self._rules.engines.mapping_for(self._endpoint.labels)
            metrics, missing = extract(
                body, mapping, self._endpoint.metrics, self._rules.compat, now, hints=self._hints
            )
        except ScrapeError as error:
            self._validate_at = 0.0
            self.failed(str(error))
            return
        self._endpoint.metrics = metrics
        self._endpoint.scrapes += 1
        if missing:
            self._complain(f"not in the page: {', '.join(missing)}")

    def failed(self, why: str) -> None:
        """This scrape gave nothing."""
        self._sent_at = None
        self._endpoint.scrape_failures += 1
        self._complain(why)
        self._drop()

    def lost(self, connection: _Connection, why: str) -> None:
        """The connection is gone; if a page was awaited, this scrape failed."""
        if connection is not self._connection:
            return
        self._connection = None
        if self._sent_at is not None and not self._stopped:
            self.failed(why)

    def _tick(self) -> None:
        interval = self._rules.settings.interval
        now = self._loop.time()
        # A late tick does not bring later ticks closer together.
        self._next += interval * max(1, int((now - self._next) / interval) + 1)
        self._timer = self._loop.call_at(self._next, self._tick)
        if self._sent_at is not None:
            if now - self._sent_at > self._rules.settings.timeout:
                self.failed(f"no answer within {self._rules.settings.timeout:g} s")
            return
        if self._connecting is not None:
            return
        if self._connection is not None and self._connection.transport is not None:
            self._sent_at = now
            self._connection.request(self._head)
        else:
            self._connecting = self._loop.create_task(self._connect())

    async def _connect(self) -> None:
        host, port = self._address
        try:
            async with asyncio.timeout(self._rules.settings.timeout):
                _, connection = await self._loop.create_connection(
                    lambda: _Connection(self), host, port, ssl=self._rules.tls
                )
        except (OSError, TimeoutError) as error:
            self.failed(str(error) or type(error).__name__)
            return
        finally:
            self._connecting = None
        self._connection = connection
        self._sent_at = self._loop.time()
        connection.request(self._head)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and connection.transport is not None:
            connection.transport.abort()

    def _complain(self, why: str) -> None:
        if why != self._complained:
            self._complained = why
            _log.debug("scrape of %s: %s", self._endpoint.metrics_host, why)


class Scraper:
    """One EndpointScraper per endpoint of the pool."""

    def __init__(self, engines: Engines, settings: ScrapeSettings, compat: Compat) -> None:
        tls = _tls_context(settings) if settings.scheme == "https" else None
        self._rules = ScrapeRules(engines, settings, compat, tls)
        self._scrapers: dict[str, EndpointScraper] = {}
        self._started = 0

    def add(self, endpoint: Endpoint) -> None:
        self._started += 1
        phase = phase_of(self._started)
        self._scrapers[endpoint.id] = EndpointScraper(endpoint, self._rules, phase)

    def remove(self, endpoint: Endpoint) -> None:
        scraper = self._scrapers.pop(endpoint.id, None)
        if scraper is not None:
            scraper.stop()

    def stop(self) -> None:
        for scraper in self._scrapers.values():
            scraper.stop()
        self._scrapers.clear()


def phase_of(number: int) -> float:
    """Where in the interval the scrapes of the `number`th endpoint begin, from 1; a share of it."""
    return number * _GOLDEN % 1.0


def _tls_context(settings: ScrapeSettings) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not settings.verify_tls:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
