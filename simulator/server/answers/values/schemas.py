"""JSON schemas as a generator of values reads them: checked, without $ref and combinators, and with an end.

Every schema is checked where it is first met, whoever refers to it: a keyword of a wrong type is a 400 that
names it. Recursion ends because the generator asks how deep the shallowest value of a branch is (`height`).
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Mapping
from typing import Any

from simulator.server.answers.values.budget import Budget
from simulator.server.errors import ApiError

Schema = Mapping[str, Any]
TYPES = ("object", "array", "string", "integer", "number", "boolean", "null")
ENDLESS = 32  # levels; a schema whose shallowest value is deeper has none
_TOO_DEEP = 64  # combinators and references unfolded one after the other
_SHOWN = 80  # characters of a wrong value in an error


def is_number(value: Any) -> bool:
    """Whether JSON would call it a number that can be compared: neither true nor infinite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, int) or math.isfinite(value)


def _is_count(value: Any) -> bool:
    return is_number(value) and value >= 0 and value == int(value)


def _is_schema(value: Any) -> bool:
    return isinstance(value, Mapping | bool)


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _is_schemas(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_schema, value))


def _is_schema_map(value: Any) -> bool:
    return isinstance(value, Mapping) and all(map(_is_schema, value.values()))


def _is_type(value: Any) -> bool:
    if isinstance(value, str):
        return value in TYPES
    return _is_names(value) and bool(value) and all(name in TYPES for name in value)


Rule = tuple[Callable[[Any], bool], str]
_COUNT: Rule = (_is_count, "a whole number of 0 or more")
_NUMBER: Rule = (is_number, "a number")
_BOUND: Rule = (lambda v: isinstance(v, bool) or is_number(v), "a number")  # draft 4 has true here
_TEXT: Rule = (lambda v: isinstance(v, str), "a string")
_SCHEMA: Rule = (_is_schema, "a schema")
_SCHEMAS: Rule = (_is_schemas, "a list of schemas that is not empty")
_SCHEMA_MAP: Rule = (_is_schema_map, "an object of schemas")
_KEYWORDS: dict[str, Rule] = {
    "type": (_is_type, f"one of {', '.join(TYPES)}, or a list of them"),
    "enum": (lambda v: isinstance(v, list) and bool(v), "a list that is not empty"),
    "required": (_is_names, "a list of strings"),
    "pattern": _TEXT, "format": _TEXT, "$ref": _TEXT,
    "minLength": _COUNT, "maxLength": _COUNT, "minItems": _COUNT, "maxItems": _COUNT,
    "minProperties": _COUNT, "maxProperties": _COUNT,
    "minimum": _NUMBER, "maximum": _NUMBER, "exclusiveMinimum": _BOUND, "exclusiveMaximum": _BOUND,
    "multipleOf": (lambda v: is_number(v) and v > 0, "a number greater than 0"),
    "uniqueItems": (lambda v: isinstance(v, bool), "true or false"),
    "anyOf": _SCHEMAS, "oneOf": _SCHEMAS, "allOf": _SCHEMAS,
    "prefixItems": (lambda v: isinstance(v, list) and all(map(_is_schema, v)), "a list of schemas"),
    "items": (lambda v: _is_schema(v) or (isinstance(v, list) and all(map(_is_schema, v))), "a schema"),
    "additionalProperties": _SCHEMA, "not": _SCHEMA,
    "properties": _SCHEMA_MAP, "patternProperties": _SCHEMA_MAP,
    "$defs": (lambda v: isinstance(v, Mapping), "an object"),
    "definitions": (lambda v: isinstance(v, Mapping), "an object"),
}  # fmt: skip
_GREATEST = frozenset({"minimum", "minLength", "minItems", "minProperties", "exclusiveMinimum"})
_LEAST = frozenset({"maximum", "maxLength", "maxItems", "maxProperties", "exclusiveMaximum"})


class Schemas:
    """The schemas of one document, `root`; work is counted in `budget`, branches are drawn from `rng`."""

    def __init__(self, root: Any, budget: Budget, rng: random.Random) -> None:
        self._root = root
        self._budget = budget
        self._rng = rng
        self._checked: dict[int, Any] = {}  # by id, and kept, so that no id is used again
        self._heights: dict[tuple[int, int], int] = {}

    def check(self, schema: Any) -> Schema:
        """`schema` with keywords of the right types; True is {}. Raises ApiError for any other."""
        if schema is True:
            return {}
        if schema is False:
            raise ApiError("The schema accepts no value.")
        if not isinstance(schema, Mapping):
            raise ApiError(f"The schema must be a JSON schema, an object, not {_shown(schema)}.")
        if id(schema) not in self._checked:
            self._budget.step(1 + len(schema))
            for keyword, value in schema.items():
                rule = _KEYWORDS.get(keyword)
                if rule is not None:
                    self._budget.step(len(value) // 8 if isinstance(value, list | Mapping) else 0)
                    if not rule[0](value):
                        raise ApiError(f"The schema's {keyword!r} must be {rule[1]}, not {_shown(value)}.")
            self._checked[id(schema)] = schema
        checked: Schema = schema
        return checked

    def resolve(self, schema: Any, depth_first: bool = False) -> Schema:
        """`schema` without $ref, anyOf, oneOf and allOf at its top; raises ApiError where no value fits.

        Of several branches one that has an end is drawn; with `depth_first` one of the shallowest.
        """
        found = self.check(schema)
        for _ in range(_TOO_DEEP):
            self._budget.step(1 + len(found))
            if "$ref" in found:  # each round takes one away, and of two of a kind one waits in allOf
                found = self._merge(_without(found, "$ref"), self._target(found["$ref"]))
            elif "anyOf" in found or "oneOf" in found:
                key = "anyOf" if "anyOf" in found else "oneOf"
                branch = self._branch(found[key], depth_first)
                found = self._merge(_without(found, key), branch)
            elif "allOf" in found:
                parts: Any = found["allOf"]
                self._budget.step(len(parts))
                found = _without(found, "allOf")
                for part in parts:
                    found = self._merge(found, self.check(part))
            elif found.get("not") in (True, {}):
                raise ApiError("The schema accepts no value: its 'not' accepts every value.")
            else:
                return found
        raise _endless()

    def _branch(self, branches: list[Any], shallowest: bool) -> Schema:
        heights = [self.height(branch) for branch in branches]
        least = min(heights)
        if least >= ENDLESS:
            raise _endless()
        bound = least if shallowest else ENDLESS - 1
        fitting = [b for b, height in zip(branches, heights, strict=True) if height <= bound]
        return self.check(self._rng.choice(fitting))

    def _target(self, ref: str) -> Schema:
        found: Any = self._root
        if ref == "#" or ref.startswith("#/"):
            for part in ref.split("/")[1:]:
                self._budget.step()
                name = part.replace("~1", "/").replace("~0", "~")
                if isinstance(found, Mapping):
                    found = found.get(name)
                elif isinstance(found, list) and name.isdecimal() and len(name) < 9:
                    found = found[int(name)] if int(name) < len(found) else None
                else:
                    found = None
            if _is_schema(found):
                return self.check(found)
        raise ApiError(f"The schema refers to {_shown(ref)}, which it does not contain.")

    def height(self, schema: Any, fuel: int = ENDLESS) -> int:
        """Levels of objects, arrays and references in the shallowest value; ENDLESS: there is none."""
        if schema is False or fuel <= 0:
            return ENDLESS
        if schema is True:
            return 0
        known = (id(schema), fuel)
        if known not in self._heights:
            self._budget.step()
            schema = self.check(schema)
            self._heights[known] = min(ENDLESS, self._height(schema, fuel - 1))
        return self._heights[known]

    def _height(self, schema: Schema, fuel: int) -> int:
        found = [0]
        if "$ref" in schema:
            found.append(1 + self.height(self._target(schema["$ref"]), fuel))
        choices = [schema[key] for key in ("anyOf", "oneOf") if key in schema]
        found += [min(self.height(branch, fuel) for branch in branches) for branches in choices]
        found += [self.height(part, fuel) for part in schema.get("allOf", ())]
        if "const" in schema or "enum" in schema:
            return max(found)
        kinds = kinds_of(schema)
        own = [
            0 if kind not in ("object", "array") else self._container(schema, kind, fuel) for kind in kinds
        ]
        return max(*found, min(own))

    def _container(self, schema: Schema, kind: str, fuel: int) -> int:
        below = [0]
        if kind == "object":
            properties = schema.get("properties", {})
            below += [self.height(properties.get(name, True), fuel) for name in schema.get("required", ())]
        elif schema.get("minItems", 0):
            first = schema.get("prefixItems") or [schema.get("items", True)]
            below += [self.height(one, fuel) for one in first if not isinstance(one, list)]
        return 1 + max(below)

    def _merge(self, one: Schema, other: Schema) -> Schema:
        """Both schemas at once; raises ApiError where no value can meet both."""
        merged = dict(one)
        self._budget.step(len(other))
        for key, value in other.items():
            merged[key] = self._both(key, merged[key], value) if key in merged else value
            if merged[key] is _LATER:
                merged[key] = one[key]
                merged["allOf"] = [*merged.get("allOf", ()), {key: value}]
        return merged

    def _both(self, key: str, mine: Any, theirs: Any) -> Any:
        if key in _GREATEST or key in _LEAST:
            return _stricter(key, mine, theirs)
        if key == "type":
            return _common_types(mine, theirs)
        if key == "enum":
            return self._common(mine, theirs)
        if key == "const" and mine != theirs:
            raise ApiError("The schema accepts no value: it wants two different constants.")
        if key in ("properties", "patternProperties"):
            return self._both_maps(mine, theirs)
        if key == "required":
            self._budget.step((len(mine) + len(theirs)) // 4)
            return list(dict.fromkeys((*mine, *theirs)))
        if key == "allOf":
            return [*mine, *theirs]
        if key in ("$ref", "anyOf", "oneOf"):
            return _LATER
        if key in ("items", "additionalProperties") and not isinstance(mine, list):
            return False if False in (mine, theirs) else {"allOf": [mine, theirs]}
        return theirs

    def _both_maps(self, mine: Schema, theirs: Schema) -> Schema:
        self._budget.step((len(mine) + len(theirs)) // 4)
        shared = {name: {"allOf": [mine[name], theirs[name]]} for name in theirs if name in mine}
        return {**mine, **theirs, **shared}

    def _common(self, mine: list[Any], theirs: list[Any]) -> list[Any]:
        self._budget.step((len(mine) + len(theirs)) // 4)
        wanted = {json.dumps(value, sort_keys=True) for value in theirs}
        found = [value for value in mine if json.dumps(value, sort_keys=True) in wanted]
        if not found:
            raise ApiError("The schema accepts no value: its enumerations have nothing in common.")
        return found


_LATER = object()


def _stricter(key: str, mine: Any, theirs: Any) -> Any:
    """Of two bounds the narrower; draft 4's true and false are none."""
    if isinstance(mine, bool):
        return theirs
    if isinstance(theirs, bool):
        return mine
    return max(mine, theirs) if key in _GREATEST else min(mine, theirs)


def kinds_of(schema: Schema) -> list[str]:
    """The types that `schema` allows, at least one: what its other keywords imply where it names none."""
    kind = schema.get("type")
    if isinstance(kind, str):
        return [kind]
    if kind:
        return list(kind)
    if any(key in schema for key in ("properties", "required", "minProperties", "additionalProperties")):
        return ["object"]
    if any(key in schema for key in ("items", "prefixItems", "minItems", "uniqueItems")):
        return ["array"]
    if any(
        key in schema for key in ("minimum", "maximum", "multipleOf", "exclusiveMinimum", "exclusiveMaximum")
    ):
        return ["number"]
    return ["string"]


def type_of(value: Any) -> str:
    """The narrowest JSON schema type of a JSON value."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return "integer"
    names = {float: "number", str: "string", list: "array", dict: "object", type(None): "null"}
    return names.get(type(value), "null")


def allows(kinds: list[str], value: Any) -> bool:
    """Whether `value` is of one of `kinds`."""
    kind = type_of(value)
    return kind in kinds or (kind == "integer" and "number" in kinds)


def _common_types(mine: str | list[str], theirs: str | list[str]) -> list[str]:
    ours = [mine] if isinstance(mine, str) else mine
    others = [theirs] if isinstance(theirs, str) else theirs
    both = [kind for kind in ours if kind in others or (kind == "integer" and "number" in others)]
    both += ["integer"] if "integer" in others and "number" in ours and "integer" not in both else []
    if not both:
        raise ApiError(f"The schema accepts no value: it is to be both {_shown(mine)} and {_shown(theirs)}.")
    return both


def _without(schema: Schema, key: str) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name != key}


def _endless() -> ApiError:
    return ApiError("The schema is nested too deeply, or refers to itself without an end.")


def _shown(value: Any) -> str:
    if isinstance(value, list | Mapping):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
