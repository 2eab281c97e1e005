"""Messages, tokenizing, queue limits, prefill/decode parameters, ranks, pausing, streams in intervals."""

from __future__ import annotations

import http.client
import json
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.ports import free_port
from tests.simulator.server.serving import Server, serving
from tests.simulator.steps import FLAT_20_MS
from tests.waiting import until

FLAGS = (
    *("--model", "m", "--seed", "1", "--latency", "zero", "--max-model-len", "512"),
    *("--enable-auto-tool-choice", "--tool-call-parser", "hermes", "--enable-prompt-tokens-details"),
    *("--kv-transfer-config", '{"kv_connector":"NixlConnector","kv_role":"kv_both"}'),
)
DEV = {"VLLM_SERVER_DEV_MODE": "1"}
HI: dict[str, Any] = {"model": "m", "max_tokens": 6, "messages": [{"role": "user", "content": "hi"}]}
TOOL = {
    "name": "f",
    "input_schema": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(*FLAGS, env={"VLLM_SERVER_DEV_MODE": "1"}) as running:
        yield running


def named_events(body: bytes) -> list[tuple[str, Any]]:
    found = []
    for block in body.decode().split("\n\n"):
        if block.startswith("event: "):
            kind, data = block.split("\n")
            found.append((kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def test_messages(server: Server) -> None:
    body = server.request("POST", "/v1/messages", HI).json()
    assert list(body) == ["id", "type", "role", "content", "model", "stop_reason", "usage"]
    assert body["content"][0]["type"] == "text"
    assert body["usage"]["output_tokens"] <= 6


def test_messages_stream(server: Server) -> None:
    reply = server.request(
        "POST", "/v1/messages", {**HI, "stream": True, "system": [{"type": "text", "text": "s"}]}
    )
    kinds = [kind for kind, _ in named_events(reply.body)]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert set(kinds[2:-3]) == {"content_block_delta"}
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert b"[DONE]" not in reply.body


@pytest.mark.parametrize("stream", [False, True])
def test_messages_use_a_tool(server: Server, stream: bool) -> None:
    body = {
        **HI,
        "max_tokens": 100,
        "tools": [TOOL],
        "tool_choice": {"type": "tool", "name": "f"},
        "stream": stream,
    }
    reply = server.request("POST", "/v1/messages", body)
    if not stream:
        use = reply.json()["content"][0]
        assert (use["type"], use["name"]) == ("tool_use", "f")
        assert isinstance(use["input"]["a"], int)
        assert reply.json()["stop_reason"] == "tool_use"
        return
    events = named_events(reply.body)
    pieces = [e["delta"]["partial_json"] for kind, e in events if kind == "content_block_delta"]
    assert isinstance(json.loads("".join(pieces))["a"], int)
    assert next(e for kind, e in events if kind == "message_delta")["delta"]["stop_reason"] == "tool_use"


def test_messages_take_blocks_and_results(server: Server) -> None:
    conversation = [
        {"role": "user", "content": [{"type": "text", "text": "go"}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "done"}]},
    ]
    assert server.request("POST", "/v1/messages", {**HI, "messages": conversation}).status == 200
    counted = server.request(
        "POST", "/v1/messages/count_tokens", {"model": "m", "messages": conversation}
    ).json()
    assert counted["input_tokens"] > 10
    image = [{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "http://x/y"}}]}]
    refused = server.request("POST", "/v1/messages", {**HI, "messages": image})
    assert refused.json()["error"]["message"] == "m is not a multimodal model"
    assert refused.json()["type"] == "error"


def test_responses_are_not_stored(server: Server) -> None:
    for method, path in (("GET", "/v1/responses/resp_1"), ("POST", "/v1/responses/resp_1/cancel")):
        reply = server.request(method, path)
        assert (reply.status, reply.json()["error"]["type"]) == (404, "invalid_request_error")
    body = {"model": "m", "input": "x", "previous_response_id": "resp_1"}
    assert server.request("POST", "/v1/responses", body).status == 404


def test_responses_take_items(server: Server) -> None:
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "weather?"}]},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a": 1}'},
        {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
    ]
    reply = server.request("POST", "/v1/responses", {"model": "m", "input": items, "max_output_tokens": 3})
    assert reply.status == 200
    assert reply.json()["object"] == "response"


def test_tokenize_and_back(server: Server) -> None:
    text = "Hello, wörld! 你好 \U0001f600"
    tokens = server.request("POST", "/tokenize", {"prompt": text}).json()
    assert tokens["count"] == len(tokens["tokens"])
    assert server.request("POST", "/detokenize", {"tokens": tokens["tokens"]}).json() == {"prompt": text}


def test_ids_and_text_are_the_same_prompt(server: Server) -> None:
    ids = server.request("POST", "/tokenize", {"prompt": "a b c"}).json()["tokens"]
    body = {"model": "m", "prompt": ids, "max_tokens": 2, "echo": True}
    answer = server.request("POST", "/v1/completions", body).json()
    assert answer["choices"][0]["text"].startswith("a b c")
    assert answer["usage"]["prompt_tokens"] == len(ids)


def test_truncation(server: Server) -> None:
    body = {"model": "m", "prompt": [5, 6, 7, 8], "max_tokens": 1, "return_token_ids": True}
    for side, kept in (("left", [7, 8]), ("right", [5, 6])):
        cut = {**body, "truncate_prompt_tokens": 2, "truncation_side": side}
        answer = server.request("POST", "/v1/completions", cut).json()
        assert answer["choices"][0]["prompt_token_ids"] == kept
    assert server.request("POST", "/v1/completions", {**body, "truncate_prompt_tokens": 600}).status == 400


def test_prefill_and_decode_legs(server: Server) -> None:
    prompt = list(range(5, 105))
    leg = {"model": "m", "prompt": prompt, "max_tokens": 1, "kv_transfer_params": {"do_remote_decode": True}}
    given = server.request("POST", "/v1/completions", leg).json()["kv_transfer_params"]
    assert given["do_remote_prefill"] is True
    assert all(isinstance(block, int) for group in given["remote_block_ids"] for block in group)
    decode = {**leg, "max_tokens": 4, "kv_transfer_params": given, "ignore_eos": True}
    answer = server.request("POST", "/v1/completions", decode).json()
    assert answer["usage"]["completion_tokens"] == 4
    assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] > 0


def test_aborted_requests_say_so(server: Server) -> None:
    with serving("--model", "m", "--latency", "step", "--step-model", FLAT_20_MS, env=DEV) as slow:
        asked = ask_later(slow, {"model": "m", "prompt": "x", "max_tokens": 3000, "ignore_eos": True})
        until(lambda: slow.metric("vllm:num_requests_running") == 1)
        assert slow.request("POST", "/abort_requests", raw=b"{}").json() == {
            "status": "aborted",
            "aborted": 1,
        }
        assert asked().json()["choices"][0]["finish_reason"] == "abort"
        assert slow.metric("vllm:request_success_total") == 1


def ask_later(server: Server, body: dict[str, Any]) -> Any:
    replies: list[Any] = []
    thread = threading.Thread(target=lambda: replies.append(server.request("POST", "/v1/completions", body)))
    thread.start()

    def reply() -> Any:
        thread.join(30)
        assert replies, "no answer within 30 s, or an exception in its thread"
        return replies[0]

    return reply


def test_llmd_queue_limit() -> None:
    flags = (
        "--max-num-seqs",
        "1",
        "--max-waiting-queue-length",
        "1",
        "--latency",
        "step",
        "--step-model",
        FLAT_20_MS,
    )
    with serving("--model", "m", *flags, env=DEV) as small:
        body = {"model": "m", "prompt": "x", "max_tokens": 3000, "ignore_eos": True}
        asked = []
        for count in (1, 2):
            asked.append(ask_later(small, body))
            until(lambda count=count: small.in_flight == count)
        for stream in (False, True):
            refused = small.request("POST", "/v1/completions", {**body, "stream": stream})
            assert (refused.status, refused.headers["retry-after"]) == (429, "1")
            assert refused.json()["error"]["message"].endswith("waiting requests queue is full")
        for one in asked:
            small.request("POST", "/abort_requests", raw=b"{}")
            assert one().status == 200


def test_ranks_have_ports_and_engines_of_their_own() -> None:
    first = free_port()
    flags = ("--model", "m", "--latency", "zero", "--data-parallel-size", "2", "--pod-name", "p")
    with serving(*flags, "--data-parallel-multi-port-external-lb") as pod:
        assert pod.port != first
        ports = []
        for port in (pod.port, pod.port + 1):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            connection.request(
                "POST", "/v1/completions", json.dumps({"model": "m", "prompt": "x", "max_tokens": 1})
            )
            response = connection.getresponse()
            response.read()
            ports.append(response.headers["x-inference-port"])
            connection.close()
        assert ports == [str(pod.port), str(pod.port + 1)]
        body = {"model": "m", "prompt": "x", "max_tokens": 1}
        reply = pod.request("POST", "/v1/completions", body, {"x-data-parallel-rank": "1"})
        assert reply.status == 200
        assert pod.request("POST", "/v1/completions", body, {"x-data-parallel-rank": "2"}).status == 400


def test_stream_interval() -> None:
    with serving("--model", "m", "--latency", "zero", "--stream-interval", "4") as sparse:
        body = {"model": "m", "prompt": "x", "max_tokens": 10, "ignore_eos": True, "stream": True}
        reply = sparse.request("POST", "/v1/completions", {**body, "return_token_ids": True})
        chunks = [
            json.loads(line[6:]) for line in reply.body.decode().split("\n\n") if line.startswith("data: {")
        ]
        assert [len(chunk["choices"][0]["token_ids"]) for chunk in chunks] == [1, 4, 4, 1]


def test_silent_streams_are_kept_alive() -> None:
    flags = ("--time-to-first-token", "4s", "--sse-keep-alive-interval", "1")
    with serving("--model", "m", *flags) as quiet:
        body = {"model": "m", "prompt": "x", "max_tokens": 1, "stream": True}
        reply = quiet.request("POST", "/v1/completions", body)
        assert 2 <= reply.body.count(b": keep-alive\n\n") <= 20
        assert reply.body.endswith(b"data: [DONE]\n\n")


def test_queued_tokens_are_limited() -> None:
    flags = (
        "--max-num-seqs",
        "1",
        "--max-num-queued-tokens",
        "50",
        "--latency",
        "step",
        "--step-model",
        FLAT_20_MS,
    )
    with serving("--model", "m", *flags, env=DEV) as small:
        running = ask_later(small, {"model": "m", "prompt": [5] * 40, "max_tokens": 3000, "ignore_eos": True})
        until(lambda: small.metric("vllm:num_requests_running") == 1)
        waiting = ask_later(small, {"model": "m", "prompt": [6] * 40, "max_tokens": 1})
        until(lambda: small.metric("vllm:num_requests_waiting") == 1)
        assert small.request("POST", "/v1/completions", {"model": "m", "prompt": [7] * 40}).status == 503
        small.request("POST", "/abort_requests", raw=b"{}")
        assert (running().status, waiting().status) == (200, 200)
        assert small.metric("vllm:admission_rejections_total") == 1


def test_one_port_stands_for_all_ranks() -> None:
    """vLLM's internal load balancing: ties go round, a header names a rank, one page has every engine."""
    flags = ("--model", "m", "--latency", "zero", "--data-parallel-size", "3")
    body = {"model": "m", "prompt": "x", "max_tokens": 4, "ignore_eos": True}
    with serving(*flags) as pod:

        def generated() -> list[float]:
            page = pod.request("GET", "/metrics").body.decode()
            found = re.findall(r'^vllm:generation_tokens_total\{engine="(\d)",.*\} (.*)$', page, re.MULTILINE)
            assert [engine for engine, _ in found] == ["0", "1", "2"]
            assert page.count("# HELP vllm:generation_tokens_total ") == 1
            return [float(value) for _, value in found]

        for _ in range(6):
            assert pod.request("POST", "/v1/completions", body).status == 200
        assert generated() == [8.0, 8.0, 8.0]
        for _ in range(2):
            assert pod.request("POST", "/v1/completions", body, {"x-data-parallel-rank": "2"}).status == 200
        assert generated() == [8.0, 8.0, 16.0]
        assert pod.request("POST", "/v1/completions", body, {"x-data-parallel-rank": "3"}).status == 400
        assert pod.metric("http_requests_total") == 9


def test_a_node_serves_its_own_ranks() -> None:
    flags = ("--model", "m", "--data-parallel-size", "4", "--data-parallel-size-local", "2")
    with serving(*flags, "--data-parallel-start-rank", "2") as pod:
        page = pod.request("GET", "/metrics").body.decode()
        assert set(re.findall(r'^vllm:num_requests_running\{engine="(\d)"', page, re.MULTILINE)) == {"2", "3"}
