"""Invented JSON fits its schema, whatever the schema: written ones, drawn ones, combined ones."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.config.serve import ToolCallConfig
from simulator.server.answers.values.budget import Budget
from simulator.server.answers.values.json_values import JsonValues
from simulator.server.errors import ApiError

USUAL = ToolCallConfig()
names = st.sampled_from(["a", "b", "c d", "\u00e4", "$x"])
seeds = st.integers(0, 2**32)


def value(schema: Any, seed: int = 1, config: ToolCallConfig = USUAL, budget: Budget | None = None) -> Any:
    return JsonValues(random.Random(seed), config, budget).value(schema)


def check(schema: Any, seed: int) -> None:
    """The value fits, is JSON, and comes again from the same seed."""
    made = value(schema, seed)
    jsonschema.Draft202012Validator(schema).validate(made)
    assert json.dumps(made, sort_keys=True) == json.dumps(value(schema, seed), sort_keys=True)
    json.loads(json.dumps(made, allow_nan=False))


@st.composite
def strings(draw: st.DrawFn) -> dict[str, Any]:
    low = draw(st.integers(0, 60))
    schema: dict[str, Any] = {"type": "string"}
    if draw(st.booleans()):
        schema["minLength"] = low
    if draw(st.booleans()):
        schema["maxLength"] = low + draw(st.integers(0, 30))
    return schema


@st.composite
def integers(draw: st.DrawFn) -> dict[str, Any]:
    """With bounds in whose gap there is a multiple, so that there is a value."""
    step = draw(st.integers(1, 30))
    middle = step * draw(st.integers(-500, 500))
    schema: dict[str, Any] = {"type": "integer"}
    for strict, loose, sign in (("exclusiveMinimum", "minimum", -1), ("exclusiveMaximum", "maximum", 1)):
        kind = draw(st.sampled_from(["none", "strict", "loose"]))
        distance = draw(st.integers(0, 40))
        if kind != "none":
            schema[strict if kind == "strict" else loose] = middle + sign * (distance + (kind == "strict"))
    if draw(st.booleans()):
        schema["multipleOf"] = step
    return schema


@st.composite
def numbers(draw: st.DrawFn) -> dict[str, Any]:
    """Steps that binary fractions hold exactly, since validators divide as floats do."""
    step = draw(st.sampled_from([0.125, 0.25, 0.5, 1, 2.5]))
    middle = step * draw(st.integers(-500, 500))
    schema: dict[str, Any] = {"type": "number"}
    for strict, loose, sign in (("exclusiveMinimum", "minimum", -1), ("exclusiveMaximum", "maximum", 1)):
        kind = draw(st.sampled_from(["none", "strict", "loose"]))
        distance = draw(st.sampled_from([0.001, 0.25, 1, 3.5, 40]))
        if kind != "none":
            schema[strict if kind == "strict" else loose] = middle + sign * distance
    if draw(st.booleans()):
        schema["multipleOf"] = step
    return schema


scalars = (
    strings()
    | integers()
    | numbers()
    | st.sampled_from([{"type": "boolean"}, {"type": "null"}, {}, True, {"type": ["integer", "null"]}])
    | st.lists(st.none() | st.booleans() | st.integers() | st.text(max_size=5), min_size=1, max_size=4).map(
        lambda values: {"enum": values}
    )
    | st.recursive(st.none() | st.integers() | st.text(max_size=4), lambda x: st.lists(x, max_size=2)).map(
        lambda constant: {"const": constant}
    )
)


@st.composite
def objects(draw: st.DrawFn, inner: st.SearchStrategy[Any]) -> dict[str, Any]:
    properties = draw(st.dictionaries(names, inner, max_size=4))
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    required = draw(st.lists(st.sampled_from(sorted(properties)), unique=True)) if properties else []
    if draw(st.booleans()):
        schema["required"] = required
    closed = draw(st.booleans())
    if closed:
        schema["additionalProperties"] = False
    least = draw(st.integers(0, len(properties) if closed else len(properties) + 2))
    if draw(st.booleans()):
        schema["minProperties"] = least
    if draw(st.booleans()):
        schema["maxProperties"] = max(least, len(required)) + draw(st.integers(0, 2))
    return schema


@st.composite
def arrays(draw: st.DrawFn, inner: st.SearchStrategy[Any]) -> dict[str, Any]:
    low = draw(st.integers(0, 4))
    schema: dict[str, Any] = {"type": "array", "items": draw(inner)}
    if draw(st.booleans()):
        schema["prefixItems"] = draw(st.lists(inner, max_size=3))
    if draw(st.booleans()):
        schema["minItems"] = low
    if draw(st.booleans()):
        schema["maxItems"] = low + draw(st.integers(0, 3))
    return schema


def combined(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return (
        objects(inner)
        | arrays(inner)
        | st.lists(inner, min_size=1, max_size=3).map(lambda branches: {"anyOf": branches})
        | inner.map(lambda one: {"allOf": [one, {}]})
        | inner.map(lambda one: {"oneOf": [one]})
        | inner.map(lambda one: {"$defs": {"x": one}, "allOf": [{"$ref": "#/$defs/x"}]})
    )


@given(scalars, seeds)
@settings(max_examples=150, deadline=None)
def test_scalars(schema: Any, seed: int) -> None:
    check(schema, seed)


def without_refs(schema: Any) -> bool:
    return "$ref" not in json.dumps(schema)


@given(st.recursive(scalars, combined, max_leaves=8).filter(without_refs), seeds)
@settings(max_examples=120, deadline=None)
def test_schemas_of_schemas(schema: Any, seed: int) -> None:
    check(schema, seed)


@given(st.recursive(scalars, lambda x: objects(x) | arrays(x), max_leaves=5), seeds)
@settings(max_examples=40, deadline=None)
def test_definitions(schema: Any, seed: int) -> None:
    """The same schema through references of both spellings, escapes included."""
    for place, ref in (("$defs", "#/$defs/a~1b~0c"), ("definitions", "#/definitions/a~1b~0c")):
        check({place: {"a/b~c": schema}, "$ref": ref}, seed)
        check({place: {"a/b~c": schema}, "type": "array", "items": {"$ref": ref}, "maxItems": 2}, seed)


@given(seeds, st.integers(0, 100), st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_recursion_ends_at_any_appetite(seed: int, optional: int, top: int) -> None:
    """However likely optional fields are, trees stay trees that can be printed."""
    node = {
        "type": "object",
        "properties": {
            "left": {"$ref": "#/$defs/node"},
            "children": {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 1},
            "leaf": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/node"}]},
            "value": {"type": "integer"},
        },
        "required": ["value", "leaf"],
    }
    schema = {"$defs": {"node": node}, "$ref": "#/$defs/node"}
    config = ToolCallConfig(
        object_not_required_field_probability=optional // 4, not_required_param_probability=top // 2
    )
    try:
        made = value(schema, seed, config)
    except ApiError as error:
        if "too complex" in error.message or "too long" in error.message:
            return  # a budget, not a hang
        raise
    jsonschema.validate(made, schema)


FORMATS = {
    "date-time": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ",
    "date": r"\d{4}-\d\d-\d\d",
    "time": r"\d\d:\d\d:\d\dZ",
    "duration": r"P\d+D",
    "email": r"[a-z]+@[a-z.]+",
    "hostname": r"[a-z.]+",
    "ipv4": r"\d+(\.\d+){3}",
    "ipv6": r"[0-9a-f:]+",
    "uri": r"https://[a-z.]+/",
    "uri-reference": r"/[a-z]+",
    "uuid": r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats(name: str) -> None:
    assert re.fullmatch(FORMATS[name], value({"type": "string", "format": name}))


def test_a_format_that_nobody_knows_is_any_text() -> None:
    assert value({"type": "string", "format": "haiku", "maxLength": 5})


@pytest.mark.parametrize(
    ("config", "schema", "allowed"),
    [
        (ToolCallConfig(min_integer=5, max_integer=7), {"type": "integer"}, {5, 6, 7}),
        (ToolCallConfig(min_integer=5, max_integer=7), {"type": "integer", "maximum": 5}, {5}),
        (ToolCallConfig(min_integer=5, max_integer=7), {"type": "integer", "minimum": 20}, {20}),
        (ToolCallConfig(min_integer=5, max_integer=7), {"type": "integer", "maximum": -20}, {-20}),
    ],
)
def test_numbers_are_usual_ones_where_they_may_be(
    config: ToolCallConfig, schema: Any, allowed: set[int]
) -> None:
    assert {value(schema, seed, config) for seed in range(60)} == allowed


@pytest.mark.parametrize(("percent", "keys"), [(0, [set()]), (100, [{"a", "b"}])])
def test_optional_fields_come_as_often_as_configured(percent: int, keys: list[set[str]]) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "null"}, "b": {"type": "null"}}}
    config = ToolCallConfig(
        not_required_param_probability=percent, object_not_required_field_probability=percent
    )
    for seed in range(20):
        assert set(value(schema, seed, config)) in keys
        assert set(value({"type": "array", "items": schema, "minItems": 1}, seed, config)[0]) in keys


def test_lengths_of_arrays_are_configured() -> None:
    config = ToolCallConfig(min_array_length=2, max_array_length=4)
    schema: dict[str, Any] = {"type": "array", "items": {"type": "null"}}
    assert {len(value(schema, seed, config)) for seed in range(60)} == {2, 3, 4}
    assert {len(value({**schema, "maxItems": 1}, seed, config)) for seed in range(20)} == {1}
    assert {len(value({**schema, "minItems": 6}, seed, config)) for seed in range(20)} == {6}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "items": {"type": "boolean"}, "uniqueItems": True, "minItems": 2},
        {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 5}, "uniqueItems": True,
         "minItems": 5},
        {"type": "array", "items": {"enum": list("abcdefgh")}, "uniqueItems": True, "minItems": 8},
        {"type": "array", "items": {"type": "string", "maxLength": 12}, "uniqueItems": True, "minItems": 30},
        {"type": "array", "items": {"type": "number", "minimum": 0}, "uniqueItems": True, "minItems": 30},
        {"type": "array", "items": {"properties": {"k": {"type": "integer"}}, "required": ["k"]},
         "uniqueItems": True,
         "minItems": 20},
    ],
    ids=lambda schema: json.dumps(schema["items"])[:40],
)  # fmt: skip
def test_items_that_must_differ(schema: Any) -> None:
    for seed in range(10):
        check(schema, seed)


@pytest.mark.parametrize(
    "schema",
    [
        {"items": [{"type": "integer"}, {"type": "null"}], "minItems": 2, "maxItems": 2},
        {"items": [{"type": "integer"}], "additionalItems": {"type": "boolean"}, "minItems": 3},
        {"minimum": 3, "exclusiveMinimum": True, "maximum": 4, "exclusiveMaximum": True, "type": "number"},
        {"type": "integer", "minimum": 3, "exclusiveMinimum": True, "maximum": 4},
    ],
    ids=json.dumps,
)
def test_the_words_of_draft_4(schema: Any) -> None:
    for seed in range(20):
        jsonschema.Draft4Validator(schema).validate(value(schema, seed))


def test_arguments_are_an_object_whatever_the_schema_forgot() -> None:
    values = JsonValues(random.Random(1), USUAL)
    assert values.object_arguments({}) == {}
    assert values.object_arguments({"properties": {"a": {"const": 1}}, "required": ["a"]}) == {"a": 1}
    assert values.object_arguments({"type": "array"}) == {}  # the best that can be said


@given(scalars | objects(scalars) | arrays(scalars), seeds, st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_what_nobody_sees_is_not_made(schema: Any, seed: int, max_tokens: int) -> None:
    """With a small budget of tokens a value ends early, in characters bounded by it."""
    budget = Budget(max_tokens)
    value(schema, seed, USUAL, budget)
    assert budget.chars <= max_tokens * 128 + 200
