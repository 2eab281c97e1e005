"""Requests found again in the logs of gateway, picker and pods."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from loadgen.records.records import Record
from loadgen.records.table import Records
from loadgen.score.decisions import Candidate, Decision, reason_of, staleness
from loadgen.score.joined import AccessLine, Joins, id_in_answer, read_access


def record(name: str, **more: object) -> Record:
    times = {"intended": 0.0, "start": 0.0, "end": 1.0, "outcome": "ok", "pod": "a"}
    return Record(id=name, cls="c", **{**times, **more})  # type: ignore[arg-type]


def line(name: str, request_id: str, **more: object) -> AccessLine:
    return AccessLine(client_id=f"run/{name}", request_id=request_id, **{"pod": "a", **more})  # type: ignore[arg-type]


def test_all_four_know_a_request() -> None:
    records = [record("r-0", answer_id="cmpl-uuid-0"), record("r-1", answer_id="chatcmpl-uuid-1")]
    access = [line("r-0", "uuid-0"), line("r-1", "uuid-1", scores={"a:1": 1.0})]
    decisions = [Decision(time=0, client_id=f"run/r-{i}", request_id=f"uuid-{i}") for i in (0, 1)]
    card = Joins(records, ["run"], access, decisions).card()
    assert card is not None
    assert (card.records, card.access_log, card.decision_log, card.pods) == (2, 1.0, 1.0, 1.0)
    assert (card.scored, card.unjoined) == (1, [])


def test_what_a_log_lacks_is_named() -> None:
    records = [record("r-0", answer_id="cmpl-u"), record("r-1", answer_id="cmpl-of somebody else")]
    card = Joins(records, ["run"], [line("r-0", "u")], []).card()
    assert card is not None
    assert (card.access_log, card.decision_log, card.pods, card.unjoined) == (0.5, 0.0, 0.5, ["r-1", "r-0"])


def test_the_same_ids_of_another_run_are_not_ours() -> None:
    other = AccessLine(client_id="other/r-0", request_id="x")
    decisions = [Decision(time=0, client_id="other/r-0", request_id="x")]
    joins = Joins([record("r-0")], ["run"], [other], decisions)
    card = joins.card()
    assert card is not None
    assert (card.access_log, card.decision_log, list(joins.decisions)) == (0.0, 0.0, [])


def test_an_answer_of_another_pod_than_the_gateway_saw_does_not_join() -> None:
    card = Joins([record("r", answer_id="cmpl-u")], ["run"], [line("r", "u", pod="b")], None).card()
    assert card is not None
    assert (card.access_log, card.pods) == (1.0, 0.0)


def test_requests_that_reached_nobody_are_left_out() -> None:
    records = [
        record("sent"),
        record("refused", outcome="connect_error"),
        record("missed", outcome="missed", start=None),
    ]
    card = Joins(records, ["run"], [line("sent", "u")], None).card()
    assert card is not None
    assert (card.records, card.access_log, card.decision_log) == (1, 1.0, None)


def test_a_picker_that_knows_no_client_id_is_joined_by_the_access_log_or_the_answer() -> None:
    records = [record("r-0", answer_id="cmpl-u0"), record("r-1", answer_id="cmpl-u1"), record("r-2")]
    joins = Joins(records, ["run"], [line("r-0", "u0")], [])
    names = {name: joins.record_of(Decision(time=0, request_id=name)) for name in ("u0", "u1", "r-2", "x")}
    assert names == {"u0": "r-0", "u1": "r-1", "r-2": "r-2", "x": None}


def test_without_any_log_there_is_no_card() -> None:
    assert Joins([record("r")], ["run"], None, None).card() is None


def test_the_last_line_of_a_request_that_was_tried_again_counts() -> None:
    joins = Joins([record("r")], ["run"], [line("r", "u", served="a:1"), line("r", "v", served="b:1")], None)
    routed = joins.routed("r")
    assert routed is not None
    assert routed.served == "b:1"
    assert joins.routed("x") is None


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("cmpl-8906e211-6640", "8906e211-6640"),
        ("chatcmpl-r-000#2", "r-000#2"),
        ("resp_abc", "abc"),
        ("something", None),
        (None, None),
    ],
)
def test_the_id_inside_of_an_answers_name(answer: str | None, expected: str | None) -> None:
    assert id_in_answer(answer) == expected


def test_access_logs_are_read_with_fields_of_all_kinds(tmp_path: Path) -> None:
    path = tmp_path / "access.jsonl"
    assert read_access(path) is None
    lines = [{"client_id": "run/r", "scores": {"a:1": 0.5}, "status": 200}, {"client_id": None, "pod": None}]
    path.write_bytes(b"".join(msgspec.json.encode(item) + b"\n" for item in lines))
    assert read_access(path) == [AccessLine(client_id="run/r", scores={"a:1": 0.5}), AccessLine()]


def candidate(name: str, total: float | None = None, **scores: float) -> Candidate:
    return Candidate(name, total=total, scores=scores)


WEIGHTS = {"queue": 2.0, "prefix": 3.0}


@pytest.mark.parametrize(
    ("candidates", "expected"),
    [
        # The prefix puts the pick 3 ahead of the best other, its queue 2 behind it.
        ([candidate("a", 3.0, queue=0, prefix=1), candidate("b", 2.0, queue=1, prefix=0)], "prefix"),
        ([candidate("a", 3.2, queue=1, prefix=0.4), candidate("b", 2.6, queue=0.4, prefix=0.6)], "queue"),
        ([candidate("a", 2.0, queue=1, prefix=0), candidate("b", 2.0, queue=1, prefix=0)], "tie"),
        ([candidate("a", 1.0, queue=0.5), candidate("b", 2.0, queue=1)], "not the highest"),
        ([candidate("a", 1.0, queue=0.5), candidate("b")], "only candidate"),
        ([candidate("b", 1.0, queue=0.5)], "unscored"),
        ([], "unscored"),
    ],
)
def test_what_decided_a_pick(candidates: list[Candidate], expected: str) -> None:
    assert reason_of(Decision(time=0, pick=["a"], candidates=candidates, weights=WEIGHTS)) == expected


def test_reasons_are_shares_of_the_picks() -> None:
    two = [candidate("a", 2.0, queue=1), candidate("b", 0.0, queue=0)]
    lines = [Decision(time=0, pick=["a"], candidates=two, weights=WEIGHTS)] * 3
    card = staleness([*lines, Decision(time=0, pick=["a"]), Decision(time=0)], Records.of([]), 0, {})
    assert card is not None
    assert card.reasons == {"queue": 0.75, "unscored": 0.25}
