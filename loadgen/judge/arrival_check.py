"""Did requests start as the arrival process they were planned by says they should?

Two looks at each class: the intended starts against theory (is the plan what was asked for), and the actual
starts against the intended ones (did the client keep to it). Only stretches of one constant rate have a
theory: stages are looked at one by one, ramps, on-off and closed loops not at all.
"""

import math
from collections.abc import Iterator
from typing import Final

import numpy as np

from loadgen.judge.checks import Check, Status
from loadgen.numbers.stats import Floats
from loadgen.plan.plan import ClassPlan
from loadgen.records.frame import Frame
from loadgen.records.rundata import RunData
from loadgen.scenario.scenario import Arrival

FEWEST: Final = 100
SIGMAS: Final = 4.0
KEPT_WARN: Final = 0.15


def variation(times: Floats) -> float:
    """Coefficient of variation of the gaps between sorted times."""
    gaps = np.diff(times)
    return float(gaps.std() / gaps.mean()) if gaps.size and gaps.mean() > 0 else math.nan


def dispersion(times: Floats, width: float) -> float:
    """Index of dispersion: variance over mean of counts in windows of `width` seconds."""
    bins = int((times[-1] - times[0]) / width)
    if bins < 5:
        return math.nan
    counts = np.histogram(times, bins, (times[0], times[0] + bins * width))[0]
    return float(counts.var() / counts.mean())


def arrival_checks(run: RunData) -> list[Check]:
    """A check for each class with a theory, at least one in all."""
    header = run.plan_header
    out = []
    for name, plan in (header.classes if header else {}).items():
        arrival = (
            next((spec.arrival for spec in run.scenario.classes if spec.name == name), None)
            if run.scenario
            else None
        )
        for stage, times, starts in _stretches(run.frame, name, arrival):
            label = f"arrivals of {name}" + (f", stage {stage}" if stage else "")
            check = _judge(label, plan, times, starts)
            if check is not None:
                out.append(check)
    why = "no class with a constant rate and 100 requests"
    return out or [Check("arrivals", "skip", why)]


def _stretches(frame: Frame, name: str, arrival: Arrival | None) -> Iterator[tuple[str, Floats, Floats]]:
    """(stage, intended, actual) of first turns, for every stage of constant rate."""
    if (
        arrival is None
        or arrival.on_off is not None
        or arrival.process not in ("constant", "poisson", "gamma")
    ):
        return
    first = np.array([not record.turn for record in frame.records], dtype=bool)
    for number, stage in enumerate(arrival.stages):
        mask = (frame.cls == name) & (frame.stage == str(number)) & first
        if stage.end_rate in (None, stage.rate) and int(mask.sum()) >= FEWEST:
            yield str(number) if len(arrival.stages) > 1 else "", frame.intended[mask], frame.start[mask]


def _judge(label: str, plan: ClassPlan, times: Floats, starts: Floats) -> Check | None:
    shape = (
        math.inf
        if plan.process == "constant"
        else (plan.burstiness or 1.0)
        if plan.process == "gamma"
        else 1.0
    )
    theory = 0.0 if math.isinf(shape) else 1 / math.sqrt(shape)
    n = times.size
    seen, kept = variation(times), variation(np.sort(starts[np.isfinite(starts)]))
    iod = dispersion(times, max((times[-1] - times[0]) / n * 20, 1e-9))
    slack = _slack(theory, n)
    rate = (n - 1) / float(times[-1] - times[0])
    words = f"{plan.process} at {rate:.4g}/s: CV {seen:.3f} planned, {kept:.3f} kept (theory {theory:.3g})"
    if not math.isnan(iod):
        words += f", dispersion {iod:.2f}"
    status: Status = (
        "ok" if abs(seen - theory) <= slack and abs(kept - seen) <= KEPT_WARN * max(1, theory) else "warn"
    )
    return Check(label, status, words, seen)


def _slack(theory: float, n: int) -> float:
    """SIGMAS standard errors of the CV of gamma gaps (delta method); a constant rate gets a round-off."""
    return max(0.05, SIGMAS * theory * math.sqrt((1 + theory * theory) / (2 * n)))
