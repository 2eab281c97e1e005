"""A number with its dimension, as expectations calculate with it: 300ms, 80 %, 50 /s."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Dimension = Literal["time", "share", "number", "rate", "tokens/s"]

UNITS: dict[str, tuple[float, Dimension]] = {
    "us": (1e-6, "time"),
    "ms": (1e-3, "time"),
    "s": (1.0, "time"),
    "min": (60.0, "time"),
    "%": (0.01, "share"),
    "/s": (1.0, "rate"),
    "rps": (1.0, "rate"),
    "tok/s": (1.0, "tokens/s"),
    "k": (1e3, "number"),
}
_EXAMPLES: dict[Dimension, str] = {
    "time": "300ms or 1.5s",
    "share": "95%",
    "rate": "50/s",
    "tokens/s": "1000tok/s",
    "number": "2",
}


class DimensionError(ValueError):
    """Two quantities that cannot be compared or added."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """A value in base units (seconds, fractions, per second)."""

    value: float
    dimension: Dimension = "number"

    def __str__(self) -> str:
        return show(self.value, self.dimension)

    def combined(self, other: Quantity, what: str) -> Dimension:
        """The dimension of a sum or comparison; DimensionError when there is none.

        A share may meet a plain number (0.9 is 90 %), nothing else may meet anything but its own kind.
        """
        mine, theirs = self.dimension, other.dimension
        if mine == theirs:
            return mine
        if {mine, theirs} == {"share", "number"}:
            plain = self if mine == "number" else other
            if abs(plain.value) > 1:
                raise DimensionError(
                    f"cannot {what} a share and {plain.value:g}; write {plain.value:g}% for the share"
                )
            return "share"
        raise DimensionError(
            f"cannot {what} {_noun(mine)} and {_noun(theirs)}; {_noun(mine)} looks like {_EXAMPLES[mine]}"
        )

    def times(self, other: Quantity) -> Quantity:
        """The product; at most one side may have a dimension other than number or share.

        DimensionError otherwise.
        """
        plain = ("number", "share")
        if self.dimension in plain and other.dimension in plain:
            both = self.dimension == other.dimension == "share"
            one = "share" in (self.dimension, other.dimension) and not both
            return Quantity(self.value * other.value, "share" if both or one else "number")
        if self.dimension in plain or other.dimension in plain:
            carrier = other if self.dimension in plain else self
            return Quantity(self.value * other.value, carrier.dimension)
        raise DimensionError(f"cannot multiply {_noun(self.dimension)} by {_noun(other.dimension)}")

    def over(self, other: Quantity) -> Quantity:
        """The quotient; of two quantities of one kind it is a plain number.

        DimensionError when it would have no meaning.
        """
        value = (
            self.value / other.value
            if other.value
            else math.copysign(math.inf, self.value)
            if self.value
            else math.nan
        )
        if self.dimension == other.dimension:
            return Quantity(value, "number")
        if other.dimension in ("number", "share"):
            return Quantity(value, self.dimension)
        raise DimensionError(f"cannot divide {_noun(self.dimension)} by {_noun(other.dimension)}")


def show(value: float, dimension: Dimension) -> str:
    """For people: 41.2 ms, 97.5 %, 50.1 /s."""
    if not math.isfinite(value):
        return str(value)
    match dimension:
        case "time":
            return show_time(value)
        case "share":
            return f"{100 * value:.4g} %"
        case "rate":
            return f"{digits(value, 4)} /s"
        case "tokens/s":
            return f"{digits(value, 4)} tok/s"
    return digits(value, 5)


def digits(value: float, significant: int) -> str:
    """So many significant digits, and never an exponent on a large number."""
    return f"{value:.0f}" if abs(value) >= 10**significant - 0.5 else f"{value:.{significant}g}"


def show_time(seconds: float) -> str:
    """Seconds with a unit that leaves one to three digits before the point."""
    size = abs(seconds)
    if size >= 100 or size == 0:
        return f"{seconds:.0f} s"
    if size >= 0.9995:
        return f"{seconds:.2f} s"
    if size >= 0.9995e-3:
        return f"{seconds * 1e3:.3g} ms"
    return f"{seconds * 1e6:.3g} us"


def _noun(dimension: Dimension) -> str:
    return {
        "time": "a time",
        "share": "a share",
        "number": "a number",
        "rate": "a rate",
        "tokens/s": "a token rate",
    }[dimension]
