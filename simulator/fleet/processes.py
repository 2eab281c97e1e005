"""`simfleet fleet --processes K`: the fleet spread over several processes of the same command."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Sequence

from kit.children import python
from kit.console import show
from kit.signals import ENDING, ignore
from simulator.fleet.arguments import FleetArguments


def shares(replicas: int, processes: int) -> list[tuple[int, int]]:
    """(first index, number) of each process; as even as can be, none empty."""
    processes = min(processes, replicas)
    base, extra = divmod(replicas, processes)
    result = []
    first = 0
    for index in range(processes):
        number = base + (index < extra)
        result.append((first, number))
        first += number
    return result


def command_of(own: FleetArguments, first: int, number: int) -> list[str]:
    """The command line of one process."""
    command = python("-m", "simulator", "fleet", "--child")
    command += ["--replicas", str(number), "--first", str(own.first + first)]
    command += ["--address", own.address, "--name-prefix", own.name_prefix]
    if own.consecutive_ports:
        command.append("--consecutive-ports")
    if own.overrides:
        command += ["--overrides", own.overrides]
    return [*command, *own.serve]


def run_processes(own: FleetArguments) -> int:
    """Start them all, pass signals on, end when they end; the worst exit code.

    When one process ends before it was told to, the others are told to end too: a fleet with a hole would
    only look whole.
    """
    told = False
    early: list[int] = []  # what came while they were started
    children: list[subprocess.Popen[str]] = []

    def tell(number: int, frame: object) -> None:
        nonlocal told
        told = True
        if children:
            _signal_all(children, number)
        else:
            early.append(number)

    for number in ENDING:
        signal.signal(number, tell)
    started = [
        subprocess.Popen(
            command_of(own, first, number),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # the terminal's Ctrl-C reaches them once, through us
        )
        for first, number in shares(own.replicas, own.processes)
    ]
    children += started
    if early:
        _signal_all(children, early[0])
    printers = [
        threading.Thread(target=_copy, args=(child, index == 0), daemon=True)
        for index, child in enumerate(children)
    ]
    for printer in printers:
        printer.start()

    _wait_for_one(children)
    if not told:  # a second signal would cut the others' shutdown short
        _signal_all(children, signal.SIGTERM)
    codes = [abs(child.wait()) for child in children]
    ignore(ENDING)
    for printer in printers:
        printer.join(timeout=1.0)
    return max(codes)


def _copy(child: subprocess.Popen[str], with_head: bool) -> None:
    """A child's table without its heading, so that all of them make one."""
    assert child.stdout is not None
    for number, line in enumerate(child.stdout):
        if with_head or number:
            show(line)


def _signal_all(children: Sequence[subprocess.Popen[str]], number: int) -> None:
    for child in children:
        if child.poll() is None:
            child.send_signal(number)


def _wait_for_one(children: Sequence[subprocess.Popen[str]]) -> None:
    """Until one of them has ended."""
    ended = threading.Event()

    def watch(child: subprocess.Popen[str]) -> None:
        child.wait()
        ended.set()

    watchers = [threading.Thread(target=watch, args=(child,), daemon=True) for child in children]
    for watcher in watchers:
        watcher.start()
    while not ended.wait(0.2):  # a plain wait would keep Python from running signal handlers
        pass
