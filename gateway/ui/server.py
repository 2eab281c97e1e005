"""The page's server: files of the page, the stream of ticks, and the API; on a loopback port."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from importlib.resources import files
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from gateway.ui.api import Api
from gateway.ui.collect import INTERVAL_S, Collector
from gateway.ui.guard import guarded
from gateway.ui.load import Load
from gateway.ui.simulate import Simulations

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript",
    ".css": "text/css",
}


class _Server(uvicorn.Server):
    """Leaves signals to the program that it is a part of."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class PageServer:
    """Serves the page of one stack from `start()` to `stop()`."""

    def __init__(self, socket_path: Path, token: str, port: int = 0) -> None:
        self.collector = Collector(socket_path)
        self.load = Load(socket_path.parent.name, socket_path.parent.parent)
        self.simulations = Simulations()
        self._api = Api(self.collector, self.load, self.simulations)
        self._token = token
        self._port = port
        self._server: _Server | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.url = ""

    async def start(self) -> str:
        """The address to open, token and all. Raises OSError when the port is taken."""
        listener = socket.create_server(("127.0.0.1", self._port))
        port = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/#token={self._token}"
        config = uvicorn.Config(
            guarded(self._app(), self._token),
            log_config=None,
            lifespan="off",
            timeout_graceful_shutdown=1,
            ws="none",
        )
        self._server = _Server(config)
        try:
            await self.collector.once()
        except BaseException:
            listener.close()
            raise
        self._tasks = [
            asyncio.create_task(self._server.serve(sockets=[listener])),
            asyncio.create_task(self._collect()),
        ]
        return self.url

    async def _collect(self) -> None:
        while True:
            self.collector.extra = {"load": self.load.state(), "simulation": self.simulations.state()}
            try:
                await self.collector.once()
            except Exception as error:  # noqa: BLE001 - the page says so and goes on
                self.collector.feed.problem = f"a second was lost: {type(error).__name__}: {error}"
            await asyncio.sleep(INTERVAL_S)

    async def stop(self) -> None:
        """Ends the load, the simulation, the streams and the port."""
        await self.load.close()
        await self.simulations.stop()
        self.collector.close()
        if self._server is not None:
            self._server.should_exit = True
            self._server.force_exit = True
        for task in self._tasks[1:]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/", self._page),
                Route("/static/{path:path}", self._file),
                Route("/api/stream", self._stream),
                Route("/api/{name:str}", self._api.answer, methods=["POST"]),
            ]
        )

    async def _page(self, _: Request) -> Response:
        return _packaged("index.html")

    async def _file(self, request: Request) -> Response:
        return _packaged(request.path_params["path"])

    async def _stream(self, _: Request) -> Response:
        return StreamingResponse(self._frames(), media_type="text/event-stream")

    async def _frames(self) -> AsyncIterator[bytes]:
        async with self.collector.listen() as queue:
            while (frame := await queue.get()) is not None:
                yield frame


def _packaged(path: str) -> Response:
    """A file of the page; 404 for what is none of them."""
    parts = path.split("/")
    place = files("gateway").joinpath("ui", "static", *parts)
    suffix = Path(path).suffix
    if any(part in ("", ".", "..") for part in parts) or suffix not in _TYPES or not place.is_file():
        return JSONResponse({"error": "no such file"}, 404)
    return Response(place.read_bytes(), media_type=_TYPES[suffix])
