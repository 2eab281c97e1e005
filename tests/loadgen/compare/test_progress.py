"""What a comparison says while it runs: from its first second, with the time that is left."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from loadgen.compare import progress as module
from loadgen.compare.progress import Progress, minutes


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    return now


def test_time_left_by_the_plan_and_then_by_the_runs(clock: list[float]) -> None:
    said: list[str] = []
    progress = Progress(said.append, 4)
    progress.span = 5.0
    progress.begins("repeat 1 of 2, a")
    clock[0] += 8
    progress.ended("good")
    progress.begins("repeat 1 of 2, b")
    clock[0] += 3
    assert progress.left() == "about 21 s left"
    assert said == [
        "repeat 1 of 2, a: begins (4 runs, 20 s of load alone)",
        "repeat 1 of 2, a: good",
        "repeat 1 of 2, b: begins (about 24 s left)",
    ]
    clock[0] += 1000
    assert progress.left() == "about 0 s left"


def test_the_most_is_said_as_such(clock: list[float]) -> None:
    progress = Progress(str, 20, at_most=True)
    progress.begins("x")
    clock[0] += 10
    progress.ended("")
    assert progress.left() == "at most about 3 min 10 s left"


def test_a_terminal_shows_the_setup_as_it_lasts(clock: list[float]) -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, width=120)
    with Progress(screen.print, 2, screen) as progress:
        progress.begins("repeat 1 of 1, a")
        progress.stage("setup")
        clock[0] += 7
        assert progress._line().plain == "[7 s] repeat 1 of 1, a, setup for 7 s; 2 runs"
    assert isinstance(screen.file, io.StringIO)
    assert "setup" in screen.file.getvalue()


def test_no_live_line_where_there_is_no_terminal() -> None:
    screen = Console(file=io.StringIO())
    with Progress(str, 2, screen) as progress:
        progress.stage("setup")
    assert isinstance(screen.file, io.StringIO)
    assert not screen.file.getvalue()


@pytest.mark.parametrize(("seconds", "words"), [(0, "0 s"), (7.2, "8 s"), (119.5, "2 min 0 s"), (61, "61 s")])
def test_minutes(seconds: float, words: str) -> None:
    assert minutes(seconds) == words
