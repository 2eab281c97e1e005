"""Addresses under replicas: one listening socket for each port, with its connections.

What is spoken on a connection is `connection`'s business.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import ipaddress
import os
import socket
import ssl
import struct
import time
from collections.abc import Mapping
from email.utils import formatdate
from typing import Any

from simulator.errors import FleetError
from simulator.server.http.connection import Connection
from simulator.server.http.reader import MAX_HEAD, MAX_HEADERS
from simulator.server.http.service import Handler, Service

_BACKLOG = 2048
_FIRST_REQUEST_SECONDS = 1.0
_SO_ATTACH_FILTER = 26  # Linux
_BPF_RETURN = 0x06
KEEP_ALIVE_SECONDS = 5  # uvicorn's and vLLM's


class HTTPServer:
    """What listeners share: who answers, and the headers that every answer begins with."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.headers: list[bytes] = []  # one item, which changes every second
        self._loop = asyncio.get_running_loop()
        self._tick: asyncio.TimerHandle | None = None
        self._refresh_date()

    def _refresh_date(self) -> None:
        date = formatdate(time.time(), usegmt=True)
        self.headers[:] = [f"date: {date}\r\nserver: uvicorn\r\n".encode()]  # vLLM's server is uvicorn
        self._tick = self._loop.call_later(1.0, self._refresh_date)

    def close(self) -> None:
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None


class Listener:
    """One address and its connections. `start` it in the loop; closed once, it is done for.

    `app_state` is what the handler gets with every request: the replica.
    """

    def __init__(
        self,
        server: HTTPServer,
        host: str,
        port: int,
        *,
        uds: str | None = None,
        context: ssl.SSLContext | None = None,
        app_state: Mapping[str, Any] | None = None,
        keep_alive_seconds: int = KEEP_ALIVE_SECONDS,
        max_head: int = MAX_HEAD,
        max_headers: int = MAX_HEADERS,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._service = Service(server.handler, server.headers, app_state or {}, keep_alive_seconds)
        self._service.max_head, self._service.max_headers = max_head, max_headers
        self._address = host, port
        self._uds = uds
        self._context = context
        self._socket: socket.socket | None = None
        self._bound: os.stat_result | None = None
        self._server: asyncio.AbstractServer | None = None

    @property
    def is_listening(self) -> bool:
        return self._socket is not None

    @property
    def num_begun(self) -> int:
        """Requests that have been answered or are being answered."""
        return self._service.num_begun

    @property
    def num_connections(self) -> int:
        return len(self._service.connections)

    @property
    def last_answers(self) -> bool:
        """Whether every answer is the last on its connection."""
        return self._service.last_answers

    @last_answers.setter
    def last_answers(self, value: bool) -> None:
        self._service.last_answers = value

    async def start(self) -> int:
        """Bind and listen; returns the port. Raises FleetError when the address is taken or not ours."""
        self._socket = _bound_unix(self._uds) if self._uds else bound(*self._address)
        self._bound = os.lstat(self._uds) if self._uds else None
        self._server = await self._loop.create_server(
            lambda: Connection(self._service), sock=self._socket, ssl=self._context, backlog=_BACKLOG
        )
        return self._address[1] if self._uds else int(self._socket.getsockname()[1])

    def stop_listening(self) -> None:
        """New connections are refused from now on."""
        if self._socket is None or self._server is None:
            return
        if self._socket.family != socket.AF_UNIX:
            with contextlib.suppress(OSError):
                # The loop closes the descriptor a little later; this ends listening at once.
                self._socket.shutdown(socket.SHUT_RDWR)
        elif self._uds and self._bound is not None:
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.lstat(self._uds), self._bound):  # or it is another server's since
                    os.unlink(self._uds)
        self._server.close()
        self._socket = None

    async def accept_the_last(self) -> None:
        """Take what waits in the backlog, then stop listening: closing at once would reset it. Who has
        connected and not yet asked gets a second for that.

        Meanwhile new connections get no answer (Linux), so that none can slip in before the close; their
        second try, a second later, is refused.
        """
        if self._socket is not None:
            _ignore_newcomers(self._socket)
            await _breathe()
        self.stop_listening()
        for _ in range(100):
            if not any(connection.is_untouched for connection in self._service.connections):
                break
            await asyncio.sleep(_FIRST_REQUEST_SECONDS / 100)

    def reset_connections(self) -> None:
        """End every connection with RST; requests in flight see their client gone."""
        for connection in list(self._service.connections):
            connection.reset()

    def close_idle(self) -> None:
        """Close connections on which nothing is going on; the others close after their answer."""
        self.last_answers = True
        for connection in list(self._service.connections):
            connection.close_after_answers()

    async def wait_answered(self, timeout_s: float) -> bool:
        """Until no request is being answered; False: the time passed first."""
        try:
            async with asyncio.timeout(timeout_s if timeout_s < float("inf") else None):
                await self._service.all_answered()
        except TimeoutError:
            return not self._service.answering
        return True

    async def wait_closed(self) -> None:
        """Until the connections that were told to close are gone; at most a second."""
        self.close_idle()
        for _ in range(100):
            if not self.num_connections:
                return
            await asyncio.sleep(0.01)


def _ignore_newcomers(sock: socket.socket) -> None:
    """Attach a packet filter that drops everything.

    The handshake of a listening socket, not its connections.
    """
    drop_all = ctypes.create_string_buffer(struct.pack("HBBI", _BPF_RETURN, 0, 0, 0))
    program = struct.pack("HP", 1, ctypes.addressof(drop_all))
    with contextlib.suppress(OSError):  # elsewhere than on Linux the window of a few microseconds stays open
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


async def _breathe() -> None:
    """Let the loop poll its descriptors a few times."""
    for _ in range(5):
        await asyncio.sleep(0.001)


def bound(host: str, port: int) -> socket.socket:
    """A listening TCP socket; "" is every IPv4 interface. Raises FleetError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    _notice_the_dead(sock)
    try:
        sock.bind((host, port))
        sock.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        sock.close()
        why = error.strerror if isinstance(error, OSError) else error
        place = f"{host or '*'}:{port}"
        raise FleetError(f"cannot listen on {place}: {why}{_advice(host, port, error)}") from None
    sock.setblocking(False)
    return sock


def _notice_the_dead(sock: socket.socket) -> None:
    """Have the kernel look after connections whose client is gone without a word while an answer is due, and
    nothing is sent; connections have it from the socket that accepts them.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, name):  # macOS has other names, and two hours
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _advice(host: str, port: int, error: Exception) -> str:
    """Who has the port; or, on macOS, that only 127.0.0.1 is configured (elsewhere 127.0.0.0/8 is)."""
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return f" (`ss -ltnp 'sport = :{port}'` says by whom)"
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        return ""
    return " (is it configured? `ip addr`, or on macOS `ifconfig lo0 alias`)" if loopback else ""


def _bound_unix(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
    except OSError as error:
        sock.close()
        raise FleetError(f"cannot listen on {path}: {error.strerror}") from None
    sock.setblocking(False)
    return sock
