"""A client that does not read: what it has not been sent is merged, and nothing of it is lost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
from pathlib import Path
from typing import Any

import pytest

from simulator.engine.outputs import RequestOutput
from simulator.engine.request import FinishReason
from simulator.server.answers.sinks import Held
from tests.simulator.server.inprocess import request
from tests.simulator.server.serving import Server, serving

TOKENS = 30_000
BODIES: dict[str, dict[str, Any]] = {  # not /v1/messages, which takes no seed: two answers would differ
    "/v1/completions": {"prompt": "x", "max_tokens": TOKENS},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "x"}], "max_tokens": TOKENS},
    "/v1/responses": {"input": "x", "max_output_tokens": TOKENS},
}
FLAGS = ("--model", "m", "--seed", "1", "--max-model-len", "40000", "--num-gpu-blocks-override", "130000")


def test_held_outputs_are_one() -> None:
    held, asked = Held(), request("r")
    assert held.take() is None
    for i, text in enumerate(("a", "", "é")):
        held.add(RequestOutput(asked, [i], text, float(i), FinishReason.STOP if i == 2 else None))
    assert len(held) == 3
    output = held.take()
    assert output is not None
    assert (output.new_token_ids, output.text, output.time) == ([0, 1, 2], "aé", 2.0)
    assert output.finish_reason is FinishReason.STOP
    assert held.take() is None
    assert len(held) == 0


def resident(server: Server) -> float:
    """MB."""
    status = Path(f"/proc/{server.process.pid}/status")
    if not status.exists():
        pytest.skip("needs /proc for a process's memory")
    return int(re.findall(r"VmRSS:\s+(\d+)", status.read_text())[0]) / 1024


async def ask(server: Server, path: str, **fields: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)  # the kernel, too, is to keep little
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", server.port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=4096)
    body = {"model": "m", "stream": True, "ignore_eos": True, "seed": 5, **BODIES[path], **fields}
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {len(data)}\r\n\r\n"
    writer.write(head.encode() + data)
    return reader, writer


def texts(answer: bytes) -> tuple[str, int]:
    """The text of a stream, and in how many events it came."""
    body = b"".join(re.split(rb"\r\n[0-9a-f]+\r\n", b"\r\n" + answer.split(b"\r\n\r\n", 1)[1]))
    found = []
    for line in body.split(b"\n"):
        if line.startswith(b"data: {"):
            event = json.loads(line[6:])
            if event.get("object") == "text_completion":
                found += [choice["text"] for choice in event["choices"]]
            elif event.get("object") == "chat.completion.chunk":
                found += [choice["delta"].get("content") or "" for choice in event["choices"]]
            elif event["type"] == "response.output_text.delta":
                found.append(event["delta"])
    return "".join(found), len(found)


async def gone(writer: asyncio.StreamWriter) -> None:
    """The connection is closed, however its end was."""
    writer.transport.abort()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def idle(server: Server) -> None:
    while await asyncio.to_thread(lambda: server.in_flight):
        await asyncio.sleep(0.01)  # between two looks


@pytest.mark.parametrize(
    "path",
    [path if path == "/v1/completions" else pytest.param(path, marks=pytest.mark.slow) for path in BODIES],
)
def test_a_late_reader_gets_all_of_it(path: str) -> None:
    async def both(server: Server) -> tuple[bytes, bytes]:
        late, late_writer = await ask(server, path)
        await idle(server)
        eager, eager_writer = await ask(server, path)
        answers = await asyncio.wait_for(asyncio.gather(late.read(), eager.read()), 60)
        for writer in (late_writer, eager_writer):
            await gone(writer)
        return answers[0], answers[1]

    with serving(*FLAGS) as server:
        late, eager = (texts(answer) for answer in asyncio.run(both(server)))
    assert late[0] == eager[0]
    assert len(late[0]) > TOKENS
    assert late[1] < TOKENS, "what had piled up came as one"


def test_readers_who_stand_still_cost_little() -> None:
    async def check(server: Server) -> None:
        asked = [await ask(server, "/v1/completions")]
        await idle(server)  # what the first answer of a process costs has been paid
        before = resident(server)
        asked += [await ask(server, "/v1/completions") for _ in range(8)]
        await idle(server)
        grown = resident(server) - before
        assert grown < 30, "8 answers of 30 000 events of 200 bytes are 48 MB, and the kernel keeps little"
        for _reader, writer in asked:
            await gone(writer)

    with serving(*FLAGS) as server:
        asyncio.run(check(server))
