"""Text to values: what is read, and what every error says."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.config.flags.flag import Flag, Kind
from simulator.config.flags.values import duration, read
from simulator.errors import ConfigError

UNITS = {"ns": 10**9, "us": 10**6, "µs": 10**6, "ms": 10**3, "s": 1}  # of them a second has so many


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("100ms", 0.1),
        ("1.5s", 1.5),
        ("750us", 750e-6),
        ("750µs", 750e-6),
        ("900ns", 900e-9),
        ("1m30s", 90.0),
        ("2h", 7200.0),
        ("100", 0.1),
        (100, 0.1),
        ("0", 0.0),
        ("7.9", 0.0079),
        ("-5ms", -0.005),
    ],
)
def test_duration(text: object, seconds: float) -> None:
    assert duration(text, "--x") == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "fast", "10 ms", "10xs", "ms"])
def test_duration_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--x: .* is no duration; write 20ms, 1\.5s"):
        duration(text, "--x")


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Kind.BOOL, "TRUE", True),
        (Kind.BOOL, "0", False),
        (Kind.BOOL, True, True),
        (Kind.INT, "-1", -1),
        (Kind.INT, 7, 7),
        (Kind.HUMAN_INT, "8192", 8192),
        (Kind.HUMAN_INT, "8k", 8000),
        (Kind.HUMAN_INT, "8K", 8192),
        (Kind.HUMAN_INT, "1.5k", 1500),
        (Kind.HUMAN_INT, "2M", 2 * 2**20),
        (Kind.HUMAN_INT, "auto", -1),
        (Kind.FLOAT, "0.25", 0.25),
        (Kind.TEXT, 3.1, "3.1"),
        (Kind.LIST, ["a", "b"], ("a", "b")),
        (Kind.LIST, '["a", "b"]', ("a", "b")),
        (Kind.LIST, "a", ("a",)),
        (Kind.JSON, '{"a": [1]}', {"a": [1]}),
        (Kind.JSON, {"a": 1}, {"a": 1}),
        (Kind.LORA, [{"name": "a"}, "b=/b"], ('{"name": "a"}', "b=/b")),
    ],
)
def test_read(kind: Kind, text: object, value: object) -> None:
    assert read(Flag("x", kind, "g", "h"), text, "--x") == value


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        (Kind.BOOL, "maybe", "neither true nor false"),
        (Kind.INT, "1.5", "'1.5' is not an integer"),
        (Kind.INT, True, "not an integer"),
        (Kind.HUMAN_INT, "8kk", "8K \\(8192\\)"),
        (Kind.HUMAN_INT, "1.0001k", "not a whole number"),
        (Kind.FLOAT, "much", "'much' is not a number"),
        (Kind.TEXT, ["a"], "one value is expected"),
        (Kind.JSON, "{", "not valid JSON"),
    ],
)
def test_read_refused(kind: Kind, text: object, words: str) -> None:
    with pytest.raises(ConfigError, match=f"^--x: .*{words}"):
        read(Flag("x", kind, "g", "h"), text, "--x")


def test_bounds_and_choices_are_named() -> None:
    with pytest.raises(ConfigError, match="--x: 0 is too small, the least is 1"):
        read(Flag("x", Kind.INT, "g", "h", minimum=1), "0", "--x")
    with pytest.raises(ConfigError, match="--x: 101 is too large, the most is 100"):
        read(Flag("x", Kind.INT, "g", "h", maximum=100), "101", "--x")
    with pytest.raises(ConfigError, match="the least is 0s"):
        read(Flag("x", Kind.DURATION, "g", "h", minimum=0), "-1ms", "--x")
    with pytest.raises(ConfigError, match="'c' is not one of a, b"):
        read(Flag("x", Kind.TEXT, "g", "h", choices=("a", "b")), "c", "--x")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1k", 1000),
        ("1K", 1024),
        ("1m", 10**6),
        ("1M", 2**20),
        ("1g", 10**9),
        ("1G", 2**30),
        ("0.5K", 512),
        ("25.6k", 25600),
        ("1.1g", 1_100_000_000),
        (" 16 ", 16),
        ("0", 0),
        ("-1", -1),
        ("9007199254740993", 2**53 + 1),
    ],
)
def test_sizes_are_exact(text: str, number: int) -> None:
    assert read(Flag("x", Kind.HUMAN_INT, "g", "h"), text, "--x") == number


@pytest.mark.parametrize("text", ["", "k", "1kb", "1 k", "-5", "1e3", "0x10", "1,000", "9" * 400, "NaN"])
def test_sizes_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^--x: .* is not an integer; 8192, 8k .* are$"):
        read(Flag("x", Kind.HUMAN_INT, "g", "h"), text, "--x")


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999", True, False, None, [1], "9" * 400])
def test_a_number_is_finite(value: object) -> None:
    with pytest.raises(ConfigError, match=r"^--x: .* is not a number$"):
        read(Flag("x", Kind.FLOAT, "g", "h"), value, "--x")


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e999", "9" * 400 + "h", "-", "--5ms", "5ms-3ms"])
def test_a_duration_is_finite(text: str) -> None:
    with pytest.raises(ConfigError, match="is no duration"):
        duration(text, "--x")


@given(st.integers(0, 10**6), st.sampled_from(sorted(UNITS)))
def test_a_whole_number_of_a_unit_is_exactly_that_time(number: int, unit: str) -> None:
    """10us is 1e-05 and nothing beside it: what a test compares with `==`, a trace has to the last bit."""
    assert duration(f"{number}{unit}", "--x") == number / UNITS[unit]
    assert duration(f"-{number}{unit}", "--x") == -number / UNITS[unit]
    if unit == "ms":
        assert duration(number, "--x") == duration(f"{number}ms", "--x")


@given(st.integers(0, 9), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_the_parts_of_a_duration_add_up(hours: int, minutes: int, seconds: int, thousandths: int) -> None:
    whole = (hours * 60 + minutes) * 60 + seconds
    assert duration(f"{hours}h{minutes}m{seconds}s", "--x") == whole
    text = f"{hours}h{minutes}m{seconds}s{thousandths}ms"
    assert duration(text, "--x") == (whole * 1000 + thousandths) / 1000


PLAIN = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
JSON_VALUES = PLAIN | st.lists(PLAIN, max_size=2) | st.dictionaries(st.text(max_size=3), PLAIN, max_size=2)


@settings(max_examples=30)
@given(JSON_VALUES)
def test_json_comes_back_as_it_went(value: object) -> None:
    flag = Flag("x", Kind.JSON, "g", "h")
    assert read(flag, json.dumps(value), "--x") == value
    if not isinstance(value, str):
        assert read(flag, value, "f.yaml:1 x") == value


@settings(max_examples=20)
@given(st.lists(st.text("abc/:.", min_size=1, max_size=5), min_size=1, max_size=4))
def test_a_list_is_the_same_as_words_and_as_json(items: list[str]) -> None:
    flag = Flag("x", Kind.LIST, "g", "h")
    assert read(flag, items, "--x") == read(flag, json.dumps(items), "--x") == tuple(items)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_comes_back_as_it_went(number: float) -> None:
    assert read(Flag("x", Kind.FLOAT, "g", "h"), repr(number), "--x") == number


@pytest.mark.parametrize("text", ["true", "TRUE", "True", "1", "t", "yes", "on"])
def test_what_is_true(text: str) -> None:
    assert read(Flag("x", Kind.BOOL, "g", "h"), text, "--x") is True


@pytest.mark.parametrize("text", ["false", "FALSE", "False", "0", "f", "no", "off"])
def test_what_is_false(text: str) -> None:
    assert read(Flag("x", Kind.BOOL, "g", "h"), text, "--x") is False
