"""What a report says of its own evidence."""

from __future__ import annotations

from pathlib import Path

import msgspec

from loadgen.judge.selfchecks import lateness, meant_stack, unanswered
from loadgen.records.frame import Frame
from loadgen.records.records import Record, RecordsHeader
from loadgen.records.rundata import RunData
from loadgen.records.rundir import Meta


def frame(*outcomes: str) -> Frame:
    return Frame(
        [Record(id=str(i), cls="c", intended=float(i), outcome=each) for i, each in enumerate(outcomes)]
    )


def test_percentiles_that_timeouts_would_fill_are_named() -> None:
    check = unanswered(frame(*["ok"] * 97, "timeout", "missed", "reset"))
    assert (check.status, check.value) == ("warn", 3)
    assert "nothing from p97 up has a value" in check.words


def test_lateness_is_judged_by_the_latency_that_it_is_a_part_of() -> None:
    def status(late: float, **latency: float) -> str:
        record = Record(id="1", cls="c", intended=1.0, start=1 + late, outcome="ok")
        return lateness(Frame([msgspec.structs.replace(record, **latency)])).status

    streamed = {"first_token": 1.10, "last_token": 2.0, "end": 2.0}
    assert status(0.0005, **streamed) == "ok"
    assert status(0.0100, **streamed) == "warn"
    assert status(0.0300, **streamed) == "fail"
    assert status(0.0300, end=2.0) == "ok", "3 % of an answer that was not streamed"
    assert status(0.0120, end=1.02) == "fail"


def test_sheds_and_own_cancellations_stand_apart() -> None:
    assert unanswered(frame("ok", "shed_429", "client_cancel", "skipped")).status == "ok"
    assert unanswered(frame()).status == "ok"


def from_pods(*pods: str, **meta: object) -> RunData:
    records = [Record(id=str(i), cls="c", intended=0.0, outcome="ok", pod=pod) for i, pod in enumerate(pods)]
    header = RecordsHeader()
    return RunData(Path("r"), records, header, meta=Meta(**meta))  # type: ignore[arg-type]


def test_answers_of_a_stack_that_was_not_meant_name_it() -> None:
    foreign = {"z-1": "other", "z-2": "other"}
    (check,) = meant_stack(from_pods("a", "z-1", "z-2", "z-2", stack="mine", foreign=foreign))
    assert (check.status, check.value) == ("fail", 3)
    assert check.words == "3 answers came from pods of stack other, not of mine"
    (fine,) = meant_stack(from_pods("a", "a", stack="mine", foreign=foreign))
    assert fine.status == "ok"
    assert meant_stack(from_pods("a", stack="mine")) == []
