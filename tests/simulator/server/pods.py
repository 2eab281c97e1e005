"""A pod without sockets: the whole ASGI app around replicas of one's own, asked from plain tests.

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

import uvloop

from simulator.config.resolve import parse_args
from simulator.server.app import App, create_app
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
    return create_app()


async def ask(
    replica: Replica, method: str, path: str, body: bytes, headers: Mapping[str, str], served: Any = None
) -> Answer:
    """One request through the app, from the first byte to the end of the answer."""
    path, _, query = path.partition("?")
    ended = asyncio.Event()
    answer = Answer(0, {}, [])
    incoming = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if incoming:
            return incoming.pop()
        await ended.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {k.decode().lower(): v.decode() for k, v in message["headers"]}
            return
        answer.pieces.append(bytes(message.get("body", b"")))
        if not message.get("more_body", False):
            ended.set()

    sent = {"content-length": str(len(body)), **headers}
    scope = {
        "type": "http", "http_version": "1.1", "method": method, "scheme": "http", "path": path,
        "raw_path": path.encode(), "root_path": "", "query_string": query.encode(),
        "headers": [(k.encode(), v.encode("latin-1")) for k, v in sent.items()],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8000), "state": {"replica": replica},
    }  # fmt: skip
    await (served or app())(scope, receive, send)
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
    config = parse_args(["--model", "m", "--seed", "1", "--latency", "zero", *flags], dict(env or {}))
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
