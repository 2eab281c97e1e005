"""Lengths of time: Go's spelling exactly, and what people type."""

from __future__ import annotations

import pytest

from kit.durations import nanoseconds, parse_duration, parse_seconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("50ms", 50_000_000),
        ("1.5h", 5_400_000_000_000),
        ("1m30s", 90_000_000_000),
        ("250us", 250_000),
        ("1µs1μs", 2_000),
        ("0.3s", 300_000_000),
        ("+.5s", 500_000_000),
        ("-1.s", -1_000_000_000),
        ("1ns", 1),
        ("9223372036.854775807s", 2**63 - 1),
    ],
)
def test_gos_durations_are_exact(text: str, expected: int) -> None:
    assert nanoseconds(text) == expected
    assert parse_duration(text) == expected / 10**9


@pytest.mark.parametrize(
    "text", ["", "5", "s", "1 s", "1sec", "1min", "--1s", ".s", "٦s", "1s2", "1e3s", "9223372036.854775808s"]
)
def test_what_go_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        nanoseconds(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30", 30.0),
        (" 30 ", 30.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("30s", 30.0),
        ("30 s", 30.0),
        ("1.5m", 90.0),
        ("1.5min", 90.0),
        ("1min 30s", 90.0),
        ("2 min 5 ms", 120.005),
        ("250ms", 0.25),
        ("1h30m", 5400.0),
        ("1m 30s", 90.0),
        ("10us", 1e-5),
        ("10 µs", 1e-5),
        ("0", 0.0),
    ],
)
def test_what_people_type(text: str, expected: float) -> None:
    assert parse_seconds(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "s",
        "3x",
        "1s2",
        "1h30",
        "1 0s",
        "30 30",
        "-1s",
        "-1",
        "+1",
        "1 fortnight",
        "5mins",
        "1m in",
        "9" * 400,
    ],
)
def test_what_is_no_length_of_time(text: str) -> None:
    with pytest.raises(ValueError, match="is not a"):
        parse_seconds(text)
