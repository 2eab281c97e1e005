"""The shell commands of a scenario are told before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadgen.cli import main
from loadgen.scenario.commands import commands_of
from loadgen.scenario.read import read_scenario

TEXT = """
name: s
model: m
target: http://127.0.0.1:9
ready_timeout: 0s
scrape: {fleet: "touch scrape"}
classes:
  a:
    arrival: {users: 1, requests: 1}
    input_tokens: 4
    output_tokens: 2
timeline:
- {at: 1s, name: kill, run: "touch event \\e[2J --token Authorization: Bearer sk-Zq7vWm4TbK9rXy2LpA"}
- {at: 1s, name: call, url: "http://127.0.0.1:9/x"}
arms:
  one: {setup: "touch up", teardown: "touch down", scrape: {fleet: "touch list"}}
  two: {}
"""


def told(text: str) -> list[str]:
    return [line.removeprefix("loadgen: ") for line in text.splitlines() if " runs: " in line]


def test_everything_that_a_shell_runs_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scenario = read_scenario(TEXT, "s.yaml")
    assert [where for where, _ in commands_of(scenario, scenario.arms)] == [
        "scrape.fleet",
        "event kill",
        "setup of one",
        "teardown of one",
        "scrape.fleet of one",
    ]
    (tmp_path / "touch scrape").touch()
    assert "scrape.fleet" not in [where for where, _ in commands_of(scenario)]


def test_a_run_tells_first_and_hides_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text(TEXT.partition("arms:")[0])
    assert main(["run", "s.yaml", "-q", "--no-selftest", "-o", "out"]) == 2
    err = capsys.readouterr().err
    first, second = told(err)
    assert first == "scrape.fleet runs: touch scrape"
    assert second.startswith("event kill runs: touch event \\x1b[2J --token ")
    assert "sk-Zq7" not in err
    assert err.index(" runs: ") < err.index("cannot be reached")


def test_what_the_user_typed_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text(TEXT.partition("arms:")[0])
    for typed in (["--fleet", "echo mine"], ["--fleet=echo mine"]):
        main(["run", "s.yaml", "-q", "--no-selftest", *typed])
        assert not [line for line in told(capsys.readouterr().err) if line.startswith("scrape.fleet")]


def test_a_comparison_tells_of_its_arms_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text(TEXT.replace("touch up", "exit 3"))
    assert main(["compare", "s.yaml", "-q", "--no-selftest", "-o", "out"]) == 2
    lines = told(capsys.readouterr().err)
    assert [line.partition(" runs: ")[0] for line in lines] == [
        "scrape.fleet",
        "event kill",
        "setup of one",
        "teardown of one",
        "scrape.fleet of one",
    ]
