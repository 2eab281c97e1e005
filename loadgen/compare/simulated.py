"""Arms in virtual time: each run is a `simfleet simulate` instead of a fleet that is brought up and loaded.

An arm is what its setup says: one `simfleet up` whose manifests, picker configuration and plugins the
simulation takes. Nothing of a setup is run, so one that does anything else is refused by name.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from string import Template

from loadgen.compare.data import ArmRun, read_arm_run
from loadgen.compare.hooks import use_own_commands
from loadgen.errors import RunError, ScenarioError
from loadgen.report.files import FORMS, write_all
from loadgen.scenario.scenario import Arm, Scenario

TIMEOUT = 3600.0  # seconds of real time for one run
_TAKEN = {
    "-f": 1,
    "--filename": 1,
    "-n": 1,
    "--namespace": 1,
    "--replicas": 1,
    "--epp-config": 1,
    "--plugin": 1,
}
# What of `up` says where and how a live stack runs: words that follow the flag.
_LIVE = {
    "-d": 0, "--detach": 0, "--no-live": 0, "--name": 1, "--port": 1, "--host": 1, "--envoy": 1,
    "--envoy-concurrency": 1, "--decision-log": 1,
}  # fmt: skip


def flags_of(arm: Arm) -> list[str]:
    """The flags of `simfleet simulate` for the arm's fleet; ScenarioError for a setup that is no `up`."""
    command = Template(arm.setup or "").safe_substitute(arm.env)
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise _not_simulated(arm, str(error)) from error
    if words[:2] != ["simfleet", "up"]:
        raise _not_simulated(arm, "its setup is not one `simfleet up`")
    return list(_taken(arm, words[2:]))


def _taken(arm: Arm, words: Sequence[str]) -> Iterator[str]:
    rest = list(words)
    while rest:
        word = rest.pop(0)
        flag, equals, value = word.partition("=")
        if flag == "--epp":
            value = value if equals else "".join(rest[:1])
            del rest[: 0 if equals else 1]
            if value not in ("reference", "auto"):
                raise _not_simulated(arm, f"--epp {value} is a program without a virtual clock")
        elif flag in _TAKEN:
            yield flag
            yield value if equals else rest.pop(0) if rest else ""
        elif flag in _LIVE:
            del rest[: 0 if equals else _LIVE[flag]]
        else:
            raise _not_simulated(arm, f"{word!r} of its setup is not simulated")


def _not_simulated(arm: Arm, why: str) -> ScenarioError:
    return ScenarioError(f"--simulate: arm {arm.name} cannot be simulated: {why}")


def simulated_runs(scenario: Scenario, plan: Path, *, repeat: int, seed: int, jobs: int) -> list[ArmRun]:
    """One run of each arm beside its plan, so many at once.

    RunError with what the simulation said where it failed.
    """
    use_own_commands()
    mine = replace(scenario, arms=(), expect=())

    def one(arm: Arm) -> ArmRun:
        path = plan.parent / f"{arm.name}-{repeat}"
        words = ["--plan", str(plan), "--seed", str(seed), "--out", str(path)]
        _simulate(arm, [*words, "--arm", arm.name, "--repeat", str(repeat), "--quiet"])
        run = read_arm_run(arm.name, repeat, path, mine)
        write_all(path, run.report, FORMS)
        return run

    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(one, scenario.arms))


def _simulate(arm: Arm, words: Sequence[str]) -> None:
    command = ["simfleet", "simulate", *flags_of(arm), *words]
    shown = shlex.join(command)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RunError(f"arm {arm.name}: `{shown}`: {error}") from error
    if done.returncode:
        raise RunError(f"arm {arm.name}: `{shown}` ended with {done.returncode}: {done.stderr.strip()}")
