"""Quantities: which may meet which, what comes of it, and how they are shown."""

from __future__ import annotations

import math
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.numbers.quantity import UNITS, Dimension, DimensionError, Quantity, digits, show, show_time

DIMENSIONS: tuple[Dimension, ...] = ("time", "share", "number", "rate", "tokens/s")
NOUNS = {
    "time": "a time",
    "share": "a share",
    "number": "a number",
    "rate": "a rate",
    "tokens/s": "a token rate",
}
EXAMPLES = {"time": "300ms or 1.5s", "share": "95%", "number": "2", "rate": "50/s", "tokens/s": "1000tok/s"}


@pytest.mark.parametrize(("mine", "theirs"), list(product(DIMENSIONS, DIMENSIONS)))
def test_which_may_be_compared(mine: Dimension, theirs: Dimension) -> None:
    left, right = Quantity(0.5, mine), Quantity(0.5, theirs)
    if mine == theirs:
        assert left.combined(right, "compare") == mine
    elif {mine, theirs} == {"share", "number"}:
        assert left.combined(right, "compare") == "share"
    else:
        with pytest.raises(DimensionError) as caught:
            left.combined(right, "compare")
        assert str(caught.value) == (
            f"cannot compare {NOUNS[mine]} and {NOUNS[theirs]}; {NOUNS[mine]} looks like {EXAMPLES[mine]}"
        )


@pytest.mark.parametrize("value", [1.01, 95.0, -2.0])
def test_a_number_beyond_one_is_no_share(value: float) -> None:
    message = f"cannot add a share and {value:g}; write {value:g}% for the share"
    for left, right in (
        (Quantity(0.5, "share"), Quantity(value)),
        (Quantity(value), Quantity(0.5, "share")),
    ):
        with pytest.raises(DimensionError) as caught:
            left.combined(right, "add")
        assert str(caught.value) == message


@pytest.mark.parametrize(
    ("mine", "theirs", "wanted"),
    [
        ("number", "number", "number"),
        ("share", "number", "share"),
        ("number", "share", "share"),
        ("share", "share", "share"),
        ("time", "number", "time"),
        ("share", "time", "time"),
        ("rate", "share", "rate"),
        ("number", "tokens/s", "tokens/s"),
    ],
)
def test_products(mine: Dimension, theirs: Dimension, wanted: Dimension) -> None:
    assert Quantity(0.5, mine).times(Quantity(0.25, theirs)) == Quantity(0.125, wanted)


@pytest.mark.parametrize(
    ("mine", "theirs"), [("time", "time"), ("time", "rate"), ("rate", "tokens/s"), ("tokens/s", "time")]
)
def test_products_that_are_nothing(mine: Dimension, theirs: Dimension) -> None:
    with pytest.raises(DimensionError) as caught:
        Quantity(2, mine).times(Quantity(3, theirs))
    assert str(caught.value) == f"cannot multiply {NOUNS[mine]} by {NOUNS[theirs]}"


@pytest.mark.parametrize(
    ("mine", "theirs", "wanted"),
    [
        ("time", "time", "number"),
        ("share", "share", "number"),
        ("rate", "rate", "number"),
        ("time", "number", "time"),
        ("tokens/s", "share", "tokens/s"),
        ("share", "number", "share"),
    ],
)
def test_quotients(mine: Dimension, theirs: Dimension, wanted: Dimension) -> None:
    assert Quantity(1, mine).over(Quantity(4, theirs)) == Quantity(0.25, wanted)


@pytest.mark.parametrize(("mine", "theirs"), [("number", "time"), ("rate", "time"), ("share", "rate")])
def test_quotients_that_are_nothing(mine: Dimension, theirs: Dimension) -> None:
    with pytest.raises(DimensionError) as caught:
        Quantity(2, mine).over(Quantity(3, theirs))
    assert str(caught.value) == f"cannot divide {NOUNS[mine]} by {NOUNS[theirs]}"


@pytest.mark.parametrize(("value", "quotient"), [(2.0, math.inf), (-2.0, -math.inf)])
def test_division_by_zero_has_a_sign(value: float, quotient: float) -> None:
    assert Quantity(value).over(Quantity(0)).value == quotient
    assert math.isnan(Quantity(0).over(Quantity(0)).value)


@given(a=st.floats(-1e6, 1e6), b=st.floats(1e-6, 1e6), kind=st.sampled_from(DIMENSIONS), plain=st.booleans())
def test_a_quotient_times_its_divisor_is_the_dividend(
    a: float, b: float, kind: Dimension, plain: bool
) -> None:
    divisor = Quantity(b) if plain else Quantity(b, kind)
    back = Quantity(a, kind).over(divisor).times(divisor)
    assert back.value == pytest.approx(a, rel=1e-12)
    assert back.dimension == kind


@pytest.mark.parametrize(("unit", "seconds"), [("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("min", 60.0)])
def test_units_of_time(unit: str, seconds: float) -> None:
    assert UNITS[unit] == (seconds, "time")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"),
        (1e-7, "0.1 us"),
        (1e-6, "1 us"),
        (999.4e-6, "999 us"),
        (999.6e-6, "1 ms"),
        (0.0123456, "12.3 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.00 s"),
        (59.999, "60.00 s"),
        (99.99, "99.99 s"),
        (100.4, "100 s"),
        (86400.0, "86400 s"),
        (-0.002, "-2 ms"),
        (-300.0, "-300 s"),
    ],
)
def test_times(seconds: float, text: str) -> None:
    assert show_time(seconds) == text


@pytest.mark.parametrize(
    ("value", "dimension", "text"),
    [
        (0.999996, "share", "100 %"),
        (0.99994, "share", "99.99 %"),
        (0.0, "share", "0 %"),
        (-0.5, "share", "-50 %"),
        (123.456, "share", "12346 %"),
        (1e5, "share", "10000000 %"),
        (99999.4, "rate", "99999 /s"),
        (0.1234567, "rate", "0.1235 /s"),
        (1e9, "tokens/s", "1000000000 tok/s"),
        (123456.7, "number", "123457"),
        (12345.6, "number", "12346"),
        (0.000012345, "number", "1.2345e-05"),
        (math.inf, "time", "inf"),
        (-math.inf, "number", "-inf"),
        (math.nan, "share", "nan"),
    ],
)
def test_shown(value: float, dimension: Dimension, text: str) -> None:
    assert show(value, dimension) == str(Quantity(value, dimension)) == text


@given(value=st.floats(1e-3, 1e12), significant=st.integers(1, 6))
def test_digits_are_never_an_exponent_and_near_enough(value: float, significant: int) -> None:
    text = digits(value, significant)
    assert "e" not in text or value < 1e-4
    assert float(text) == pytest.approx(value, rel=0.51 * 10 ** (1 - significant))


@given(st.floats(1e-7, 1e7))
def test_a_time_reads_back_to_its_digits(seconds: float) -> None:
    number, unit = show_time(seconds).split()
    assert float(number) * UNITS[unit][0] == pytest.approx(seconds, rel=0.0051)


@given(value=st.floats(1.0, 1e9), dimension=st.sampled_from(DIMENSIONS))
def test_nothing_large_is_shown_with_an_exponent(value: float, dimension: Dimension) -> None:
    assert "e" not in show(value, dimension)
