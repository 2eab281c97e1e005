"""The parts of the scorecard on records made by hand, and the card of a whole run."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import to_builtins

from loadgen.errors import RecordError
from loadgen.records.frame import Frame
from loadgen.records.records import Record
from loadgen.records.rundata import load_run
from loadgen.records.series import PodSeries
from loadgen.records.table import Records
from loadgen.score.decisions import Candidate, Decision, read_decisions, staleness
from loadgen.score.lora import lora
from loadgen.score.recovery import BEFORE, FEWEST, HOLD, STEP, Recovery, recovery
from loadgen.score.routing import herding, last_answers, picked_and_served, sessions, spread_card
from loadgen.score.scorecard import lifetimes, scorecard
from tests.loadgen.synthetic import Fleet, write_run


def pick(at: float, pod: str | None = "a", **more: object) -> Record:
    fields = {"intended": at, "start": at, "first_byte": at + 0.1, "end": at + 0.2, "outcome": "ok"}
    return Record(id=f"{at}", cls="c", pod=pod, **{**fields, **more})  # type: ignore[arg-type]


# --- spread and herding --------------------------------------------------------------------------


def test_a_spread_by_hand() -> None:
    ordered = [pick(float(n), pod) for n, pod in enumerate("aaabbc")]
    card = spread_card(Records.of(ordered), ["d"], None)
    assert card is not None
    assert (card.pods, card.counts) == (4, {"a": 3, "b": 2, "c": 1, "d": 0})
    assert card.shares == {"a": 0.5, "b": 1 / 3, "c": 1 / 6, "d": 0.0}
    assert (card.max_over_mean, card.min_over_mean, card.expected) == (2.0, 0.0, "even")
    assert card.jain == pytest.approx(36 / (4 * 14))
    assert card.chi_square == pytest.approx((2.25 + 0.25 + 0.25 + 2.25) / 1.5)
    weighted = spread_card(Records.of(ordered), [], {"a": 3.0, "b": 2.0, "c": 1.0})
    assert weighted is not None
    assert (weighted.chi_square, weighted.p_value, weighted.expected) == (0.0, 1.0, "by lifetime")


def test_herding_by_hand() -> None:
    # intervals of a second: a a b | b b | a; shares 1/2 each, so a chance pair agrees half the time
    ordered = [pick(at, pod) for at, pod in zip((0.0, 0.1, 0.9, 1.0, 1.5, 2.0), "aabbba", strict=True)]
    card = herding(Records.of(ordered), 1.0)
    assert card is not None
    assert (card.longest_run, card.mean_run, card.expected_run) == (3, 2.0, 2.0)
    assert (card.same_pod_pairs, card.expected_pairs) == (0.5, 0.5)  # aa of 3 pairs, bb of 1: 2 of 4
    assert card.index == 1.0
    assert (card.crowded_intervals, card.whole_herds, card.largest_burst_on_one_pod) == (1, 0, 2)


def test_herding_of_one_pod_has_no_index() -> None:
    card = herding(Records.of([pick(0.0), pick(0.01)]))
    assert card is not None
    assert (card.index, card.expected_run, card.same_pod_pairs) == (None, None, 1.0)
    alone = herding(Records.of([pick(0.0, "a"), pick(9.0, "b")]))
    assert alone is not None
    assert (alone.index, alone.same_pod_pairs) == (None, None)  # never two at once


@given(st.lists(st.tuples(st.floats(0, 5), st.sampled_from("abc")), min_size=2, max_size=40))
def test_herding_keeps_to_its_bounds(made: list[tuple[float, str]]) -> None:
    ordered = [pick(at, pod) for at, pod in sorted(made)]
    card = herding(Records.of(ordered), 0.5)
    assert card is not None
    assert 1 <= card.mean_run <= card.longest_run <= len(made)
    assert 1 / 3 - 1e-9 <= card.expected_pairs <= 1
    assert card.same_pod_pairs is None or 0 <= card.same_pod_pairs <= 1
    assert card.whole_herds <= card.crowded_intervals


@pytest.mark.parametrize(
    ("running", "weights"),
    [
        ({"a": [1.0] * 20, "b": [1.0] * 20}, None),
        ({"a": [1.0] * 20, "b": [1.0] * 19 + [math.nan]}, None),  # within 5 %
        ({"a": [1.0] * 20, "b": [1.0] * 10 + [math.nan] * 10}, {"a": 1.0, "b": 0.5}),
        ({"a": [math.nan] * 3}, None),
        ({}, None),
    ],
)
def test_lifetimes(running: dict[str, list[float]], weights: dict[str, float] | None) -> None:
    pods = {name: PodSeries(name, columns={"running": values}) for name, values in running.items()}
    assert lifetimes(pods) == weights


# --- sessions ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pods", "sticky", "same", "moves"),
    [("aaa", 1.0, 1.0, 0), ("aba", 0.5, 0.0, 2), ("abb", 0.0, 0.5, 1), ("aab", 0.5, 0.5, 1)],
)
def test_one_session(pods: str, sticky: float, same: float, moves: int) -> None:
    ordered = [pick(float(n), pod, session="s", turn=n) for n, pod in enumerate(pods)]
    ordered.append(pick(9.0, "a"))
    ordered.append(pick(9.5, "b"))  # both pods lived on
    card = sessions(Records.of(ordered))
    assert card is not None
    assert (card.sticky_share, card.same_as_previous_share, card.moves) == (sticky, same, moves)
    assert (card.whole_sessions_share, card.rehomed, card.turns) == (float(moves == 0), 0, 2)


def test_the_last_answer_of_each_pod() -> None:
    ordered = [
        pick(1.0, "a"),
        pick(5.0, "b", first_byte=None),
        pick(3.0, "a", first_byte=2.0),
        pick(0.0, None),
    ]
    assert last_answers(Records.of(ordered)) == {"a": 2.0}


# --- picked against served -----------------------------------------------------------------------

PICKED = "x-gateway-destination-endpoint"
SERVED = "x-gateway-destination-endpoint-served"
ADDRESSES = {"10.0.0.1:80": "a", "10.0.0.2:80": "b"}


@pytest.mark.parametrize(
    ("pod", "headers", "judged", "elsewhere", "later"),
    [
        ("a", {PICKED: "10.0.0.1:80"}, 1, 0, 0),
        ("b", {PICKED: "10.0.0.1:80"}, 1, 1, 0),
        ("b", {PICKED: "10.0.0.1:80, 10.0.0.2:80"}, 1, 1, 1),
        ("z", {PICKED: "10.0.0.9:80", SERVED: "10.0.0.9:80"}, 1, 0, 0),
        ("z", {PICKED: "10.0.0.9:80", SERVED: "10.0.0.8:80"}, 1, 1, 0),
        ("z", {PICKED: "10.0.0.9:80"}, 0, 0, 0),  # an address that nobody knows
        ("a", {}, 0, 0, 0),
        ("a", {PICKED: ""}, 0, 0, 0),
    ],
)
def test_an_answer_where_it_was_sent(
    pod: str, headers: dict[str, str], judged: int, elsewhere: int, later: int
) -> None:
    card = picked_and_served(Records.of([pick(0.0, pod, headers=headers)]), ADDRESSES)
    if not judged:
        assert card is None
        return
    assert card is not None
    assert (card.judged, card.served_elsewhere, card.on_a_later_choice) == (judged, elsewhere, later)
    assert card.as_picked_share == 1 - elsewhere
    assert len(card.examples) == elsewhere


def test_few_examples_are_kept() -> None:
    ordered = [pick(float(n), "b", headers={PICKED: "10.0.0.1:80"}) for n in range(9)]
    card = picked_and_served(Records.of(ordered), ADDRESSES)
    assert card is not None
    assert (card.served_elsewhere, len(card.examples)) == (9, 5)
    assert to_builtins(card.examples[0]) == {"id": "0.0", "picked": "10.0.0.1:80", "served": "b"}


# --- adapters ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "slots", "warm", "evictions"),
    [
        ("xxxx", 1, 3, 0),
        ("xyxy", 1, 0, 3),
        ("xyxy", 2, 2, 0),
        ("xyzxyz", 2, 0, 4),
        ("xyxzxy", 2, 2, 2),  # z takes y's place: x was used later
        ("xyxy", None, 2, 0),
    ],
)
def test_slots_of_a_pod(asked: str, slots: int | None, warm: int, evictions: int) -> None:
    pods = {"p": PodSeries("p", max_lora=slots)}
    card = lora(Records.of([pick(float(n), "p", adapter=name) for n, name in enumerate(asked)]), pods)
    assert card is not None
    assert (card.routed_loaded, card.evictions, card.slots) == (warm, evictions, slots)
    assert card.loads == len(asked) - warm
    assert sum(map(sum, card.matrix)) == card.requests == len(asked)


def test_pods_without_slots_of_their_own_have_those_of_the_others() -> None:
    ordered = [pick(float(n), "q", adapter=name) for n, name in enumerate("xyx")]
    card = lora(Records.of(ordered), {"p": PodSeries("p", max_lora=1), "q": PodSeries("q")})
    assert card is not None
    assert card.evictions_by_pod == {"p": 0, "q": 2}
    assert card.pods_per_adapter == 1.0
    assert card.scraped is None


def test_what_scrapes_saw_running() -> None:
    pod = PodSeries("p")
    for t, names in enumerate(("", "x", "xy", "y", "")):
        pod.add(float(t), {}, frozenset(names), 0.0)
    card = lora(Records.of([pick(0.0, "p", adapter="x")]), {"p": pod})
    assert card is not None
    assert to_builtins(card.scraped) == {"appeared": 2, "vanished": 2, "most_running": 2}


# --- recovery ------------------------------------------------------------------------------------


def run_of(slow_from: float, slow_to: float, *, every: float = 0.05, until: float = 30.0) -> Frame:
    """Answers of a tenth of a second, and of a whole one between two moments."""
    times = np.arange(0.0, until, every)
    return Frame([pick(float(t), end=float(t) + (1.0 if slow_from <= t < slow_to else 0.1)) for t in times])


@pytest.mark.parametrize("length", [0.0, 0.5, 1.0, 3.0, 6.0])
def test_seconds_to_recover(length: float) -> None:
    (row,) = recovery(run_of(12.0, 12.0 + length), [(12.0, "kill")])
    assert (row.event, row.at, row.judged) == ("kill", 12.0, True)
    assert row.p90_before == pytest.approx(0.1)
    assert row.p90_worst == pytest.approx(1.0 if length else 0.1)
    # a window is good when at most a tenth of it is slow
    assert row.seconds == pytest.approx(max(0.0, length - 0.1), abs=STEP)


def test_trouble_that_comes_back_within_the_hold_is_not_over() -> None:
    records = list(run_of(12.0, 13.0).records)
    for record in records:
        if 13.0 + HOLD - 0.5 <= record.intended < 13.0 + HOLD + 0.5:
            record.end = record.intended + 1.0
    (row,) = recovery(Frame(records), [(12.0, "kill")])
    assert row.seconds == pytest.approx(1.0 + HOLD + 0.5 - 0.1, abs=STEP)


def test_an_event_is_judged_until_the_next_one() -> None:
    first, second = recovery(run_of(20.0, 40.0), [(12.0, "harmless"), (20.0, "for good")])
    assert first.seconds == 0.0
    assert first.p90_worst == pytest.approx(0.1)
    assert (second.seconds, second.p90_worst) == (None, pytest.approx(1.0))


def test_errors_count_as_trouble_however_quick() -> None:
    records = list(run_of(99.0, 99.0).records)
    for record in records:
        if 12.0 <= record.intended < 14.0:
            record.outcome = "connect_error"
            record.end = record.intended + 0.001
    (row,) = recovery(Frame(records), [(12.0, "kill")])
    assert (row.ok_before, row.ok_worst) == (1.0, 0.0)
    assert row.p90_worst == math.inf
    assert row.seconds == pytest.approx(2.0, abs=STEP)


@pytest.mark.parametrize(
    ("at", "why"),
    [
        (0.1, f"fewer than {FEWEST} requests in the {BEFORE:g} s before it"),
        (29.99, "hardly any request after it"),
        (60.0, f"fewer than {FEWEST} requests in the {BEFORE:g} s before it"),
    ],
)
def test_events_that_cannot_be_judged_say_why(at: float, why: str) -> None:
    (row,) = recovery(run_of(99.0, 99.0), [(at, "e")])
    assert row == Recovery(event="e", at=at, judged=False, why=why)


def test_turns_that_were_never_due_are_no_trouble() -> None:
    frame = run_of(99.0, 99.0)
    for record in frame.records[::2]:
        record.outcome = "skipped"
    (row,) = recovery(frame, [(12.0, "e")])
    assert (row.ok_before, row.ok_worst, row.seconds) == (1.0, 1.0, 0.0)


# --- decisions -----------------------------------------------------------------------------------


def test_staleness_by_hand() -> None:
    """The pod truly had two requests under way, and the one that was being picked for."""
    records = [pick(0.0, "a", end=9.0), pick(1.0, "a", end=9.0), pick(2.0, "a", end=9.0), pick(3.0, "b")]
    candidates = [
        Candidate("1:80", "ns/a", age_ms=40.0, waiting=0.0, running=1.0, total=2.0),
        Candidate("2:80", "ns/b", age_ms=10.0, waiting=5.0, running=5.0, total=2.5),
    ]
    decisions = [
        Decision(time=102.5, request_id="2.0", pick=["1:80"], duration_us=200.0, candidates=candidates),
        Decision(time=103.5, request_id="3.0", pick=["2:80"], duration_us=400.0, candidates=candidates),
        Decision(time=104.0, request_id="none", pick=["1:80"]),
    ]
    card = staleness(decisions, Records.of(records), 100.0, {})
    assert card is not None
    assert (card.decisions, card.joined, card.served_as_picked_share) == (3, 2, 1.0)
    # pod a: 3 under way less the one that is picked for, less one believed; pod b: none, less ten believed
    assert (card.load_error_mean, card.load_error_abs) == ((1 - 10) / 2, (1 + 10) / 2)
    assert card.highest_score_share == 0.5
    assert card.age.mean == pytest.approx(0.025)
    assert card.took.p50 == pytest.approx(3e-4)


def test_ranks_of_a_pod_are_the_pod() -> None:
    candidates = [Candidate("1:8001", "ns/a-rank-1")]
    decision = Decision(time=0.0, request_id="0.0", pick=["1:8001"], candidates=candidates)
    card = staleness([decision], Records.of([pick(0.0, "a")]), 0.0, {})
    assert card is not None
    assert card.served_as_picked_share == 1.0
    known = staleness([decision], Records.of([pick(0.0, "b")]), 0.0, {"1:8001": "b"})
    assert known is not None
    assert known.served_as_picked_share == 1.0


@pytest.mark.parametrize(("time", "kept"), [(98.9, 0), (99.0, 1), (105.0, 1), (111.0, 1), (111.1, 0)])
def test_decisions_of_other_runs_are_left_out(tmp_path: Path, time: float, kept: int) -> None:
    (tmp_path / "d.jsonl").write_text(json.dumps({"time": time}) + "\n")
    assert len(read_decisions(tmp_path / "d.jsonl", 100.0, 10.0)) == kept


def test_a_log_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text('{"time": "now"}\n')
    with pytest.raises(RecordError, match=r"d\.jsonl:1: not a Decision line: Expected `float`"):
        read_decisions(tmp_path / "d.jsonl", 0.0, 1.0)
    with pytest.raises(RecordError, match=r"decision log .*: Is a directory"):
        read_decisions(tmp_path, 0.0, 1.0)


# --- the whole -----------------------------------------------------------------------------------


def test_the_card_of_a_run(tmp_path: Path) -> None:
    run = load_run(write_run(tmp_path / "r", Fleet(requests=200, pods=3, adapters=("x", "y"), kill=(2, 1.5))))
    card = scorecard(run)
    assert card.spread.counts == {
        name: sum(record.pod == name for record in run.records) for name in run.pod_names
    }
    assert card.spread.expected == "by lifetime"  # a pod was killed on the way
    assert card.lora.requests == sum(record.pod is not None for record in run.records)
    assert card.prefix.prompt_tokens == sum(record.prompt_tokens or 0 for record in run.records)
    assert card.prefix.cached_tokens == sum(record.cached_tokens or 0 for record in run.records)
    assert 0 < card.prefix.reached <= 1
    assert [row.event for row in card.recovery] == ["kill sim-2"]
    assert (card.sessions, card.picks, card.staleness) == (None, None, None)
    assert set(card.queue.pods) <= {"sim-0", "sim-1", "sim-2"}
    assert card.scraping.scrapes == len(run.scrapes)
    assert run.notes == []


def test_parts_that_a_run_gives_nothing_for_are_absent(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "r", Fleet(requests=40))
    (folder / "scrapes.jsonl").unlink()
    (folder / "plan.jsonl").unlink()
    card = scorecard(load_run(folder))
    for part in (
        "prefix",
        "lora",
        "sessions",
        "picks",
        "queue",
        "running",
        "kv",
        "staleness",
        "recovery",
        "scraping",
    ):
        assert getattr(card, part) is None
    assert card.spread.expected == "even"


def test_files_that_cannot_be_used_are_notes(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "r", Fleet(requests=40))
    (folder / "decisions.jsonl").write_text("x\n")
    with (folder / "plan.jsonl").open("a") as file:
        file.write('{"slot":1,\n')
    run = load_run(folder)
    card = scorecard(run)
    assert (card.prefix, card.staleness) == (None, None)
    plan, decisions = run.notes
    assert plan.startswith("no prefix bounds: ")
    assert "decisions.jsonl:1: not a Decision line" in decisions
