"""JSON as Go's encoding/json has it: the EPP decodes a body to map[string]any and encodes it again.

Keys come out sorted, every number is a float64 (5.0 -> 5, 1e21 -> 1e+21, integers beyond 2**53 rounded),
and < > & U+2028 U+2029 are escaped.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from typing import Any, NoReturn

import msgspec

# How deep arrays and objects may stand in each other: pydantic's parser in vLLM takes 200, Go's 10 000.
DEPTH = 200
# How many arrays and objects, and how many values one text may have: each costs Python some hundred bytes.
CONTAINERS, VALUES = 100_000, 1_000_000
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_EXACT = 2**53
_CONTAINERS = (dict, list)
_CONTAINING = frozenset(_CONTAINERS)
_ENCODER = msgspec.json.Encoder(order="deterministic")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class NumberError(ValueError):
    """A number that Go cannot hold; told when it is written, because looking for it would cost every body."""


def decode(data: bytes) -> Any:
    """The value of a JSON text; ValueError says what is wrong with it, or that it is too much.

    It may have 200 levels, 100 000 arrays and objects, and a million values.

    Broken UTF-8 and unpaired surrogates become U+FFFD, as in Go.
    """
    if len(data) > 2 * CONTAINERS and (_too_many(data) and _too_many(_STRING.sub(b"", data))):
        raise ValueError(f"more than {CONTAINERS} arrays and objects or {VALUES} values")
    try:
        value = _decode(data)
    except RecursionError:
        raise ValueError("exceeded max depth") from None
    if len(data) < 2 * DEPTH or (
        type(value) is dict and not _CONTAINING.intersection(map(type, value.values()))
    ):
        return value  # too short to be deep, or a prompt and numbers, as most bodies are
    if data.count(b"[") + data.count(b"{") > DEPTH and _deeper(value, DEPTH):
        raise ValueError("exceeded max depth")
    return value


def _decode(data: bytes) -> Any:
    if b"\\u" not in data or not _SURROGATE.search(data):
        try:
            return msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass  # either no JSON at all, or only broken UTF-8: the standard library tells
    text = data.decode("utf-8", "replace")
    value = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    return json.loads(
        json.dumps(value, ensure_ascii=False).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    )


def _too_many(data: bytes) -> bool:
    return data.count(b"[") + data.count(b"{") > CONTAINERS or data.count(b",") > VALUES


def _deeper(value: Any, most: int) -> bool:
    """Whether arrays and objects stand in each other more than `most` times, found without recursion."""
    level = [value]
    for _ in range(most + 1):
        inner = [item.values() if type(item) is dict else item for item in level if type(item) in _CONTAINERS]
        if not inner:
            return False
        level = list(itertools.chain.from_iterable(inner))
    return True


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"number {digits} does not fit a float64")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def encode(value: Any) -> bytes:
    """`value`, made of dict, list, str, int, float, bool and None, as json.Marshal writes it.

    NumberError where an integer does not fit a float64; what `decode` takes is never too deep.
    """
    return escape_html(_ENCODER.encode(_normalised(value)))


def escape_html(text: bytes) -> bytes:
    """JSON text with the characters escaped that Go escapes; they can stand only inside strings."""
    for plain, escaped in (
        (b"&", b"\\u0026"),
        (b"<", b"\\u003c"),
        (b">", b"\\u003e"),
        (b"\xe2\x80\xa8", b"\\u2028"),
        (b"\xe2\x80\xa9", b"\\u2029"),
    ):
        if plain in text:
            text = text.replace(plain, escaped)
    return text


def encode_string(text: str) -> bytes:
    """One JSON string as Go writes it."""
    return escape_html(msgspec.json.encode(text))


def format_float(value: float) -> str:
    """A float64 as Go writes it: shortest digits; exponent form below 1e-6 and from 1e21 on."""
    digits = repr(value).removesuffix(".0")
    magnitude = abs(value)
    if "e" not in digits:
        return digits
    if 1e-6 <= magnitude < 1e21:
        return _expanded(digits)
    mantissa, exponent = digits.split("e")
    mantissa = mantissa.removesuffix(".0")
    sign = "-" if exponent.startswith("-") else "+"
    return f"{mantissa}e{sign}{exponent.lstrip('+-').lstrip('0')}"


def _expanded(digits: str) -> str:
    """Shortest digits in exponent form as plain decimals: 1.5e-05 is 0.000015, 1.25e+17 ends in zeros."""
    mantissa, exponent = digits.split("e")
    sign = "-" if mantissa.startswith("-") else ""
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    places = int(exponent)
    if places < 0:
        return f"{sign}0.{'0' * (-places - 1)}{whole}{fraction}"
    return sign + whole + fraction.ljust(places, "0")


def _normalised(value: Any) -> Any:
    """The same tree with every number in a form that msgspec writes as Go does."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return value
    if kind is dict:
        return {key: _normalised(item) for key, item in value.items()}
    if kind is list:
        # Lists of token ids are long; one pass at C speed settles them.
        kinds = set(map(type, value))
        if kinds <= {str} or (kinds == {int} and min(value) >= -_EXACT and max(value) <= _EXACT):
            return value
        if kinds <= {int, float}:
            return msgspec.Raw(b"[" + b",".join(map(_number, value)) + b"]")
        return [_normalised(item) for item in value]
    if kind is int and -_EXACT <= value <= _EXACT:
        return value
    return msgspec.Raw(_number(value))


def _number(value: float) -> bytes:
    try:
        return format_float(float(value)).encode()
    except OverflowError:
        raise NumberError(f"number {str(value)[:40]}... does not fit a float64") from None
