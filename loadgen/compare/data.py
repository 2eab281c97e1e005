"""Runs of several arms as one comparison: what comparison.json holds and its other forms are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from loadgen.judge.figures import Outcomes, Throughput
from loadgen.judge.named_figures import values
from loadgen.judge.paired import ALPHA, METRICS, Comparison, Difference, Verdict, compare
from loadgen.judge.report import Expected, Report
from loadgen.numbers import distributions
from loadgen.numbers.figure import Card, finite
from loadgen.numbers.quantity import show
from loadgen.records.frame import Frame
from loadgen.records.rundata import load_run
from loadgen.records.series import Evenness
from loadgen.report.verdict import judge_run
from loadgen.scenario.scenario import Scenario
from loadgen.score.lora import Lora
from loadgen.score.prefix import Prefix
from loadgen.score.routing import Herding, Sessions, Spread

COMPARISON_VERSION = 1
_CURVES = ("ttft", "e2e", "tpot")


class Row(Card):
    """One metric of one arm against the baseline; effects of shares are differences, others relative."""

    metric: str
    label: str
    arm: float
    base: float
    shown: tuple[str, str]
    """Both values in words."""
    effect: float
    low: float | None
    high: float | None
    """Interval of the effect, for judged metrics simultaneous; None where there is too little to tell."""
    amount: str
    p: float | None
    p_adjusted: float | None
    """Corrected over all judged metrics and arms; None for one that is not judged."""
    significant: bool
    improves: bool
    judged: bool


class Faster(Card):
    """Share of requests, matched by id, that the arm answered faster, with its interval over repeats."""

    share: float
    low: float | None = None
    high: float | None = None


class Cards(Card):
    """What the report of an arm's last repeat says of its routing."""

    outcomes: Outcomes
    throughput: Throughput
    spread: Spread | None
    prefix: Prefix | None
    lora: Lora | None
    queue: Evenness | None
    kv: Evenness | None
    sessions: Sessions | None
    herding: Herding | None


class RunRow(Card):
    """One run of the comparison; `dir` is beside the comparison's files."""

    arm: str
    repeat: int
    dir: str
    trusted: bool
    failed_checks: list[str]


Why = Literal["told apart", "not judged", "no more repeats", "interrupted", "broken off"]


class Stopped(Card):
    """Where a comparison that was to stop once its arms are told apart has stopped (judge/looks.py)."""

    repeats: int
    """Complete ones, as many as the last look had."""
    most: int
    alpha: float
    """What of 5 % the last look spent; all p and intervals are held against it."""
    why: Why

    @property
    def words(self) -> str:
        after = f"after {self.repeats} of at most {self.most} repeats"
        match self.why:
            case "told apart":
                return f"stopped {after}: the arms are told apart"
            case "not judged":
                return f"stopped {after}: nothing can be judged, and more repeats would not help"
            case "no more repeats":
                return f"stopped {after}: not told apart by then"
        return f"{self.why} {after}"


class ArmsReport(Card):
    """Everything that the comparison's forms show; values are finite or None."""

    comparison: int
    """Version of this form."""
    name: str
    baseline: str
    arms: list[str]
    repeats: int
    sentences: list[str]
    verdicts: dict[str, Verdict]
    decided: dict[str, list[str]]
    """By arm, the metrics that its sentence names as told apart."""
    differences: dict[str, list[Row]]
    """By arm, the baseline left out, as are `verdicts` and `paired`."""
    paired: dict[str, Faster | None]
    values: dict[str, dict[str, list[float | None]]]
    """By arm and metric, a value for each repeat."""
    curves: dict[str, dict[str, list[float]]]
    """By arm, samples of all repeats for a picture of their distribution, seconds."""
    cards: dict[str, Cards]
    runs: list[RunRow]
    trusted: bool
    stopped: Stopped | None = None
    """With `--until`."""
    expectations: list[Expected] = msgspec.field(default_factory=list)
    notes: list[str] = msgspec.field(default_factory=list)
    exit_code: int = 0


@dataclass
class ArmRun:
    """One run of one arm: its report and, for pairing, its records."""

    arm: str
    repeat: int
    path: Path
    report: Report
    frame: Frame

    @property
    def trusted(self) -> bool:
        return self.report.trusted

    @property
    def simulated(self) -> bool:
        return any(check.name == "simulated" for check in self.report.selfchecks)

    @property
    def failed_checks(self) -> list[str]:
        return [f"{c.name}: {c.words}" for c in self.report.selfchecks if c.status == "fail"]


def read_arm_run(arm: str, repeat: int, path: Path, scenario: Scenario | None = None) -> ArmRun:
    """Load and report on one finished run, of `scenario` or else of the one in its directory.

    The directory has the file as it was read: what a command line says over it, only the scenario knows.
    """
    run = load_run(path, scenario)
    return ArmRun(arm, repeat, path, judge_run(run), run.frame)


def grouped(runs: Sequence[ArmRun]) -> dict[str, list[ArmRun]]:
    """Runs by arm in order of repeat; arms in order of appearance."""
    out: dict[str, list[ArmRun]] = {}
    for run in sorted(runs, key=lambda run: run.repeat):
        out.setdefault(run.arm, []).append(run)
    return out


def contrast(arms: Mapping[str, Sequence[ArmRun]], base: str, alpha: float = ALPHA) -> list[Comparison]:
    """The paired statistics of all arms against `base`; `alpha` as `paired.corrected` takes it."""
    paths = [metric.path for metric in METRICS]
    paths += sorted({metric.counted for metric in METRICS if metric.judged})
    figures = {arm: [values(run.report, paths) for run in runs] for arm, runs in arms.items()}
    return compare(base, figures, alpha)


def as_data(
    name: str, arms: Mapping[str, Sequence[ArmRun]], base: str, comparisons: Sequence[Comparison]
) -> ArmsReport:
    """The comparison without its expectations (compare/run.py adds them)."""
    flat = [run for runs in arms.values() for run in runs]
    data = ArmsReport(
        comparison=COMPARISON_VERSION,
        name=name,
        baseline=base,
        arms=list(arms),
        repeats=max(map(len, arms.values())),
        sentences=[c.sentence for c in comparisons],
        verdicts={c.arm: c.verdict for c in comparisons},
        decided={c.arm: [d.metric.path for d in c.decided] for c in comparisons},
        differences={c.arm: [_row(d) for d in c.differences] for c in comparisons},
        paired={c.arm: faster(arms[c.arm], arms[base]) for c in comparisons},
        values={arm: _values(runs) for arm, runs in arms.items()},
        curves={arm: {key: _pooled(runs, key) for key in _CURVES} for arm, runs in arms.items()},
        cards={arm: _cards(runs[-1].report) for arm, runs in arms.items()},
        runs=list(map(_run_row, flat)),
        trusted=all(run.trusted for run in flat),
    )
    finite(data)
    return data


def _values(runs: Sequence[ArmRun]) -> dict[str, list[float | None]]:
    paths = [metric.path for metric in METRICS]
    found = [values(run.report, paths) for run in runs]
    return {path: [each.get(path) for each in found] for path in paths}


def _cards(report: Report) -> Cards:
    return Cards(**{name: getattr(report, name) for name in Cards.__struct_fields__})


def _run_row(run: ArmRun) -> RunRow:
    return RunRow(
        arm=run.arm,
        repeat=run.repeat,
        dir=run.path.name,
        trusted=run.trusted,
        failed_checks=run.failed_checks,
    )


def _row(d: Difference) -> Row:
    return Row(
        metric=d.metric.path,
        label=d.metric.label,
        arm=d.arm,
        base=d.base,
        shown=(show(d.arm, d.metric.dimension), show(d.base, d.metric.dimension)),
        effect=d.effect,
        low=d.interval.low if d.interval else None,
        high=d.interval.high if d.interval else None,
        amount=d.amount(),
        p=d.p_value,
        p_adjusted=d.p_adjusted,
        significant=d.significant,
        improves=d.improves,
        judged=d.metric.judged,
    )


def faster(arm: Sequence[ArmRun], base: Sequence[ArmRun]) -> Faster | None:
    """TTFT, else E2E, of the requests that both runs of a repeat answered; Student's t over repeats."""
    shares = []
    for a, b in zip(arm, base, strict=False):
        mine, theirs = _by_id(a.frame), _by_id(b.frame)
        both = mine.keys() & theirs.keys()
        if both:
            shares.append(sum(mine[key] < theirs[key] for key in both) / len(both))
    if not shares:
        return None
    mean = float(np.mean(shares))
    if len(shares) < 2:
        return Faster(share=mean)
    error = float(np.std(shares, ddof=1)) / len(shares) ** 0.5
    half = distributions.t_quantile(1 - ALPHA / 2, len(shares) - 1) * error
    return Faster(share=mean, low=max(0.0, mean - half), high=min(1.0, mean + half))


def _by_id(frame: Frame) -> dict[str, float]:
    name = "ttft" if frame.latency("ttft")[0].size else "e2e"
    found, rows = frame.latency(name)
    return dict(zip(frame.records.take(rows).ids, found.tolist(), strict=True))


def _pooled(runs: Sequence[ArmRun], key: str) -> list[float]:
    """The curves of all repeats as one, thinned again."""
    whole = sorted(value for run in runs for value in run.report.curves.get(key, ()))
    step = max(1, len(whole) // 240)
    return whole[::step] + (whole[-1:] if step > 1 else [])
