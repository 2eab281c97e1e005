"""Latency meanings on hand-made records: intended and actual start, tokens, outcomes, goodput."""

from __future__ import annotations

import math

import numpy as np
import pytest
from msgspec import to_builtins

from loadgen.judge.figures import figures, goodput, split_figures
from loadgen.numbers import stats
from loadgen.records.frame import Frame, natural_order
from loadgen.records.records import Record


def record(name: str, at: float, **more: object) -> Record:
    base: dict[str, object] = {
        "start": at + 0.01,
        "first_byte": at + 0.1,
        "first_token": at + 0.11,
        "last_token": at + 0.41,
        "end": at + 0.42,
        "outcome": "ok",
        "status": 200,
        "prompt_tokens": 100,
        "output_tokens": 4,
        "pod": "p-1",
        "chunk_times": [at + 0.11, at + 0.21, at + 0.41],
    }
    return Record(id=name, cls="chat", intended=at, **{**base, **more})  # type: ignore[arg-type]


def one(frame: Frame, name: str) -> float:
    values, _ = frame.latency(name)
    assert values.size == 1
    return float(values[0])


def test_every_latency_by_its_meaning() -> None:
    frame = Frame([record("a", 1.0)])
    assert one(frame, "ttft") == pytest.approx(0.11)
    assert one(frame, "ttft_sent") == pytest.approx(0.10)
    assert one(frame, "e2e") == pytest.approx(0.42)
    assert one(frame, "e2e_sent") == pytest.approx(0.41)
    assert one(frame, "tpot") == pytest.approx(0.1)
    assert one(frame, "ntpot") == pytest.approx(0.105)
    assert one(frame, "ntpot_sent") == pytest.approx(0.1025)
    assert float(frame.lateness[0]) == pytest.approx(0.01)


def test_gaps_are_pooled_and_a_chunk_of_two_tokens_halves_its_gap() -> None:
    values, rows = Frame([record("a", 0.0), record("b", 1.0, chunk_times=None)]).latency("itl")
    assert values.tolist() == pytest.approx([0.1, 0.1, 0.1])
    assert set(rows.tolist()) == {0}


def test_one_token_has_no_tpot_and_whole_answers_have_no_ttft() -> None:
    frame = Frame([record("a", 0.0, output_tokens=1), record("b", 1.0, first_token=None, last_token=None)])
    assert frame.latency("tpot")[0].size == 0
    assert frame.latency("ttft")[1].tolist() == [0]
    assert frame.latency("e2e")[0].size == 2


def test_errors_do_not_flatter_latency() -> None:
    quick = record("b", 1.0, outcome="shed_429", status=429, end=1.011, first_token=None, last_token=None)
    assert Frame([record("a", 0.0), quick]).latency("e2e")[1].tolist() == [0]


def test_a_stall_shows_in_every_request_that_should_have_started_in_it() -> None:
    records = [
        record(str(i), i * 0.1, start=max(i * 0.1, 1.0), first_token=max(i * 0.1, 1.0) + 0.05)
        for i in range(20)
    ]
    headline, sent = (Frame(records).latency(name)[0] for name in ("ttft", "ttft_sent"))
    assert headline[:10] == pytest.approx(1.05 - 0.1 * np.arange(10))
    assert sent == pytest.approx(0.05)


def test_outcomes_tell_sheds_from_errors_and_skip_what_was_never_due() -> None:
    kinds = [
        "ok",
        "ok",
        "shed_429",
        "ttl_503",
        "evicted",
        "timeout",
        "reset",
        "missed",
        "client_cancel",
        "skipped",
    ]
    records = [record(str(i), i, outcome=kind, status=None) for i, kind in enumerate(kinds)]
    records[2].headers = {"x-llm-d-request-dropped-reason": "rejected-saturated"}
    found = figures(Frame(records), {}).outcomes
    assert found.due == 9
    assert to_builtins(found.groups) == {"ok": 2, "shed": 3, "error": 2, "cancelled": 1, "missed": 1}
    assert sum(to_builtins(found.shares).values()) == pytest.approx(1)
    assert found.causes[0].text in ("rejected-saturated", "")
    assert {"rejected-saturated", ""} == {cause.text for cause in found.causes}


def test_goodput_by_hand() -> None:
    records = [
        record("fast", 0.0),
        record("slow", 1.0, first_token=1.6, last_token=1.9, end=2.0),
        record("shed", 2.0, outcome="shed_429"),
        record("single", 3.0, output_tokens=1),
    ]
    found = figures(Frame(records), {"ttft": 0.5, "tpot": 0.2, "e2e": 5.0}).goodput
    assert found.good == 2
    assert found.share == 0.5
    assert found.share_admitted == found.share_ok == pytest.approx(2 / 3)
    assert found.attained == {"ttft": pytest.approx(2 / 3), "tpot": 1.0, "e2e": 1.0}
    low, high = found.share_ci
    assert low < 0.5 < high
    assert figures(Frame(records), {}).goodput is None


def test_throughput_by_hand() -> None:
    found = figures(Frame([record(str(i), float(i)) for i in range(5)]), {}).throughput
    assert found.duration == pytest.approx(4.42)
    assert found.requested_rate == found.achieved_rate == pytest.approx(1.0)
    assert found.ok_rate == pytest.approx(5 / 4.42)
    assert found.output_tokens_rate == pytest.approx(20 / 4.42)


def test_splits_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"mean": stats.Interval(0.1, 0.2)}
    monkeypatch.setattr(stats, "batch_intervals", lambda values: found)
    records = [record(str(i), i * 0.1, pod=f"p-{i % 3}", adapter="a" if i % 2 else "b") for i in range(60)]
    parts = split_figures(Frame(records), {"ttft": 1.0})
    assert {kind: sum(p.outcomes.due for p in table.values()) for kind, table in parts.items()} == {
        "class": 60,
        "adapter": 60,
        "pod": 60,
    }
    assert parts["class"]["chat"].latency.ttft.ci
    assert not parts["pod"]["p-0"].latency.ttft.ci


def test_nothing_at_all() -> None:
    found = figures(Frame([]), {"ttft": 1.0})
    assert found.latency.given() == {}
    assert found.throughput.duration == 0
    assert found.goodput.share == 0
    assert all(math.isfinite(value) for value in to_builtins(found.throughput).values())


def test_natural_order() -> None:
    assert natural_order(["pod-10", "pod-2", "a", "pod-1"]) == ["a", "pod-1", "pod-2", "pod-10"]


def test_an_itl_limit_without_chunk_times_is_held_by_the_mean_gap() -> None:
    """first token at 0.1 s, last at 1.1 s, 11 tokens: 100 ms apart."""
    one = Record(
        id="r", cls="c", outcome="ok", intended=0.0, first_token=0.1, last_token=1.1, output_tokens=11
    )
    frame = Frame([one])
    for limit, good in ((0.05, 0), (0.2, 1)):
        found = goodput(frame, {"itl": limit}, 1.1)
        assert found is not None
        assert found.good == good


def test_figures_by_pool_hold_the_answers_of_its_pods() -> None:
    records = [record("a", 0.0), record("b", 1.0, pod="p-2"), record("c", 2.0, pod="p-3", output_tokens=8)]
    pools = {"p-1": "stable", "p-2": "stable", "p-3": "canary"}
    parts = split_figures(Frame(records), {}, pools=pools)["pool"]
    assert {name: part.outcomes.due for name, part in parts.items()} == {"canary": 1, "stable": 2}
    assert parts["canary"].throughput.output_tokens == 8
    assert "pool" not in split_figures(Frame(records), {}, pools=dict.fromkeys(pools, "one"))
    assert "pool" not in split_figures(Frame(records), {})
