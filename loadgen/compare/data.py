"""Runs of several arms as one comparison: the dictionary behind comparison.json and its page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from loadgen.judge.named_figures import values
from loadgen.judge.paired import ALPHA, METRICS, Comparison, Difference, compare
from loadgen.numbers import distributions
from loadgen.numbers.quantity import show
from loadgen.records.frame import Frame
from loadgen.records.rundata import load_run
from loadgen.report.verdict import judge_run

COMPARISON_VERSION: Final = 1
_CURVES: Final = ("ttft", "e2e", "tpot")
_KEPT: Final = ("outcomes", "throughput", "spread", "prefix", "lora", "queue", "kv", "sessions", "herding")


@dataclass
class ArmRun:
    """One run of one arm: its report and, for pairing, its records."""

    arm: str
    repeat: int
    path: Path
    report: dict[str, Any]
    frame: Frame

    @property
    def trusted(self) -> bool:
        return bool(self.report["trusted"])

    @property
    def failed_checks(self) -> list[str]:
        return [f"{c['name']}: {c['words']}" for c in self.report["selfchecks"] if c["status"] == "fail"]


def read_arm_run(arm: str, repeat: int, path: Path) -> ArmRun:
    """Load and report on one finished run."""
    run = load_run(path)
    return ArmRun(arm, repeat, path, judge_run(run), run.frame)


def grouped(runs: Sequence[ArmRun]) -> dict[str, list[ArmRun]]:
    """Runs by arm in order of repeat; arms in order of appearance."""
    out: dict[str, list[ArmRun]] = {}
    for run in sorted(runs, key=lambda run: run.repeat):
        out.setdefault(run.arm, []).append(run)
    return out


def contrast(arms: Mapping[str, Sequence[ArmRun]], base: str) -> list[Comparison]:
    """The paired statistics of all arms against `base`."""
    paths = [metric.path for metric in METRICS]
    figures = {arm: [values(run.report, paths) for run in runs] for arm, runs in arms.items()}
    frames = {arm: [run.frame for run in runs] for arm, runs in arms.items()}
    return compare(base, figures, frames)


def as_data(
    name: str, arms: Mapping[str, Sequence[ArmRun]], base: str, comparisons: Sequence[Comparison]
) -> dict[str, Any]:
    """Everything that the comparison's forms show."""
    paths = [metric.path for metric in METRICS]
    return {
        "comparison": COMPARISON_VERSION,
        "name": name,
        "baseline": base,
        "arms": list(arms),
        "repeats": max(len(runs) for runs in arms.values()),
        "sentences": [c.sentence for c in comparisons],
        "verdicts": {c.arm: c.verdict for c in comparisons},
        "differences": {c.arm: [_difference(d) for d in c.differences] for c in comparisons},
        "paired": {c.arm: faster(arms[c.arm], arms[base]) for c in comparisons},
        "values": {
            arm: {path: [values(run.report, [path]).get(path) for run in runs] for path in paths}
            for arm, runs in arms.items()
        },
        "curves": {arm: {key: _pooled(runs, key) for key in _CURVES} for arm, runs in arms.items()},
        "cards": {arm: {key: runs[-1].report.get(key) for key in _KEPT} for arm, runs in arms.items()},
        "runs": [
            {
                "arm": run.arm,
                "repeat": run.repeat,
                "dir": run.path.name,
                "trusted": run.trusted,
                "failed_checks": run.failed_checks,
            }
            for runs in arms.values()
            for run in runs
        ],
        "trusted": all(run.trusted for runs in arms.values() for run in runs),
    }


def _difference(d: Difference) -> dict[str, Any]:
    return {
        "metric": d.metric.path,
        "label": d.metric.label,
        "arm": d.arm,
        "base": d.base,
        "shown": [show(value, d.metric.dimension) for value in (d.arm, d.base)],
        "effect": d.effect,
        "low": d.interval.low,
        "high": d.interval.high,
        "amount": d.amount(),
        "p": d.p_value,
        "p_adjusted": d.p_adjusted if d.metric.judged else None,
        "significant": d.significant,
        "improves": d.improves,
        "judged": d.metric.judged,
    }


def faster(arm: Sequence[ArmRun], base: Sequence[ArmRun]) -> dict[str, Any] | None:
    """Share of requests, matched by id, that the arm answered faster (TTFT, else E2E); t over repeats."""
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
        return {"share": mean, "low": None, "high": None}
    error = float(np.std(shares, ddof=1)) / len(shares) ** 0.5
    half = distributions.t_quantile(1 - ALPHA / 2, len(shares) - 1) * error
    return {"share": mean, "low": max(0.0, mean - half), "high": min(1.0, mean + half)}


def _by_id(frame: Frame) -> dict[str, float]:
    name = "ttft" if frame.latency("ttft")[0].size else "e2e"
    found, rows = frame.latency(name)
    return {frame.records[row].id: float(value) for value, row in zip(found, rows.tolist(), strict=True)}


def _pooled(runs: Sequence[ArmRun], key: str) -> list[float]:
    """The curves of all repeats as one, thinned again."""
    whole = sorted(value for run in runs for value in run.report["curves"].get(key, ()))
    step = max(1, len(whole) // 240)
    return whole[::step] + (whole[-1:] if step > 1 else [])
