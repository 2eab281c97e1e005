"""What commands print, and how they end when nobody reads it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kit.children import python
from kit.console import INTERRUPTED, READER_LEFT, complain, exit_code, say, show

BIN = Path(sys.executable).parent
# argparse hides that its help could not be written, where nothing buffers it
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


def test_where_things_go(capsys: pytest.CaptureFixture[str]) -> None:
    say("a line")
    say()
    show("as it\nis")
    complain("what is wrong")
    out, err = capsys.readouterr()
    assert (out, err) == ("a line\n\nas it\nis", "what is wrong\n")


def test_what_moves_the_cursor_is_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    say("a\x1b[2J\tb\nc")
    complain("pod \x1b]0;title\x07")
    show("for a program \x1b")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    show("for a person \x1b\n")
    out, err = capsys.readouterr()
    assert out == "a\\x1b[2J\tb\nc\nfor a program \x1bfor a person \\x1b\n"
    assert err == "pod \\x1b]0;title\\x07\n"


def test_the_exit_code_of_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    def wrong() -> int:
        raise ValueError("ours to see")

    assert exit_code(lambda: 3) == 3
    assert exit_code(interrupted) == INTERRUPTED
    with pytest.raises(ValueError, match="ours to see"):
        exit_code(wrong)
    monkeypatch.setattr(sys, "stdout", None)
    assert exit_code(lambda: 4) == 4


@pytest.mark.parametrize(
    "code", ["say('x' * 10)", "print('x' * 10)", "print('x' * 10); raise SystemExit(3)", "print('x' * 10**6)"]
)
def test_a_reader_that_left(code: str) -> None:
    """Whether the command flushes, ends by itself or writes more than a pipe holds."""
    program = (
        f"import sys\nfrom kit.console import *\ndef f():\n    {code}\n    return 0\nsys.exit(exit_code(f))"
    )
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        python("-c", program), stdout=write_end, stderr=subprocess.PIPE, text=True, timeout=60, check=False
    )
    os.close(write_end)
    assert (done.returncode, done.stderr) == (READER_LEFT, "")


@pytest.mark.parametrize(
    "command",
    [
        ("simfleet", "--help"),
        ("simfleet", "serve", "--help"),
        ("simfleet", "up", "--help"),
        ("simfleet", "profiles", "--json"),
        ("simfleet", "completion", "fish"),
        ("simfleet", "lint", "--help"),
        ("loadgen", "scenarios"),
        ("loadgen", "run", "--help"),
    ],
)
def test_commands_end_in_order_when_the_reader_left(command: tuple[str, ...]) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        [BIN / command[0], *command[1:]],
        env=BUFFERED,
        stdout=write_end,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(write_end)
    assert (done.returncode, done.stderr) == (READER_LEFT, "")
