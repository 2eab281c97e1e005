"""`simfleet`: the dispatcher."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gateway.cli import SIMULATOR, STACK, main


def test_usage_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name}" in out for name in (*SIMULATOR, *STACK))
    assert main([]) == 2


def test_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["srve"]) == 2
    assert "unknown command 'srve'; did you mean serve?" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip()[0].isdigit()


def test_simulator_commands_keep_their_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--nonsense"]) == 2
    assert "unknown flag --nonsense" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(STACK))
def test_stack_commands_have_help(name: str) -> None:
    program = "import sys; from gateway.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, name, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout


def test_ctrl_c_is_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(name: str, argv: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("gateway.commands.parse.run", interrupted)
    assert main(["up"]) == 130
    assert capsys.readouterr().err == ""


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; from gateway.cli import main; main(['--help']); main(['serve', '--help']); "
        "print([name for name in ('fastapi', 'yaml', 'grpc', 'uvicorn', 'asyncio') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
