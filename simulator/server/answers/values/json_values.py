"""JSON values that fit a JSON schema: arguments of tool calls, answers to response_format.

Covers what clients send: types, enum, const, anyOf/oneOf/allOf, $ref, objects, arrays, bounds, lengths,
patterns and the common formats. A schema that contradicts itself, or that asks for more than a Budget allows,
raises ApiError. Where max_tokens cuts the text off, a value ends early: nobody sees where it stops fitting.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import chain
from typing import Any

from simulator.config.serve import ToolCallConfig
from simulator.server.answers.values.budget import Budget
from simulator.server.answers.values.regex_values import matching_text
from simulator.server.answers.values.schemas import ENDLESS, Schema, Schemas, allows, is_number, kinds_of
from simulator.server.errors import ApiError

_WORDS = (
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
_FORMATS = {
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
_DEEP = 6  # below this depth only what is required is filled in
_TOO_DEEP = 64
_Bound = float | Fraction
_DISTINCT_ATTEMPTS = 200
_WIDEN_AFTER = 8  # draws of an item that was there already


class JsonValues:
    """A generator of values; every draw comes from `rng`, all work is counted in `budget`."""

    def __init__(self, rng: random.Random, settings: ToolCallConfig, budget: Budget | None = None) -> None:
        self._rng = rng
        self._settings = settings
        self._budget = budget or Budget()
        self._wider = 0  # beyond the usual words and numbers: for many items that are to differ
        self._schemas = Schemas({}, self._budget, rng)

    def value(self, schema: Schema | bool) -> Any:
        """A value that `schema` accepts; ApiError where it nests too deeply."""
        self._schemas = Schemas(schema, self._budget, self._rng)
        try:
            return self._value(schema, 0)
        except (RecursionError, OverflowError):
            raise ApiError("The schema is nested too deeply, or its numbers are too large.") from None

    def object_arguments(self, schema: Schema) -> dict[str, Any]:
        """An object, whatever the schema forgot to say about its type."""
        value = self.value({"type": "object", **schema} if isinstance(schema, Mapping) else schema)
        return value if isinstance(value, dict) else {}

    def _value(self, schema: Any, depth: int) -> Any:
        if self._budget.is_enough:
            return None
        self._budget.step()
        if schema is True or schema == {}:
            return self._string({})
        if depth > _TOO_DEEP:
            raise ApiError("The schema is nested too deeply, or refers to itself without an end.")
        schema = self._schemas.resolve(schema, depth >= _DEEP)
        kinds = kinds_of(schema)
        if "const" in schema:
            return self._given(_constant(schema, kinds))
        if "enum" in schema:
            return self._given(self._rng.choice(self._enumerated(schema)))
        kind = next((k for k in kinds if k != "null"), "null")
        if depth >= _DEEP and kind in ("object", "array"):
            kind = next((k for k in kinds if k not in ("object", "array")), kind)
        return self._of_type(kind, schema, depth)

    def _enumerated(self, schema: Schema) -> list[Any]:
        """The values of `enum` that are of the schema's type."""
        values: list[Any] = schema["enum"]
        self._budget.step(len(values) // 8)
        if "type" in schema:
            kinds = kinds_of(schema)
            values = [value for value in values if allows(kinds, value)]
        if not values:
            raise ApiError("The schema accepts no value: nothing in its 'enum' is of its type.")
        return values

    def _given(self, value: Any) -> Any:
        """A value that stands in the schema itself."""
        self._budget.write(len(value) if isinstance(value, str) else len(json.dumps(value)))
        return value

    def _of_type(self, kind: str, schema: Schema, depth: int) -> Any:
        self._budget.write(2)
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
        return None

    def _object(self, schema: Schema, depth: int) -> dict[str, Any]:
        properties: Schema = schema.get("properties", {})
        required = dict.fromkeys(schema.get("required", ()))
        least, most = schema.get("minProperties", 0), schema.get("maxProperties", math.inf)
        if max(least, len(required)) > most:
            raise ApiError(f"The schema wants more properties than the {most} that it allows.")
        made: dict[str, Any] = {}
        optional = most - len(required)
        for name, sub in properties.items():
            if self._budget.is_enough:
                return made
            self._budget.step()
            if name in required or (optional > 0 and self._wants_optional(sub, depth)):
                optional -= name not in required
                self._put(made, name, sub, depth)
        self._fill(made, schema, required, depth)
        return made

    def _fill(self, made: dict[str, Any], schema: Schema, required: dict[str, None], depth: int) -> None:
        """Add what is required and not described, then what minProperties asks for beyond it."""
        properties, least = schema.get("properties", {}), schema.get("minProperties", 0)
        extra = schema.get("additionalProperties", True)
        others = extra if "patternProperties" not in schema else True
        missing = (name for name in required if name not in properties)
        for name in chain(missing, _filling(properties, len(required), extra is not False)):
            if self._budget.is_enough or (name not in required and len(made) >= least):
                break
            if name not in made:
                self._put(made, name, properties.get(name, others), depth)
        if len(made) < least and not self._budget.is_enough:
            raise ApiError(f"The schema wants at least {least} properties, but allows only {len(made)}.")

    def _wants_optional(self, sub: Any, depth: int) -> bool:
        settings = self._settings
        percent = (
            settings.object_not_required_field_probability
            if depth
            else settings.not_required_param_probability
        )
        if depth >= _DEEP or self._rng.randint(1, 100) > percent:
            return False
        return self._schemas.height(sub) < ENDLESS

    def _put(self, made: dict[str, Any], name: str, sub: Any, depth: int) -> None:
        self._budget.write(len(name) + 4)
        made[name] = self._value(sub, depth + 1)

    def _array(self, schema: Schema, depth: int) -> list[Any]:
        low, high = self._sizes(schema, depth)
        size = self._rng.randint(low, high)
        first = schema.get("prefixItems", ())
        items = schema.get("items", True)
        if isinstance(items, list):  # draft 4's name for prefixItems
            first, items = items, schema.get("additionalItems", True)
        unique = _Distinct() if schema.get("uniqueItems") else None
        made: list[Any] = []
        wider = self._wider
        while len(made) < size and not self._budget.is_enough:
            sub = first[len(made)] if len(made) < len(first) else items
            if unique is None:
                made.append(self._value(sub, depth + 1))
            elif not self._add_distinct(made, unique, sub, depth):
                if len(made) < low:
                    raise ApiError(f"No {low} different items were found that the schema accepts.")
                break
        self._wider = wider
        return made

    def _sizes(self, schema: Schema, depth: int) -> tuple[int, int]:
        """Least and greatest number of items. Below the depth bound an array has only what it must have."""
        settings = self._settings
        must, may = schema.get("minItems", 0), schema.get("maxItems", math.inf)
        if must > may:
            raise ApiError(f"The schema wants at least {must} and at most {may} items.")
        first, items = schema.get("prefixItems", ()), schema.get("items", True)
        if items is False:
            may = min(may, len(first))
        elif not first and not isinstance(items, list) and self._schemas.height(items) >= ENDLESS:
            may = 0
        if must > may:
            raise ApiError(f"The schema wants at least {must} items, but accepts only {may}.")
        if depth >= _DEEP:
            return int(must), int(must)
        low = max(must, min(settings.min_array_length, may)) if "minItems" not in schema else must
        return int(low), int(min(may, max(low, settings.max_array_length)))

    def _add_distinct(self, made: list[Any], unique: _Distinct, sub: Any, depth: int) -> bool:
        """Add an item that is not there yet; False: none was found."""
        chars = self._budget.chars
        for attempt in range(_DISTINCT_ATTEMPTS):
            self._budget.chars = chars
            if attempt and attempt % _WIDEN_AFTER == 0:
                self._wider += 1
            item = self._value(sub, depth + 1)
            if unique.add(item) or self._budget.is_enough:
                made.append(item)
                return True
        chosen = self._schemas.resolve(sub, True)
        for item in self._enumerated(chosen) if "enum" in chosen else ():
            self._budget.step()
            if unique.add(item):
                made.append(self._given(item))
                return True
        return False

    def _string(self, schema: Schema) -> str:
        low, high = schema.get("minLength", 0), schema.get("maxLength", math.inf)
        if low > high:
            raise ApiError(f"The schema wants at least {low} and at most {high} characters.")
        if "pattern" in schema:
            return matching_text(schema["pattern"], self._rng, self._budget, low, high)
        if schema.get("format") in _FORMATS:
            return self._written(_FORMATS[schema["format"]])
        text = self._rng.choice(_WORDS)
        wanted = self._budget.seen_of(max(len(text), low, min(high, 8 * self._wider)))
        words = [text]
        length = len(text)
        while length < wanted:
            words.append(self._rng.choice(_WORDS))
            length += 1 + len(words[-1])
        text = " ".join(words)
        return self._written(text if len(text) <= high else text[: int(high)])

    def _written(self, text: str) -> str:
        self._budget.write(len(text))
        return text

    def _bounds(self, schema: Schema) -> tuple[Any, Any, bool, bool]:
        """The least and the greatest number that the schema allows, and whether they themselves are out."""
        low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
        above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
        out_low, out_high = above is True and low > -math.inf, below is True and high < math.inf  # draft 4
        if is_number(above) and above >= low:
            low, out_low = above, True
        if is_number(below) and below <= high:
            high, out_high = below, True
        if low > high or (low == high and (out_low or out_high)):
            raise ApiError(
                f"The schema wants a number of at least {_number(low)} and at most {_number(high)}."
            )
        return low, high, out_low, out_high

    def _integer(self, schema: Schema) -> int:
        low, high, out_low, out_high = self._bounds(schema)
        least = -math.inf if low == -math.inf else math.floor(low) + 1 if out_low else math.ceil(low)
        most = math.inf if high == math.inf else math.ceil(high) - 1 if out_high else math.floor(high)
        step = Fraction(repr(schema["multipleOf"])).numerator if "multipleOf" in schema else 1
        usual_low, usual_high = self._settings.min_integer, self._settings.max_integer << 4 * self._wider
        return step * self._drawn(least, most, step, usual_low, usual_high)

    def _drawn(
        self, least: float | Fraction, most: float | Fraction, step: Any, usual_low: int, usual_high: int
    ) -> int:
        """k with least <= k * step <= most, where it can be so that the product is a usual number."""
        if step == 1 and least <= usual_low and usual_high <= most:  # nearly always; fractions are slow
            return self._rng.randint(usual_low, usual_high)
        first = None if least == -math.inf else math.ceil(Fraction(least) / step)
        last = None if most == math.inf else math.floor(Fraction(most) / step)
        if first is not None and last is not None and first > last:
            raise ApiError(f"The schema accepts no value: no multiple of {step} lies within its bounds.")
        usual = math.ceil(Fraction(usual_low) / step), math.floor(Fraction(usual_high) / step)
        return self._rng.randint(*_usual_part(first, last, *usual))

    def _number(self, schema: Schema) -> float:
        low, high, out_low, out_high = self._bounds(schema)
        usual_low, usual_high = self._settings.min_number, self._settings.max_number
        if "multipleOf" in schema:
            step = Fraction(repr(schema["multipleOf"]))
            # an end that is out and a multiple itself: anything short of the next one will do
            low = Fraction(low) + step / 2 if out_low and Fraction(low) % step == 0 else low
            high = Fraction(high) - step / 2 if out_high and Fraction(high) % step == 0 else high
            return float(step * self._drawn(low, high, step, math.ceil(usual_low), math.floor(usual_high)))
        least, most = float(max(low, usual_low)), float(min(high, usual_high))
        if least > most:
            least = most = float(low if low > usual_high else high)
        value = min(most, max(least, round(self._rng.uniform(least, most), 2)))
        if (out_low and value <= low) or (out_high and value >= high):
            far = 1.0 + abs(value)
            from_, to = (low if low > -math.inf else high - far), (high if high < math.inf else low + far)
            value = from_ / 2 + to / 2
        return value


def _filling(properties: Schema, number: int, more: bool) -> Iterator[str]:
    """Names for what minProperties asks for beyond the others: those of the schema, then invented ones."""
    yield from (name for name in properties if properties[name] is not False)
    while more:
        yield f"key{number}"
        number += 1


def _constant(schema: Schema, kinds: list[str]) -> Any:
    if "type" in schema and not allows(kinds, schema["const"]):
        raise ApiError("The schema accepts no value: its 'const' is not of its type.")
    return schema["const"]


def _usual_part(first: int | None, last: int | None, low: int, high: int) -> tuple[int, int]:
    """What of first..last lies in low..high, the usual; where nothing does, what is nearest to it."""
    low = low if first is None else max(low, first)
    high = high if last is None else min(high, last)
    if low <= high:
        return low, high
    nearest = last if last is not None and last < low else first if first is not None else 0
    return nearest, nearest


class _Distinct:
    """The items of an array that is to have no two equal ones."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def add(self, item: Any) -> bool:
        """False: it is there already."""
        key = json.dumps(item, sort_keys=True)
        before = len(self._seen)
        self._seen.add(key)
        return len(self._seen) > before


def _number(value: float) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)[:80]
