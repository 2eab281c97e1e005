"""The self-check on what token figures rest on fires for each thing that an answer may lack."""

from __future__ import annotations

import pytest

from loadgen.judge.selfchecks import usage
from loadgen.records.frame import Frame
from loadgen.records.records import Odd, Record


def frame(*odd: Odd | None, outcome: str = "ok") -> Frame:
    return Frame(
        [
            Record(id=str(i), cls="c", intended=float(i), outcome=outcome, output_tokens=3, odd=each)
            for i, each in enumerate(odd)
        ]
    )


def test_nothing_lacks() -> None:
    check = usage(frame(None, None))
    assert (check.status, check.words) == ("ok", "0 of 2 ok answers carried no token counts")


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        (Odd(uncounted=True), "1 of 2 ok answers carried no token counts"),
        (Odd(whole=True), "1 of 2 ok answers came whole where a stream was asked for"),
        (Odd(silent=True), "1 of 2 ok answers were streams without a first token"),
        (Odd(unread=4), "1 streams had events that are no JSON of the API"),
    ],
)
def test_each_lack_is_told(odd: Odd, words: str) -> None:
    check = usage(frame(None, odd))
    assert (check.status, check.value) == ("warn", 1)
    assert check.words.startswith(words)


def test_all_at_once() -> None:
    check = usage(frame(Odd(uncounted=True, silent=True), Odd(whole=True), Odd(unread=1)))
    assert check.words.count(";") == 3


def test_no_answer() -> None:
    assert usage(frame(None, outcome="timeout")).status == "skip"
    unread = usage(Frame([*frame(None).records, *frame(Odd(unread=2), outcome="stream_truncated").records]))
    assert (unread.status, unread.value) == ("warn", 1)
