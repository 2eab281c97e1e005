"""Records as columns, and the latency of each request worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.numbers.outcomes import NOT_SENT, OUTCOMES, SHEDS
from loadgen.records.frame import LATENCIES, Frame, by, natural_order
from loadgen.records.records import Record


def record(number: int = 0, **more: object) -> Record:
    """Five tokens: intended at 1, started at 1.25, first token at 2, last at 3, ended at 3.25."""
    fields: dict[str, object] = {
        "id": f"r{number}", "cls": "c", "intended": 1.0, "start": 1.25, "first_byte": 1.75,
        "first_token": 2.0, "last_token": 3.0, "end": 3.25, "outcome": "ok", "output_tokens": 5,
    }  # fmt: skip
    return Record(**{**fields, **more})  # type: ignore[arg-type]


def value(name: str, **more: object) -> float | None:
    """The latency of one request, None when it has none."""
    values, rows = Frame([record(**more)]).latency(name)
    assert rows.tolist() == [0] * len(values)
    return float(values[0]) if len(values) else None


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("ttft", 1.0),  # 2 - 1
        ("ttft_sent", 0.75),  # 2 - 1.25
        ("e2e", 2.25),  # 3.25 - 1
        ("e2e_sent", 2.0),  # 3.25 - 1.25
        ("ntpot", 0.45),  # 2.25 / 5
        ("ntpot_sent", 0.4),  # 2 / 5
        ("tpot", 0.25),  # (3 - 2) / (5 - 1)
    ],
)
def test_latencies_by_hand(name: str, seconds: float) -> None:
    assert value(name) == pytest.approx(seconds, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("ttft", {"first_token": None}),
        ("e2e", {"end": None}),
        ("ntpot", {"output_tokens": None}),
        ("ntpot", {"output_tokens": 0}),
        ("tpot", {"output_tokens": 1}),
        ("tpot", {"output_tokens": None}),
        ("tpot", {"first_token": None}),
        ("ttft_sent", {"start": None}),
        ("itl", {"chunk_times": None}),
        ("itl", {"chunk_times": []}),
    ],
)
def test_what_is_missing_makes_no_latency(name: str, missing: dict[str, object]) -> None:
    assert value(name, **missing) is None


@pytest.mark.parametrize("outcome", [outcome for outcome in OUTCOMES if outcome != "ok"])
@pytest.mark.parametrize("name", LATENCIES)
def test_only_answers_have_latencies(name: str, outcome: str) -> None:
    assert value(name, outcome=outcome, chunk_times=[2.0, 3.0]) is None


def test_gaps_between_chunks_and_inside_them() -> None:
    frame = Frame(
        [
            record(
                0, chunk_times=[2.0, 2.5, 3.0], output_tokens=5
            ),  # two chunks of two tokens share their gap
            record(1, chunk_times=[2.0], output_tokens=1),
            record(2, chunk_times=[2.0, 4.0], output_tokens=2),
            record(3, outcome="reset", chunk_times=[2.0, 9.0], output_tokens=2),
        ]
    )
    gaps, rows = frame.latency("itl")
    assert gaps.tolist() == [0.25, 0.25, 0.25, 0.25, 2.0]
    assert rows.tolist() == [0, 0, 0, 0, 2]


def test_an_unknown_latency_is_a_fault_of_the_caller() -> None:
    with pytest.raises(KeyError, match="tfft"):
        Frame([record()]).latency("tfft")


def test_columns() -> None:
    frame = Frame(
        [
            record(
                0, pod="p", adapter="a", stage=1, group="g0", session="s", prompt_tokens=9, cached_tokens=4
            ),
            record(1, outcome="missed", start=None, end=None, first_token=None, last_token=None),
        ]
    )
    assert len(frame) == 2
    assert frame.intended.tolist() == [1.0, 1.0]
    for name, first in (("start", 1.25), ("end", 3.25), ("first_token", 2.0), ("last_token", 3.0),
                        ("prompt_tokens", 9.0), ("cached_tokens", 4.0)):  # fmt: skip
        column = getattr(frame, name)
        assert column[0] == first
        assert math.isnan(column[1])
    assert frame.pod.tolist() == ["p", ""]
    assert frame.adapter.tolist() == ["a", ""]
    assert frame.group.tolist() == ["g0", ""]
    assert frame.session.tolist() == ["s", ""]
    assert frame.stage.tolist() == ["1", "0"]
    assert frame.cls.tolist() == ["c", "c"]
    assert frame.lateness[0] == 0.25
    assert math.isnan(frame.lateness[1])


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_kinds_of_outcomes(outcome: str) -> None:
    frame = Frame([record(outcome=outcome)])
    assert frame.ok.tolist() == [outcome == "ok"]
    assert frame.shed.tolist() == [outcome in SHEDS]
    assert frame.sent.tolist() == [outcome not in NOT_SENT]


def test_part_of_a_frame() -> None:
    frame = Frame([record(number, output_tokens=number + 1) for number in range(4)])
    part = frame.where(frame.output_tokens > 2)
    assert [each.id for each in part.records] == ["r2", "r3"]
    assert len(frame.where(np.zeros(4, dtype=bool))) == 0


def test_an_empty_frame() -> None:
    frame = Frame([])
    assert len(frame) == 0
    assert frame.summaries() == {}
    for name in LATENCIES:
        values, rows = frame.latency(name)
        assert (values.size, rows.size) == (0, 0)


def test_summaries_are_of_what_has_values() -> None:
    frame = Frame([record(number, first_token=None, last_token=None) for number in range(3)])
    found = frame.summaries(intervals=False)
    assert set(found) == {"ntpot", "e2e", "ntpot_sent", "e2e_sent"}
    assert found["e2e"].p50 == 2.25
    assert found["e2e"].ci == {}
    assert set(frame.summaries(["e2e"])) == {"e2e"}


def test_masks_by_label() -> None:
    labels = np.array(["p-10", "p-2", "", "p-2"], dtype=object)
    masks = by(labels)
    assert list(masks) == ["p-2", "p-10"]
    assert masks["p-2"].tolist() == [False, True, False, True]


@pytest.mark.parametrize(
    ("names", "ordered"),
    [
        (["b", "a"], ["a", "b"]),
        (["pod-10", "pod-9", "pod-1"], ["pod-1", "pod-9", "pod-10"]),
        (["10", "9", "a"], ["9", "10", "a"]),
        (["a1b10", "a1b9", "a01b1"], ["a01b1", "a1b9", "a1b10"]),
        (["p²", "p1", "p٣"], ["p1", "p²", "p٣"]),
        (["", "1", "a"], ["", "1", "a"]),
        ([], []),
    ],
)
def test_natural_order(names: list[str], ordered: list[str]) -> None:
    assert natural_order(names) == ordered


@given(st.lists(st.text(max_size=6)))
def test_any_names_have_an_order_that_does_not_depend_on_how_they_came(names: list[str]) -> None:
    ordered = natural_order(names)
    assert sorted(ordered) == sorted(names)
    assert natural_order(ordered) == ordered


@given(st.lists(st.integers(0, 10**9), max_size=20))
def test_numbers_inside_names_are_numbers(numbers: list[int]) -> None:
    assert natural_order(f"pod-{number}-x" for number in numbers) == [f"pod-{n}-x" for n in sorted(numbers)]


def test_first_content_is_a_figure_where_thoughts_came_before_it() -> None:
    plain = record(first_token=1.0, first_content=1.0)
    thinks = record(first_token=1.0, first_content=3.0)
    calls = record(first_token=1.0)
    assert Frame([plain, calls]).latency("ttfc")[0].size == 0
    assert Frame([plain, thinks, calls]).latency("ttfc")[0].tolist() == [
        1.0 - plain.intended,
        3.0 - thinks.intended,
    ]
