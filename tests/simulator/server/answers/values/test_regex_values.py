"""Texts made for regular expressions match them, by Python's own engine; what is refused says why."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.server.answers.values.budget import MAX_CHARS, Budget
from simulator.server.answers.values.regex_values import matching_text
from simulator.server.errors import ApiError

seeds = st.integers(0, 2**32)


def text(pattern: str, seed: int = 1, budget: Budget | None = None, **lengths: float) -> str:
    return matching_text(pattern, random.Random(seed), budget, **lengths)


PATTERNS = [
    "",
    "abc",
    ".",
    "a?",
    "a*?b+?c??",
    "(a|bc|)",
    "(?:x)",
    "(?i:Ab)",
    "[a-z]",
    "[^a-z]",
    "[^\\W]",
    "[\\d\\s]",
    "[]-]",
    r"\d+",
    r"\D",
    r"\w{3}",
    r"\W",
    r"\s",
    r"\S",
    r"\.",
    r"\x41\u0042\t\n",
    r"[\u4e00-\u9fff]{2}",
    "^a$",
    r"\Aa\Z",
    r"\bword\b",
    r"a\Bb",
    "^(a|b)$",
    r"(?m)^a$\n^b$",
    "(a)(b)?\\2?",
    r"(?P<x>[ab])(?P=x)",
    "(a)?b(?(1)c|d)",
    "a{0}",
    "a{2,}",
    "a{,3}",
    "(ab){2,4}",
    "((a|b)c)*",
    "[a-zA-Z0-9._%+-]+@[a-z]+\\.(com|org)",
    r"(\d{4})-(\d{2})-(\d{2})T\d{2}:\d{2}",
    r"#[0-9a-fA-F]{6}",
    r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?",
    "(?s).",
    "(?x) a b",
    r"[^\x00-\x7f]",
    "[\\[\\]]",
    "é+ß",
    r"\$\{[a-z]+\}",
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_written_patterns(pattern: str) -> None:
    for seed in range(25):
        made = text(pattern, seed)
        assert re.search(pattern, made), made
        assert made == text(pattern, seed)


literals = st.text(alphabet="abcXYZ019 _-\u00e4\u4e2d", min_size=1, max_size=4).map(re.escape)
sets = st.sampled_from(
    [
        "[a-z]",
        "[^a-z]",
        "[A-F0-9]",
        "[^\\d]",
        "[\\w-]",
        "[^ab\\s]",
        r"\d",
        r"\D",
        r"\w",
        r"\W",
        r"\s",
        r"\S",
        ".",
    ]
)
repeats = st.sampled_from(["", "?", "*", "+", "{2}", "{1,3}", "{0,2}", "{2,}", "*?", "+?", "{1,2}?"])


def larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return (
        st.lists(inner, min_size=1, max_size=3).map("".join)
        | st.lists(inner, min_size=1, max_size=3).map(lambda branches: f"({'|'.join(branches)})")
        | st.tuples(inner, repeats).map(lambda pair: f"(?:{pair[0]}){pair[1]}")
    )


def is_easy(pattern: str) -> bool:
    """Whether `re`, which backtracks, is through with it soon: one repeat without end at most."""
    return sum(pattern.count(mark) for mark in ("*", "+", ",}")) <= 1 and pattern.count("(?:") <= 3


drawn = st.recursive(literals | sets, larger, max_leaves=6).filter(is_easy)


@given(drawn, seeds)
@settings(max_examples=150, deadline=None)
def test_drawn_patterns_match_from_end_to_end(pattern: str, seed: int) -> None:
    assert re.fullmatch(pattern, text(pattern, seed), re.DOTALL)


@given(drawn, seeds)
@settings(max_examples=60, deadline=None)
def test_case_is_nothing_to_a_pattern_that_ignores_it(pattern: str, seed: int) -> None:
    assert re.fullmatch(f"(?i:{pattern})", text(f"(?i:{pattern})", seed), re.DOTALL)


@given(st.lists(drawn, min_size=1, max_size=3), seeds)
@settings(max_examples=60, deadline=None)
def test_groups_that_are_referred_to(parts: list[str], seed: int) -> None:
    pattern = "".join(f"(?P<g{i}>{part})" for i, part in enumerate(parts))
    pattern += "".join(f"(?P=g{i})" for i in reversed(range(len(parts))))
    assert re.fullmatch(pattern, text(pattern, seed), re.DOTALL)


@pytest.mark.parametrize(
    "pattern",
    [
        "a*",
        "^[a-z]+$",
        "x[yz]{0,}",
        "[ab]{3,}c",
        "^[a-z]{0,100}$",
        "a?b{1,90}c?",
        "[a-z]+@[a-z]+",
        r"^(\w*)-\1$",
    ],
)
@pytest.mark.parametrize(("low", "more"), [(0, 40), (9, 0), (10, 20), (33, 0), (40, 1), (60, 5)])
def test_lengths_are_met_where_the_pattern_leaves_them_open(pattern: str, low: int, more: int) -> None:
    for seed in range(30):
        made = text(pattern, seed, low=low, high=low + more)
        assert low <= len(made) <= low + more
        assert re.search(pattern, made)


@pytest.mark.parametrize("pattern", [r"(a)|\1", r"(?:(a)|b)\1?", r"(a)?(?:\1|c)"])
def test_a_reference_to_what_has_not_matched_is_another_way_through(pattern: str) -> None:
    for seed in range(30):
        assert re.fullmatch(pattern, text(pattern, seed))
    with pytest.raises(ApiError, match="No text was found"):
        text(r"(a){0}\1")


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(", "missing ), unterminated subpattern"),
        ("[", "unterminated character set"),
        ("*a", "nothing to repeat"),
        ("a{3,2}", "min repeat greater than max repeat"),
        (r"\q", "bad escape"),
        ("(?P<a>x)(?P<a>y)", "redefinition of group name"),
        ("(?=a)a", "assert is not supported"),
        ("(?!a)b", "assert not is not supported"),
        ("(?<=a)b", "assert is not supported"),
        ("(?>a)", "atomic group is not supported"),
        ("a++", "possessive repeat is not supported"),
        (r"[^\s\S]", "no character was found for one of its sets"),
        (r"\ud800", "half a surrogate pair is no character"),
        (r"[\ud800-\udbff]", "no character was found for one of its sets"),
    ],
)
def test_patterns_that_cannot_be_used(pattern: str, why: str) -> None:
    with pytest.raises(ApiError) as caught:
        text(pattern)
    assert caught.value.status == 400
    assert caught.value.message.startswith(f"The regular expression {pattern!r} cannot be used: {why}")


@pytest.mark.parametrize("pattern", ["a^b", "a$b", r"a\bb", r"x\Ay", r"\Zx"])
def test_anchors_that_cannot_hold(pattern: str) -> None:
    assert all(not re.search(pattern, sample) for sample in ("ab", "a b", "xy", "x"))
    with pytest.raises(ApiError, match="No text was found that matches"):
        text(pattern)


def test_lengths_that_cannot_be_met() -> None:
    for lengths in ({"low": 4}, {"high": 2}):
        with pytest.raises(ApiError, match="No text was found that matches"):
            text("abc", **lengths)


def test_a_long_pattern_is_shown_in_part() -> None:
    with pytest.raises(ApiError) as caught:
        text("a" * 1000 + "(")
    assert "a" * 200 + "...'" in caught.value.message
    assert "a" * 201 not in caught.value.message


@pytest.mark.parametrize(
    "pattern",
    [
        "(a{50}){50}{50}{50}",
        "(((((a{9}){9}){9}){9}){9}){9}",
        "((((a|b)*){50,}){50,}){50,}",
        "[ab]{99999999}",
        "(?:(?:ab){1000}c){1000}",
        "(x|y){100000}",
        "a" * 6000,
    ],
    ids=lambda p: p[:20],
)
def test_patterns_that_ask_for_too_much_are_refused_by_counting(pattern: str) -> None:
    budget = Budget()
    with pytest.raises(ApiError) as caught:
        text(pattern, 1, budget)
    assert caught.value.status == 400
    assert budget.chars <= 2 * MAX_CHARS


@given(drawn, seeds, st.integers(0, 2))
@settings(max_examples=60, deadline=None)
def test_what_nobody_sees_is_not_made(pattern: str, seed: int, max_tokens: int) -> None:
    budget = Budget(max_tokens)
    made = budget.cut(text(f"(?:{pattern})" * 3, seed, budget))
    assert len(made) <= max_tokens * 128
    whole = text(f"(?:{pattern})" * 3, seed)
    if len(whole) <= max_tokens * 128:
        assert made == whole


@pytest.mark.parametrize(
    ("pattern", "flags", "samples"),
    [
        (r"[^a]", re.IGNORECASE, 40),
        (r"\w", re.ASCII, 40),
        (r"\s", re.ASCII, 10),
    ],
)
def test_characters_suit_stricter_readings_too(pattern: str, flags: Any, samples: int) -> None:
    """What reads the pattern at the client may ignore case or know ASCII alone."""
    for seed in range(samples):
        assert re.fullmatch(pattern, text(pattern, seed), flags | re.DOTALL)
