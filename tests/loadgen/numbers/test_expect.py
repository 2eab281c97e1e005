"""The language of expectations: what holds, what fails, and what the error points at."""

from __future__ import annotations

import math

import pytest

from loadgen.numbers import expect
from loadgen.numbers.expect import ExpectError
from loadgen.numbers.quantity import Quantity, digits, show

FIGURES = {
    "ttft.p99": Quantity(0.250, "time"),
    "ttft.p50": Quantity(0.050, "time"),
    "outcomes.ok": Quantity(1.0, "share"),
    "spread.jain": Quantity(0.93),
    "prefix.reached": Quantity(0.81, "share"),
    "throughput.ok_rate": Quantity(49.0, "rate"),
    "arm[page].ttft.p90": Quantity(0.06, "time"),
    "arm[round-robin].ttft.p90": Quantity(0.1, "time"),
    "delta.ttft-p90": Quantity(-0.4, "share"),
    "lora.hit": Quantity(math.nan, "share"),
}


def lookup(path: str) -> Quantity:
    if path not in FIGURES:
        raise KeyError(f"no figure {path!r}")
    return FIGURES[path]


@pytest.mark.parametrize(
    "text",
    [
        "ttft.p99 < 300ms",
        "ttft.p99 < 0.3s",
        "ttft.p99 <= 250 ms",
        "outcomes.ok == 100%",
        "outcomes.ok == 1",
        "spread.jain > 0.9",
        "spread.jain > 90%",
        "prefix.reached > 80%",
        "throughput.ok_rate >= 49/s",
        "arm[page].ttft.p90 < 0.8 * arm[round-robin].ttft.p90",
        "arm[page].ttft.p90 < arm[round-robin].ttft.p90 - 20ms",
        "arm[page].ttft.p90 / arm[round-robin].ttft.p90 < 0.7",
        "delta.ttft-p90 < -20%",
        "10ms < ttft.p50 < 60ms",
        "(ttft.p50 + 10ms) * 2 < 130ms",
        "(ttft.p99 < 1ms or spread.jain > 0.5) and not ttft.p99 < 1ms",
        "max(ttft.p99, ttft.p50) == 250ms",
        "abs(delta.ttft-p90) > 30%",
        "lora.hit > 50% or ttft.p50 < 1s",
    ],
)
def test_holds(text: str) -> None:
    expect.check(text)
    assert expect.judge(text, lookup).passed


@pytest.mark.parametrize(
    "text",
    [
        "ttft.p99 < 200ms",
        "outcomes.ok < 1",
        "spread.jain != 0.93",
        "10ms < ttft.p50 < 20ms",
        "not ttft.p50 < 1s",
    ],
)
def test_fails(text: str) -> None:
    judgement = expect.judge(text, lookup)
    assert not judgement.passed
    assert judgement.reason == ""


@pytest.mark.parametrize(
    "text", ["lora.hit > 50%", "not lora.hit > 50%", "lora.hit != 1", "lora.hit > 1% and ttft.p50 < 1s"]
)
def test_a_figure_without_a_value_fails_whatever_is_asked_of_it(text: str) -> None:
    judgement = expect.judge(text, lookup)
    assert not judgement.passed
    assert judgement.reason == "lora.hit has no value in this run"
    assert judgement.seen["lora.hit"] == "no value"


def test_says_what_it_saw() -> None:
    assert expect.judge("ttft.p99 < 200ms", lookup).seen == {"ttft.p99": "250 ms"}


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("ttft.p99 < 300", 9, "cannot compare a time and a number; a time looks like 300ms"),
        ("outcomes.ok == 100", 12, "write 100% for the share"),
        ("ttft.p99 < 300 mss", 15, "no unit 'mss'"),
        ("ttft.p99", 8, "expected a comparison"),
        ("ttft.p99 < ", 11, "found the end"),
        ("ttft.p99 < 1s spread.jain > 1", 14, "does not belong here"),
        ("(ttft.p99 < 1s", 14, "expected ')', found the end"),
        ("tfft.p99 < 1s", 0, "no figure 'tfft.p99'"),
        ("ttft.p99 < 1s & 2 < 1", 14, "cannot read '&'"),
        ("ttft.p99 + 1% < 2s", 9, "cannot add"),
        ("ttft.p99 * ttft.p50 < 2s", 9, "cannot multiply"),
        ("throughput.ok_rate / ttft.p50 < 2s", 19, "cannot divide"),
        ("ttft. < 1", 6, "expected a name after the point"),
        ("and < 1", 0, "expected a figure"),
    ],
)
def test_errors_point_at_the_place(text: str, position: int, message: str) -> None:
    with pytest.raises(ExpectError) as caught:
        expect.judge(text, lookup)
    assert caught.value.position == position
    assert message in str(caught.value)
    assert str(caught.value).splitlines()[-1] == "  " + " " * position + "^"


def test_check_knows_grammar_only() -> None:
    expect.check("whatever.is.this < 3")
    with pytest.raises(ExpectError):
        expect.check("ttft.p99 <")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0412, "41.2 ms"),
        (1.5, "1.50 s"),
        (240, "240 s"),
        (4e-5, "40 us"),
        (0, "0 s"),
        (math.nan, "nan"),
        (-0.25, "-250 ms"),
    ],
)
def test_times_for_people(value: float, text: str) -> None:
    assert show(value, "time") == text


def test_shares_and_rates_for_people() -> None:
    assert [
        show(0.975, "share"),
        show(50.123, "rate"),
        show(1234.5, "tokens/s"),
        show(3.14159, "number"),
    ] == [
        "97.5 %",
        "50.12 /s",
        "1234 tok/s",
        "3.1416",
    ]
    assert show(12764.2, "tokens/s") == "12764 tok/s"
    assert show(999.6, "number") == "999.6"
    assert [digits(x, 3) for x in (857.0, 999.4, 999.6, 1022.0)] == ["857", "999", "1000", "1022"]
