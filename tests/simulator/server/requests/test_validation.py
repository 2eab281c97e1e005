"""From bytes to a request, or to the 400 that the imitated server gives for them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.config.compat import compat
from simulator.server.errors import ApiError
from simulator.server.requests import lean, schema
from simulator.server.requests.other import DetokenizeRequest
from simulator.server.requests.validation import (
    MAX_DEPTH,
    MAX_LISTS,
    MAX_STRINGS,
    check_content_type,
    check_shape,
    convert,
    from_errors,
    go_fields,
    parse_object,
    parse_text,
    validate,
)

_PIECE = 1 << 18  # bytes in which bodies are looked at
V033, V011, LLMD = compat("vllm-0.33"), compat("vllm-0.11"), compat("llm-d-0.7")


def refusal(call: Any, *arguments: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        call(*arguments)
    return caught.value


@pytest.mark.parametrize(
    "value",
    [b"application/json", b"Application/JSON", b"application/json; charset=utf-8", b" application/json "],
)
def test_json_is_taken_however_it_is_written(value: bytes) -> None:
    check_content_type(value)


@pytest.mark.parametrize(
    "value", [None, b"", b"text/plain", b"application/jsonl", b"json", b"; application/json"]
)
def test_other_content_types_are_refused(value: bytes | None) -> None:
    error = refusal(check_content_type, value)
    words = "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed"
    assert (error.status, error.kind, error.message) == (400, "Bad Request", words)


def nested(depth: int, opening: str = "[", closing: str = "]") -> bytes:
    return (opening * depth + closing * depth).encode()


@pytest.mark.parametrize(
    "body",
    [
        nested(MAX_DEPTH),
        b'{"a":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH,
        b"[" + b",".join([b"[]"] * (MAX_LISTS - 1)) + b"]",
        json.dumps("[" * 5000).encode(),
        json.dumps({"prompt": '\\"' + "{" * 5000, "x": "]" * 5000}).encode(),
        b'{"unfinished string: [[[[',
        b"",
    ],
    ids=["lists", "objects", "wide", "string", "escapes", "unfinished", "empty"],
)
def test_bodies_that_are_not_too_deep(body: bytes) -> None:
    check_shape(body)


@pytest.mark.parametrize(
    "body",
    [
        nested(MAX_DEPTH + 1),
        nested(MAX_LISTS - 1),
        b"[" * 1000,
        b'{"a":[' * MAX_DEPTH + b"]}" * MAX_DEPTH,
        b'["x", ' * (MAX_DEPTH + 1) + b"1" + b"]" * (MAX_DEPTH + 1),
        b'{"\\"": ' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1),
    ],
    ids=["by-one", "by-far", "unclosed", "mixed", "with-strings", "with-escapes"],
)
def test_bodies_that_are_too_deep(body: bytes) -> None:
    error = refusal(check_shape, body)
    assert error.status == 400
    assert error.message.endswith(f"it is nested more than {MAX_DEPTH} levels deep")


def in_a_body(text: str, length: int) -> bytes:
    return json.dumps({"x": text * (length // len(text))}, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("body", "most", "words"),
    [
        (json.dumps([0.5] * 1001).encode(), 1000, "1000 values"),
        (json.dumps({str(i): [[1, 2]] for i in range(700)}).encode(), 1000, "1000 values"),
        (json.dumps([[]] * MAX_LISTS).encode(), 10**6, f"{MAX_LISTS} lists and objects"),
        (json.dumps([{}] * MAX_LISTS).encode(), 10**6, f"{MAX_LISTS} lists and objects"),
        (json.dumps([""] * (MAX_STRINGS + 1)).encode(), 10**6, f"{MAX_STRINGS} strings"),
        (json.dumps(dict.fromkeys(map(str, range(MAX_STRINGS + 1)), 0)).encode(), 10**6, "strings"),
        (b"[" * 400_000, 10**6, f"{MAX_LISTS} lists and objects"),
    ],
    ids=["values", "nested", "lists", "objects", "strings", "keys", "unclosed"],
)
def test_bodies_of_too_much(body: bytes, most: int, words: str) -> None:
    padded = body + b" " * 30_000  # the short ones are let through: they are read soon enough
    error = refusal(check_shape, padded, most)
    assert error.status == 400
    assert error.message.startswith("There was an error parsing the body: it holds more than ")
    assert words in error.message


@pytest.mark.parametrize("inner", ["[{", ",", '"', "\\", '\\"', 'a\\\\"[', "€,[", "\n\t[,"])
def test_what_stands_in_strings_is_not_counted(inner: str) -> None:
    """Wherever the pieces end in which a body is looked at."""
    for length in (30_000, _PIECE - 20, _PIECE - 19, _PIECE, 3 * _PIECE + 1):
        check_shape(in_a_body(inner, length), 10)
        refusal(check_shape, in_a_body(inner, length)[:-1] + b"," + json.dumps([0] * 11)[1:].encode(), 10)


def test_as_many_as_there_may_be() -> None:
    check_shape(json.dumps([5] * 30_000).encode(), 30_000)
    check_shape(json.dumps([[]] * (MAX_LISTS - 1)).encode() + b" " * 9)
    check_shape(json.dumps([""] * MAX_STRINGS).encode(), MAX_STRINGS)


def test_a_million_errors_are_counted_and_the_first_told() -> None:
    """In the words of a few, and far sooner than pydantic puts a million into words."""
    few = refusal(validate, {"tokens": [-1] * 11}, DetokenizeRequest, V033)
    many = refusal(validate, {"tokens": [-1] * 40_000}, DetokenizeRequest, V033)
    assert few.message.replace("11 ", "40000 ", 1).replace("and 1 more", "and 39990 more") == many.message
    late = refusal(validate, {"tokens": [1] * 20 + [-1] * 40_000}, DetokenizeRequest, V033)
    assert late.message == "There was an error parsing the body: 40000 validation errors"


def depth_of(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


texts = st.text(alphabet='[]{}",:\\a\n', max_size=12)
bushes = st.recursive(
    st.none() | st.integers(-9, 9) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=40,
)


@given(bushes, st.integers(MAX_DEPTH - 8, MAX_DEPTH + 2), st.booleans())
@settings(max_examples=60, deadline=None)
def test_depth_is_that_of_the_value(bush: Any, around: int, in_objects: bool) -> None:
    """Whatever brackets stand in strings and keys, and however the levels are spread."""
    value = bush
    for _ in range(around):
        value = {'"]}': value} if in_objects else [value, "[[["]
    body = json.dumps(value, ensure_ascii=False).encode()
    if depth_of(value) <= MAX_DEPTH:
        check_shape(body)
    else:
        refusal(check_shape, body)


@pytest.mark.parametrize("text", ['{"a": [1]}', '"x"', "null", "[1.5, NaN]"])
def test_text_in_strings_is_json(text: str) -> None:
    assert repr(parse_text(text, "It")) == repr(json.loads(text))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "The schema is not valid JSON: Expecting property name enclosed in double quotes"),
        ("", "The schema is not valid JSON: Expecting value"),
        ("[" * 1000, "There was an error parsing the body: it is nested more than"),
        ("9" * 5000, "The schema is not valid JSON: Exceeds the limit"),
        ('"\\ud800"', "The schema is not valid JSON: 'utf-8' codec can't encode character"),
    ],
)
def test_text_in_strings_that_is_no_json_is_named(text: str, words: str) -> None:
    assert refusal(parse_text, text, "The schema").message.startswith(words)


def test_objects_are_parsed_as_python_does() -> None:
    assert parse_object(b'{"a": [1, null, "\\u00e4"]}', V033) == {"a": [1, None, "ä"]}
    assert parse_object(b'{"a": Infinity}', V033) == {
        "a": float("inf")
    }  # no JSON, but Python's json takes it


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "{'type': 'missing', 'loc': 'body', 'msg': 'Field required', 'input': 'None'}"),
        (b"null", "{'type': 'missing', 'loc': 'body', 'msg': 'Field required', 'input': 'None'}"),
        (
            b"[1, 2]",
            "{'type': 'model_attributes_type', 'loc': 'body', 'msg': 'Input should be a valid dictionary or "
            "object to extract fields from', 'input': '<list of 2 items>'}",
        ),
        (
            b'"text"',
            "{'type': 'model_attributes_type', 'loc': 'body', 'msg': 'Input should be a valid dictionary or "
            "object to extract fields from', 'input': 'text'}",
        ),
        (
            b'{"a": }',
            "{'type': 'json_invalid', 'loc': 'body.6', 'msg': 'JSON decode error', "
            "'input': '<dict of 0 items>', 'ctx': {'error': 'Expecting value'}}",
        ),
    ],
)
def test_what_is_no_object_gets_vllms_words(body: bytes, message: str) -> None:
    error = refusal(parse_object, body, V033)
    assert error.message == "1 validation error:\n  " + message
    assert (error.status, error.kind) == (400, "Bad Request")
    assert error.param == ("body.6" if b"}" in body else "body")


@pytest.mark.parametrize("body", [b'{"a": "\xff"}', b'{"a": "\\ud800"}', b'{"a": ' + b"9" * 5000 + b"}"])
def test_json_that_python_cannot_hold_is_a_400(body: bytes) -> None:
    error = refusal(parse_object, body, V033)
    assert error.status == 400
    assert error.message.startswith("There was an error parsing the body: ")


def test_llmd_answers_in_plain_text() -> None:
    for body, words in (
        (b"", "unexpected end of JSON input"),
        (b"{", "invalid JSON at offset 1: Expecting property name enclosed in double quotes"),
        (b"[]", "json: Input should be a valid dictionary or object to extract fields from at body"),
    ):
        error = refusal(parse_object, body, LLMD)
        assert error.plain
        assert error.body().decode() == f"Failed to read and parse request body, {words}"


@pytest.mark.parametrize(
    ("raw", "fields"),
    [
        ({"Model": "m", "MAX_TOKENS": 3}, {"model": "m", "max_tokens": 3}),
        ({"model": None, "max_tokens": 0}, {"max_tokens": 0}),
        ({"temperature": "hot", "model": "m"}, {"model": "m"}),
        ({}, {}),
    ],
)
def test_go_reads_its_fields_in_any_case(raw: dict[str, Any], fields: dict[str, Any]) -> None:
    assert go_fields(raw, frozenset({"model", "max_tokens"})) == fields


def found(count: int, **fields: Any) -> list[dict[str, Any]]:
    return [{"type": "t", "loc": ("body", "f", i), "msg": "no", "input": i, **fields} for i in range(count)]


def test_the_three_forms_of_a_validation_error() -> None:
    compact = from_errors(found(2), V033)
    assert compact.message == (
        "2 validation errors:\n  {'type': 't', 'loc': 'body.f.0', 'msg': 'no', 'input': '0'}\n"
        "  {'type': 't', 'loc': 'body.f.1', 'msg': 'no', 'input': '1'}"
    )
    assert compact.param == "body.f.0"
    verbose = from_errors(found(1, url="https://x"), V011)
    assert verbose.message == "[{'type': 't', 'loc': ('body', 'f', 0), 'msg': 'no', 'input': 0}]"
    assert verbose.param is None
    assert from_errors(found(3), LLMD).message == (
        "Failed to read and parse request body, json: no at body.f.0"
    )


def test_many_errors_are_counted_not_listed() -> None:
    lines = from_errors(found(13), V033).message.split("\n")
    assert lines[0] == "13 validation errors:"
    assert len(lines) == 12
    assert lines[-1] == "  ...and 3 more errors"


def test_a_long_input_is_cut() -> None:
    message = from_errors(found(1, input="x" * 5000), V033).message
    assert "x" * 200 + "...[truncated]" in message
    assert "x" * 2001 not in message


@pytest.mark.parametrize(
    ("loc", "shown"),
    [
        (("body", "prompt", "str"), "body.prompt"),
        (("body", "prompt", "list[constrained-int]", 0), "body.prompt.0"),
        (("body", "stop", "function-after[_few(), list[str]]"), "body.stop"),
        (("body", "messages", 0, "ChatCompletionUserMessageParam", "content"),
         "body.messages.0.ChatCompletionUserMessageParam.content"),
        (("body", "nullable", "x"), "body.x"),
    ],
)  # fmt: skip
def test_locations_leave_out_the_branches_of_unions(loc: tuple[Any, ...], shown: str) -> None:
    error = from_errors([{"type": "t", "loc": loc, "msg": "no", "input": 1}], V033)
    assert error.param == shown


def completion(raw: dict[str, Any]) -> lean.CompletionRequest:
    return convert(raw, lean.CompletionRequest, schema.CompletionRequest, V033)


@pytest.mark.parametrize(
    ("raw", "field", "value"),
    [
        ({"max_tokens": "5"}, "max_tokens", 5),
        ({"max_tokens": 5.0}, "max_tokens", 5),
        ({"stream": "true"}, "stream", True),
        ({"stream": 1}, "stream", True),
        ({"temperature": "0.5"}, "temperature", 0.5),
        ({"stop": "x"}, "stop", "x"),
        ({"stream_options": {"include_usage": "yes"}}, "stream_options", lean.StreamOptions(True)),
        ({"unheard_of": 1}, "max_tokens", None),
    ],
    ids=str,
)
def test_fields_are_converted_as_leniently_as_vllm_does(raw: dict[str, Any], field: str, value: Any) -> None:
    assert getattr(completion({"prompt": "x", **raw}), field) == value


@pytest.mark.parametrize(
    ("raw", "kind", "loc"),
    [
        ({"max_tokens": "many"}, "int_parsing", "body.max_tokens"),
        ({"max_tokens": 1.5}, "int_from_float", "body.max_tokens"),
        ({"n": None}, "int_type", "body.n"),
        ({"stream": "maybe"}, "bool_parsing", "body.stream"),
        ({"seed": 2**63}, "less_than_equal", "body.seed"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "string_type", "body.stop"),
        ({"stop": 5}, "string_type", "body.stop"),
        ({"cache_salt": ""}, "string_too_short", "body.cache_salt"),
        ({"truncation_side": "middle"}, "literal_error", "body.truncation_side"),
        ({"truncate_prompt_tokens": -2}, "greater_than_equal", "body.truncate_prompt_tokens"),
        ({"response_format": {"type": "poem"}}, "literal_error", "body.response_format.type"),
        ({"logit_bias": {"a": "b"}}, "float_parsing", "body.logit_bias.a"),
        ({"min_tokens": True}, "", ""),
    ],
    ids=str,
)
def test_fields_of_a_wrong_type_are_named(raw: dict[str, Any], kind: str, loc: str) -> None:
    if not kind:  # pydantic reads true as 1
        assert completion({"prompt": "x", **raw}).min_tokens == 1
        return
    error = refusal(completion, {"prompt": "x", **raw})
    first = error.message.split("\n")[1]
    assert f"'type': '{kind}', 'loc': '{loc}'" in first
    assert error.param == loc


def test_stop_strings_are_counted_by_the_version() -> None:
    raw = {"prompt": "x", "stop": ["a", "b", "c", "d", "e"]}
    assert (
        "at most 4 items after validation, not 5"
        in refusal(validate, raw, schema.CompletionRequest, V033).message
    )
    assert validate(raw, schema.CompletionRequest, V011).stop == raw["stop"]


def test_kept_fields_stay_as_they_were_sent() -> None:
    messages = [{"role": "user", "content": "x", "extra": 1}]
    raw = {"messages": messages, "max_tokens": "5"}
    request = convert(raw, lean.ChatRequest, schema.ChatCompletionRequest, V033, keep=("messages", "tools"))
    assert (request.messages, request.max_tokens, request.tools) == (messages, 5, None)
