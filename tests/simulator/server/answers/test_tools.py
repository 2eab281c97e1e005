"""Invented JSON, tool calls and constrained texts fit what was asked, for any seed."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.config.compat import compat
from simulator.config.serve import ToolCallConfig
from simulator.server.answers.tools import decide_calls
from simulator.server.answers.values.budget import Budget
from simulator.server.answers.values.json_values import JsonValues
from simulator.server.answers.values.regex_values import matching_text
from simulator.server.answers.values.structured import constrained_text, constrained_texts
from simulator.server.errors import ApiError
from simulator.server.requests.lean import ChatRequest
from tests.simulator.server.serving import serving

SETTINGS = ToolCallConfig()
COMPAT = compat("vllm-0.33")
TREE: dict[str, Any] = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "minLength": 3, "maxLength": 6},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
            },
            "required": ["name"],
            "additionalProperties": False,
        }
    },
    "$ref": "#/$defs/node",
}
SCHEMAS: list[Any] = [
    {"type": "string"},
    {"type": "string", "minLength": 40, "maxLength": 50},
    {"type": "string", "pattern": "^[A-Z]{3}-\\d{4}(foo|bar)?$"},
    {"type": "string", "format": "date-time"},
    {"type": "integer", "minimum": 500, "maximum": 510},
    {"type": "integer", "exclusiveMinimum": -5, "exclusiveMaximum": -3},
    {"type": "integer", "multipleOf": 7, "minimum": 1, "maximum": 99},
    {"type": "number", "minimum": 0.25, "maximum": 0.75},
    {"type": "boolean"},
    {"type": "null"},
    {"type": ["null", "integer"]},
    {"enum": [1, "two", None]},
    {"const": {"a": [1]}},
    {"type": "array", "items": {"type": "integer"}, "minItems": 3, "maxItems": 3},
    {"type": "array", "items": {"enum": ["a", "b", "c"]}, "uniqueItems": True, "minItems": 2, "maxItems": 3},
    {
        "type": "array",
        "prefixItems": [{"type": "string"}, {"type": "boolean"}],
        "items": False,
        "minItems": 2,
    },
    {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a", "b"]},
    {"type": "object", "minProperties": 2, "properties": {"a": {"type": "null"}, "b": {"type": "null"}}},
    {"anyOf": [{"type": "integer"}, {"type": "string"}]},
    {"oneOf": [{"type": "object", "properties": {"x": {"const": 1}}, "required": ["x"]}, {"type": "null"}]},
    {"allOf": [{"properties": {"a": {"type": "integer"}}, "required": ["a"]}, {"required": ["b"]}]},
    {"properties": {"deep": {"properties": {"deeper": {"items": {"type": "boolean"}}}}}},
    TREE,
    {},
    # OpenAI's own form of recursion, lists that end, branches that end
    {
        "type": "object",
        "properties": {"kind": {"enum": ["box"]}, "children": {"type": "array", "items": {"$ref": "#"}}},
        "required": ["kind", "children"],
        "additionalProperties": False,
    },
    {
        "type": "object",
        "properties": {s: {"anyOf": [{"$ref": "#"}, {"type": "null"}]} for s in ("left", "right")},
        "required": ["left", "right"],
    },
    {"type": ["object", "null"], "properties": {"next": {"$ref": "#"}}, "required": ["next"]},
    {
        "allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}],
        "$defs": {"a": {"minimum": 3}, "b": {"maximum": 4}},
    },
    {"type": "array", "items": {"type": "string"}, "uniqueItems": True, "minItems": 60},
    {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.0005},
    {"type": "number", "multipleOf": 0.25, "exclusiveMinimum": 1.5, "maximum": 1.75},
    {"type": "integer", "multipleOf": 0.5, "minimum": 3, "maximum": 4},
    {"type": "string", "pattern": "^a+$", "minLength": 30, "maxLength": 40},
    {"type": "object", "required": ["b"], "properties": {"a": {}, "b": {}, "c": {}}, "maxProperties": 1},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: json.dumps(schema)[:60])
def test_values_fit_their_schema(schema: Any) -> None:
    for seed in range(60):
        value = JsonValues(random.Random(seed), SETTINGS).value(schema)
        jsonschema.validate(value, schema)
        json.dumps(value)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "minimum": 5, "maximum": 4},
        {"type": "array", "minItems": 3, "maxItems": 2},
        {"type": "string", "minLength": 3, "maxLength": 2},
        {"type": "cheese"},
        {"$ref": "#/nowhere"},
        {"$ref": "#"},
        {"type": "string", "pattern": "("},
        {"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
        {"properties": {"again": {"$ref": "#"}}, "required": ["again"]},
        {"allOf": [{"$ref": "#"}]},
        {"type": "string", "minLength": 10**9},
        {"type": "array", "minItems": 10**9},
        {"type": "object", "minProperties": 10**9},
        {"type": "integer", "minimum": 1.2, "maximum": 1.8},
        {"type": "number", "minimum": 1, "exclusiveMaximum": 1},
        {"type": "integer", "multipleOf": 10, "minimum": 1, "maximum": 9},
        {"type": "string", "enum": [1, 2]},
        {"type": "integer", "const": "a"},
        {"required": ["a"], "additionalProperties": False},
        {"type": "object", "minProperties": 1, "additionalProperties": False},
        {"type": "array", "items": {"enum": [1, 2]}, "uniqueItems": True, "minItems": 3},
        {"allOf": [{"type": "string"}, {"type": "integer"}]},
        {"allOf": [{"enum": [1, 2]}, {"enum": [3]}]},
        {"not": {}},
        {"type": "string", "maxLength": None},
        {"enum": True},
        {"required": True},
        {"pattern": None},
        {"minimum": "1"},
        {"properties": []},
        {"anyOf": [False]},
    ],
    ids=json.dumps,
)
def test_impossible_schemas_are_refused(schema: Any) -> None:
    with pytest.raises(ApiError):
        JsonValues(random.Random(1), SETTINGS).value(schema)


@pytest.mark.parametrize(
    "pattern",
    [r"\d{3}-\d{4}", "(yes|no)+", "[^a-z]{2,5}", r"^\w+@\w+\.com$", "a.c?", r"(ab|cd)\1", "x*", r"\S\s\D\W"],
)
def test_texts_match_their_pattern(pattern: str) -> None:
    for seed in range(30):
        assert re.search(pattern, matching_text(pattern, random.Random(seed)))


@pytest.mark.parametrize(
    "pattern", ["a{1000000000}", "([ab]{1000}){1000}", "(x+x+){20,}y", "(a|b){2000}"], ids=lambda p: p[:12]
)
def test_only_what_max_tokens_shows_is_made(pattern: str) -> None:
    budget = Budget(max_tokens=2)
    assert 20 < len(matching_text(pattern, random.Random(1), budget)) <= 2 * 128 + 4
    value = JsonValues(random.Random(1), SETTINGS, Budget(2)).value({"type": "array", "minItems": 10**9})
    assert 20 < len(value) < 300


def test_all_choices_cost_hardly_more_than_one() -> None:
    schema = {"type": "string", "minLength": 20_000}
    texts = constrained_texts(
        chat(structured_outputs={"json": schema}), SETTINGS, random.Random(1), 10**6, 16384
    )
    assert len(texts) == 1
    few = constrained_texts(chat(guided_choice=["a", "b"]), SETTINGS, random.Random(1), 5, 3)
    assert len(few) == 3


def test_bad_patterns_are_refused() -> None:
    odd = ("(?=a)b", "(?<!a)b", "a++b", "(?>a)", "a^b", r"\ud800", r"[^\s\S]", "(" * 5000, "(()){60000}" * 9)
    for pattern in ("[", "(?P<", "a{99999999999}", *odd):
        with pytest.raises(ApiError):
            matching_text(pattern, random.Random(1))


def tool(name: str, parameters: Any = None) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters or {}}}


def chat(**fields: Any) -> ChatRequest:
    return ChatRequest(messages=[{"role": "user", "content": "x"}], **fields)


def test_none_and_no_tools_call_nothing() -> None:
    rng = random.Random(1)
    assert decide_calls(chat(), SETTINGS, COMPAT, rng) is None
    assert decide_calls(chat(tools=[tool("f")], tool_choice="none"), SETTINGS, COMPAT, rng) is None


def test_required_calls_at_least_one_and_parallel_false_only_one() -> None:
    tools = [tool("f"), tool("g"), tool("h")]
    counts = set()
    for seed in range(50):
        calls = decide_calls(chat(tools=tools, tool_choice="required"), SETTINGS, COMPAT, random.Random(seed))
        assert calls is not None
        counts.add(len(calls.calls))
        one = chat(tools=tools, tool_choice="required", parallel_tool_calls=False)
        alone = decide_calls(one, SETTINGS, COMPAT, random.Random(seed))
        assert alone is not None
        assert len(alone.calls) == 1
    assert counts == {1, 2, 3}


def test_a_named_tool_must_be_there() -> None:
    choice = {"type": "function", "function": {"name": "g"}}
    with pytest.raises(ApiError, match="not found in the tools list"):
        decide_calls(chat(tools=[tool("f")], tool_choice=choice), SETTINGS, COMPAT, random.Random(1))


@given(st.integers(0, 10_000), st.lists(st.integers(1, 9), max_size=200))
@settings(max_examples=60, deadline=None)
def test_pieces_of_spoken_calls_join_to_the_calls(seed: int, sizes: list[int]) -> None:
    """However the text is cut into tokens, the fragments of a stream are the calls of the whole answer."""
    parameters = {"type": "object", "properties": {"s": {"type": "string"}}, "required": ["s"]}
    request = chat(tools=[tool("f", parameters), tool("g", parameters)], tool_choice="required")
    calls = decide_calls(request, SETTINGS, COMPAT, random.Random(seed))
    assert calls is not None
    heard = [""] * len(calls.calls)
    begun = [0] * len(calls.calls)
    position = 0
    for size in [*sizes, len(calls.text)]:
        piece = calls.text[position : position + size]
        for index, arguments, begins in calls.fragments(position, piece):
            heard[index] += arguments
            begun[index] += begins
        position += len(piece)
    assert heard == [call.arguments for call in calls.calls]
    assert begun == [1] * len(calls.calls)
    assert [(call, said) for call, said in calls.spoken(calls.text)] == list(
        zip(calls.calls, heard, strict=True)
    )
    json.loads(calls.text)


def test_constraints() -> None:
    rng = random.Random(1)
    assert constrained_text(chat(), SETTINGS, rng) is None
    assert constrained_text(chat(structured_outputs={"choice": ["only"]}), SETTINGS, rng) == "only"
    assert constrained_text(chat(guided_choice=["only"]), SETTINGS, rng) == "only"
    text = constrained_text(chat(guided_regex="a{3}"), SETTINGS, rng)
    assert text == "aaa"
    schema = {
        "type": "object",
        "properties": {"a": {"const": 1}},
        "required": ["a"],
        "additionalProperties": False,
    }
    wanted = (
        chat(guided_json=schema),
        chat(guided_json=json.dumps(schema)),
        chat(structured_outputs={"json": schema}),
        chat(response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}),
    )
    for request in wanted:
        assert json.loads(constrained_text(request, SETTINGS, rng) or "") == {"a": 1}
    anything = constrained_text(chat(response_format={"type": "json_object"}), SETTINGS, rng)
    assert isinstance(json.loads(anything or ""), dict)
    for bad in (
        chat(response_format={"type": "json_schema"}),
        chat(guided_json="{"),
        chat(structured_outputs={"grammar": "root ::= x"}),
    ):
        with pytest.raises(ApiError):
            constrained_text(bad, SETTINGS, rng)


def test_the_parser_is_counted_as_vllm_counts_it() -> None:
    """Once a choice of whole answers, once a delta of streams; required calls are read without it."""
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tool = {"type": "function", "function": {"name": "weather", "parameters": schema}}
    name = "vllm:tool_call_parser_invocations_total"
    flags = ("--enable-auto-tool-choice", "--tool-call-parser", "hermes", "--model", "m", "--seed", "1")
    with serving(*flags) as server:

        def counted() -> dict[tuple[str, str], float]:
            page = server.request("GET", "/metrics").body.decode()
            pattern = (
                rf'{name}{{mode="(\w+)",model_name="m",outcome="(\w+)",request_type="chat_completions"}} (.*)'
            )
            return {(mode, outcome): float(n) for mode, outcome, n in re.findall(pattern, page)}

        def ask(**fields: Any) -> bytes:
            body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 400, **fields}
            return server.request("POST", "/v1/chat/completions", body).body

        assert set(counted().values()) == {0.0}
        ask()
        ask(tools=[tool], tool_choice="required")
        assert set(counted().values()) == {0.0}
        whole = [b"tool_calls" in ask(tools=[tool], tool_choice="auto", seed=k) for k in range(12)]
        assert counted()["non_streaming", "tool_call"] == sum(whole)
        assert counted()["non_streaming", "no_tool_call"] == 12 - sum(whole)
        chunks = [ask(tools=[tool], tool_choice="auto", seed=k, stream=True) for k in range(12)]
        calls = sum(text.count(b'"tool_calls":[{') for text in chunks)
        assert counted()["streaming", "tool_call"] == calls > 0
        assert counted()["streaming", "no_tool_call"] > 0
