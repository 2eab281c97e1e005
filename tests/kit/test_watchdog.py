"""A process whose event loop has stopped ends all the same, and one whose loop turns is left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kit.watchdog import STUCK_EXIT_CODE

ROOT = Path(__file__).parents[2]
PROGRAM = """
import asyncio, sys
from simulator.fleet.lifecycle import Signals, run_until_signal

async def main():
    signals = Signals()
    print("ready", flush=True)
    if sys.argv[1] == "stuck":
        while True:
            pass
    await signals.first()
    await asyncio.sleep(1.0)  # much longer than the grace, but the loop turns
    return 7

sys.exit(run_until_signal(main))
"""


def ended(how: str, number: signal.Signals, grace: str) -> tuple[int, str]:
    """(exit code, standard error) of the program after one signal."""
    env = {**os.environ, "SIMFLEET_STUCK_SECONDS": grace}
    command = [sys.executable, "-c", PROGRAM, how]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        try:
            _, errors = process.communicate(timeout=20)
        finally:
            process.kill()
    return process.returncode, errors


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_loop_that_has_stopped_does_not_keep_the_process(number: signal.Signals) -> None:
    code, errors = ended("stuck", number, "0.2")
    assert code == STUCK_EXIT_CODE
    assert "has not turned" in errors


def test_a_loop_that_turns_may_take_its_time() -> None:
    code, errors = ended("turning", signal.SIGTERM, "0.8")
    assert (code, "has not turned" in errors) == (7, False)
