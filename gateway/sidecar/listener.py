"""A sidecar's sockets: one a rank, taking TLS and plaintext on the same port by the first byte."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import tempfile
from collections.abc import Coroutine
from functools import lru_cache
from pathlib import Path
from typing import Any

from gateway.picker.wire.tls import self_signed_pair
from gateway.sidecar.options import SidecarOptions
from gateway.sidecar.proxy import Proxy, serve_connection

_BACKLOG = 1024
_HANDSHAKE = 0x16  # the first byte of a TLS connection
_LIMIT = 1 << 20  # bytes that are read ahead
_FIRST_BYTE_S = 30.0  # how long a connection may stay silent at first, as there


class Sidecar:
    """The sidecar of one pod from `start` to `stop`. Raises OSError: a port is taken."""

    def __init__(self, options: SidecarOptions, address: str) -> None:
        self._options = options
        self._address = address
        self._sockets: list[socket.socket] = []
        self._proxies: list[Proxy] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def is_running(self) -> bool:
        return bool(self._sockets)

    async def start(self) -> None:
        """Listen on all ports; nothing while it runs."""
        if self._sockets:
            return
        for rank, port in enumerate(self._options.ports):
            listener = socket.create_server((self._address, port), backlog=_BACKLOG)
            listener.setblocking(False)
            self._sockets.append(listener)
            proxy = Proxy(self._options, (self._address, self._options.model_port + rank))
            self._proxies.append(proxy)
            self._spawn(self._accept(listener, proxy))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def stop(self) -> None:
        """Close the ports and reset every connection."""
        for task in list(self._tasks):
            task.cancel()
        for listener in self._sockets:
            listener.close()
        for proxy in self._proxies:
            proxy.close()
        self._sockets, self._proxies = [], []

    async def _accept(self, listener: socket.socket, proxy: Proxy) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listener)
            except OSError:
                await asyncio.sleep(0.1)  # no descriptor is free; the backlog waits
                continue
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._spawn(self._serve(connection, proxy))

    async def _serve(self, connection: socket.socket, proxy: Proxy) -> None:
        """One connection; what it says first tells whether it speaks TLS."""
        loop = asyncio.get_running_loop()
        try:
            first = await asyncio.wait_for(_first_byte(connection), _FIRST_BYTE_S)
        except (TimeoutError, OSError):
            connection.close()
            return
        except asyncio.CancelledError:
            connection.close()
            raise
        is_tls = self._options.secure and first == bytes([_HANDSHAKE])
        reader = asyncio.StreamReader(limit=_LIMIT)
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol, connection, ssl=_context() if is_tls else None
            )
        except (OSError, ssl.SSLError):
            return
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        try:
            await serve_connection(proxy, reader, writer)
        except asyncio.CancelledError:
            transport.abort()
            raise
        finally:
            with contextlib.suppress(Exception):
                writer.close()


async def _first_byte(connection: socket.socket) -> bytes:
    """The first byte that comes, left where it is; empty at the end."""
    loop = asyncio.get_running_loop()
    there = asyncio.Event()
    loop.add_reader(connection.fileno(), there.set)
    try:
        await there.wait()
    finally:
        loop.remove_reader(connection.fileno())
    return connection.recv(1, socket.MSG_PEEK)


@lru_cache(maxsize=1)
def _context() -> ssl.SSLContext:
    """A certificate that it signs itself, as there without --cert-path."""
    key, certificate = self_signed_pair()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as directory:
        pair = Path(directory) / "pair.pem"
        pair.write_bytes(key + certificate)
        context.load_cert_chain(pair)
    return context
