from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from gateway.commands.demo import PRESETS, RESULTS, Shell, curl, main, routing_table
from gateway.stack import owned
from tests.gateway.echo import echoing


def test_the_table() -> None:
    counts = {"inference-xx-pod-aaaaa": 3, "b": 1}
    spread = {"counts": counts, "shares": {name: count / 4 for name, count in counts.items()}}
    staleness = {"reasons": {"prefix-cache-scorer": 0.75, "tie": 0.25}}
    assert rows_of({"spread": spread, "staleness": staleness}) == [
        ["pod ...x-pod-aaaaa", "3", "75 %"],
        ["pod ...b", "1", "25 %"],
        ["decided by prefix-cache-scorer", "", "75 %"],
        ["decided by tie", "", "25 %"],
    ]
    assert rows_of({"spread": spread, "staleness": None})[-1] == ["pod ...b", "1", "25 %"]
    assert rows_of({"spread": None, "staleness": None}) == []


def rows_of(report: dict[str, Any]) -> list[list[str]]:
    console = Console(width=140, file=io.StringIO())
    console.print(routing_table(report))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    return [[c.strip() for c in x.split("│")[1:-1]] for x in shown.splitlines() if "│" in x]


def test_a_command_that_fails_ends_the_demo() -> None:
    shell = Shell()
    shell.run("true")
    with pytest.raises(subprocess.CalledProcessError, match="status 3"):
        shell.run("sh", "-c", "exit 3")


def test_results_of_somebody_else_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    thesis = tmp_path / "results" / "demo" / "thesis.txt"
    thesis.parent.mkdir(parents=True)
    thesis.write_text("mine")
    assert main() == 1
    assert "demo: results/demo stands in the way" in capsys.readouterr().err
    assert thesis.read_text() == "mine"
    thesis.parent.rename(tmp_path / "saved")
    for _ in range(2):  # its own ones it renews
        owned.renew(RESULTS)
        assert [p.name for p in RESULTS.iterdir()] == [owned.MARK]
        (RESULTS / "figures").write_text("old")


@pytest.mark.parametrize("name", ["mixed.yaml", "page.yaml", "round-robin.yaml"])
def test_its_files_are_there(name: str) -> None:
    assert (PRESETS / "demo" / name).is_file()


def test_the_request_without_curl(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with echoing() as url:
        curl(Shell(), f"curl -s -i {url}/v1/completions -d '{{\"a\": 1}}'")
    out = capsys.readouterr().out
    assert "HTTP/1.1 418\n" in out
    assert '{"a": 1}' in out


def test_a_run_that_is_not_trusted_does_not_end_the_demo() -> None:
    shell = Shell()
    assert shell.read("sh", "-c", "echo seen; exit 2", untrusted=True) == "seen\n"
    with pytest.raises(subprocess.CalledProcessError):
        shell.read("sh", "-c", "exit 2")
    with pytest.raises(subprocess.CalledProcessError):
        shell.read("sh", "-c", "exit 1", untrusted=True)


def test_a_command_that_takes_too_long_is_ended() -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        Shell().run("sleep", "60", timeout=0.1)
