"""The API on a loopback port of this process, beside whatever else its event loop runs."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator

import uvicorn

from gateway.kubeapi.api import create_app, local_only
from gateway.kubeapi.store import Store


class _Server(uvicorn.Server):
    """Leaves signals to the program that it is a part of."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class InLoop:
    """A uvicorn server as a task of the running loop."""

    def __init__(self, config: uvicorn.Config) -> None:
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None

    async def start(self, address: tuple[str, int]) -> None:
        """Returns when it accepts connections. Raises OSError: the port is taken."""
        listener = socket.create_server(address)
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]))
        while not self._server.started:
            if self._task.done():
                await self._task
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        if self._task is not None:
            self._server.should_exit = True
            await self._task
            self._task = None


class KubeApi:
    """Serves one store from `start()` to `stop()`."""

    def __init__(self, store: Store, port: int, host: str = "127.0.0.1") -> None:
        self.store = store
        self.url = f"http://{host}:{port}"
        self._address = (host, port)
        self._running: InLoop | None = None
        self._end_watches: Callable[[], None] = lambda: None

    async def start(self) -> None:
        """Returns when it accepts connections; nothing while it runs. Raises OSError: the port is taken."""
        if self._running is not None:
            return
        app = create_app(self.store)
        self._end_watches = app.state.end_watches
        config = uvicorn.Config(
            local_only(app), log_config=None, lifespan="off", timeout_graceful_shutdown=5, ws="none"
        )
        self._running = InLoop(config)
        try:
            await self._running.start(self._address)
        except OSError:
            self._running = None
            raise

    async def stop(self) -> None:
        """Closes the port and ends every watch."""
        if self._running is None:
            return
        self._end_watches()
        await self._running.stop()
        self._running = None


def kubeconfig(url: str) -> str:
    """A kubeconfig without credentials for `url`."""
    return f"""apiVersion: v1
kind: Config
clusters: [{{name: simfleet, cluster: {{server: "{url}"}}}}]
contexts: [{{name: simfleet, context: {{cluster: simfleet, user: nobody}}}}]
users: [{{name: nobody, user: {{}}}}]
current-context: simfleet
"""
