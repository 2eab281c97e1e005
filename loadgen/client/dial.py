"""Opens connections: straight or through a proxy, in the clear or under TLS with the protocol agreed on."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable
from typing import TypeVar, cast

from loadgen.client.proxies import Proxy
from loadgen.client.target import Target, ssl_context
from loadgen.errors import TargetError

CONNECT_SECONDS = 30.0  # how long a proxy may take to open a tunnel
HEAD_LIMIT = 65536
# Begins the words about a server that speaks something else: trying again does not help.
WRONG = "wrong protocol: "
P = TypeVar("P", bound=asyncio.Protocol)


class Dialer:
    """The way to one target; TargetError for TLS settings that cannot be used."""

    def __init__(self, loop: asyncio.AbstractEventLoop, target: Target, alpn: str) -> None:
        self._loop = loop
        self._target = target
        self._alpn = alpn
        self._proxy = target.proxy
        self._tls = ssl_context(target, (alpn,))
        self._name = (target.server_name or target.host) if target.tls else None
        self._tunnels = target.proxy is not None and (target.tls or alpn == "h2")

    async def connect(self, factory: Callable[[], P]) -> P:
        """A protocol on its own connection; OSError, ssl.SSLError or TargetError where there is none."""
        if self._proxy is not None and self._tunnels:
            protocol, transport = await self._through(self._proxy, factory)
        else:
            protocol, transport = await self._straight(factory)
        if self._tls is not None and self._alpn == "h2":
            chosen = transport.get_extra_info("ssl_object").selected_alpn_protocol()
            if chosen != "h2":
                transport.abort()
                raise TargetError(
                    f"{WRONG}the server takes no HTTP/2 over TLS (ALPN chose {chosen or 'nothing'}): "
                    "leave --http2 out"
                )
        return protocol

    async def _straight(self, factory: Callable[[], P]) -> tuple[P, asyncio.Transport]:
        proxy = self._proxy
        if proxy is None:
            address, port, tls, name = self._target.address, self._target.port, self._tls, self._name
        else:
            tls = ssl.create_default_context() if proxy.tls else None
            address, port, name = proxy.address, proxy.port, proxy.host if proxy.tls else None
        transport, protocol = await self._loop.create_connection(
            factory, address, port, ssl=tls, server_hostname=name
        )
        return protocol, transport

    async def _through(self, proxy: Proxy, factory: Callable[[], P]) -> tuple[P, asyncio.Transport]:
        """A tunnel through the proxy, opened by CONNECT (RFC 9110 9.3.6)."""
        async with asyncio.timeout(CONNECT_SECONDS):
            _, tunnel = await self._loop.create_connection(
                lambda: _Tunnel(self._loop, proxy, self._target), proxy.address, proxy.port
            )
            rest = await tunnel.opened
        protocol = factory()
        transport: asyncio.Transport | None = tunnel.transport
        if self._tls is not None:
            transport = await self._loop.start_tls(
                tunnel.transport, protocol, self._tls, server_hostname=self._name
            )
        else:
            tunnel.transport.set_protocol(protocol)
        if transport is None or transport.is_closing():
            raise ConnectionResetError(f"the tunnel through {proxy.url} was closed")
        protocol.connection_made(transport)
        if rest:
            protocol.data_received(rest)
        return protocol, transport


class _Tunnel(asyncio.Protocol):
    """Asks a proxy for a tunnel; `opened` holds what the other end said already."""

    def __init__(self, loop: asyncio.AbstractEventLoop, proxy: Proxy, target: Target) -> None:
        self.opened: asyncio.Future[bytes] = loop.create_future()
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._proxy, self._place = proxy, target.place
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        secret = self._proxy.authorization
        known = f"proxy-authorization: {secret}\r\n" if secret else ""
        request = f"CONNECT {self._place} HTTP/1.1\r\nhost: {self._place}\r\n{known}\r\n"
        self.transport.write(request.encode("latin-1"))

    def data_received(self, data: bytes) -> None:
        self._head += data
        head, end, rest = self._head.partition(b"\r\n\r\n")
        if self.opened.done() or not (end or len(self._head) > HEAD_LIMIT):
            return
        status = head.split(b"\r\n", 1)[0].decode("latin-1").partition(" ")[2]
        if status.startswith("2"):
            self.opened.set_result(rest)
        else:
            self.transport.abort()
            words = f"the proxy {self._proxy.url} opens no tunnel to {self._place}: {status[:80]}"
            self.opened.set_exception(TargetError(words))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(
                ConnectionResetError(f"the proxy {self._proxy.url} closed the connection")
            )


def describe_connect_error(error: Exception, tls: bool = False) -> str:
    """An error of connecting in words that name TLS when it was TLS."""
    if isinstance(error, TargetError):
        return str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: certificate not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        plain = error.reason in PLAIN_REASONS
        return f"TLS: {error.reason or error}" + (": a plain http server? then say http://" if plain else "")
    words = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else None
    if tls and not words:
        return f"TLS: the handshake broke off ({str(error) or type(error).__name__}): a plain http server?"
    return words or str(error) or type(error).__name__


# What OpenSSL calls an answer that is no TLS.
PLAIN_REASONS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "UNEXPECTED_MESSAGE")


def foreign(data: bytes, spoken: str) -> str | None:
    """What a server speaks that does not speak `spoken`, by its first bytes; None where they do not tell."""
    if data[:1] in (b"\x15", b"\x16") and data[1:2] == b"\x03":
        return f"{WRONG}the server speaks TLS: say https://"
    if spoken == "HTTP/2" and data[:5] == b"HTTP/":
        return f"{WRONG}the server speaks HTTP/1.1: leave --http2 out"
    if spoken != "HTTP/2" and data[:1] == b"\0" and data[3:5] in (b"\x04\0", b"\x07\0"):
        return f"{WRONG}the server speaks HTTP/2: give --http2"
    return None
