"""Text to values: what is read, and what every error says."""

from __future__ import annotations

import pytest

from simulator.config.flags.flag import Flag, Kind
from simulator.config.flags.values import duration, read
from simulator.errors import ConfigError


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
