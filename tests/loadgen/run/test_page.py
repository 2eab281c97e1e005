"""`--ui`: the page of the stack at the target, by a `simfleet` that stands in for the real one."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from loadgen.cli import main
from loadgen.run import page
from loadgen.run.page import live_page
from tests.waiting import until

LISTING = {
    "stacks": [
        {"name": "a", "url": "http://127.0.0.1:18801", "pods": []},
        {
            "name": "b",
            "url": "http://127.0.0.1:18802",
            "pods": [{"name": "p", "urls": ["http://127.0.0.9:80"]}],
        },
    ]
}
PROGRAM = """#!/bin/sh
case "$1" in
ps) cat {folder}/listing.json ;;
ui) {ui} ;;
esac
"""
SERVES = 'echo $$ > {folder}/pid; echo "http://127.0.0.1:1/?t=$3-$4"; exec sleep 600'


@pytest.fixture
def simfleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "listing.json").write_text(json.dumps(LISTING))
    serving(tmp_path, SERVES)
    monkeypatch.setattr(page, "_program", lambda: str(tmp_path / "simfleet"))
    return tmp_path


def serving(folder: Path, ui: str) -> None:
    program = folder / "simfleet"
    program.write_text(PROGRAM.format(folder=folder, ui=ui.format(folder=folder)))
    program.chmod(0o755)


def told(target: str, stack: str | None = None, how: str = "print") -> list[str]:
    said: list[str] = []

    async def shown() -> None:
        async with live_page(target, stack, how, said.append):
            said.append("run")

    asyncio.run(shown())
    return said


@pytest.mark.parametrize(
    ("target", "stack", "found"),
    [
        ("http://127.0.0.1:18802", None, "b"),
        ("http://127.0.0.9:80", None, "b"),
        ("http://127.0.0.1:18801/v1", None, "a"),
        ("http://elsewhere:1", "a", "a"),
    ],
)
def test_the_page_of_the_stack_at_the_target_is_there_meanwhile(
    simfleet: Path, target: str, stack: str | None, found: str
) -> None:
    assert told(target, stack) == [f"live page of stack {found}: http://127.0.0.1:1/?t={found}-", "run"]
    pid = int((simfleet / "pid").read_text())
    until(lambda: not Path(f"/proc/{pid}").exists())


def test_open_is_handed_on(simfleet: Path) -> None:
    assert told("http://127.0.0.1:18801", how="open")[0].endswith("?t=a---open")


def test_no_stack_at_the_target_is_said_by_name_and_the_run_goes_on(simfleet: Path) -> None:
    where = "http://127.0.0.1:18899"
    words = f"--ui: no live page: no stack of simfleet stands at {where}; "
    assert told(where) == [f"{words}the stacks that run are a, b", "run"]
    (simfleet / "listing.json").write_text('{"stacks": []}')
    assert told(where) == [f"{words}no stack runs (`simfleet up`)", "run"]


def test_a_page_that_does_not_come_up_costs_itself(simfleet: Path) -> None:
    serving(simfleet, "echo no port left >&2; exit 2")
    assert told("http://127.0.0.1:18801") == ["--ui: no live page: `simfleet ui` ended: no port left", "run"]


def test_a_page_that_was_there_before_stays(simfleet: Path) -> None:
    serving(simfleet, "echo http://127.0.0.1:1/")
    assert told("http://127.0.0.1:18801")[0].endswith("http://127.0.0.1:1/")


def test_without_simfleet_there_is_no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page.sys, "executable", "/nowhere/python")
    monkeypatch.setitem(os.environ, "PATH", "/nowhere")
    assert told("http://127.0.0.1:1")[0].endswith("there is no simfleet beside loadgen or on the PATH")


def test_arms_have_no_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(
        "model: m\ntarget: http://127.0.0.1:1\nclasses: {c: {arrival: {rate: 1, duration: 1s}}}\n"
        "arms: {a: {setup: 'true'}, b: {setup: 'true'}}\n"
    )
    assert main(["run", str(file), "--ui"]) == 2
    assert "of arms each has a stack of its own" in capsys.readouterr().err
