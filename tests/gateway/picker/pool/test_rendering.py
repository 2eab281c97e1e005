"""Tokens of texts: of the simulators at /tokenize, and of servers with vLLM's render routes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gateway.picker.compat import LLMD_V010, LLMD_V07
from gateway.picker.pool.endpoints import Endpoint
from gateway.picker.pool.rendering import Renderer
from gateway.picker.request import RequestBody
from simulator.config.resolve import parse_args
from simulator.fleet.fleet import Fleet, ReplicaSpec
from tests.gateway.picker.factories import config, load
from tests.ports import free_port

TEXT = "What do reviewers think about The Comedy of Errors?"
CHAT = {"messages": [{"role": "user", "content": TEXT}]}


def place(port: int, host: str = "127.0.0.1") -> Endpoint:
    return Endpoint("p-rank-0", "ns", host, port, f"{host}:{port}", {}, "p")


async def ask(port: int, body: RequestBody, renderer: Renderer | None = None) -> list[list[int]]:
    return await (renderer or Renderer()).tokens(body, "m", place(port))


def test_the_simulators_give_what_their_engines_see() -> None:
    async def scenario() -> None:
        port = free_port()
        async with Fleet() as fleet:
            spec = ReplicaSpec("a", "127.0.0.1", (port,), parse_args(["--model", "m"], {}), own_control=True)
            replica = await fleet.add(spec)
            (whole,) = await ask(port, RequestBody("completions", {"prompt": TEXT}))
            assert whole == list(replica.tokenizer.encode(TEXT))
            both = await ask(port, RequestBody("completions", {"prompt": [TEXT, "x"]}))
            assert both[0] == whole
            assert len(both) == 2
            (chat,) = await ask(port, RequestBody("chat", CHAT))
            assert len(chat) > len(whole), "with the template's own"
            assert await ask(port, RequestBody("responses", {"input": TEXT})) == []

    asyncio.run(scenario())


async def serving(
    answers: dict[str, tuple[int, Any]], check: Callable[[int, list[str]], Awaitable[None]]
) -> None:
    """A server of these answers, and the paths that it was asked for."""
    asked: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = int(head.lower().partition("content-length: ")[2].partition("\r\n")[0])
        assert json.loads(await reader.readexactly(length))["model"] == "m"
        path = head.split(" ", 2)[1]
        asked.append(path)
        status, body = answers.get(path, (404, {}))
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(content), content))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port := free_port())
    async with server:
        await check(port, asked)


def test_render_routes_come_first_and_are_forgotten_where_they_are_off() -> None:
    completions, chat = "/v1/completions/render", "/v1/chat/completions/render"

    async def renders(port: int, asked: list[str]) -> None:
        assert await ask(port, RequestBody("completions", {"prompt": TEXT})) == [[1, 2], [3]]
        assert await ask(port, RequestBody("chat", CHAT)) == [[4]]
        assert asked == [completions, chat]

    async def tokenizes(port: int, asked: list[str]) -> None:
        renderer = Renderer()
        for _ in range(2):
            assert await ask(port, RequestBody("completions", {"prompt": TEXT}), renderer) == [[7, 8]]
        assert asked == [completions, "/tokenize", "/tokenize"]

    two = [{"token_ids": [1, 2]}, {"token_ids": [3]}]
    asyncio.run(serving({completions: (200, two), chat: (200, {"token_ids": [4]})}, renders))
    off = {completions: (403, {}), "/tokenize": (200, {"tokens": [7, 8], "count": 2})}
    asyncio.run(serving(off, tokenizes))


@pytest.mark.parametrize("answer", [(500, {}), (200, b"{"), (200, [{}]), (200, {"token_ids": "x"}), (200, 5)])
def test_what_is_no_answer_is_no_tokens(answer: tuple[int, Any]) -> None:
    async def check(port: int, _: list[str]) -> None:
        assert await ask(port, RequestBody("completions", {"prompt": TEXT})) == []

    asyncio.run(serving({"/v1/completions/render": answer}, check))


def test_nobody_there_is_no_tokens() -> None:
    assert asyncio.run(ask(free_port(), RequestBody("completions", {"prompt": TEXT}))) == []


def test_who_has_a_tokenizer() -> None:
    precise = "{type: precise-prefix-cache-producer}"
    for producer, renders in (
        ("{type: token-producer, parameters: {modelName: m, vllm: {url: http://x}}}", True),
        ("{type: token-producer, parameters: {modelName: m}}", True),
        ("{type: token-producer}", False),
    ):
        assert load(config(precise, producer, api="llm-d"), LLMD_V010).renders(LLMD_V010) is renders
    old = load(config("{type: precise-prefix-cache-scorer}"), LLMD_V07)
    assert old.renders(LLMD_V07)
