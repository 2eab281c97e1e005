"""Numbers as Prometheus clients print them: Python's, and Go's."""

from __future__ import annotations

import math
from typing import Final

_SMALL: Final = tuple(f"{value}.0" for value in range(4096))


def python_number(value: float) -> str:
    """As prometheus_client: "0.0", "12.5", "1e+06", "1.7954e+09", "+Inf"."""
    if type(value) is int:
        if 0 <= value < 4096:
            return _SMALL[value]
        value = float(value)
    if value == 0:
        return "0.0"
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    text = repr(float(value))
    dot = text.find(".")
    if value > 0 and dot > 6:
        mantissa = f"{text[0]}.{text[1:dot]}{text[dot + 1 :]}".rstrip("0.")
        return f"{mantissa}e+{dot - 1:02d}"
    return text


def go_number(value: float) -> str:
    """As client_golang: "0", "0.125", "1.7954e+09"."""
    text = python_number(value)
    return text.removesuffix(".0")


def escape(value: str) -> str:
    """A label value between its quotes."""
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
