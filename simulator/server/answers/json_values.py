"""JSON values that fit a JSON schema: arguments of tool calls, answers to response_format.

Covers what clients send: types, enum, const, anyOf/oneOf/allOf, $ref, objects, arrays, bounds, lengths,
patterns and the common formats. A schema that contradicts itself raises ApiError.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any, Final

from simulator.config.serve import ToolCallConfig
from simulator.server.answers.regex_values import matching_text
from simulator.server.errors import ApiError

Schema = Mapping[str, Any]
_WORDS: Final = (
    *(
        "testing",
        "hello",
        "Boston",
        "sunny",
        "temperature",
        "cloudy",
        "question",
        "Yorick",
        "silence",
        "lifetime",
    ),
)
_FORMATS: Final = {
    "date-time": "2026-11-23T08:50:48Z",
    "date": "2026-11-23",
    "time": "08:50:48Z",
    "duration": "P1D",
    "email": "someone@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uri-reference": "/path",
    "uuid": "3df8dcb8-ca45-4579-a92d-15733b6dfd7c",
}
_DEEP: Final = 6  # below this depth only what is required is filled in
_TOO_DEEP: Final = 64


class JsonValues:
    """A generator of values; every draw comes from `rng`."""

    def __init__(self, rng: random.Random, settings: ToolCallConfig) -> None:
        self._rng = rng
        self._settings = settings
        self._root: Schema = {}

    def value(self, schema: Schema | bool) -> Any:
        """A value that `schema` accepts."""
        self._root = schema if isinstance(schema, Mapping) else {}
        return self._value(schema, 0)

    def object_arguments(self, schema: Schema) -> dict[str, Any]:
        """An object, whatever the schema forgot to say about its type."""
        self._root = schema
        value = self._value({"type": "object", **schema}, 0)
        return value if isinstance(value, dict) else {}

    def _value(self, schema: Schema | bool, depth: int) -> Any:
        if schema is True or schema == {}:
            return self._word()
        if not isinstance(schema, Mapping):
            raise ApiError("The schema accepts no value.")
        if depth > _TOO_DEEP:
            raise ApiError("The schema is nested too deeply, or refers to itself without an end.")
        schema = self._resolve(schema)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return self._rng.choice(schema["enum"])
        kind = schema.get("type") or self._implied_type(schema)
        if isinstance(kind, Sequence) and not isinstance(kind, str):
            kind = next((k for k in kind if k != "null"), "null")
        return self._of_type(str(kind), schema, depth)

    def _of_type(self, kind: str, schema: Schema, depth: int) -> Any:
        match kind:
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, depth)
            case "string":
                return self._string(schema)
            case "integer":
                return self._integer(schema)
            case "number":
                return self._number(schema)
            case "boolean":
                return self._rng.random() < 0.5
            case "null":
                return None
        raise ApiError(f"The schema has an unknown type {kind!r}.")

    def _resolve(self, schema: Schema) -> Schema:
        """`schema` without $ref, anyOf, oneOf and allOf at its top."""
        for _ in range(_TOO_DEEP):
            if "$ref" in schema:
                schema = {**self._target(schema["$ref"]), **{k: v for k, v in schema.items() if k != "$ref"}}
            elif branches := schema.get("anyOf") or schema.get("oneOf"):
                rest = {k: v for k, v in schema.items() if k not in ("anyOf", "oneOf")}
                branch = self._rng.choice([b for b in branches if isinstance(b, Mapping)] or [{}])
                schema = _merge(rest, branch)
            elif parts := schema.get("allOf"):
                merged: Schema = {k: v for k, v in schema.items() if k != "allOf"}
                for part in parts:
                    merged = _merge(merged, self._resolve(part))
                schema = merged
            else:
                return schema
        raise ApiError("The schema refers to itself without an end.")

    def _target(self, ref: Any) -> Schema:
        found: Any = self._root
        if isinstance(ref, str) and ref.startswith("#"):
            for part in ref.removeprefix("#").strip("/").split("/"):
                if part:
                    name = part.replace("~1", "/").replace("~0", "~")
                    found = found.get(name) if isinstance(found, Mapping) else None
            if isinstance(found, Mapping):
                return found
        raise ApiError(f"The schema refers to {ref!r}, which it does not contain.")

    @staticmethod
    def _implied_type(schema: Schema) -> str:
        if "properties" in schema or "required" in schema:
            return "object"
        if "items" in schema or "prefixItems" in schema:
            return "array"
        if any(key in schema for key in ("minimum", "maximum", "multipleOf")):
            return "number"
        return "string"

    def _object(self, schema: Schema, depth: int) -> dict[str, Any]:
        properties: Schema = schema.get("properties") or {}
        required = list(schema.get("required") or [])
        percent = (
            self._settings.object_not_required_field_probability
            if depth
            else self._settings.not_required_param_probability
        )
        made = {}
        for name, sub in properties.items():
            wanted = name in required or (depth < _DEEP and self._rng.randint(1, 100) <= percent)
            if wanted and sub is not False:
                made[name] = self._value(sub, depth + 1)
        extra = schema.get("additionalProperties", True)
        for name in required:
            if name not in made:
                made[name] = self._value(extra if isinstance(extra, Mapping) else {}, depth + 1)
        for name in properties:
            if len(made) >= schema.get("minProperties", 0):
                break
            if name not in made:
                made[name] = self._value(properties[name], depth + 1)
        while len(made) < schema.get("minProperties", 0) and extra is not False:
            made[f"key{len(made)}"] = self._value(extra if isinstance(extra, Mapping) else {}, depth + 1)
        return made

    def _array(self, schema: Schema, depth: int) -> list[Any]:
        settings = self._settings
        low = schema.get("minItems", min(settings.min_array_length, schema.get("maxItems", math.inf)))
        high = schema.get("maxItems", max(low, settings.max_array_length))
        if low > high:
            raise ApiError(f"The schema wants at least {low} and at most {high} items.")
        first = schema.get("prefixItems") or []
        items = schema.get("items", {})
        if items is False:
            high = min(high, len(first))
        size = self._rng.randint(int(low), int(high)) if depth < _DEEP else int(low)
        made: list[Any] = []
        for i in range(size):
            item = self._value(first[i] if i < len(first) else items, depth + 1)
            if schema.get("uniqueItems") and item in made:
                item = self._distinct(items, made, depth)
                if item is None:
                    break
            made.append(item)
        return made

    def _distinct(self, items: Schema, made: list[Any], depth: int) -> Any:
        for _ in range(50):
            item = self._value(items, depth + 1)
            if item not in made:
                return item
        return None

    def _word(self) -> str:
        return self._rng.choice(_WORDS)

    def _string(self, schema: Schema) -> str:
        if "pattern" in schema:
            return matching_text(schema["pattern"], self._rng)
        if schema.get("format") in _FORMATS:
            return _FORMATS[schema["format"]]
        text = self._word()
        low, high = schema.get("minLength", 0), schema.get("maxLength", math.inf)
        if low > high:
            raise ApiError(f"The schema wants at least {low} and at most {high} characters.")
        while len(text) < low:
            text += " " + self._word()
        return text if len(text) <= high else text[: int(high)]

    def _bounds(self, schema: Schema, low: float, high: float, step: float) -> tuple[float, float]:
        """The schema's own bounds, or the settings' moved so that they meet them."""
        least = schema.get("minimum", -math.inf)
        most = schema.get("maximum", math.inf)
        exclusive_low, exclusive_high = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
        if isinstance(exclusive_low, int | float) and not isinstance(exclusive_low, bool):
            least = max(least, exclusive_low + step)
        if isinstance(exclusive_high, int | float) and not isinstance(exclusive_high, bool):
            most = min(most, exclusive_high - step)
        if least > most:
            raise ApiError(f"The schema wants a number of at least {least} and at most {most}.")
        low = max(low, least) if low <= most else most
        high = min(high, most) if high >= least else least
        return min(low, high), max(low, high)

    def _integer(self, schema: Schema) -> int:
        settings = self._settings
        low, high = self._bounds(schema, settings.min_integer, settings.max_integer, 1)
        factor = schema.get("multipleOf")
        if factor:
            first = math.ceil(low / factor)
            value = factor * self._rng.randint(first, max(first, math.floor(high / factor)))
            return int(value)
        return self._rng.randint(math.ceil(low), max(math.ceil(low), math.floor(high)))

    def _number(self, schema: Schema) -> float:
        settings = self._settings
        low, high = self._bounds(schema, settings.min_number, settings.max_number, 1e-3)
        factor = schema.get("multipleOf")
        if factor:
            return float(factor * math.ceil(low / factor))
        return min(high, max(low, round(self._rng.uniform(low, high), 2)))


def _merge(one: Schema, other: Schema) -> Schema:
    """Both schemas at once, as far as their keys can be joined."""
    merged = dict(one)
    for key, value in other.items():
        mine = merged.get(key)
        if key == "properties" and isinstance(mine, Mapping):
            merged[key] = {**mine, **value}
        elif key == "required" and isinstance(mine, list):
            merged[key] = [*mine, *(name for name in value if name not in mine)]
        else:
            merged[key] = value
    return merged
