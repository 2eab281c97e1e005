"""What `bench.attacks` sends: the recorded cases, and more of each kind."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"


@dataclass(frozen=True)
class Attack:
    """One request."""

    name: str
    path: str
    body: bytes


def read_cases(path: Path) -> Iterator[Attack]:
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        body = base64.b64decode(row["body_base64"]) if "body_base64" in row else row["body"].encode()
        yield Attack(row["name"], row["path"], body)


def chat(name: str, **fields: Any) -> Attack:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}
    return Attack(name, CHAT, json.dumps(body).encode())


def completion(name: str, **fields: Any) -> Attack:
    return Attack(name, COMPLETIONS, json.dumps({"model": "m", "prompt": "hi", **fields}).encode())


def _schema(name: str, schema: Any, **fields: Any) -> Attack:
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    return chat(name, response_format=wanted, **fields)


def variants() -> Iterator[Attack]:
    """More of each kind."""
    yield from _schemas()
    for pattern in ("a{1000000000}", "(x+x+){20,}y", "([a-z]{1000}){1000}", "((){60000}){60000}", "(" * 300):
        yield chat(f"regex {pattern[:20]}", structured_outputs={"regex": pattern})
        yield _schema(f"pattern {pattern[:20]}", {"type": "string", "pattern": pattern}, max_tokens=50)
        yield completion(f"guided_regex {pattern[:20]}", guided_regex=pattern, n=100, temperature=1)
    choices = ["x" * 100_000] * 40
    yield chat("choice of 100 kB", structured_outputs={"choice": choices}, n=1000, max_tokens=5)
    nested = "[" * 5000 + "]" * 5000
    yield Attack("deep body", CHAT, b'{"messages": ' + nested.encode() + b"}")
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": nested}}
    messages = [{"role": "assistant", "tool_calls": [call]}, {"role": "user", "content": "x"}]
    yield chat("deep arguments", messages=messages)
    yield chat("tool_calls: true", messages=[{"role": "user", "content": "x", "tool_calls": True}])
    yield completion("1000 prompts x n=16384", prompt=["a"] * 1000, n=16384, max_tokens=5)
    yield completion("1000 prompts x n=16", prompt=["a"] * 1000, n=16, max_tokens=5)
    yield completion("a million prompts", prompt=["a"] * 1_000_000, max_tokens=1)
    yield completion("10 000 stop strings", stop=[f"stop{i}" for i in range(10_000)], max_tokens=500)
    yield completion("n=16384 stream", n=16384, max_tokens=5, stream=True)
    yield completion("n=16384 with a schema", n=16384, max_tokens=20, structured_outputs={"json": {}})
    yield chat("n=16384 chat logprobs", n=16384, max_tokens=5, logprobs=True, top_logprobs=5)
    yield completion("prompt_logprobs", prompt=list(range(300, 5000)), prompt_logprobs=20, max_tokens=1)
    yield completion("echo logprobs", prompt=list(range(300, 5000)), echo=True, logprobs=20, max_tokens=1)
    yield from _large()
    for path in (CHAT, COMPLETIONS, "/v1/responses", "/v1/messages", "/tokenize", "/detokenize"):
        yield Attack(f"UTF-8 {path}", path, b'{"model": "m", "prompt": "\xff\xfe"}')
        yield Attack(f"digits {path}", path, b'{"model": "m", "n": ' + b"9" * 5000 + b"}")


def _large() -> Iterator[Attack]:
    """Bodies nearly as large as they may be, of the kinds that cost a reader most; and one that is larger."""
    size = 9 << 20
    for path, key in ((COMPLETIONS, "prompt"), ("/tokenize", "prompt"), ("/v1/responses", "input")):
        for name, text in (
            ("text", "word " * (size // 5)),
            ("one word", "a" * size),
            ("euros", "€" * (size // 3)),
        ):
            body = json.dumps({"model": "m", key: text}, ensure_ascii=False).encode()
            yield Attack(f"9 MB of {name} to {path}", path, body)
        yield Attack(
            f"9 MB of ids to {path}", path, json.dumps({"model": "m", key: [5] * (size // 3)}).encode()
        )
        yield Attack(
            f"9 MB of lists to {path}", path, json.dumps({"model": "m", key: [[5]] * (size // 5)}).encode()
        )
    yield chat("9 MB of chat text", messages=[{"role": "user", "content": "word " * (size // 5)}])
    yield chat("200 000 messages", messages=[{"role": "user", "content": "hi"}] * 200_000)
    yield chat(
        "200 000 content parts",
        messages=[{"role": "user", "content": [{"type": "text", "text": "a"}] * 200_000}],
    )
    function = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    yield chat("100 000 tools", tools=[function] * 100_000, tool_choice="required")
    for name, value in {
        "objects": [{}] * 2_300_000,
        "strings": [""] * 2_300_000,
        "numbers": [0.5] * 1_800_000,
        "keys": {str(i): 0 for i in range(700_000)},
    }.items():
        yield completion(f"9 MB of {name} in an unknown field", x=value)
        yield completion(f"9 MB of {name} and NaN in an unknown field", x=value, y=float("nan"))
        yield completion(f"9 MB of {name} as a schema", structured_outputs={"json": {"enum": [value]}})
        yield completion(f"9 MB of {name} as kv_transfer_params", kv_transfer_params={"x": value})
        yield completion(f"9 MB of {name} as stop", stop=value)
    yield completion("logit_bias of 300 000", logit_bias={str(i): 1 for i in range(300_000)})
    yield completion("a million stop_token_ids", stop_token_ids=list(range(1_000_000)))
    yield completion("a million allowed_token_ids", allowed_token_ids=list(range(1_000_000)))
    yield completion("500 000 bad_words", bad_words=["word"] * 500_000)
    yield completion("guided_choice of 500 000", structured_outputs={"choice": ["a"] * 500_000})
    schema = json.dumps({"properties": {f"k{i}": {"type": "null"} for i in range(150_000)}})
    yield completion("a schema of 5 MB in a string", structured_outputs={"json": schema})
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": schema}}
    yield chat(
        "arguments of 5 MB",
        messages=[{"role": "assistant", "tool_calls": [call]}, {"role": "user", "content": "x"}],
    )
    yield Attack(
        "500 000 tokens to /detokenize",
        "/detokenize",
        json.dumps({"model": "m", "tokens": [300] * 500_000}).encode(),
    )
    yield Attack("60 MB", COMPLETIONS, json.dumps({"model": "m", "prompt": "word " * 12_000_000}).encode())


def _schemas() -> Iterator[Attack]:
    doubling = {f"l{i}": {"allOf": [{"$ref": f"#/$defs/l{i + 1}"}] * 2} for i in range(40)}
    branches = {f"l{i}": {"anyOf": [{"$ref": f"#/$defs/l{i + 1}"}] * 9} for i in range(40)}
    end = {"l40": {"type": "null"}}
    yield _schema("allOf doubling", {"$defs": {**doubling, **end}, "$ref": "#/$defs/l0"})
    yield _schema("anyOf times nine", {"$defs": {**branches, **end}, "$ref": "#/$defs/l0"})
    for tokens in (5, 2000):
        for key, schema in {
            "minLength": {"type": "string", "minLength": 10**9},
            "minItems": {"type": "array", "minItems": 10**9, "items": {"type": "integer"}},
            "uniqueItems": {"type": "array", "minItems": 3000, "uniqueItems": True},
            "minProperties": {"type": "object", "minProperties": 10**9},
            "required": {"type": "object", "required": [f"k{i}" for i in range(20_000)]},
            "enum": {"enum": list(range(100_000))},
            "properties": {"properties": {f"k{i}": {} for i in range(20_000)}},
        }.items():
            yield _schema(f"{key}, {tokens} tokens", schema, max_tokens=tokens)
            function = {
                "name": "f",
                "parameters": {"type": "object", "required": ["a"], "properties": {"a": schema}},
            }
            choice = {"type": "function", "function": {"name": "f"}}
            tools = [{"type": "function", "function": function}]
            yield chat(f"tool {key}, {tokens} tokens", tools=tools, tool_choice=choice, max_tokens=tokens)
