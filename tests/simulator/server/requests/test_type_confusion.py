"""Every value of every kind of request replaced by values of other types: none is answered with 500.

The bodies are good ones; each place in them is one case with each odd value, and JSON that no encoder would
write is put in as bytes.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.simulator.server.serving import serving

FLAGS = (
    *("--model", "m", "--latency", "zero", "--max-model-len", "2048", "--disable-log-stats"),
    *("--tool-call-parser", "hermes", "--enable-auto-tool-choice", "--seed", "1"),
)
DEEP = b"[" * 5000 + b"]" * 5000
MARK = "\ue000mark"
ODD: tuple[bytes, ...] = (
    *(b"null", b"true", b"false", b"0", b"-1", b"1", b"5", b"0.5", b"1e400", b"-1e400", b"NaN", b"1e308"),
    *(b"9" * 30, b"9" * 400, b"9" * 5000, b"-" + b"9" * 400, b'""', b'"x"', b'"#"', b'"("', b'"\\ud800"'),
    *(b'"\xff\xfe"', b'"' + b"9" * 5000 + b'"', b"[]", b"{}", b"[null]", b"[[]]", b"[{}]", b'["x"]', b"[1]"),
    *(b'{"a": 1}', b'{"a": null}', b'{"$ref": "#"}', b'{"type": "object"}', b'{"a": {}}', b"[true]", DEEP),
    *(
        b'[1, "x"]',
        b'{"type": "x"}',
        b'{"type": "text"}',
        b"[[1], 2]",
        b'"\\u0000"',
        b"-0.0",
        b"1e-400",
        b"[NaN]",
    ),
    *(b'{"": 1}', b"[[{}]]", b'["", null]', b"9223372036854775808", b"[" + b"0," * 2000 + b"0]"),
    *(b'"[[[[1]]]]"', b'"{\\"a\\": ' + b"9" * 5000 + b'}"', b'"\\"\\\\ud800\\""', b'"' + DEEP + b'"'),
)
SCHEMA: dict[str, Any] = {
    "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}},
    "type": "object",
    "properties": {
        "text": {"type": "string", "minLength": 3, "maxLength": 9, "pattern": "^[a-z]+$", "format": "email"},
        "number": {"type": "number", "minimum": 0, "exclusiveMaximum": 9, "multipleOf": 0.5},
        "whole": {"type": ["integer", "null"], "maximum": 9, "exclusiveMinimum": 0},
        "list": {
            "type": "array",
            "items": {"enum": [1, "a"]},
            "minItems": 1,
            "uniqueItems": True,
            "maxItems": 2,
        },
        "pair": {"prefixItems": [{"type": "null"}, {"const": 1}], "items": False, "minItems": 2},
        "either": {
            "anyOf": [{"type": "null"}, {"allOf": [{"$ref": "#/$defs/node"}]}],
            "not": {"type": "array"},
        },
        "one": {"oneOf": [{"type": "boolean"}], "minProperties": 1, "maxProperties": 3},
    },
    "required": ["text", "number", "whole", "list", "pair", "either", "one"],
    "additionalProperties": False,
}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": "x"},
    {"role": "user", "content": [{"type": "text", "text": "x"}], "name": "n"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c", "content": "x"},
]
TOOLS = [{"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}]
SAMPLING: dict[str, Any] = {
    "n": 2, "stop": ["x"], "seed": 1, "temperature": 1.0, "top_p": 0.9, "top_k": 5, "min_p": 0.1,
    "presence_penalty": 0.1, "frequency_penalty": 0.1, "repetition_penalty": 1.1, "logit_bias": {"5": 1.0},
    "stop_token_ids": [5], "min_tokens": 1, "ignore_eos": True, "truncate_prompt_tokens": 50, "priority": 0,
    "request_id": "r", "cache_salt": "s", "kv_transfer_params": {"a": 1}, "allowed_token_ids": [300],
    "bad_words": ["x"], "user": "u", "repetition_detection": {"max_pattern_size": 5, "min_count": 2},
}  # fmt: skip
STREAM = {"stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}}
CHAT: dict[str, Any] = {"model": "m", "messages": MESSAGES, "max_tokens": 20}
ANSWER = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": SCHEMA}}
NAMED = {"type": "function", "function": {"name": "f"}}
BODIES: list[tuple[str, Any]] = [
    ("/v1/completions", {"model": "m", "prompt": ["a", "b"], "max_tokens": 3, "logprobs": 2, "echo": True}),
    ("/v1/completions", {"model": "m", "prompt": [[300, 301]], "max_tokens": 3, **SAMPLING}),
    ("/v1/completions", {"model": "m", "prompt": "a", "guided_json": SCHEMA, "max_tokens": 9, **STREAM}),
    ("/v1/completions", {"model": "m", "prompt": "a", "guided_regex": "a+", "guided_choice": ["a"]}),
    ("/v1/chat/completions", {**CHAT, **SAMPLING, "logprobs": True, "top_logprobs": 2, "prompt_logprobs": 1}),
    ("/v1/chat/completions", {**CHAT, "response_format": ANSWER}),
    ("/v1/chat/completions", {**CHAT, "tools": TOOLS, "tool_choice": NAMED, "parallel_tool_calls": True}),
    ("/v1/chat/completions", {**CHAT, "tools": TOOLS, "tool_choice": "required", **STREAM}),
    ("/v1/chat/completions", {**CHAT, "structured_outputs": {"json": json.dumps(SCHEMA)}, "echo": True}),
    ("/v1/chat/completions", {**CHAT, "structured_outputs": {"regex": "[a-z]+"}, "documents": [{"a": "b"}]}),
    ("/v1/chat/completions", {**CHAT, "guided_choice": ["a", "b"], "chat_template_kwargs": {"a": 1}}),
    ("/v1/responses", {"model": "m", "input": [{"role": "user", "content": "x"}], "max_output_tokens": 9,
                       "tools": [{"type": "function", **TOOLS[0]["function"]}], "tool_choice": "auto",
                       "metadata": {"a": "1"},
                       "text": {"format": {"type": "json_schema", "name": "x", "schema": {"type": "null"}}},
                       "reasoning": {"effort": "low"}, "instructions": "x", "stop": ["x"], "top_k": 5}),
    ("/v1/responses", {"model": "m", "max_output_tokens": 9, "stream": True, "input": [
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "x"}]}),
    ("/v1/messages", {"model": "m", "max_tokens": 9, "system": [{"type": "text", "text": "x"}], "messages": [
        {"role": "user", "content": [{"type": "text", "text": "x"},
                                     {"type": "tool_result", "tool_use_id": "c", "content": "x"}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}}]}],
        "tools": [{"name": "f", "description": "d", "input_schema": SCHEMA}], "stop_sequences": ["x"],
        "tool_choice": {"type": "tool", "name": "f"}, "temperature": 1.0, "metadata": {"user_id": "u"}}),
    ("/v1/messages/count_tokens", {"model": "m", "messages": [{"role": "user", "content": "x"}]}),
    ("/tokenize", {"model": "m", "prompt": "x", "add_special_tokens": True, "return_token_strs": True}),
    ("/tokenize", {"model": "m", "messages": MESSAGES, "tools": TOOLS}),
    ("/detokenize", {"model": "m", "tokens": [300, 301]}),
    ("/v1/load_lora_adapter", {"lora_name": "l", "lora_path": "/l", "load_inplace": True}),
    ("/v1/unload_lora_adapter", {"lora_name": "l", "lora_int_id": 1}),
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a body, its own included."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def replaced(value: Any, path: tuple[Any, ...], odd: bytes) -> bytes:
    """The body with the value at `path` being `odd`, which need not be JSON."""
    if not path:
        return odd
    copy = json.loads(json.dumps(value))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = MARK
    return (
        json.dumps(copy, ensure_ascii=False)
        .encode()
        .replace(json.dumps(MARK, ensure_ascii=False).encode(), odd)
    )


def cases() -> list[tuple[str, bytes]]:
    return [(url, replaced(body, path, odd)) for url, body in BODIES for path in places(body) for odd in ODD]


async def send_all(port: int, sent: list[tuple[str, bytes]]) -> list[tuple[int, str, bytes]]:
    """(status, path, body) of each, over a few connections; status 0 where there was no answer."""
    answers: list[tuple[int, str, bytes]] = []
    left = iter(sent)

    async def one_after_the_other() -> None:
        for path, body in left:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            head = (
                f"POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
            )
            writer.write(head.encode() + body)
            answer = await asyncio.wait_for(reader.read(), 60)
            writer.close()
            status = int(answer.split(b" ", 2)[1]) if answer else 0
            if b'"code": 500' in answer or b'"code":500' in answer:  # inside a stream
                status = 500
            answers.append((status, path, body))

    await asyncio.gather(*(one_after_the_other() for _ in range(8)))
    return answers


@pytest.mark.parametrize(
    "count", [1500, pytest.param(None, marks=pytest.mark.slow)], ids=["some", "fifty-thousand"]
)
def test_no_type_is_an_internal_error(count: int | None) -> None:
    every = cases()
    assert len(every) > 50_000
    sent = every if count is None else random.Random(1).sample(every, count)
    env = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"}
    with serving(*FLAGS, "--enable-lora", env=env) as server:
        answers = asyncio.run(send_all(server.port, sent))
    wrong = [(status, path, body[:300]) for status, path, body in answers if not 0 < status < 500]
    counts = Counter(status for status, _, _ in answers)
    assert not wrong, (len(wrong), wrong[:5])
    assert len(answers) == len(sent)
    assert min(counts[200], counts[400]) > len(sent) // 10, counts


def test_the_bodies_themselves_are_good() -> None:
    """Else nothing behind the first refusal would be reached."""
    with serving(*FLAGS, "--enable-lora", env={"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"}) as server:
        for path, body in BODIES:
            reply = server.request("POST", path, body)
            assert reply.status == 200, (path, body, reply.body)
