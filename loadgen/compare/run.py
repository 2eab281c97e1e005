"""`loadgen compare`: one plan under several policies, on a fresh fleet each time, interleaved and repeated.

Within a repeat every arm runs once, close in time, so that the machine treats all arms alike; the order turns
from repeat to repeat, so that no arm always runs first. A run that is not to be trusted is made once more.
`loadgen diff` compares two runs that are there already.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from loadgen.compare.data import ArmRun, ArmsReport, as_data, contrast, grouped, read_arm_run
from loadgen.compare.hooks import arms_of_files, run_hook
from loadgen.errors import RunError, ScenarioError
from loadgen.judge.foreseen import check_expectations
from loadgen.judge.named_figures import of_arms
from loadgen.records.rundir import fresh_directory, read_meta
from loadgen.report.verdict import exit_code, judge_all, nothing_succeeded
from loadgen.scenario.scenario import Arm, Scenario

if TYPE_CHECKING:
    from loadgen.run.runner import RunOptions


@dataclass(frozen=True, slots=True)
class CompareOptions:
    """How to compare, as opposed to what."""

    out: Path | None = None
    repeats: int = 5
    baseline: str | None = None
    quiet: bool = False
    selftest: bool = True
    command: tuple[str, ...] = ()
    manifests: Path | None = None
    """Of the fleet, instead of simfleet's own; made to be what the scenario supposes."""


_ABOUT_ARMS = re.compile(r"\b(arm|delta)\[")
Say = Callable[[str], None]


def run_compare(args: argparse.Namespace) -> int:
    """Entry of the command line; the exit code is the comparison's."""
    from loadgen.flags import scenario_of  # noqa: PLC0415

    scenario = scenario_of(args)
    files = (
        [Path(name.strip()) for name in args.arms.split(",") if name.strip()]
        if getattr(args, "arms", None)
        else []
    )
    if files:
        setup, teardown, fleet = (getattr(args, name, None) for name in ("setup", "teardown", "fleet"))
        plugins = getattr(args, "plugin", None) or ()
        arms = arms_of_files(files, setup, teardown, fleet, plugins)
        scenario = replace(scenario, arms=tuple(arms))
    options = CompareOptions(
        out=args.out,
        repeats=getattr(args, "repeats", None) or scenario.repeats,
        baseline=getattr(args, "baseline", None),
        quiet=args.quiet,
        selftest=not args.no_selftest,
        command=tuple(args.command_line),
        manifests=getattr(args, "manifests", None),
    )
    return compare_arms(scenario, options)


def compare_arms(scenario: Scenario, options: CompareOptions) -> int:
    """Run everything, write the comparison, print it; 0, 1 or 2 as for a run."""
    from loadgen.compare.files import print_comparison, write_comparison  # noqa: PLC0415

    base = _baseline(scenario, options)
    check_expectations(scenario)
    out = options.out or Path("runs") / f"{scenario.name}-compare-{time.strftime('%Y%m%d-%H%M%S')}"
    runs = run_arms(scenario, options, out)
    data = judged(scenario, grouped(runs), base)
    print_comparison(data, write_comparison(out, data))
    return data.exit_code


def judged(scenario: Scenario | None, arms: dict[str, list[ArmRun]], base: str) -> ArmsReport:
    """The comparison's data with its expectations and exit code."""
    comparisons = contrast(arms, base)
    data = as_data(scenario.name if scenario else " and ".join(arms), arms, base, comparisons)
    lookup = of_arms({arm: [run.report for run in runs] for arm, runs in arms.items()}, comparisons)
    about_arms = [e for e in (scenario.expect if scenario else ()) if _ABOUT_ARMS.search(e.text)]
    data.expectations = judge_all(about_arms, lookup, scenario)
    for arm, runs in arms.items():
        reports = [run.report for run in runs]
        data.expectations += nothing_succeeded(reports, scenario.expect if scenario else (), f" in {arm}")
    others = len(scenario.expect) - len(about_arms) if scenario else 0
    data.notes = [f"{others} expectations about single runs were not judged"] if others else []
    data.exit_code = exit_code(data.expectations, data.trusted)
    return data


def _baseline(scenario: Scenario, options: CompareOptions) -> str:
    names = [arm.name for arm in scenario.arms]
    if len(names) < 2:
        raise ScenarioError(
            "a comparison needs at least two arms: `arms:` in the scenario, or --arms A.yaml,B.yaml"
        )
    if options.repeats < 1:
        raise ScenarioError(f"--repeats must be at least 1, not {options.repeats}")
    if options.baseline is not None and options.baseline not in names:
        raise ScenarioError(f"no arm {options.baseline!r} to be the baseline; there are {', '.join(names)}")
    return options.baseline or names[-1]


def order(arms: Sequence[Arm], repeat: int) -> list[Arm]:
    """Each repeat begins with another arm, every second one runs backwards."""
    turned = [*arms[repeat % len(arms) :], *arms[: repeat % len(arms)]]
    return turned[::-1] if (repeat // len(arms)) % 2 else turned


def run_arms(scenario: Scenario, options: CompareOptions, out: Path, say: Say | None = None) -> list[ArmRun]:
    """All runs of all arms, each in its own directory under `out`."""
    from loadgen.compare.files import COMPARISON_FILES  # noqa: PLC0415
    from loadgen.compare.fleetfile import FLEET_FILE, write_fleet  # noqa: PLC0415
    from loadgen.plan.prepare import prepare_plan  # noqa: PLC0415
    from loadgen.run.runner import RunOptions  # noqa: PLC0415

    tell = say or _printer(options)
    theirs = [f"{escape(arm.name)}{rest}" for arm in scenario.arms for rest in (".log", "-[0-9]*")]
    fresh_directory(out, ["plan.jsonl", FLEET_FILE, *COMPARISON_FILES, *theirs])
    found = write_fleet(scenario, options.manifests, out)
    scenario = replace(scenario, arms=tuple(replace(arm, env={**found, **arm.env}) for arm in scenario.arms))
    plan = out / "plan.jsonl"
    prepare_plan(scenario, None, plan)
    runs: list[ArmRun] = []
    for repeat in range(options.repeats):
        for arm in order(scenario.arms, repeat):
            path = out / f"{arm.name}-{repeat + 1}"
            selftest = options.selftest and not runs
            conduct = RunOptions(out=path, plan=plan, quiet=True, selftest=selftest, command=options.command)
            run = _run_once(scenario, conduct, arm, repeat + 1)
            if not run.trusted:
                why = "; ".join(run.failed_checks)
                tell(f"{arm.name}, repeat {repeat + 1}: once more, for it is not to be trusted: {why}")
                path.rename(path.with_name(f"{path.name}-untrusted"))
                run = _run_once(scenario, conduct, arm, repeat + 1)
            runs.append(run)
            tell(f"repeat {repeat + 1} of {options.repeats}, {arm.name}: {_headline(run)}")
    return runs


def _run_once(scenario: Scenario, conduct: RunOptions, arm: Arm, repeat: int) -> ArmRun:
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
        run_hook(arm.setup, arm, repeat, log, scenario.secrets)
        execute(mine, replace(conduct, arm=arm.name, repeat=repeat, env=arm.env))
        if read_meta(path).status == "interrupted":
            raise KeyboardInterrupt  # a run ends in order on Ctrl-C; the comparison ends with it
    except BaseException:
        with contextlib.suppress(RunError):  # what went wrong first is the one to tell
            run_hook(arm.teardown, arm, repeat, log, scenario.secrets)
        raise
    run_hook(arm.teardown, arm, repeat, log, scenario.secrets)
    run = read_arm_run(arm.name, repeat, path, mine)
    write_all(path, run.report, FORMS)
    return run


def _headline(run: ArmRun) -> str:
    from loadgen.report.sentences import verdict  # noqa: PLC0415

    return verdict(msgspec.structs.replace(run.report, expectations=[]))


def _printer(options: CompareOptions) -> Say:
    from loadgen.report.terminal import console  # noqa: PLC0415

    screen = console()
    return (lambda _: None) if options.quiet else lambda words: screen.print(words, markup=False)


def run_diff(args: argparse.Namespace) -> int:
    """`loadgen diff A B`: what changed from A to B."""
    from loadgen.compare.files import print_comparison, write_comparison  # noqa: PLC0415

    names = _names(args.a, args.b)
    arms = {name: [read_arm_run(name, 1, path)] for name, path in zip(names, (args.a, args.b), strict=True)}
    data = judged(None, arms, names[0])
    shared = _same_plan(*(runs[0] for runs in arms.values()))
    data.notes += [] if shared else ["the two runs had different plans: their requests are not the same"]
    written = write_comparison(args.out, data) if getattr(args, "out", None) else []
    print_comparison(data, written)
    return data.exit_code


def _names(a: Path, b: Path) -> list[str]:
    """Directory names, or as much of the paths as tells them apart."""
    if a.resolve() == b.resolve():
        return [f"{a.name} (A)", f"{b.name} (B)"]
    return [a.name, b.name] if a.name != b.name else [shlex.quote(str(a)), shlex.quote(str(b))]


def _same_plan(a: ArmRun, b: ArmRun) -> bool:
    """The same ids, intended at the same times."""
    mine, theirs = ({r.id: r.intended for r in run.frame.records if not r.turn} for run in (a, b))
    both = mine.keys() & theirs.keys()
    return len(both) >= 0.9 * max(len(mine), len(theirs)) and all(
        abs(mine[i] - theirs[i]) < 1e-6 for i in both
    )
