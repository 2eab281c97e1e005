"""Shell completion: every command, its flags, and scripts that the shells accept."""

import shutil
import subprocess

import pytest

from gateway.cli import SIMULATOR, STACK, main
from kit.completion import SHELLS
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


@pytest.mark.parametrize(
    ("words", "expected"),
    [(["simfleet", "dr"], ["drain"]), (["simfleet", "up", "--deta"], ["--detach"])],
)
def test_bash_completes(words: list[str], expected: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main(["completion", "bash"])
    quoted = " ".join(words)
    ask = f"COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _simfleet; echo ${{COMPREPLY[@]}}"
    done = subprocess.run(
        ["bash", "-c", capsys.readouterr().out + ask], capture_output=True, text=True, check=True, timeout=10
    )
    assert done.stdout.split() == expected
