"""The runs of a comparison: repeat by repeat every arm once, on a fresh fleet each time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from loadgen.compare.data import ArmRun, read_arm_run
from loadgen.compare.hooks import run_hook
from loadgen.compare.progress import Progress
from loadgen.errors import RunError
from loadgen.records.rundir import fresh_directory, read_meta
from loadgen.scenario.scenario import Arm, Scenario

if TYPE_CHECKING:
    from loadgen.scenario.options import RunOptions


@dataclass(frozen=True, slots=True)
class CompareOptions:
    """How to compare, as opposed to what."""

    out: Path | None = None
    repeats: int = 5
    """How many; with `until` the most."""
    baseline: str | None = None
    quiet: bool = False
    selftest: bool = True
    command: tuple[str, ...] = ()
    same_plan: bool = False
    """All repeats send the plan of the scenario's own seed; the verdict is about that plan alone."""
    manifests: Path | None = None  # of the fleet, instead of simfleet's own; made to be what is supposed
    simulate: bool = False
    """Runs are made in virtual time by `simfleet simulate`, `jobs` at once."""
    jobs: int = 1
    until: str | None = None
    """`told-apart`: stop once every arm is told from the baseline (judge/looks.py)."""


def order(arms: Sequence[Arm], repeat: int) -> list[Arm]:
    """Each repeat begins with another arm, every second one runs backwards."""
    turned = [*arms[repeat % len(arms) :], *arms[: repeat % len(arms)]]
    return turned[::-1] if (repeat // len(arms)) % 2 else turned


def repeats_of(
    scenario: Scenario, options: CompareOptions, out: Path, progress: Progress
) -> Iterator[list[ArmRun]]:
    """Repeat after repeat, the runs of all arms, each in its own directory under `out`."""
    from loadgen.compare.files import COMPARISON_FILES  # noqa: PLC0415
    from loadgen.compare.fleetfile import FLEET_FILE, write_fleet  # noqa: PLC0415
    from loadgen.plan.prepare import prepare_plan  # noqa: PLC0415
    from loadgen.scenario.options import RunOptions  # noqa: PLC0415

    theirs = [f"{escape(arm.name)}{rest}" for arm in scenario.arms for rest in (".log", "-[0-9]*")]
    fresh_directory(out, ["plan*.jsonl", FLEET_FILE, *COMPARISON_FILES, *theirs])
    found = write_fleet(scenario, options.manifests, out)
    scenario = replace(scenario, arms=tuple(replace(arm, env={**found, **arm.env}) for arm in scenario.arms))
    for repeat in range(options.repeats):
        plan = out / f"plan-{repeat + 1}.jsonl"
        seed = scenario.seed + (0 if options.same_plan else repeat)
        progress.stage(f"repeat {repeat + 1} of {options.repeats}: plan of seed {seed}")
        progress.span = prepare_plan(replace(scenario, seed=seed), None, plan).header.span
        if options.simulate:
            yield _simulated(scenario, options, plan, repeat=repeat + 1, seed=seed, progress=progress)
            continue
        runs: list[ArmRun] = []
        for arm in order(scenario.arms, repeat):
            conduct = RunOptions(
                out=out / f"{arm.name}-{repeat + 1}",
                plan=plan,
                quiet=True,
                selftest=options.selftest and not repeat and not runs,
                command=options.command,
            )
            progress.begins(f"repeat {repeat + 1} of {options.repeats}, {arm.name}")
            runs.append(_trusted_run(scenario, conduct, arm, repeat + 1, progress))
            progress.ended(_headline(runs[-1]))
        yield runs


def _simulated(
    scenario: Scenario, options: CompareOptions, plan: Path, *, repeat: int, seed: int, progress: Progress
) -> list[ArmRun]:
    """All arms of a repeat in virtual time; the order is no matter there."""
    from loadgen.compare.simulated import simulated_runs  # noqa: PLC0415

    progress.begins(f"repeat {repeat} of {options.repeats}, simulated")
    runs = simulated_runs(scenario, plan, repeat=repeat, seed=seed, jobs=options.jobs)
    progress.ended("; ".join(f"{run.arm}: {_headline(run)}" for run in runs))
    progress.done += len(runs) - 1
    return runs


def _trusted_run(
    scenario: Scenario, conduct: RunOptions, arm: Arm, repeat: int, progress: Progress
) -> ArmRun:
    """A run, made once more where its self-checks do not trust it."""
    run = _run_once(scenario, conduct, arm, repeat, progress)
    if run.trusted:
        return run
    why = "; ".join(run.failed_checks)
    progress.tell(f"{arm.name}, repeat {repeat}: once more, for it is not to be trusted: {why}")
    run.path.rename(run.path.with_name(f"{run.path.name}-untrusted"))
    return _run_once(scenario, conduct, arm, repeat, progress)


def _run_once(scenario: Scenario, conduct: RunOptions, arm: Arm, repeat: int, progress: Progress) -> ArmRun:
    """A fresh fleet, the plan, and the fleet gone again, whatever happened."""
    from loadgen.report.files import FORMS, write_all  # noqa: PLC0415
    from loadgen.run.runner import execute  # noqa: PLC0415

    path = conduct.out or Path(arm.name)
    log = path.parent / f"{arm.name}.log"
    mine = replace(
        scenario,
        arms=(),
        expect=(),
        target=arm.target or scenario.target,
        scrape=arm.scrape or scenario.scrape,
    )
    try:
        if arm.setup:
            progress.stage("setup")
        run_hook(arm.setup, arm, repeat, log, scenario.secrets)
        progress.stage("load")
        execute(mine, replace(conduct, arm=arm.name, repeat=repeat, env=arm.env))
        if read_meta(path).status == "interrupted":
            raise KeyboardInterrupt  # a run ends in order on Ctrl-C; the comparison ends with it
        if arm.teardown:
            progress.stage("teardown")
        run_hook(arm.teardown, arm, repeat, log, scenario.secrets)
    except BaseException:  # also where Ctrl-C met the teardown itself, which is then run once more
        with contextlib.suppress(RunError):  # what went wrong first is the one to tell
            run_hook(arm.teardown, arm, repeat, log, scenario.secrets)
        raise
    progress.stage("report")
    run = read_arm_run(arm.name, repeat, path, mine)
    write_all(path, run.report, FORMS)
    return run


def _headline(run: ArmRun) -> str:
    from loadgen.report.sentences import verdict  # noqa: PLC0415

    return verdict(msgspec.structs.replace(run.report, expectations=[]))
