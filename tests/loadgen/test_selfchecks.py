"""What a report says of its own evidence."""

from loadgen.frame import Frame
from loadgen.records import Record
from loadgen.selfchecks import unanswered


def frame(*outcomes: str) -> Frame:
    return Frame(
        [Record(id=str(i), cls="c", intended=float(i), outcome=each) for i, each in enumerate(outcomes)]
    )


def test_percentiles_that_timeouts_would_fill_are_named() -> None:
    check = unanswered(frame(*["ok"] * 97, "timeout", "missed", "reset"))
    assert (check.status, check.value) == ("warn", 3)
    assert "nothing from p97 up has a value" in check.words


def test_sheds_and_own_cancellations_stand_apart() -> None:
    assert unanswered(frame("ok", "shed_429", "client_cancel", "skipped")).status == "ok"
    assert unanswered(frame()).status == "ok"
