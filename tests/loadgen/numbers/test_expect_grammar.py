"""Expectations against Python's own reading of the same comparisons, and the corners of the grammar."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.numbers.expect import ExpectError, check, judge
from loadgen.numbers.quantity import UNITS, Quantity

FIGURES = {"a": Quantity(3.0), "b.c": Quantity(0.25), "d[x y]": Quantity(-2.0), "e-f": Quantity(7.0)}
VALUES = {"a": "3.0", "b.c": "0.25", "d[x y]": "(-2.0)", "e-f": "7.0"}


def lookup(path: str) -> Quantity:
    return FIGURES[path]


def holds(text: str) -> bool:
    check(text)
    return judge(text, lookup).passed


NUMBERS = st.integers(0, 9).map(str)
SUMS = st.recursive(
    st.one_of(NUMBERS, st.sampled_from(sorted(FIGURES))),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*"]), inner).map(lambda x: f"({x[0]} {x[1]} {x[2]})"),
        inner.map(lambda x: f"(- {x})"),
        st.tuples(st.sampled_from(["min", "max"]), inner, inner).map(lambda x: f"{x[0]}({x[1]}, {x[2]})"),
        inner.map(lambda x: f"abs({x})"),
    ),
    max_leaves=6,
)
COMPARISONS = st.tuples(SUMS, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), SUMS).map(" ".join)
TESTS = st.recursive(
    COMPARISONS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda x: f"({x[0]} {x[1]} {x[2]})"),
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(" ".join),
        inner.map(lambda x: f"not ({x})"),
    ),
    max_leaves=4,
)


@given(TESTS)
def test_the_language_means_what_python_means(text: str) -> None:
    spelled = text
    for name, value in VALUES.items():
        spelled = spelled.replace(name, value) if name != "a" else spelled
    spelled = " ".join(VALUES["a"] if word.strip("(),") == "a" else word for word in _words(spelled)).strip()
    assert holds(text) == eval(spelled, {"__builtins__": {}}, {"min": min, "max": max, "abs": abs})


def _words(text: str) -> list[str]:
    for mark in "(),":
        text = text.replace(mark, f" {mark} ")
    return text.split()


@pytest.mark.parametrize(
    ("text", "passed"),
    [
        ("1 + 2 * 3 == 7", True),
        ("(1 + 2) * 3 == 9", True),
        ("10 - 4 - 3 == 3", True),
        ("12 / 4 / 3 == 1", True),
        ("- 1 < 0", True),
        ("2 * -3 == -6", True),
        ("1 < 2 < 3 < 4", True),
        ("1 < 3 < 2", False),
        ("not 1 > 2", True),
        ("not not 1 < 2", True),
        ("1 > 2 or 1 < 2 and 2 < 1", False),
        ("1 < 2 or 1 < 2 and 2 < 1", True),
        ("(1 < 2 or 1 < 2) and 2 < 1", False),
        ("((1)) < ((2))", True),
        ("(1 < 2)", True),
        ("(1) + 1 == 2", True),
        (".5 == 50%", True),
        ("1e3 == 1k", True),
        ("1.5e-1 == 15%", True),
        ("0.1 + 0.2 == 0.3", True),
        ("0.1 + 0.2 != 0.3", False),
        ("0.1 + 0.2 <= 0.3", True),
        ("0.1 + 0.2 > 0.3", False),
        ("1 / 0 > 1000000", True),
        ("1 / 0 <= 1000000", False),
        ("1 / 0 == 1000000", False),
        ("1 / 0 != 1000000", True),
        ("1 / 0 == 2 / 0", True),
        ("-1 / 0 < -1000000", True),
        ("min(3, 1, 2) == 1", True),
        ("max(3) == 3", True),
        ("abs(-2) == 2", True),
        ("1min == 60s", True),
        ("1500us == 1.5ms", True),
        ("5/s == 5rps", True),
        ("2 * 500 tok/s == 1000tok/s", True),
    ],
)
def test_arithmetic_and_logic(text: str, passed: bool) -> None:
    assert holds(text) is passed


@pytest.mark.parametrize("unit", sorted(UNITS))
def test_every_unit_with_and_without_a_blank(unit: str) -> None:
    assert holds(f"1{unit} == 1 {unit}")
    assert holds(f"1{unit} < 2{unit}")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a.b > 0", "a.b"),
        ("a.p99 > 0", "a.p99"),
        ("class[chat].ttft.p99 > 0", "class[chat].ttft.p99"),
        ("class[a b-c/d].x > 0", "class[a b-c/d].x"),
        ("arm[round-robin].x > 0", "arm[round-robin].x"),
        ("a.b-c > 0", "a.b-c"),
        ("stage[0].x > 0", "stage[0].x"),
        ("min.x > 0", "min.x"),
    ],
)
def test_paths_reach_the_lookup_as_they_are_written(text: str, path: str) -> None:
    asked: list[str] = []

    def remember(name: str) -> Quantity:
        asked.append(name)
        return Quantity(1.0)

    assert judge(text, remember).seen == {path: "1"}
    assert asked == [path]


@pytest.mark.parametrize(
    ("text", "passed", "missing"),
    [
        ("none < 1", False, True),
        ("none < 1 or a == 3", True, False),
        ("none < 1 and a == 3", False, True),
        ("none < 1 and a == 4", False, False),
        ("not (none < 1 and a == 4)", True, False),
        ("not none < 1", False, True),
        ("1 < 2 < none", False, True),
        ("2 < 1 < none", False, False),
        ("none - none == 0", False, True),
        ("max(none, 1) < 2", False, True),
        ("0 / 0 == 1", False, True),
    ],
)
def test_what_has_no_value_decides_only_where_nothing_else_does(
    text: str, passed: bool, missing: bool
) -> None:
    figures = FIGURES | {"none": Quantity(math.nan)}
    found = judge(text, lambda path: figures[path])
    assert (found.passed, bool(found.reason)) == (passed, missing)
    if missing:
        name = "none" if "none" in text else "a quotient"
        assert found.reason == f"{name} has no value in this run"


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("", 0, "expected a figure or a number, found the end"),
        ("   ", 3, "expected a figure or a number, found the end"),
        ("a <> 1", 3, "expected a figure or a number, found '>'"),
        ("a < 1 <", 7, "expected a figure or a number, found the end"),
        ("a = 1", 2, "cannot read '='"),
        ("a < 1;", 5, "cannot read ';'"),
        ("a < 5sec", 5, "no unit 'sec'; there are us, ms, s, min, %, /s, rps, tok/s, k"),
        ("(a < 1", 6, "expected ')', found the end"),
        ("a < (1", 6, "expected ')', found the end"),
        ("a < 1)", 5, "')' does not belong here"),
        ("a < a b", 6, "'b' does not belong here"),
        ("a < min(1", 9, "expected ')', found the end"),
        ("a < min()", 8, "expected a figure or a number, found ')'"),
        ("a and b", 2, "expected a comparison: one of < <= > >= == !="),
        ("not", 3, "expected a figure or a number, found the end"),
        ("a < 1 and", 9, "expected a figure or a number, found the end"),
        ("a..b < 1", 2, "expected a name after the point"),
        ("class[x < 1", 5, "cannot read '['"),
    ],
)
def test_faults_of_grammar_are_found_without_figures(text: str, position: int, message: str) -> None:
    with pytest.raises(ExpectError) as caught:
        check(text)
    assert (caught.value.message, caught.value.position, caught.value.text) == (message, position, text)


def test_dimensions_are_judged_where_figures_are_known() -> None:
    check("ttft < 5 and 1s < 2")
    with pytest.raises(ExpectError, match="cannot compare a time and a number; a time looks like 300ms"):
        judge("1s < 2", lookup)
    with pytest.raises(ExpectError, match="cannot compare a time and a share"):
        judge("max(1s, 5%) < 2s", lookup)


@given(st.text("ab.c[]()<>=!+-*/ 0129%smandor,", max_size=25))
def test_any_text_is_an_expectation_or_an_error_inside_it(text: str) -> None:
    try:
        check(text)
    except ExpectError as error:
        position = error.position
    else:
        return
    assert 0 <= position <= len(text)
