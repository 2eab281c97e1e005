"""Signals that come again while a process leaves: its exit code stands, and it leaves no traceback."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from kit.children import python
from tests.ports import free_port

CHILD = """
import asyncio, atexit, os, signal, sys
from kit.alarm import new_event_loop
from kit.signals import ENDING, hear, ignore

async def main():
    heard = []
    stop = asyncio.Event()
    hear(ENDING, lambda number: (heard.append(number), stop.set()))
    print("ready", flush=True)
    await stop.wait()
    ignore(ENDING)
    os.kill(os.getpid(), heard[0])
    return heard

atexit.register(lambda: os.kill(os.getpid(), signal.SIGTERM))
with asyncio.Runner(loop_factory={factory}) as runner:
    heard = runner.run(main())
os.kill(os.getpid(), heard[0])
sys.exit(len(heard))
"""


@contextmanager
def child(command: Sequence[str], ready: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """A process that has written a line with each of `ready`."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert process.stdout is not None
        missing = set(ready)
        while missing and (line := process.stdout.readline()):
            missing -= {word for word in missing if word in line}
        assert not missing
        yield process
    finally:
        process.kill()
        process.communicate(timeout=10)


def told_again_and_again(process: subprocess.Popen[str], number: int) -> tuple[int, str]:
    """Exit code and last words of a process that is sent a signal for as long as it lives."""
    deadline = time.monotonic() + 60
    while process.poll() is None:
        assert time.monotonic() < deadline, "it does not end"
        process.send_signal(number)
        time.sleep(0.0005)  # the pace of the signals
    assert process.stdout is not None
    return process.returncode, process.stdout.read()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("factory", ["new_event_loop", "asyncio.new_event_loop"])
def test_heard_once_and_ignored_to_the_end(factory: str, number: int) -> None:
    with child(python("-c", CHILD.replace("{factory}", factory)), ["ready"]) as process:
        process.send_signal(number)
        out, _ = process.communicate(timeout=60)
        assert (process.returncode, out) == (1, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_null_server_ends_in_order(number: int) -> None:
    with child(python("-m", "loadgen.client.nullserver"), ["listening"]) as process:
        assert told_again_and_again(process, number) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    "more", [("serve",), ("fleet", "--replicas", "2"), ("fleet", "--replicas", "2", "--processes", "2")]
)
def test_the_simulator_ends_in_order(more: Sequence[str], number: int) -> None:
    """A second signal asks for the end at once, with code 1; no signal is a death."""
    place = ("--port", str(free_port()), "--model", "m")
    host = ("--host", "127.0.0.1") if more[0] == "serve" else ("--address", "127.0.0.70")
    ready = ("INFO ready",) if more[0] == "serve" else ("simfleet-0 ", "simfleet-1 ")
    with child(python("-m", "simulator", *more, *host, *place), ready) as process:
        code, words = told_again_and_again(process, number)
        assert code in (0, 1), words
        assert "Traceback" not in words
        assert "Exception ignored" not in words
