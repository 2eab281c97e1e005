"""The HTTP server under all replicas: one uvicorn configuration, one listening socket for each port.

uvicorn's protocol parses and writes HTTP; its Server class is not used, because it owns signals and a tick
of its own and cannot open or close one socket among many. A `Listener` is one replica's socket with its
connections.
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
from email.utils import formatdate
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from simulator.errors import FleetError

_BACKLOG: Final = 2048
_FIRST_REQUEST_SECONDS: Final = 1.0
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: close sends RST and forgets what was not sent
_SO_ATTACH_FILTER: Final = 26  # Linux
_BPF_RETURN: Final = 0x06
KEEP_ALIVE_SECONDS: Final = 5  # uvicorn's and vLLM's


class HTTPServer:
    """What listeners share: the app, its configuration and the date header."""

    def __init__(self, app: Any) -> None:
        self.config = uvicorn.Config(
            app,
            http=HttpToolsProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
        )
        self.config.load()
        self.headers: list[tuple[bytes, bytes]] = []
        self._loop = asyncio.get_running_loop()
        self._tick: asyncio.TimerHandle | None = None
        self._refresh_date()

    def _refresh_date(self) -> None:
        date = (b"date", formatdate(time.time(), usegmt=True).encode())
        self.headers[:] = [date, *self.config.encoded_headers]  # in place: every connection holds this list
        self._tick = self._loop.call_later(1.0, self._refresh_date)

    def close(self) -> None:
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None


class _Protocol(HttpToolsProtocol):
    """uvicorn's protocol; while the listener drains, every answer is the last on its connection."""

    def __init__(self, listener: Listener) -> None:
        super().__init__(
            config=listener.server.config,
            server_state=listener.state,
            app_state=listener.app_state,
            _loop=listener.loop,
        )
        self._listener = listener
        self.timeout_keep_alive = listener.keep_alive_seconds

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        if self._listener.last_answers and self.cycle is not None:
            self.cycle.keep_alive = False

    @property
    def is_idle(self) -> bool:
        """No request is being read or answered."""
        return self.cycle is None or (self.cycle.response_complete and not self.pipeline)


class Listener:
    """One address and its connections. `start` it in the loop; closed once, it is done for.

    `app_state` is what the app finds in a request's `scope["state"]`: the replica.
    """

    def __init__(
        self,
        server: HTTPServer,
        host: str,
        port: int,
        *,
        uds: str | None = None,
        context: ssl.SSLContext | None = None,
        app_state: dict[str, Any] | None = None,
        keep_alive_seconds: int = KEEP_ALIVE_SECONDS,
    ) -> None:
        self.server = server
        self.loop = asyncio.get_running_loop()
        self.state = ServerState()
        self.state.default_headers = server.headers
        self.app_state = app_state or {}
        self.keep_alive_seconds = keep_alive_seconds
        self.last_answers = False
        self._address = host, port
        self._uds = uds
        self._context = context
        self._socket: socket.socket | None = None
        self._server: asyncio.AbstractServer | None = None

    @property
    def is_listening(self) -> bool:
        return self._socket is not None

    @property
    def num_active(self) -> int:
        """Requests being answered."""
        return len(self.state.tasks)

    async def start(self) -> int:
        """Bind and listen; returns the port. Raises FleetError when the address is taken or not ours."""
        self._socket = _bound_unix(self._uds) if self._uds else bound(*self._address)
        self._server = await self.loop.create_server(
            lambda: _Protocol(self), sock=self._socket, ssl=self._context, backlog=_BACKLOG
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
        elif self._uds:
            with contextlib.suppress(FileNotFoundError):
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
            if not any(isinstance(each, _Protocol) and each.cycle is None for each in self.state.connections):
                break
            await asyncio.sleep(_FIRST_REQUEST_SECONDS / 100)

    def reset_connections(self) -> None:
        """End every connection with RST; requests in flight see their client gone."""
        for protocol in list(self.state.connections):
            transport = protocol.transport
            raw = transport.get_extra_info("socket")
            if raw is not None:
                with contextlib.suppress(OSError):
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            transport.abort()

    def close_idle(self) -> None:
        """Close connections on which nothing is going on; the others close after their answer."""
        self.last_answers = True
        for protocol in list(self.state.connections):
            assert isinstance(protocol, _Protocol)
            if protocol.is_idle:
                protocol.transport.close()
            else:
                protocol.cycle.keep_alive = False

    async def wait_answered(self, timeout_s: float) -> bool:
        """Until no request is being answered; False: the time passed first."""
        deadline = self.loop.time() + timeout_s
        while self.state.tasks:
            left = deadline - self.loop.time()
            if left <= 0:
                return False
            await asyncio.wait(set(self.state.tasks), timeout=None if left == float("inf") else left)
        return True

    async def wait_closed(self) -> None:
        """Until the connections that were told to close are gone; at most a second."""
        self.close_idle()
        for _ in range(100):
            if not self.state.connections:
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
