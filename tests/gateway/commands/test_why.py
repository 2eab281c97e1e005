"""`simfleet why`, `whatif` and `ui`: the decision log on a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.commands import parse, ui
from gateway.stack.statedir import StackDirectory
from tests.gateway.ui.fake import FakeStack, candidate, pod

A, B = "127.77.0.2:8000", "127.77.0.3:8000"
Capsys = pytest.CaptureFixture[str]
ODD = "\x1b]0;title\x07"


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeStack]:
    """Logs of three requests, and flags that name them."""
    monkeypatch.setenv("COLUMNS", "80")
    made = FakeStack([pod("server-abcdefgh-a", 0), pod("server-abcdefgh-b", 1)])
    first = candidate("server-abcdefgh-a", A, 0.5, 1.0, waiting=3)
    second = candidate("server-abcdefgh-b", B, 1.0, 0.0)
    out = candidate("server-abcdefgh-c", "c:1", 0.0, 0.0, total=None, scores={}, removed_by="by-label")
    worse = {**first, "total": 0.0, "scores": {"queue-scorer": 0.0}}
    made.send("first", A, time=1.0, candidates=[first, second, out])
    made.send("second", B, time=2.0, candidates=[worse, second])
    made.send("third", A, time=3.0, candidates=[first], status=503, flags="UF", upstream_host=A)
    yield made
    made.close()


@pytest.fixture
def logs(stack: FakeStack) -> list[str]:
    return ["--log", str(stack.decisions), "--access-log", str(stack.access)]


def test_one_decision_is_a_sentence_and_a_table(logs: list[str], capsys: Capsys) -> None:
    assert parse.run("why", ["first", *logs]) == 0
    out = capsys.readouterr().out
    assert out.startswith(
        "prefix-cache-scorer put ...a 2 ahead of ...b: 8 of 8 prefix blocks went there before"
    )
    assert "pods are server-abcdefgh-..." in out
    assert "queue x2" in out
    row = next(line for line in out.splitlines() if line.startswith("> ...a"))
    assert row.split() == [">", "...a", "1", "3", "4", "3", "0", "0", "8/8", "12"]
    assert "out: by-label" in out
    assert "served: 200 by 127.77.0.2:8000, as picked; picker 1.2 ms, first byte 5 ms, whole 20 ms" in out
    assert max(map(len, out.splitlines())) <= 100


def test_the_last_decision_and_the_cause_of_its_failure(logs: list[str], capsys: Capsys) -> None:
    assert parse.run("why", logs) == 0
    out = capsys.readouterr().out
    assert out.startswith("server-abcdefgh-a was the only candidate")
    assert "served: 503" in out
    assert "cause: pod-refuses" in out


def test_several_by_pod_and_as_json(logs: list[str], capsys: Capsys) -> None:
    assert parse.run("why", ["--last", "5", "--pod", "a", *logs]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines[1:]] == ["third", "first"]
    assert parse.run("why", ["--last", "2", "--format", "json", *logs]) == 0
    told = json.loads(capsys.readouterr().out)["decisions"]
    assert [d["request_id"] for d in told] == ["third", "second"]
    assert told[0]["served"]["cause"] == "pod-refuses"


def test_what_is_not_there_is_said(logs: list[str], capsys: Capsys, tmp_path: Path) -> None:
    assert parse.run("why", ["nobody", *logs]) == 2
    assert "no decision nobody in " in capsys.readouterr().err
    assert parse.run("why", ["--pod", "z", *logs]) == 2
    assert "for pod z" in capsys.readouterr().err
    assert parse.run("why", ["--last", "0", *logs]) == 2
    assert parse.run("why", ["--log", str(tmp_path / "none")]) == 2
    assert "No such file" in capsys.readouterr().err
    (tmp_path / "empty").write_text('{"time": 1.0, "pick": ["a:1"], "reason": "no body"}\nhalf')
    assert parse.run("whatif", ["--log", str(tmp_path / "empty")]) == 2
    assert "none of the 1 decisions" in capsys.readouterr().err


def test_whatif_tells_what_changes(logs: list[str], capsys: Capsys) -> None:
    assert parse.run("whatif", ["--weights", "prefix=0", *logs]) == 0
    out = capsys.readouterr().out
    assert "queue-scorer: 2\nprefix-cache-scorer: 3 -> 0\n" in out
    assert "1 of 3 picks would change (33 %), by max-score-picker" in out
    assert "  first  ...a -> ...b  by 1" in out
    assert (
        parse.run("whatif", ["--weights", "prefix=0", "--picker", "random-picker", "--format", "json", *logs])
        == 0
    )
    assert json.loads(capsys.readouterr().out)["picker"] == "random-picker"
    assert parse.run("whatif", ["--weights", "lora=1", *logs]) == 2
    assert (
        "not scored in this log; it has scores of queue-scorer, prefix-cache-scorer"
        in capsys.readouterr().err
    )


def test_names_of_others_move_no_cursor(stack: FakeStack, logs: list[str], capsys: Capsys) -> None:
    odd = [candidate(f"p{ODD}", A, 1.0, 1.0), candidate("q", B, 0.0, 0.0)]
    stack.send(f"id{ODD}", A, time=9.0, candidates=odd, model=f"m{ODD}")
    for argv in (logs, ["--last", "3", *logs]):
        assert parse.run("why", argv) == 0
    assert parse.run("whatif", ["--weights", "prefix=0", *logs]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_a_running_stack_is_asked_for_its_logs(
    stack: FakeStack, monkeypatch: pytest.MonkeyPatch, capsys: Capsys
) -> None:
    found = StackDirectory(stack.directory)
    monkeypatch.setattr("gateway.commands.why.find_stack", lambda name: found)
    assert parse.run("why", ["first"]) == 0
    assert "8 of 8 prefix blocks" in capsys.readouterr().out
    stack.status["pickers"][0]["decision_log"] = None
    assert parse.run("why", []) == 1
    assert "only the reference picker does" in capsys.readouterr().err


def test_ui_prints_the_address_that_up_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capsys
) -> None:
    found = StackDirectory(tmp_path)
    monkeypatch.setattr(ui, "find_stack", lambda name: found)
    assert ui.served_url(found) is None
    (tmp_path / ui.URL_FILE).write_text("http://127.0.0.1:1/#token=x")
    assert parse.run("ui", []) == 0
    assert capsys.readouterr().out == "http://127.0.0.1:1/#token=x\n"
    assert parse.run("ui", ["--port", "x"]) == 2
