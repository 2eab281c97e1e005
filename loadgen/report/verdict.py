"""The end of a run: its report in all forms, its expectations judged, and an exit code.

0: every expectation holds. 1: one does not, or nothing succeeded. 2: the run itself is not to be trusted, or
an expectation cannot be read; that outranks a failed expectation: figures of a broken run say nothing.
"""

from __future__ import annotations

import argparse
import gc
import re
from collections.abc import Sequence
from pathlib import Path

from loadgen.judge.named_figures import of_report
from loadgen.judge.report import Expected, Report, build
from loadgen.numbers.expect import ExpectError, Judgement, Lookup, judge
from loadgen.records.rundata import RunData, load_run
from loadgen.report.files import FORMS, write_all
from loadgen.report.sentences import SUCCEEDS
from loadgen.report.terminal import print_report
from loadgen.scenario.scenario import Expectation, Scenario

OK = 0
FAILED = 1
UNTRUSTED = 2
_ABOUT_OK = re.compile(r"\b(outcomes|count)\.ok\b")


def run_report(args: argparse.Namespace) -> int:
    """`loadgen report DIR`: every form made anew from the records; the exit code is the run's own."""
    return finish(Path(args.dir))


def finish(run_dir: Path, scenario: Scenario | None = None) -> int:
    """Write every form of the report into the run directory, print it, and return the exit code."""
    collecting = gc.isenabled()
    gc.disable()  # prompts by the hundred thousand are no garbage: walks over them were a third of the time
    try:
        report = judged_report(run_dir, scenario)
    finally:
        if collecting:
            gc.enable()
    written = write_all(run_dir, report, FORMS)
    print_report(report, written)
    return report.exit_code


def judged_report(run_dir: Path, scenario: Scenario | None = None) -> Report:
    """The report of a run directory with its expectations and the exit code in it."""
    return judge_run(load_run(run_dir, scenario))


def judge_run(run: RunData) -> Report:
    """The report of a run that is loaded."""
    report = build(run)
    expectations = run.scenario.expect if run.scenario and not run.scenario.arms else ()
    report.expectations = [
        *judge_all(expectations, of_report(report), run.scenario),
        *nothing_succeeded([report], expectations),
    ]
    report.exit_code = exit_code(report.expectations, report.trusted)
    return report


def judge_all(
    expectations: Sequence[Expectation], lookup: Lookup, scenario: Scenario | None = None
) -> list[Expected]:
    """Each expectation with what became of it: passed | failed | error."""
    return [_judged(expectation, lookup, scenario) for expectation in expectations]


def nothing_succeeded(
    reports: Sequence[Report], expectations: Sequence[Expectation], who: str = ""
) -> list[Expected]:
    """What everybody expects of a run without saying so, where it does not hold: that something succeeds.

    Empty where something did, where nothing was sent or all was cancelled by plan, and where the scenario
    says itself how many requests ought to be ok.
    """
    outcomes = [report.outcomes for report in reports]
    failed = sum(o.groups.shed + o.groups.error for o in outcomes)
    if (
        any(o.groups.ok for o in outcomes)
        or not failed
        or any(_ABOUT_OK.search(e.text) for e in expectations)
    ):
        return []
    first = next(cause for o in outcomes for cause in o.causes)
    said = " ".join(str(part) for part in (first.outcome, first.status, first.text) if part)
    words = f"Nothing succeeded{who}: none of {failed} requests was ok; most often {said}"
    return [Expected(text=SUCCEEDS, line=0, where=None, status="failed", seen={}, reason=words)]


def _judged(expectation: Expectation, lookup: Lookup, scenario: Scenario | None) -> Expected:
    out = Expected(
        text=expectation.text,
        line=expectation.line,
        where=scenario.source if scenario else None,
        status="error",
        seen={},
        reason="",
    )
    try:
        found = judge(expectation.text, lookup)
    except ExpectError as error:
        out.reason = str(error)
        return out
    out.status = "passed" if found.passed else "failed"
    out.seen = dict(found.seen)
    out.reason = found.reason or _found(found)
    return out


def _found(judgement: Judgement) -> str:
    return ", ".join(f"{name} = {value}" for name, value in judgement.seen.items())


def exit_code(expectations: Sequence[Expected], run_trusted: bool) -> int:
    """0, 1 or 2, as the head of this file says."""
    states = {expectation.status for expectation in expectations}
    if not run_trusted or "error" in states:
        return UNTRUSTED
    return FAILED if "failed" in states else OK
