"""An object against its kind's schema: unknown fields, defaults, and what is wrong in Kubernetes' words."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

from gateway.cluster.objects.errors import FieldProblem, go_map, invalid, required, shown, unsupported
from gateway.cluster.objects.schema import Node

_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
}
_GO = {"integer": "int32", "number": "float64", "boolean": "bool", "string": "string"}


def prune(schema: Node, value: Any, path: str = "") -> tuple[Any, list[str]]:
    """A copy without null and unknown fields, and the paths of those unknown."""
    unknown: list[str] = []
    return _pruned(schema, value, path, unknown), unknown


def _pruned(schema: Node, value: Any, path: str, unknown: list[str]) -> Any:
    if isinstance(value, dict) and schema.type in {"object", ""}:
        kept = {}
        for name, item in value.items():
            inner = schema.field(name)
            if item is None and (inner is None or not inner.body.get("nullable")):
                continue
            if inner is not None:
                kept[name] = _pruned(inner, item, f"{path}.{name}" if path else name, unknown)
            elif schema.keeps_unknown or (not path and name in {"apiVersion", "kind", "metadata"}):
                kept[name] = copy.deepcopy(item)
            else:
                unknown.append(f"{path}.{name}" if path else name)
        return kept
    if isinstance(value, list) and schema.type == "array":
        items = schema.items()
        return [_pruned(items, item, f"{path}[{i}]", unknown) for i, item in enumerate(value)]
    return copy.deepcopy(value)


def fill(schema: Node, value: Any) -> None:
    """Put the schema's defaults into `value`; what is given stays."""
    if isinstance(value, dict):
        for name, inner in schema.named():
            if value.get(name) is None and "default" in inner.raw:
                value[name] = copy.deepcopy(inner.raw["default"])
        for name, item in value.items():
            if (inner_ := schema.field(name)) is not None:
                fill(inner_, item)
    elif isinstance(value, list):
        items = schema.items()
        for item in value:
            fill(items, item)


def wrong_types(schema: Node, value: Any, path: str = "", struct: str = "") -> Iterator[tuple[str, str, str]]:
    """(struct and path, what is there, what should be) of the values that Go could not decode.

    The struct is the innermost one; the path has neither indices nor the keys of maps.
    """
    wanted = schema.type
    if wanted and value is not None and not _is(value, wanted):
        yield f"{struct}.{path}", _told(value), wanted
        return
    struct = schema.name or struct
    if isinstance(value, dict):
        for name, item in value.items():
            if (inner := schema.field(name)) is not None:
                place = path if schema.is_map else f"{path}.{name}" if path else name
                yield from wrong_types(inner, item, place, struct)
    elif isinstance(value, list):
        for item in value:
            yield from wrong_types(schema.items(), item, path, struct)


def go_words(found: tuple[str, str, str]) -> str:
    """As encoding/json says it of the first value of a wrong type."""
    path, is_, wanted = found
    go = {"array": "[]", "object": "map[string]"}.get(wanted, _GO.get(wanted, wanted))
    return f"json: cannot unmarshal {is_} into Go struct field {path} of type {go}"


def _is(value: Any, wanted: str) -> bool:
    if isinstance(value, bool):
        return wanted == "boolean"
    if wanted == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[wanted])


def _told(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    for name, type_ in (("object", dict), ("array", list), ("string", str)):
        if isinstance(value, type_):
            return name
    return "number"


def missing(schema: Node, value: Any, path: str = "") -> Iterator[FieldProblem]:
    """Required fields that are not there."""
    if isinstance(value, dict):
        for name in schema.required:
            if value.get(name) is None:
                yield required(f"{path}.{name}" if path else name)
        for name, item in value.items():
            if (inner := schema.field(name)) is not None:
                yield from missing(inner, item, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from missing(schema.items(), item, f"{path}[{i}]")


def check(schema: Node, value: Any, path: str = "") -> Iterator[FieldProblem]:
    """What a CRD's schema has against a value, CEL rules aside."""
    if value is None and schema.body.get("nullable"):
        return
    wanted = schema.type
    if wanted and not _is(value, wanted):
        words = f"{path} in body must be of type {wanted}: {shown(_told_json(value))}"
        yield FieldProblem(
            path, "FieldValueTypeInvalid", f"Invalid value: {shown(_told_json(value))}: {words}"
        )
        return
    if "enum" in schema.body and value not in schema.body["enum"]:
        yield unsupported(path, value, schema.body["enum"])
    yield from _bounds(schema, value, path)
    if isinstance(value, dict):
        yield from _fields(schema, value, path)
    elif isinstance(value, list):
        yield from _items(schema, value, path)


def _told_json(value: Any) -> str:
    told = _told(value)
    if told == "number":
        return "integer" if isinstance(value, int) else "number"
    return "boolean" if told == "bool" else told


def _fields(schema: Node, value: dict[str, Any], path: str) -> Iterator[FieldProblem]:
    for name in schema.required:
        if name not in value:
            yield required(f"{path}.{name}" if path else name)
    for name, item in value.items():
        if (inner := schema.field(name)) is not None and not (not path and name == "metadata"):
            key = f"{path}[{name}]" if schema.is_map else f"{path}.{name}" if path else name
            yield from check(inner, item, key)


def _items(schema: Node, value: list[Any], path: str) -> Iterator[FieldProblem]:
    seen: set[str] = set()
    for i, item in enumerate(value):
        yield from check(schema.items(), item, f"{path}[{i}]")
        if schema.keys and isinstance(item, dict):
            key: Any = {k: item[k] for k in schema.keys if k in item}
        elif schema.is_set:
            key = item
        else:
            continue
        text = json.dumps(key, sort_keys=True, separators=(",", ":"))
        if text in seen:
            told = go_map(key, "interface {}") if isinstance(key, dict) else shown(key)
            yield FieldProblem(f"{path}[{i}]", "FieldValueDuplicate", f"Duplicate value: {told}")
        seen.add(text)


def _bounds(schema: Node, value: Any, path: str) -> Iterator[FieldProblem]:
    body = schema.body
    if isinstance(value, str):
        size = len(value)
        if size < body.get("minLength", 0):
            words = f"{path} in body should be at least {body['minLength']} chars long"
            yield invalid(path, value, words)
        pattern = body.get("pattern")
        if size > body.get("maxLength", size):
            words = f"Too long: may not be more than {body['maxLength']} bytes"
            yield FieldProblem(path, "FieldValueTooLong", words)
        elif pattern and not re.search(pattern, value):
            yield invalid(path, value, f"{path} in body should match '{pattern}'")
    elif isinstance(value, list):
        if len(value) < body.get("minItems", 0):
            words = f"{path} in body should have at least {body['minItems']} items"
            yield invalid(path, len(value), words)
        if len(value) > body.get("maxItems", len(value)):
            words = f"Too many: {len(value)}: must have at most {body['maxItems']} items"
            yield FieldProblem(path, "FieldValueTooMany", words)
    elif isinstance(value, dict):
        if len(value) < body.get("minProperties", 0):
            words = f"{path} in body should have at least {body['minProperties']} properties"
            yield invalid(path, len(value), words)
        if len(value) > body.get("maxProperties", len(value)):
            words = f"Too many: {len(value)}: must have at most {body['maxProperties']} items"
            yield FieldProblem(path, "FieldValueTooMany", words)
    elif not isinstance(value, bool) and value is not None:
        yield from _range(body, value, path)


def _range(body: dict[str, Any], value: float, path: str) -> Iterator[FieldProblem]:
    if value < body.get("minimum", value):
        words = f"{path} in body should be greater than or equal to {body['minimum']}"
        yield invalid(path, value, words)
    if value > body.get("maximum", value):
        words = f"{path} in body should be less than or equal to {body['maximum']}"
        yield invalid(path, value, words)
