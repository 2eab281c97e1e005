"""Runs pytest on a machine that stalls: `starved.py [pytest arguments]`, Linux.

Every two seconds or so one random process of the run, pytest itself included, is stopped for 0.1 to 0.7 s, as
on a host that gives its processors to others. A test that fails here counts on time that it may not get.
STARVED_SEED names the sequence. The exit code is pytest's.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path


def tree(pid: int) -> list[int]:
    """The process and all below it."""
    found = [pid]
    for each in found:  # grows on the way
        for task in Path(f"/proc/{each}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += map(int, task.read_text().split())
    return found


def stall(pid: int, seconds: float) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(pid, signal.SIGCONT)


def main(arguments: list[str]) -> int:
    seed = os.environ.get("STARVED_SEED", str(os.getpid()))
    rng, count = random.Random(seed), 0
    run = subprocess.Popen([sys.executable, "-m", "pytest", *arguments])
    try:
        while run.poll() is None:
            time.sleep(rng.expovariate(1 / 2.0))
            stall(rng.choice(tree(run.pid)), rng.uniform(0.1, 0.7))
            count += 1
    except KeyboardInterrupt:
        run.wait()
    sys.stdout.write(f"{count} stalls, STARVED_SEED={seed}\n")
    return run.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
