from __future__ import annotations

import io
import shutil
import subprocess
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from rich.console import Console

from gateway.commands.demo import PRESETS, RESULTS, Shell, curl, main, routing_table
from gateway.stack import owned
from tests.ports import free_port


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
    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    monkeypatch.setattr(shutil, "which", lambda _: None)
    with HTTPServer(("127.0.0.1", free_port()), Answers) as server:
        asked = Thread(target=server.handle_request)
        asked.start()
        curl(Shell(), f"curl -s -i http://127.0.0.1:{server.server_port}/v1/completions -d '{{\"a\": 1}}'")
        asked.join(30)
    out = capsys.readouterr().out
    assert "HTTP/1.1 200\n" in out
    assert '{"a": 1}' in out
