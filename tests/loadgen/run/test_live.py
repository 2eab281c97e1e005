"""The live view: a panel on a terminal, plain lines elsewhere."""

from __future__ import annotations

import io

import pytest

from loadgen.numbers.progress import Progress
from loadgen.run import live
from loadgen.run.live import PlainView, Snapshot, make_view, plain_line, render


def snapshot() -> Snapshot:
    shot = Snapshot("demo", planned=100, span=20.0, closed=False)
    shot.total = Progress(done=40, attempts=45, outcomes={"ok": 38, "shed_429": 2}, pods={"a": 30, "b": 8})
    for value in (0.01, 0.02, 0.05):
        shot.total.ttft.add(value)
        shot.total.late.add(value / 1000)
    shot.recent = Progress(attempts=10, done=9)
    shot.recent_seconds = 2.0
    shot.time, shot.in_flight, shot.asked = 8.0, 5, 5.0
    shot.states = {"a": {"running": 3, "waiting": 1, "kv": 0.5}}
    return shot


def test_a_plain_line_says_it_all() -> None:
    line = plain_line(snapshot())
    for words in ("8.0 s", "5.0/5 req/s", "in flight 5", "ok 38 shed_429 2", "ttft p50", "12 s left"):
        assert words in line


def test_the_panel_shows_rates_outcomes_and_pods() -> None:
    from rich.console import Console

    out = io.StringIO()
    Console(file=out, width=120).print(render(snapshot()))
    text = out.getvalue()
    for words in (
        "demo",
        "40%",
        "12 s left",
        "5 asked",
        "shed_429 2",
        "TTFT",
        "TPOT",
        "30 (79%)",
        "running 3",
        "kv 50%",
    ):
        assert words in text, words


def test_lines_come_every_few_seconds_only(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(live, "monotonic", lambda: now[0])
    out = io.StringIO()
    view = PlainView(out)
    for moment in range(21):
        now[0] = moment / 2
        view.update(snapshot())
    view.close()
    assert out.getvalue().count("\n") == 2


def test_the_view_fits_where_it_is_shown() -> None:
    assert isinstance(make_view(quiet=False, out=io.StringIO()), PlainView)
    assert not isinstance(make_view(quiet=True, out=io.StringIO()), PlainView)


def test_progress_by_count_when_there_is_no_time() -> None:
    shot = Snapshot("closed", planned=100, span=0.0, closed=True)
    shot.total = Progress(done=25)
    shot.time = 5.0
    assert shot.done_share == 0.25
    assert shot.time_left == pytest.approx(15.0)


def test_names_are_neither_markup_nor_escape_sequences() -> None:
    from rich.console import Console

    shot = snapshot()
    shot.name = "[/]\x1b]0;title\x07"
    shot.total.pods = {"pod[/]\x1b[2J\n": 3}
    shot.total.outcomes = {"odd[/]": 3}
    shot.scrape_note, shot.warnings = "note[/]\x1b[2J", ["warned[/]\x1b[2J"]
    out = io.StringIO()
    Console(file=out, width=120, force_terminal=True, color_system=None).print(render(shot))
    text = out.getvalue()
    assert "\x1b" not in text
    for words in ("[/]\\x1b]0;title", "pod[/]\\x1b[2J\\n", "odd[/]", "note[/]", "! warned[/]"):
        assert words in text
    view = io.StringIO()
    plain = PlainView(view)
    plain._next = 0.0
    plain.update(shot)
    assert view.getvalue().count("\n") == 1
