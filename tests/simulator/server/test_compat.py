"""The same requests under --compat vllm-0.11 and llm-d-0.7: their bodies, errors and semantics."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from simulator.config.compat import COMPATS, compat
from simulator.errors import ConfigError
from tests.simulator.server.serving import Reply, Server, serving

FLAGS = ("--model", "m", "--max-model-len", "64", "--seed", "1", "--latency", "zero")
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(scope="module")
def v011() -> Iterator[Server]:
    with serving(*FLAGS, "--compat", "vllm-0.11") as server:
        yield server


@pytest.fixture(scope="module")
def llmd() -> Iterator[Server]:
    with serving(*FLAGS, "--compat", "llm-d-0.7") as server:
        yield server


def complete(server: Server, **more: Any) -> Reply:
    return server.request(
        "POST", "/v1/completions", {"model": "m", "prompt": "a b c", "max_tokens": 3, **more}
    )


def error(reply: Reply) -> dict[str, Any]:
    found: dict[str, Any] = reply.json()["error"]
    assert list(found) == ["message", "type", "param", "code"]
    assert found["code"] == reply.status
    return found


def events(reply: Reply) -> list[Any]:
    lines = reply.body.decode().split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]


def test_unknown_name_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"vllm-0\.33"):
        compat("vllm-9")
    assert set(COMPATS) == {"vllm-0.33", "vllm-0.11", "llm-d-0.7", "llm-d-0.8", "llm-d-0.9", "llm-d-0.10"}


def test_011_completion_keys(v011: Server) -> None:
    body = complete(v011).json()
    assert list(body) == [
        *("id", "object", "created", "model", "choices", "service_tier", "system_fingerprint", "usage"),
        "kv_transfer_params",
    ]
    assert list(body["choices"][0]) == [
        *("index", "text", "logprobs", "finish_reason", "stop_reason", "token_ids", "prompt_logprobs"),
        "prompt_token_ids",
    ]
    assert list(body["usage"]) == [
        "prompt_tokens",
        "total_tokens",
        "completion_tokens",
        "prompt_tokens_details",
    ]
    assert body["system_fingerprint"] is None
    assert len(body["id"]) == len("cmpl-") + 32


def test_011_chat_message(v011: Server) -> None:
    message = v011.request("POST", "/v1/chat/completions", {**CHAT, "max_tokens": 3}).json()["choices"][0][
        "message"
    ]
    assert message["tool_calls"] == []
    assert list(message)[-1] == "reasoning_content"


def test_011_stream_chunks(v011: Server) -> None:
    chunks = events(complete(v011, stream=True, ignore_eos=True))
    assert len(chunks) == 3
    assert list(chunks[0]) == ["id", "object", "created", "model", "choices"]
    assert list(chunks[0]["choices"][0])[-2:] == ["prompt_token_ids", "token_ids"]


def test_011_errors(v011: Server) -> None:
    assert error(complete(v011, model="nope")) == {
        "message": "The model `nope` does not exist.",
        "type": "NotFoundError",
        "param": None,
        "code": 404,
    }
    assert error(complete(v011, max_tokens=63))["message"] == (
        "'max_tokens' or 'max_completion_tokens' is too large: 63. This model's maximum context length is 64 "
        "tokens and your request has 3 input tokens (63 > 64 - 3)."
    )
    assert error(complete(v011, temperature=-1)) == {
        "message": "temperature must be non-negative, got -1.0.",
        "type": "BadRequestError",
        "param": None,
        "code": 400,
    }
    assert complete(v011, temperature=3).status == 200
    wrong = error(complete(v011, max_tokens="abc"))
    assert wrong["message"].startswith("[{'type': 'int_parsing', 'loc': ('body', 'max_tokens')")
    assert wrong["param"] is None
    long = error(complete(v011, prompt=[5] * 64))
    assert long["message"].startswith(
        "This model's maximum context length is 64 tokens. However, your request has"
    )


def test_011_embeddings(v011: Server) -> None:
    reply = v011.request("POST", "/v1/embeddings", {"model": "m", "input": "x"})
    assert error(reply)["message"] == "The model does not support Embeddings API"


def test_llmd_completion_is_the_pages(llmd: Server) -> None:
    body = complete(llmd).json()
    assert list(body) == ["id", "created", "model", "usage", "object", "kv_transfer_params", "choices"]
    assert list(body["choices"][0]) == ["index", "finish_reason", "text"]
    assert list(body["usage"]) == ["prompt_tokens", "completion_tokens", "total_tokens"]
    assert body["id"].count("-") == 5


def test_llmd_ignores_what_it_does_not_know(llmd: Server) -> None:
    odd = {"temperature": "hot", "top_p": 7, "stop": 5, "n": -1, "best_of": {}, "logit_bias": "x"}
    assert complete(llmd, **odd).status == 200
    reply = llmd.request(
        "POST", "/v1/completions", {"MODEL": "m", "Prompt": "x", "max_tokens": 1, "stream": None}
    )
    assert reply.status == 200


def test_llmd_errors(llmd: Server) -> None:
    assert error(complete(llmd, model="nope"))["message"] == "The model `nope` does not exist."
    assert error(llmd.request("POST", "/v1/completions", {"prompt": "x"}))["code"] == 404
    positive = "Max completion tokens and max tokens should be positive"
    assert error(complete(llmd, max_tokens=0))["message"] == positive
    assert error(complete(llmd, max_tokens=62))["message"] == (
        "This model's maximum context length is 64 tokens. However, you requested 65 tokens (3 in the "
        "messages, 62 in the completion). Please reduce the length of the messages or completion"
    )
    remote = {"stream": True, "kv_transfer_params": {"do_remote_decode": True}}
    assert error(complete(llmd, **remote))["message"] == "Prefill does not support streaming"
    eos = llmd.request("POST", "/v1/chat/completions", {**CHAT, "ignore_eos": True})
    assert error(eos)["message"].startswith("Ignore_eos is true but")
    garbage = llmd.request("POST", "/v1/completions", raw=b"")
    assert (garbage.status, garbage.headers["content-type"]) == (400, "text/plain; charset=utf-8")
    assert garbage.body == b"Failed to read and parse request body, unexpected end of JSON input"


def test_llmd_streams(llmd: Server) -> None:
    chunks = events(complete(llmd, stream=True, ignore_eos=True))
    assert list(chunks[0]) == ["id", "created", "model", "usage", "object", "kv_transfer_params", "choices"]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, None, "length"]
    body = {**CHAT, "max_tokens": 8, "stream": True}
    chat = events(llmd.request("POST", "/v1/chat/completions", body))
    assert chat[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    if chat[-1]["choices"][0]["finish_reason"] == "stop":
        assert chat[-1]["choices"][0]["delta"] == {"content": ""}


def test_llmd_remote_decode(llmd: Server) -> None:
    body = complete(llmd, kv_transfer_params={"do_remote_decode": True}).json()
    assert body["choices"][0]["finish_reason"] == "remote_decode"


def test_llmd_routes(llmd: Server) -> None:
    health = llmd.request("GET", "/health")
    assert (health.status, health.body) == (200, b"{}")
    nothing = llmd.request("GET", "/nope")
    assert (nothing.status, nothing.body, nothing.headers["content-type"]) == (
        404,
        b"Not Found",
        "text/plain; charset=utf-8",
    )
    assert llmd.request("GET", "/v1/completions").body == b"Method Not Allowed"
    card = llmd.request("GET", "/v1/models").json()["data"][0]
    assert list(card) == ["id", "object", "created", "owned_by", "root", "parent"]


def test_llmd_adapters(llmd: Server) -> None:
    for _ in range(2):
        loaded = llmd.request("POST", "/v1/load_lora_adapter", {"lora_name": "a", "lora_path": "/x"})
        assert (loaded.status, loaded.body) == (200, b"")
    assert complete(llmd, model="a").json()["model"] == "a"
    assert llmd.request("POST", "/v1/unload_lora_adapter", {"lora_name": "a"}).status == 200
    assert llmd.request("POST", "/v1/unload_lora_adapter", {"lora_name": "a"}).status == 200
    assert complete(llmd, model="a").status == 404


def test_llmd_queue_and_failures() -> None:
    flags = ("--compat", "llm-d-0.7", "--model", "m", "--failure-injection-rate", "100")
    with serving(*flags, "--failure-types", "rate_limit") as failing:
        refused = error(complete(failing))
        assert (refused["code"], refused["type"]) == (429, "RateLimitError")
        assert refused["message"].startswith("Rate limit reached for m in organization")


def test_llmd_embeddings(llmd: Server) -> None:
    reply = llmd.request("POST", "/v1/embeddings", {"input": ["a b", "c"], "dimensions": 4}).json()
    assert [len(item["embedding"]) for item in reply["data"]] == [4, 4]
    assert reply["usage"]["prompt_tokens"] == 3
    coded = llmd.request("POST", "/v1/embeddings", {"input": "a", "encoding_format": "base64"}).json()
    assert isinstance(coded["data"][0]["embedding"], str)
    assert llmd.request("POST", "/v1/embeddings", {"input": ""}).status == 400
