"""Clients that leave in the middle, and clients that send nonsense: nothing leaks, nothing hangs, no 5xx."""

from __future__ import annotations

import asyncio
import json
import random
import string
from collections.abc import Iterator
from typing import Any

import pytest

from tests.simulator.server.serving import Server, serving
from tests.simulator.steps import FLAT_20_MS, flat_flag
from tests.waiting import until

# A step of 0.2 ms and few blocks: streams are long enough to be left, and the pool is always under pressure.
STEP = flat_flag(200)
FLAGS = (
    *("--model", "m", "--seed", "1", "--latency", "step", "--step-model", STEP, "--max-model-len", "512"),
    *("--max-num-seqs", "32", "--num-gpu-blocks-override", "300", "--disable-log-stats", "--max-loras", "2"),
    *("--lora-modules", '{"name": "a"}', '{"name": "b"}', '{"name": "c"}'),
)
METRICS = tuple(flag for flag in FLAGS if flag != "--disable-log-stats")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(*METRICS, env={"VLLM_SERVER_DEV_MODE": "1"}) as running:
        yield running


def settled(server: Server) -> None:
    """Running and waiting are back to 0 and all blocks are free."""
    families = ("vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc")
    until(lambda: not any(server.metric(name) for name in families), what="an idle engine")
    # Nothing in use: only then is a reset of the cache granted.
    assert server.request("POST", "/reset_prefix_cache").json() == {"success": True}


def a_request(rng: random.Random) -> bytes:
    body: dict[str, Any] = {
        "model": rng.choice(["m", "a", "b", "c"]),
        "prompt": " ".join(rng.choices(string.ascii_lowercase, k=rng.randint(1, 200))),
        "max_tokens": rng.randint(1, 200),
        "ignore_eos": True,
        "stream": rng.random() < 0.8,
        "n": rng.choice([1, 1, 1, 2, 3]),
    }
    path = "/v1/completions"
    if rng.random() < 0.3:
        path = "/v1/chat/completions"
        body["messages"] = [{"role": "user", "content": body.pop("prompt")}]
    data = json.dumps(body).encode()
    return f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(data)}\r\n\r\n".encode() + data


async def leave_in_the_middle(port: int, rng: random.Random) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    request = a_request(rng)
    try:
        if rng.random() < 0.1:  # not even the request is whole
            writer.write(request[: rng.randrange(1, len(request))])
        else:
            writer.write(request)
            for _ in range(rng.randrange(0, 6)):
                if not await reader.read(rng.choice([10, 500, 5000])):
                    break
    finally:
        writer.transport.abort()  # RST where something is unread, FIN else


async def crowd(port: int, count: int, seed: int) -> None:
    rng = random.Random(seed)
    left = iter(range(count))

    async def one_after_the_other() -> None:
        for _ in left:
            await asyncio.wait_for(leave_in_the_middle(port, rng), 30)

    await asyncio.gather(*(one_after_the_other() for _ in range(48)))


@pytest.mark.parametrize(
    "count", [600, pytest.param(10_000, marks=pytest.mark.slow)], ids=["some", "ten-thousand"]
)
def test_disconnects_leave_nothing_behind(server: Server, count: int) -> None:
    asyncio.run(crowd(server.port, count, seed=count))
    settled(server)
    body = {"model": "m", "prompt": "still there?", "max_tokens": 5, "ignore_eos": True}
    assert server.request("POST", "/v1/completions", body).json()["usage"]["completion_tokens"] == 5


def test_a_disconnect_is_no_success() -> None:
    """As recorded: the client's abort frees everything, and request_success does not move."""

    async def leave(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        body = {"model": "m", "prompt": "x", "max_tokens": 400, "stream": True, "ignore_eos": True}
        data = json.dumps(body).encode()
        writer.write(
            b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(data) + data
        )
        await reader.readuntil(b"data: ")
        writer.transport.abort()

    with serving(*METRICS, "--step-model", FLAT_20_MS, env={"VLLM_SERVER_DEV_MODE": "1"}) as server:
        asyncio.run(leave(server.port))
        settled(server)
        assert server.metric("vllm:request_success_total") == 0


def nonsense(rng: random.Random, depth: int = 0) -> Any:
    """A JSON value of any kind, odd ones preferred."""
    kind = rng.randrange(8 if depth < 3 else 6)
    if kind == 0:
        return rng.choice([None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**30])
    if kind == 1:
        return rng.choice([0.5, -0.5, 1e308, -1e308, 5e-324, float("nan"), float("inf"), float("-inf")])
    if kind == 2:
        return rng.choice(
            ["", "x", "5", "null", "\u0000", "\ud83d\ude00", "\ud800", "a" * 3000, "<|im_end|>"]
        )
    if kind == 3:
        return rng.choice([[], [[]], [[[]]], {}, [None], [{}], {"": {}}, [1, "a"], ["", ""], [5, -3]])
    if kind in (4, 5):
        return rng.randrange(-3, 30)
    if kind == 6:
        return [nonsense(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {rng.choice(FIELDS): nonsense(rng, depth + 1) for _ in range(rng.randrange(4))}


FIELDS = (
    *(
        "model",
        "prompt",
        "messages",
        "max_tokens",
        "min_tokens",
        "n",
        "stream",
        "stream_options",
        "stop",
        "seed",
    ),
    *("temperature", "top_p", "top_k", "min_p", "logprobs", "top_logprobs", "echo", "suffix", "logit_bias"),
    *(
        "stop_token_ids",
        "ignore_eos",
        "tools",
        "tool_choice",
        "response_format",
        "structured_outputs",
        "user",
    ),
    *(
        "prompt_logprobs",
        "truncate_prompt_tokens",
        "priority",
        "request_id",
        "return_token_ids",
        "cache_salt",
    ),
    *(
        "kv_transfer_params",
        "guided_json",
        "guided_regex",
        "guided_choice",
        "chat_template_kwargs",
        "documents",
    ),
    *("presence_penalty", "frequency_penalty", "repetition_penalty", "allowed_token_ids", "bad_words"),
    *("role", "content", "type", "text", "function", "name", "parameters", "properties", "items", "input"),
    *("max_completion_tokens", "add_generation_prompt", "continue_final_message", "chat_template", "tokens"),
    *("lora_name", "lora_path", "system", "instructions", "max_output_tokens", "previous_response_id"),
)
PATHS = (
    *("/v1/completions", "/v1/chat/completions", "/v1/responses", "/v1/messages", "/tokenize", "/detokenize"),
    *("/v1/messages/count_tokens", "/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/abort_requests"),
)
USUAL: dict[str, Any] = {
    "prompt": "x",
    "messages": [{"role": "user", "content": "x"}],
    "max_tokens": 2,
    "model": "m",
    "input": "x",
    "max_output_tokens": 2,
}


def a_body(rng: random.Random) -> bytes:
    """A body that is wrong somewhere: broken JSON, or a usual request with odd fields."""
    if rng.random() < 0.15:
        data = json.dumps(nonsense(rng)).encode()
        cut = rng.randrange(len(data) + 1)
        return data[:cut] + rng.choice([b"", b"\xff\xfe", b"}", b"\x00", b"[" * 5000])
    body = dict(USUAL)
    for _ in range(rng.randrange(1, 4)):
        body[rng.choice(FIELDS)] = nonsense(rng)
    return json.dumps(body).encode()


async def send_nonsense(port: int, count: int, seed: int) -> dict[int, int]:
    rng = random.Random(seed)
    statuses: dict[int, int] = {}
    left = iter(range(count))

    async def one_after_the_other() -> None:
        for _ in left:
            path, data = rng.choice(PATHS), a_body(rng)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            head = (
                f"POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {len(data)}\r\n\r\n"
            )
            writer.write(head.encode() + data)
            answer = await asyncio.wait_for(reader.read(), 30)
            writer.close()
            status = int(answer.split(b" ", 2)[1])
            statuses[status] = statuses.get(status, 0) + 1
            body = answer.split(b"\r\n\r\n", 1)[1]
            assert status in (200, 400, 404), (path, data[:600], answer[:600])
            assert body or path == "/abort_requests", (path, data[:600])
            assert b'"code": 500' not in body, (path, data[:600], body[:600])

    await asyncio.gather(*(one_after_the_other() for _ in range(16)))
    return statuses


@pytest.mark.parametrize("count", [1_000, pytest.param(5_000, marks=pytest.mark.slow)], ids=["some", "many"])
def test_nonsense_is_refused(server: Server, count: int) -> None:
    statuses = asyncio.run(send_nonsense(server.port, count, seed=count))
    assert set(statuses) <= {200, 400, 404}
    assert statuses[400] > count / 10
    settled(server)


def test_every_prefix_of_a_body(server: Server) -> None:
    """Cut anywhere, it is a 400 and never an empty 200."""
    data = json.dumps({"model": "m", "prompt": "x", "max_tokens": 1, "stop": ["a"], "n": 1}).encode()
    for cut in range(len(data)):
        reply = server.request("POST", "/v1/completions", raw=data[:cut])
        assert reply.status == 400
        assert reply.json()["error"]["message"]
