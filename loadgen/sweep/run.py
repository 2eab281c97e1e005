"""The runs of a sweep: rate after rate, each with a plan of its own, until the search is at its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from kit.printable import on_terminal
from loadgen.errors import RunError, ScenarioError
from loadgen.records.rundir import fresh_directory, read_meta
from loadgen.scenario.options import RunOptions
from loadgen.scenario.overlay import laid_over
from loadgen.scenario.scale import mean_rate, scaled
from loadgen.scenario.scenario import Scenario
from loadgen.sweep.cpu import CpuPressure, is_here
from loadgen.sweep.data import Aim, Point, SweepReport, point_of
from loadgen.sweep.search import Search, Tried

INTERRUPTED = 130
TRIES = 3  # runs at a rate that was too much while client or server lagged
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class SweepOptions:
    """What to look for, and how hard.

    rates: these and no others. find: else what to search; good: the share within `slo:` that a rate must
    keep. first: rate to begin a search with (the scenario's own). within: relative width of the gap at which
    a search ends. most: runs at most.
    """

    rates: tuple[float, ...] = ()
    find: Aim = "saturation"
    good: float = 0.99
    first: float | None = None
    within: float = 0.05
    most: int = 16
    out: Path | None = None
    quiet: bool = False
    selftest: bool = True
    command: tuple[str, ...] = ()

    @property
    def aim(self) -> Aim:
        return "rates" if self.rates else self.find


@dataclass
class Swept:
    """The points so far, and how the sweep ended."""

    points: list[Point] = field(default_factory=list)
    search: Search | None = None
    interrupted: bool = False


def sweep(scenario: Scenario, options: SweepOptions) -> int:
    """Run all of it, write sweep.json and sweep.html, print the table.

    0 where the limit was found (or all rates were run), 1 where it was not, 130 where Ctrl-C ended it.
    ScenarioError where there is nothing to scale or no SLO to keep.
    """
    from loadgen.report.terminal import console  # noqa: PLC0415
    from loadgen.sweep.files import print_sweep, write_sweep  # noqa: PLC0415

    if options.aim == "goodput" and not scenario.slo:
        raise ScenarioError("a search for goodput needs the limits to keep: --slo ttft=500ms, or `slo:`")
    first = options.first if options.first is not None else mean_rate(scenario)
    scaled(scenario, first)
    out = options.out or Path("runs") / f"{scenario.name}-sweep-{time.strftime('%Y%m%d-%H%M%S')}"
    fresh_directory(out, ["sweep.json", "sweep.html", "rate-*"])
    screen = console()
    say: Say = (
        (lambda _: None) if options.quiet else lambda words: screen.print(on_terminal(words), markup=False)
    )
    swept = Swept(search=None if options.rates else Search(first, options.within, options.most))
    try:
        for number, rate in enumerate(_rates(options, swept)):
            say(f"run {number + 1}: {rate:.4g} requests/s")
            point = _tried(scenario, options, out, rate, number)
            swept.points.append(point)
            say(f"run {number + 1}: {_said(point, options)}")
            if swept.search is not None:
                swept.search.add(_learned(point, options, rate))
    except KeyboardInterrupt:
        swept.interrupted = True
    if not swept.points:
        raise RunError(f"interrupted before the first rate was measured; what there is stands in {out}")
    report = summed_up(scenario, options, swept)
    print_sweep(report, write_sweep(out, report))
    if swept.interrupted:
        return INTERRUPTED
    return 0 if options.rates or report.limit is not None else 1


def _learned(point: Point, options: SweepOptions, rate: float) -> Tried:
    """What a search learns of a run that was asked to send at `rate`."""
    passes = point.passes(options.aim, options.good)
    full = options.aim == "saturation" and not point.keeps_up
    # what was really sent: a short random schedule has its own rate
    return Tried(point.started or rate, passes, point.served if full else None)


def _rates(options: SweepOptions, swept: Swept) -> Iterator[float]:
    """The rates that were asked for, or those of the search, which learns between them."""
    if swept.search is None:
        yield from options.rates
        return
    while (rate := swept.search.next_rate()) is not None:
        yield rate


def _tried(scenario: Scenario, options: SweepOptions, out: Path, rate: float, number: int) -> Point:
    """A run at a rate; one that was too much while something lagged is made again, and the best counts.

    That a rate is too high is only shown where nothing else was in the way; that it passes always is.
    """
    mine = replace(
        scaled(scenario, rate),
        seed=scenario.seed + number,
        text=laid_over(scenario.text, {"rate": rate, "seed": scenario.seed + number}),
    )
    tries: list[Point] = []
    while len(tries) < TRIES:
        again = f"-again-{len(tries)}" if tries else ""
        path = out / f"rate-{number + 1:02d}-{rate:.4g}{again}"
        tries.append(_one(mine, options, path, rate, first=not number and not tries))
        if options.aim == "rates" or not tries[-1].lag or tries[-1].passes(options.aim, options.good):
            return tries[-1]
    return max(
        tries, key=lambda point: ((point.good or 0.0) if options.aim == "goodput" else 0.0, point.served)
    )


def _one(scenario: Scenario, options: SweepOptions, path: Path, rate: float, *, first: bool) -> Point:
    from loadgen.records.rundata import load_run  # noqa: PLC0415
    from loadgen.report.files import FORMS, write_all  # noqa: PLC0415
    from loadgen.report.verdict import judge_run  # noqa: PLC0415
    from loadgen.run.runner import execute  # noqa: PLC0415

    mine = replace(scenario, arms=(), expect=())
    conduct = RunOptions(
        out=path,
        quiet=True,
        selftest=options.selftest and first,
        command=options.command,
    )
    machine = CpuPressure()
    execute(mine, conduct)
    starved = machine.share()
    meta = read_meta(path)
    if meta.status == "interrupted":
        raise KeyboardInterrupt
    run = load_run(path, mine)
    report = judge_run(run)
    write_all(path, report, FORMS)
    here = is_here(meta.target)
    return point_of(report, run.frame, rate, path.name, starved if here else None)


def _said(point: Point, options: SweepOptions) -> str:
    words = f"{point.started:.4g}/s started, {point.served:.4g}/s served"
    if point.good is not None:
        words += f", {100 * point.good:.1f} % within the limits"
    if point.lag:
        words += f" ({point.lag})"
    if options.aim == "rates":
        return words
    return f"{words}: {'below' if point.passes(options.aim, options.good) else 'above'} the limit"


def summed_up(scenario: Scenario, options: SweepOptions, swept: Swept) -> SweepReport:
    """What the points say together; a search that did not end says how far it came."""
    points = sorted(swept.points, key=lambda point: point.asked)
    report = SweepReport(
        name=scenario.name, aim=options.aim, slo=dict(scenario.slo), good=options.good, points=points
    )
    search = swept.search
    if search is not None:
        report.below, report.above = search.low, search.high
        report.limit = search.limit if search.found else None
        passed = [
            point for point in points if point.passes(options.aim, options.good) and point.good is not None
        ]
        if passed:
            report.goodput = passed[-1].served * (passed[-1].good or 0.0)
    tight = [p.lag for p in points if p.lag and not p.passes(options.aim, options.good)]
    report.lag = tight[0] if tight and search is not None else ""
    report.sentence = _sentence(report)
    if report.lag:
        report.sentence += f"; this may be too low: {report.lag} at rates that were too high"
    return report


def _sentence(report: SweepReport) -> str:
    what = {
        "saturation": "the server keeps up to",
        "goodput": f"{100 * report.good:g} % of the requests keep the limits up to",
        "rates": "",
    }[report.aim]
    if report.aim == "rates":
        return f"{len(report.points)} rates"
    if report.limit is not None and report.below is not None and report.above is not None:
        return (
            f"{what} {report.limit:.4g} requests/s "
            f"(held at {report.below:.4g}, not at {report.above:.4g}; {len(report.points)} runs)"
        )
    if report.above is None:
        return (
            f"no limit was found: {what} the highest rate that was tried, {report.below or 0:.4g} requests/s"
        )
    if report.below is None:
        return (
            f"no rate was low enough: the lowest that was tried, {report.above:.4g} requests/s, is too high"
        )
    return f"not narrowed down: the limit is between {report.below:.4g} and {report.above:.4g} requests/s"
