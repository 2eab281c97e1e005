"""Text of a flag, variable or YAML file -> value. Errors say what, where and what would be right."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from kit.durations import parse_duration
from simulator.config.flags.flag import Flag, Kind
from simulator.errors import ConfigError

_TRUE = frozenset({"true", "1", "t", "yes", "on"})
_FALSE = frozenset({"false", "0", "f", "no", "off"})
_MILLISECONDS = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]{1,2})?")
_HUMAN = re.compile(r"(\d{1,18}(?:\.\d{1,18})?)([kKmMgG]?)")
# vLLM: a small letter counts in thousands, a capital in 1024s
_SUFFIX = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "K": 2**10, "M": 2**20, "G": 2**30}


def is_boolean(text: str) -> bool:
    """Whether a bare argument can only be the value of the boolean flag before it."""
    return text.lower() in {"true", "false"}


def read(flag: Flag, value: Any, where: str) -> Any:
    """The value of `flag` from text (command line, environment) or from YAML; raises ConfigError."""
    result = _READERS[flag.kind](value, where)
    if flag.choices and result not in flag.choices:
        raise ConfigError(f"{where}: {value!r} is not one of {', '.join(flag.choices)}")
    if flag.minimum is not None and result < flag.minimum:
        raise ConfigError(f"{where}: {value} is too small, the least is {_shown(flag, flag.minimum)}")
    if flag.maximum is not None and result > flag.maximum:
        raise ConfigError(f"{where}: {value} is too large, the most is {_shown(flag, flag.maximum)}")
    return result


def _shown(flag: Flag, bound: float) -> str:
    return f"{bound:g}s" if flag.kind is Kind.DURATION else f"{bound:g}"


def duration(value: Any, where: str) -> float:
    """Seconds of a Go duration ("1m30s") or of a number of milliseconds; raises ConfigError."""
    text = str(value).strip()
    try:
        return float(text) / 1e3 if _MILLISECONDS.fullmatch(text) else parse_duration(text)
    except ValueError:
        raise ConfigError(
            f"{where}: {text!r} is no duration; write 20ms, 1.5s, 750us, 1m30s, or a number of milliseconds"
        ) from None


def _boolean(value: Any, where: str) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).lower()
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise ConfigError(f"{where}: {value!r} is neither true nor false")


def _integer(value: Any, where: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    try:
        return int(str(value))
    except ValueError:
        raise ConfigError(f"{where}: {value!r} is not an integer") from None


def _human_integer(value: Any, where: str) -> int:
    match = _HUMAN.fullmatch(str(value).strip())
    if match is None:
        if str(value) in {"auto", "-1"}:
            return -1
        raise ConfigError(f"{where}: {value!r} is not an integer; 8192, 8k (8000) and 8K (8192) are")
    number = Fraction(match[1]) * _SUFFIX[match[2]]
    if number.denominator != 1:
        raise ConfigError(f"{where}: {value!r} is not a whole number")
    return number.numerator


def _number(value: Any, where: str) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ConfigError(f"{where}: {value!r} is not a number")
    return number


def _text(value: Any, where: str) -> str:
    if isinstance(value, list | Mapping):
        raise ConfigError(f"{where}: one value is expected here, not {value!r}")
    return str(value)


def _list(value: Any, where: str) -> tuple[str, ...]:
    items = value if isinstance(value, list) else [value]
    if len(items) == 1 and isinstance(items[0], str) and items[0].startswith("["):
        items = _json(items[0], where)
    return tuple(item if isinstance(item, str) else json.dumps(item) for item in items if item is not None)


def _json(value: Any, where: str) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise ConfigError(f"{where}: {value!r} is not valid JSON ({error})") from None


def _lora(value: Any, where: str) -> tuple[str, ...]:
    items = value if isinstance(value, list) else [value]
    return tuple(item if isinstance(item, str) else json.dumps(item) for item in items if item)


_READERS = {
    Kind.BOOL: _boolean,
    Kind.INT: _integer,
    Kind.HUMAN_INT: _human_integer,
    Kind.FLOAT: _number,
    Kind.TEXT: _text,
    Kind.DURATION: duration,
    Kind.LIST: _list,
    Kind.JSON: _json,
    Kind.LORA: _lora,
}
