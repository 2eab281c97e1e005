"""`down` ends a stack that does not answer, and says how."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.commands.down import end
from gateway.stack.statedir import StackDirectory

ROOT = Path(__file__).parents[3]
HOLDER = """
import signal, sys, socket, time
from pathlib import Path
from gateway.stack.statedir import StackDirectory
if sys.argv[2] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
directory = StackDirectory(Path(sys.argv[1]))
directory.hold()
listener = socket.socket(socket.AF_UNIX)
listener.bind(str(directory.socket))
listener.listen()  # whoever asks is never answered
print("held", flush=True)
time.sleep(60)
"""


@contextmanager
def stuck(path: Path, how: str) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the directory of a stack and answers nobody."""
    command = [sys.executable, "-c", HOLDER, str(path), how]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(("how", "number"), [("hearing", 15), ("deaf", 9)])
def test_a_stack_that_does_not_answer_is_ended(
    how: str, number: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = StackDirectory(tmp_path / "one")
    with stuck(directory.path, how) as process:
        assert directory.holder() == process.pid
        end(directory, ask_s=0.1, term_s=2.0)
        assert process.wait(timeout=10) == -number
    said = capsys.readouterr().err
    assert f"SIGTERM to process {process.pid}" in said
    assert ("SIGKILL" in said) == (how == "deaf")
    assert not directory.path.exists()
    assert directory.holder() is None
