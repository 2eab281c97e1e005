"""Schemas as they are read: checked keywords, references, branches with an end, both of two at once."""

from __future__ import annotations

import json
import random
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.server.answers.values.budget import Budget
from simulator.server.answers.values.schemas import (
    ENDLESS,
    TYPES,
    Schemas,
    allows,
    is_number,
    kinds_of,
    type_of,
)
from simulator.server.errors import ApiError


def schemas(root: Any, seed: int = 1) -> Schemas:
    return Schemas(root, Budget(), random.Random(seed))


def resolved(schema: Any, seed: int = 1, **options: bool) -> dict[str, Any]:
    return dict(schemas(schema, seed).resolve(schema, **options))


def refusal(schema: Any) -> str:
    with pytest.raises(ApiError) as caught:
        resolved(schema)
    assert caught.value.status == 400
    return caught.value.message


COUNT, NUMBER, SCHEMA = "a whole number of 0 or more", "a number", "a schema"
NAMES = "object, array, string, integer, number, boolean, null"
WRONG: list[tuple[str, Any, str, str]] = [
    ("type", "cheese", f"one of {NAMES}, or a list of them", '"cheese"'),
    ("type", [], f"one of {NAMES}, or a list of them", "a list of 0"),
    ("type", ["string", "cheese"], f"one of {NAMES}, or a list of them", "a list of 2"),
    ("type", 5, f"one of {NAMES}, or a list of them", "5"),
    ("enum", [], "a list that is not empty", "a list of 0"),
    ("enum", "ab", "a list that is not empty", '"ab"'),
    ("required", ["a", 5], "a list of strings", "a list of 2"),
    ("required", True, "a list of strings", "true"),
    ("pattern", 5, "a string", "5"),
    ("format", None, "a string", "null"),
    ("$ref", {}, "a string", "an object of 0"),
    ("minLength", -1, COUNT, "-1"),
    ("maxLength", 1.5, COUNT, "1.5"),
    ("minItems", "3", COUNT, '"3"'),
    ("maxItems", True, COUNT, "true"),
    ("minProperties", None, COUNT, "null"),
    ("maxProperties", float("inf"), COUNT, "Infinity"),
    ("minimum", "1", NUMBER, '"1"'),
    ("maximum", True, NUMBER, "true"),
    ("minimum", float("nan"), NUMBER, "NaN"),
    ("exclusiveMinimum", "x", NUMBER, '"x"'),
    ("exclusiveMaximum", [], NUMBER, "a list of 0"),
    ("multipleOf", 0, "a number greater than 0", "0"),
    ("multipleOf", -2, "a number greater than 0", "-2"),
    ("uniqueItems", 1, "true or false", "1"),
    ("anyOf", [], "a list of schemas that is not empty", "a list of 0"),
    ("oneOf", {"type": "null"}, "a list of schemas that is not empty", "an object of 1"),
    ("allOf", [5], "a list of schemas that is not empty", "a list of 1"),
    ("prefixItems", {}, "a list of schemas", "an object of 0"),
    ("items", 5, SCHEMA, "5"),
    ("items", [5], SCHEMA, "a list of 1"),
    ("additionalProperties", "no", SCHEMA, '"no"'),
    ("not", None, SCHEMA, "null"),
    ("properties", [], "an object of schemas", "a list of 0"),
    ("properties", {"a": 5}, "an object of schemas", "an object of 1"),
    ("patternProperties", {"a": []}, "an object of schemas", "an object of 1"),
    ("$defs", [], "an object", "a list of 0"),
    ("definitions", 1, "an object", "1"),
]


@pytest.mark.parametrize(("keyword", "value", "right", "shown"), WRONG, ids=lambda v: str(v)[:20])
def test_keywords_of_a_wrong_type_are_named(keyword: str, value: Any, right: str, shown: str) -> None:
    assert refusal({keyword: value}) == f"The schema's {keyword!r} must be {right}, not {shown}."


@pytest.mark.parametrize(
    "schema",
    [
        {"minLength": 3.0},
        {"minimum": -1.5},
        {"exclusiveMinimum": True, "minimum": 1},
        {"items": True},
        {"items": [True, {}]},
        {"additionalProperties": False},
        {"type": list(TYPES)},
        {"enum": [None]},
        {"multipleOf": 0.01},
        {"prefixItems": []},
        {"$comment": 5, "x-anything": object},
        {"title": 3},
        {},
    ],
    ids=str,
)
def test_keywords_that_are_right_and_those_that_nobody_reads(schema: dict[str, Any]) -> None:
    assert resolved(schema) == schema


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (False, "The schema accepts no value."),
        (5, "The schema must be a JSON schema, an object, not 5."),
        ("x" * 200, 'The schema must be a JSON schema, an object, not "' + "x" * 79 + "...."),
        ([], "The schema must be a JSON schema, an object, not a list of 0."),
        ({"not": {}}, "The schema accepts no value: its 'not' accepts every value."),
        ({"$ref": "#/$defs/a"}, 'The schema refers to "#/$defs/a", which it does not contain.'),
        ({"$ref": "other.json"}, 'The schema refers to "other.json", which it does not contain.'),
        ({"$ref": "#a"}, 'The schema refers to "#a", which it does not contain.'),
        ({"$ref": "#/enum/0", "enum": [5]}, 'The schema refers to "#/enum/0", which it does not contain.'),
        ({"$ref": "#"}, "The schema is nested too deeply, or refers to itself without an end."),
        ({"anyOf": [False]}, "The schema is nested too deeply, or refers to itself without an end."),
        (
            {"allOf": [{"type": "string"}, {"type": "null"}]},
            'The schema accepts no value: it is to be both "string" and "null".',
        ),
        (
            {"allOf": [{"const": 1}, {"const": 2}]},
            "The schema accepts no value: it wants two different constants.",
        ),
        (
            {"allOf": [{"enum": [1]}, {"enum": [2]}]},
            "The schema accepts no value: its enumerations have nothing in common.",
        ),
        ({"allOf": [{}, False]}, "The schema accepts no value."),
    ],
)
def test_schemas_without_a_value(schema: Any, words: str) -> None:
    assert refusal(schema) == words


POINTED: dict[str, Any] = {
    "$defs": {
        "a/b": {"const": 1},
        "c~d": {"const": 2},
        "": {"const": 3},
        "list": [{"const": 4}, {"const": 5}],
    },
    "properties": {"p": {"items": {"const": 6}}},
}


@pytest.mark.parametrize(
    ("ref", "constant"),
    [
        ("#/$defs/a~1b", 1),
        ("#/$defs/c~0d", 2),
        ("#/$defs/", 3),
        ("#/$defs/list/1", 5),
        ("#/properties/p/items", 6),
    ],
)
def test_references_are_json_pointers(ref: str, constant: int) -> None:
    found = schemas(POINTED).resolve({"$ref": ref})
    assert found["const"] == constant


@pytest.mark.parametrize(
    "ref",
    ["#/$defs/list/2", "#/$defs/list/-1", "#/$defs/list/x", "#/$defs/a/b", "#//", "#/$defs/list/99999999999"],
)
def test_references_to_nothing(ref: str) -> None:
    with pytest.raises(ApiError, match="which it does not contain"):
        schemas(POINTED).resolve({"$ref": ref})


@pytest.mark.parametrize(
    ("parts", "both"),
    [
        ([{"minimum": 1}, {"minimum": 3}], {"minimum": 3}),
        ([{"maximum": 1}, {"maximum": 3}], {"maximum": 1}),
        ([{"minLength": 5}, {"maxLength": 7}], {"minLength": 5, "maxLength": 7}),
        ([{"minItems": 5}, {"minItems": 2}], {"minItems": 5}),
        ([{"maxProperties": 5}, {"maxProperties": 2}], {"maxProperties": 2}),
        ([{"type": ["string", "null"]}, {"type": ["null", "integer"]}], {"type": ["null"]}),
        ([{"type": "number"}, {"type": "integer"}], {"type": ["integer"]}),
        ([{"type": "integer"}, {"type": "number"}], {"type": ["integer"]}),
        ([{"enum": [1, "a", None]}, {"enum": ["a", 1, 5]}], {"enum": [1, "a"]}),
        ([{"required": ["a", "b"]}, {"required": ["b", "c"]}], {"required": ["a", "b", "c"]}),
        ([{"properties": {"a": {}}}, {"properties": {"b": {}}}], {"properties": {"a": {}, "b": {}}}),
        (
            [{"properties": {"a": {"minimum": 1}}}, {"properties": {"a": {"maximum": 2}}}],
            {"properties": {"a": {"allOf": [{"minimum": 1}, {"maximum": 2}]}}},
        ),
        ([{"additionalProperties": {}}, {"additionalProperties": False}], {"additionalProperties": False}),
        (
            [{"items": {"minimum": 1}}, {"items": {"maximum": 2}}],
            {"items": {"allOf": [{"minimum": 1}, {"maximum": 2}]}},
        ),
        ([{"exclusiveMinimum": True}, {"exclusiveMinimum": 2}], {"exclusiveMinimum": 2}),
    ],
    ids=str,
)
def test_both_of_two_schemas(parts: list[Any], both: dict[str, Any]) -> None:
    assert resolved({"allOf": parts}) == both
    assert resolved({**parts[0], "allOf": parts[1:]}) == both


def test_a_reference_may_have_neighbours() -> None:
    root = {"$defs": {"n": {"type": "integer", "minimum": 1}}, "$ref": "#/$defs/n", "minimum": 5}
    found = resolved(root)
    assert (found["type"], found["minimum"]) == ("integer", 5)


def test_two_choices_at_once() -> None:
    schema = {
        "allOf": [
            {"anyOf": [{"minimum": 1}, {"minimum": 2}]},
            {"anyOf": [{"maximum": 10}, {"maximum": 11}]},
            {"oneOf": [{"type": "integer"}]},
        ]
    }
    seen = {(r["minimum"], r["maximum"], r["type"]) for r in (resolved(schema, seed) for seed in range(60))}
    assert seen == {(low, high, "integer") for low in (1, 2) for high in (10, 11)}


TREE: dict[str, Any] = {
    "$defs": {
        "list": {"anyOf": [{"$ref": "#/$defs/pair"}, {"type": "null"}]},
        "pair": {"type": "object", "properties": {"next": {"$ref": "#/$defs/list"}}, "required": ["next"]},
        "never": {"type": "array", "items": {"$ref": "#/$defs/never"}, "minItems": 1},
    }
}


@pytest.mark.parametrize(
    ("schema", "height"),
    [
        ({"type": "string"}, 0),
        (True, 0),
        (False, ENDLESS),
        ({"type": "object"}, 1),
        ({"type": "array", "items": {"type": "object"}}, 1),
        ({"type": "array", "items": {"type": "object"}, "minItems": 1}, 2),
        ({"type": ["object", "null"], "required": ["a"]}, 0),
        ({"properties": {"a": {"type": "object"}}, "required": ["a"]}, 2),
        ({"properties": {"a": {"type": "object"}}}, 1),
        ({"const": [[[[]]]]}, 0),
        ({"$ref": "#/$defs/list"}, 1),
        ({"$ref": "#/$defs/pair"}, 3),
        ({"$ref": "#/$defs/never"}, ENDLESS),
        ({"anyOf": [{"$ref": "#/$defs/never"}, {"type": "object"}]}, 1),
        ({"allOf": [{"type": "string"}, {"$ref": "#/$defs/never"}]}, ENDLESS),
    ],
    ids=str,
)
def test_heights(schema: Any, height: int) -> None:
    assert schemas(TREE).height(schema) == height


def test_branches_without_an_end_are_never_drawn() -> None:
    schema = {"anyOf": [{"$ref": "#/$defs/never"}, {"const": 1}, {"$ref": "#/$defs/pair"}]}
    read = schemas(TREE)
    drawn = [read.resolve(schema) for _ in range(40)]
    assert any("const" in one for one in drawn)
    assert any("required" in one for one in drawn)
    assert all("const" in read.resolve(schema, depth_first=True) for _ in range(20))


@pytest.mark.parametrize(
    ("schema", "kinds"),
    [
        ({"type": "string"}, ["string"]),
        ({"type": ["null", "integer"]}, ["null", "integer"]),
        ({}, ["string"]),
        ({"properties": {}}, ["object"]),
        ({"required": []}, ["object"]),
        ({"minProperties": 1}, ["object"]),
        ({"items": {}}, ["array"]),
        ({"uniqueItems": True}, ["array"]),
        ({"prefixItems": []}, ["array"]),
        ({"minimum": 1}, ["number"]),
        ({"multipleOf": 2}, ["number"]),
        ({"pattern": "a"}, ["string"]),
    ],
    ids=str,
)
def test_types_that_are_implied(schema: Any, kinds: list[str]) -> None:
    assert kinds_of(schema) == kinds


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
)


@given(json_values)
@settings(max_examples=80, deadline=None)
def test_types_are_jsonschemas(value: Any) -> None:
    for kind in TYPES:
        assert allows([kind], value) == jsonschema.Draft202012Validator({"type": kind}).is_valid(value)
    assert allows(list(TYPES), json.loads(json.dumps(value)))
    assert allows([type_of(value)], value)


@pytest.mark.parametrize(
    ("value", "is_one"),
    [(1, True), (1.5, True), (10**400, True), (True, False), (float("inf"), False), ("1", False)],
)
def test_numbers(value: Any, is_one: bool) -> None:
    assert is_number(value) is is_one
