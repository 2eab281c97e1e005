"""Shell completion: every command, its flags, and scripts that the shells accept."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import pytest

from gateway.cli import SIMULATOR, STACK, main
from kit.completion import SHELLS, flags_of, script
from loadgen.cli import main as loadgen


@pytest.mark.parametrize("shell", SHELLS)
def test_scripts_name_commands_and_flags(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in (*SIMULATOR, *STACK))
    assert "max-num-seqs" in out
    assert "decision-log" in out
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=out, text=True, check=True, timeout=10)
    assert loadgen(["completion", shell]) == 0
    out = capsys.readouterr().out
    assert "compare" in out
    assert "no-selftest" in out


def test_unknown_shell(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "csh"]) == 2
    assert "bash, zsh, fish" in capsys.readouterr().err


@pytest.fixture(scope="module")
def bash() -> str:
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        main(["completion", "bash"])
    return shown.getvalue()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["simfleet", "dr"], ["drain"]),
        (["simfleet", "up", "--deta"], ["--detach"]),
        (["simfleet", "serve", "--profile", "llama-3.1-8b/a"], ["llama-3.1-8b/a100"]),
        (["simfleet", "size", "--scenario", "hot"], ["hot-prefix"]),
        (["simfleet", "kill", "al"], ["all"]),
        (["simfleet", "down", "--name", "x"], []),
    ],
)
def test_bash_completes(
    words: list[str],
    expected: list[str],
    bash: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    quoted = " ".join(words)
    ask = f"COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _simfleet; echo ${{COMPREPLY[@]}}"
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SIMFLEET_STATE_DIR", str(tmp_path))
    done = subprocess.run(["bash", "-c", bash + ask], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == expected


def test_flags_are_read_off_a_help_text() -> None:
    def run(argv: Sequence[str]) -> int:
        parser = argparse.ArgumentParser(f"tool {argv[0]}")
        parser.add_argument("-f", "--file", metavar="PATH", help="not --this, nor -t")
        parser.add_argument("--dry-run", action="store_true")
        parser.parse_args(argv[1:])
        return 0

    assert flags_of(run, "make") == ["--dry-run", "--file", "--help", "-f", "-h"]


@pytest.mark.parametrize("argv", [["--version"], ["serve", "--version"], ["up", "-f", "x", "--version"]])
def test_every_command_tells_the_version(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 0
    told = capsys.readouterr().out
    assert loadgen(["run", "--version"]) == 0
    assert capsys.readouterr().out == told
    assert told.strip() == version("vllm-simfleet")


def test_loadgen_names_its_scenarios(capsys: pytest.CaptureFixture[str]) -> None:
    assert loadgen(["completion", "words", "scenarios"]) == 0
    assert "hot-prefix" in capsys.readouterr().out.split()


def test_fish_has_a_line_for_each_flag() -> None:
    assert script("fish", "tool", {"make": ["--dry-run", "-f"], "show": []}).splitlines() == [
        "# tool completion fish > ~/.config/fish/completions/tool.fish",
        "complete -c tool -n __fish_use_subcommand -f -a 'make show'",
        "complete -c tool -n '__fish_seen_subcommand_from make' -l dry-run",
        "complete -c tool -n '__fish_seen_subcommand_from make' -s f",
    ]
