"""`loadgen compare`: the same plans under several policies, on a fresh fleet each time, and repeated.

Each repeat has a plan of its own seed, the same for all arms: the luck of one plan averages out. Within a
repeat every arm runs once, close in time, so that the machine treats all arms alike; the order turns from
repeat to repeat, so that no arm always runs first. A run that is not to be trusted is made once more. Every
arm is compared with the baseline, the last one unless it is named: the first against the second reads as it
is written. `loadgen diff` compares two runs that are there already.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kit.console import INTERRUPTED
from kit.printable import on_terminal
from loadgen.compare.arms import CompareOptions, repeats_of
from loadgen.compare.data import ArmRun, ArmsReport, Stopped, Why, as_data, contrast, grouped, read_arm_run
from loadgen.compare.hooks import arms_of_files
from loadgen.compare.progress import Progress, Say
from loadgen.errors import LoadgenError, ScenarioError
from loadgen.judge.foreseen import check_expectations
from loadgen.judge.looks import alpha_of, hopeless, told_apart
from loadgen.judge.named_figures import of_arms
from loadgen.judge.paired import ALPHA, ENOUGH_REPEATS
from loadgen.records.frame import Frame
from loadgen.report.verdict import exit_code, judge_all, nothing_succeeded
from loadgen.scenario.scenario import Scenario

if TYPE_CHECKING:
    from rich.console import Console

SAME_PLAN = "every repeat sent the same plan: the verdict holds for that plan alone"
SIMULATED = (
    "simulated: virtual time, without this machine's noise; `simfleet up` and `loadgen run` do it live"
)
UNTIL_REPEATS = 10  # the most that `--until` makes where nobody says how many
_ABOUT_ARMS = re.compile(r"\b(arm|delta)\[")


def run_compare(args: argparse.Namespace) -> int:
    """Entry of the command line; the exit code is the comparison's."""
    from loadgen.scenario.commands import tell_commands  # noqa: PLC0415
    from loadgen.spelling import scenario_of  # noqa: PLC0415

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
    until = getattr(args, "until", None)
    repeats = getattr(args, "repeats", None)
    if repeats is None:
        repeats = max(scenario.repeats, UNTIL_REPEATS) if until else scenario.repeats
    options = CompareOptions(
        out=args.out,
        repeats=repeats,
        baseline=getattr(args, "baseline", None),
        quiet=args.quiet,
        selftest=not args.no_selftest,
        command=tuple(args.command_line),
        same_plan=getattr(args, "same_plan", False),
        until=until,
        manifests=getattr(args, "manifests", None),
        simulate=getattr(args, "simulate", False),
        jobs=getattr(args, "jobs", None) or 1,
    )
    if not options.simulate:  # of which no command runs
        tell_commands(scenario, options.command, () if files else scenario.arms)
    return compare_arms(scenario, options)


def compare_arms(scenario: Scenario, options: CompareOptions) -> int:
    """Run everything, write the comparison, print it; 0, 1 or 2 as for a run, 130 where Ctrl-C ended it.

    What complete repeats gave before Ctrl-C or an error is judged and written; the error is then raised.
    """
    from loadgen.compare.files import print_comparison, write_comparison  # noqa: PLC0415
    from loadgen.report.terminal import console  # noqa: PLC0415

    base = _baseline(scenario, options)
    check_expectations(scenario)
    out = options.out or Path("runs") / f"{scenario.name}-compare-{time.strftime('%Y%m%d-%H%M%S')}"
    screen = console()
    tell: Say = (
        (lambda _: None) if options.quiet else lambda words: screen.print(on_terminal(words), markup=False)
    )
    found = run_arms(scenario, options, out, tell, None if options.quiet else screen)
    if not found.runs and found.error is not None:
        if out.is_dir() and isinstance(found.error, KeyboardInterrupt):
            tell(f"interrupted before any repeat was complete; what was measured is in {out}")
        raise found.error
    data = judged(scenario, grouped(found.runs), base, found.alpha)
    data.stopped = found.stopped
    repeats = data.repeats
    data.notes += found.notes
    if repeats > 1 and _one_plan(out, repeats):
        data.notes.append(SAME_PLAN)
    interrupted = isinstance(found.error, KeyboardInterrupt)
    if interrupted:
        data.exit_code = INTERRUPTED
    print_comparison(data, write_comparison(out, data))
    if found.error is not None and not interrupted:
        raise found.error
    return data.exit_code


@dataclass
class Measured:
    """Runs of complete repeats, how they came to an end, and what of ALPHA their last look may spend."""

    runs: list[ArmRun] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    stopped: Stopped | None = None
    alpha: float = ALPHA
    error: KeyboardInterrupt | LoadgenError | OSError | None = None


def run_arms(
    scenario: Scenario, options: CompareOptions, out: Path, say: Say, screen: Console | None = None
) -> Measured:
    """Repeats until there are enough, or something ends them; nothing is raised but what is not foreseen.

    say: takes lines of progress. screen: where a live line stands below them, if it is a terminal.
    """
    found, base = Measured(), _baseline(scenario, options)
    names = [arm.name for arm in scenario.arms]
    others = ", ".join(name for name in names if name != base)
    notice = _notice(names, options)
    if notice:
        found.notes.append(f"the baseline is {base}{notice}")
    most = "at most " if options.until else ""
    say(f"{others} against {base}{notice}: {most}{options.repeats} repeats, into {out}")
    total = options.repeats * len(names)
    progress = Progress(say, total, screen, at_most=options.until is not None)
    done = 0
    try:
        with progress:
            for runs in repeats_of(scenario, options, out, progress):
                found.runs += runs
                done += 1
                if options.until and _enough(found, done, options.repeats, base, say):
                    break
    except (KeyboardInterrupt, LoadgenError, OSError) as error:
        found.error = error
        why: Why = "interrupted" if isinstance(error, KeyboardInterrupt) else "broken off"
        where = f"repeat {done + 1} of {most}{options.repeats}"
        found.notes.append(f"{why} in {where}: only complete repeats are judged")
        if found.stopped is not None:
            found.stopped.why = why
    if found.stopped is not None and not found.error:
        found.notes.append(found.stopped.words)
    return found


def _notice(names: list[str], options: CompareOptions) -> str:
    """How a baseline was chosen that nobody named, where it could have been another."""
    if options.baseline or len(names) < 3:
        return ""
    return " (the last arm; --baseline ARM names another)"


def _enough(found: Measured, done: int, most: int, base: str, say: Say) -> bool:
    """A look after `done` repeats: whether to stop here. Leaves in `found` what this look said."""
    found.alpha = alpha_of(done, most) or ALPHA
    found.stopped = Stopped(repeats=done, most=most, alpha=found.alpha, why="no more repeats")
    if done < ENOUGH_REPEATS:
        return False
    comparisons = contrast(grouped(found.runs), base, found.alpha)
    for each in comparisons:
        say(f"look after {done} of at most {most} repeats: {each.sentence}")
    if told_apart(comparisons):
        found.stopped.why = "told apart"
    elif hopeless(comparisons):
        found.stopped.why = "not judged"
    return found.stopped.why != "no more repeats"


def judged(
    scenario: Scenario | None, arms: Mapping[str, list[ArmRun]], base: str, alpha: float = ALPHA
) -> ArmsReport:
    """The comparison's data with its expectations and exit code; `alpha` as `paired.corrected` takes it."""
    comparisons = contrast(arms, base, alpha)
    data = as_data(scenario.name if scenario else " and ".join(arms), arms, base, comparisons)
    lookup = of_arms({arm: [run.report for run in runs] for arm, runs in arms.items()}, comparisons)
    about_arms = [e for e in (scenario.expect if scenario else ()) if _ABOUT_ARMS.search(e.text)]
    data.expectations = judge_all(about_arms, lookup, scenario)
    for arm, runs in arms.items():
        reports = [run.report for run in runs]
        data.expectations += nothing_succeeded(reports, scenario.expect if scenario else (), f" in {arm}")
    others = len(scenario.expect) - len(about_arms) if scenario else 0
    data.notes = [SIMULATED] if any(run.simulated for runs in arms.values() for run in runs) else []
    data.notes += [f"{others} expectations about single runs were not judged"] if others else []
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
    if options.until and options.repeats < ENOUGH_REPEATS:
        raise ScenarioError(
            f"--until looks from {ENOUGH_REPEATS} repeats on: --repeats, the most, is {options.repeats}"
        )
    if options.baseline is not None and options.baseline not in names:
        raise ScenarioError(f"no arm {options.baseline!r} to be the baseline; there are {', '.join(names)}")
    return options.baseline or names[-1]


def _one_plan(out: Path, repeats: int) -> bool:
    """Whether all `repeats` had the same requests at the same times, be it because no seed changes them."""
    digests = set()
    for path in (out / f"plan-{repeat + 1}.jsonl" for repeat in range(repeats)):
        digest = hashlib.sha256()
        with path.open("rb") as lines:
            next(lines, None)  # the header tells the seed
            for line in lines:
                digest.update(line)
        digests.add(digest.digest())
    return len(digests) == 1


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
    mine, theirs = (_first_turns(run.frame) for run in (a, b))
    both = mine.keys() & theirs.keys()
    return len(both) >= 0.9 * max(len(mine), len(theirs)) and all(
        abs(mine[i] - theirs[i]) < 1e-6 for i in both
    )


def _first_turns(frame: Frame) -> dict[str, float]:
    """The intended start of each request that follows no other, by id."""
    first = frame.records.take(np.nan_to_num(frame.records.numbers("turn")) == 0)
    return dict(zip(first.ids, first.numbers("intended").tolist(), strict=True))
