"""A pod without sockets: a connection in memory to replicas of one's own, asked from plain tests.

The loop runs only while a request does, so between two of them the engine, its state and its statistics can
be looked at and changed without a race.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import httptools
import uvloop

from simulator.config.resolve import parse_args
from simulator.server.app import App
from simulator.server.http.bridge import bridged
from simulator.server.http.connection import Connection
from simulator.server.http.service import Service
from simulator.server.replica import Replica, Shared
from simulator.server.timer import Timer

T = TypeVar("T")
TIMEOUT_S = 30.0  # of one request; what takes longer has lost its way


@dataclass
class Answer:
    """What came back; `pieces` are the body as it was written, header names are lower case."""

    status: int
    headers: dict[str, str]
    pieces: list[bytes]

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        return self.json()["error"]

    @property
    def message(self) -> str:
        """The words of the refusal."""
        message: str = self.error["message"]
        return message

    @property
    def chunks(self) -> list[Any]:
        """The events of a stream without its end mark."""
        return [json.loads(data) for _, data in self.events if data != "[DONE]"]

    @property
    def events(self) -> list[tuple[str, str]]:
        """(event, data) of each block; event is empty where the stream names none."""
        found = []
        for block in self.text.split("\n\n"):
            fields = dict(line.split(": ", 1) for line in block.split("\n") if line)
            if "data" in fields:
                found.append((fields.get("event", ""), fields["data"]))
        return found


@cache
def app() -> App:
    """One app for all tests: it holds no state, and FastAPI takes a while to make it."""
    return App()


class _Ear(asyncio.Transport):
    """The client's end of a connection without a socket: it reads the answer as it is written."""

    def __init__(self, answer: Answer, method: str) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 8000)})
        self.ended = asyncio.Event()
        self._answer = answer
        self._bare = method == "HEAD"  # a length, and nothing behind it
        self._parser = httptools.HttpResponseParser(self)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._parser.feed_data(bytes(data))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._answer.headers[name.decode().lower()] = value.decode()

    def on_headers_complete(self) -> None:
        self._answer.status = self._parser.get_status_code()
        if self._bare:
            self.ended.set()

    def on_body(self, body: bytes) -> None:
        self._answer.pieces.append(body)

    def on_message_complete(self) -> None:
        self.ended.set()

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        """Everything has come already."""

    def resume_reading(self) -> None:
        """There is no more."""

    def can_write_eof(self) -> bool:
        return False

    def is_closing(self) -> bool:
        return self.ended.is_set()

    def close(self) -> None:
        self.ended.set()

    def abort(self) -> None:
        self.ended.set()


async def ask(
    replica: Replica, method: str, path: str, body: bytes, headers: Mapping[str, str], served: Any = None
) -> Answer:
    """One request over a connection of the server's own, from the first byte to the end of the answer.

    `served`: an ASGI app that answers in the place of the replica's.
    """
    answer = Answer(0, {}, [])
    handler = app().handle if served is None else bridged(served)
    service = Service(handler, [b"server: uvicorn\r\n"], {"replica": replica}, keep_alive_s=TIMEOUT_S)
    connection, ear = Connection(service), _Ear(answer, method)
    connection.connection_made(ear)
    sent = {"host": "127.0.0.1:8000", "content-length": str(len(body)), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    connection.data_received(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body)
    await ear.ended.wait()
    connection.connection_lost(None)
    return answer


class Pod:
    """Replicas (the ranks of one pod) and the loop in which they live."""

    def __init__(self, runner: asyncio.Runner, replicas: list[Replica]) -> None:
        self._runner = runner
        self.replicas = replicas
        self.replica = replicas[0]

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(asyncio.wait_for(main, TIMEOUT_S))

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        raw: bytes | None = None,
    ) -> Answer:
        """`body` goes as JSON, `raw` as it is."""
        return self.run(self.asking(method, path, body, headers, raw))

    async def asking(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        raw: bytes | None = None,
    ) -> Answer:
        """The same inside the loop, for several at once."""
        data = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        kind = {} if body is None else {"content-type": "application/json"}
        return await ask(self.replica, method, path, data, {**kind, **(headers or {})})

    def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        """Header names as keywords, with _ for -."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.request("POST", path, body, named)

    def get(self, path: str) -> Answer:
        return self.request("GET", path)

    def complete(self, prompt: Any = "x", **fields: Any) -> Answer:
        return self.post("/v1/completions", {"model": "m", "prompt": prompt, **fields})

    def chat(self, content: Any = "x", **fields: Any) -> Answer:
        messages = [{"role": "user", "content": content}]
        return self.post("/v1/chat/completions", {"model": "m", "messages": messages, **fields})


@contextmanager
def pod(*flags: str, env: Mapping[str, str] | None = None, ranks: int = 1) -> Iterator[Pod]:
    """A pod of model "m" without latency; flags given later win."""
    model = () if "--model" in flags else ("--model", "m")  # of two the first wins, as in vLLM
    config = parse_args([*model, "--seed", "1", "--latency", "zero", *flags], dict(env or {}))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        loop = runner.get_loop()
        timer = Timer(loop)
        shared = Shared(timer)

        async def make() -> list[Replica]:
            return [
                Replica(config, shared, name="pod", host="127.0.0.1", port=8000 + rank, rank=rank)
                for rank in range(ranks)
            ]

        replicas = runner.run(make())
        for replica in replicas:
            replica.peers = tuple(replicas)

        async def close() -> None:
            for replica in replicas:
                replica.close()
            timer.close()

        try:
            yield Pod(runner, replicas)
        finally:
            runner.run(close())
