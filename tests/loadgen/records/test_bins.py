"""A run cut into bins: edges that hold every request, counts that add up, levels worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import to_builtins

from loadgen.records.bins import MOST_BINS, bin_edges, curve, timeline
from loadgen.records.frame import Frame
from loadgen.records.records import Record
from loadgen.records.series import PodSeries


def record(intended: float, end: float | None = None, **more: object) -> Record:
    fields: dict[str, object] = {
        "id": f"r{intended}", "cls": "c", "intended": intended, "start": intended, "end": end,
        "outcome": "ok",
    }  # fmt: skip
    return Record(**{**fields, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("first", "last", "edges"),
    [
        (0.0, 0.0, [0.0, 0.1]),
        (0.0, 0.35, [0.0, 0.1, 0.2, 0.3, 0.4]),
        (2.0, 2.25, [2.0, 2.1, 2.2, 2.3]),
        (0.95, 1.05, [0.9, 1.0, 1.1]),
    ],
)
def test_edges_of_short_runs(first: float, last: float, edges: list[float]) -> None:
    assert bin_edges(Frame([record(first, last)])).tolist() == pytest.approx(edges)


@pytest.mark.parametrize(
    ("length", "width"),
    [(6, 0.1), (6.1, 0.2), (12.1, 0.25), (15.1, 0.5), (59, 1.0), (61, 2.0), (200, 5.0), (599, 10.0),
     (3000, 60.0), (30_000, 600.0), (200_000, 3600.0), (2_160_000, 36_000.0)],
)  # fmt: skip
def test_widths_are_round(length: float, width: float) -> None:
    edges = bin_edges(Frame([record(0.0, length)]))
    assert edges[1] - edges[0] == pytest.approx(width)


@given(
    st.lists(st.tuples(st.floats(0, 1e5), st.one_of(st.none(), st.floats(0, 1e3))), min_size=1, max_size=30)
)
def test_every_request_is_in_a_bin(times: list[tuple[float, float | None]]) -> None:
    records = [
        record(at, None if took is None else at + took) for at, took in sorted(times, key=lambda x: x[0])
    ]
    frame = Frame(records)
    edges = bin_edges(frame)
    ends = [each.end for each in records if each.end is not None]
    assert edges[0] <= records[0].intended
    assert edges[-1] >= max([*ends, records[-1].intended]) - 1e-6
    assert len(edges) <= MOST_BINS + 3
    assert np.allclose(np.diff(edges), edges[1] - edges[0])
    found = timeline(frame, [], [])
    assert found is not None
    assert sum(found.outcomes.ok) == len(records)


def test_nothing_over_time() -> None:
    assert timeline(Frame([]), [], ["p"]) is None


def test_a_timeline_by_hand() -> None:
    records = [
        record(0.0, 0.15, first_token=0.05, pod="p-2"),
        record(0.05, 0.25, first_token=0.1, pod="p-10"),
        record(0.12, 0.13, outcome="shed_429"),
        record(0.15, 0.2, outcome="reset"),
        record(0.22, None, outcome="missed", start=None),
        record(0.25, None, outcome="skipped", start=None),
        record(0.26, 0.3, outcome="client_cancel"),
    ]
    found = timeline(Frame(records), [], ["p-2", "p-10", "p-3"])
    assert found is not None
    assert found.edges == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])
    assert to_builtins(found.outcomes) == {"ok": [2, 0, 0, 0], "shed": [0, 1, 0, 0], "error": [0, 1, 1, 0]}
    assert found.started == [2, 2, 1, 0]
    # 0.1 + 0.05; 0.05 + 0.1 + 0.01 + 0.05; 0.05 + 0.04; nothing: seconds of requests over seconds of bin
    assert found.in_flight == [1.5, 2.1, 0.9, 0.0]
    assert found.pods == {"p-2": [1, 0, 0, 0], "p-3": [0, 0, 0, 0], "p-10": [1, 0, 0, 0]}
    assert list(found.pods) == ["p-2", "p-3", "p-10"]
    assert to_builtins(found.ttft) == {
        "p50": [0.05, None, None, None], "p90": [0.05, None, None, None], "p99": [0.05, None, None, None],
    }  # fmt: skip
    assert found.e2e.p50 == [0.175, None, None, None]
    assert found.e2e.p90 == [pytest.approx(0.195), None, None, None]
    assert found.waiting == found.running == found.kv == {}


def test_what_pods_stood_at() -> None:
    pod = PodSeries("p")
    for t, waiting in ((0.0, 2.0), (0.05, 4.0), (0.15, 1.0)):
        pod.add(t, {"waiting": waiting}, frozenset(), 0.001)
    found = timeline(Frame([record(0.0, 0.19)]), [pod, PodSeries("silent")], ["p"])
    assert found is not None
    assert found.waiting == {"p": [3.0, 1.0]}
    assert found.kv == {}


def test_a_request_that_ends_on_an_edge_is_in_flight_before_it_only() -> None:
    found = timeline(Frame([record(0.0, 0.1), record(0.3, 0.35)]), [], [])
    assert found is not None
    assert found.in_flight == [1.0, 0.0, 0.0, 0.5]


@given(st.lists(st.floats(0, 1e3), max_size=400), st.integers(2, 50))
def test_a_curve_is_sorted_thin_and_has_the_largest(values: list[float], points: int) -> None:
    found = curve(np.array(values), points)
    assert found == sorted(found)
    assert len(found) <= max(points, min(len(values), points))
    if values:
        assert found[0] == pytest.approx(min(values), abs=1e-6)
        assert found[-1] == pytest.approx(max(values), abs=1e-6)


def test_a_short_curve_is_the_sample() -> None:
    assert curve(np.array([3.0, 1.0, 2.0])) == [1.0, 2.0, 3.0]
