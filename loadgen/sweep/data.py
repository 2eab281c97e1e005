"""What a sweep has found: one point a rate, and where the limit is."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np

from loadgen.judge.report import Report
from loadgen.numbers.quantity import show_time
from loadgen.records.frame import Frame

SWEEP_VERSION = 1
# The first part of a run, in which a queue may still be filling, is left out of its rates.
SETTLED_FROM = 0.25
# A server keeps up with a rate if in the settled part so much of what starts also ends.
KEEPS_UP = 0.965
# Above these the machine may be what was measured: p99 of late starts, and share of time short of CPU.
LATE = 0.010
STARVED = 0.5
Aim = Literal["rates", "saturation", "goodput"]


class Point(msgspec.Struct, kw_only=True):
    """One rate. Rates are requests per second, times seconds, shares 0 to 1; None: not measured.

    asked: the rate that was meant. started, served: requests that started, and that were answered ok, per
    second of the settled part of the run. good: share of what was due that met every limit of `slo:`.
    """

    asked: float
    started: float
    served: float
    keeps_up: bool
    ok: float
    good: float | None = None
    ttft_p50: float | None = None
    ttft_p99: float | None = None
    tpot_p50: float | None = None
    tpot_p99: float | None = None
    e2e_p50: float | None = None
    e2e_p99: float | None = None
    tokens: float | None = None
    """Tokens of answers per second."""
    trusted: bool = True
    late_p99: float | None = None
    """How late the client started requests."""
    starved: float | None = None
    """Share of the run in which something on this machine waited for a CPU; None of a remote target."""
    dir: str = ""

    @property
    def lag(self) -> str:
        """Who lagged, so that what the rate shows may be this machine's limit; empty where nobody did."""
        if (self.late_p99 or 0.0) > LATE:
            return f"the client started requests up to {show_time(self.late_p99 or 0.0)} late"
        if (self.starved or 0.0) > STARVED:
            return f"the server's machine was short of CPU {100 * (self.starved or 0.0):.0f} % of the time"
        return ""

    def passes(self, aim: Aim, good: float) -> bool:
        """Whether the rate is below the limit that is looked for."""
        if aim == "goodput":
            return self.good is not None and self.good >= good
        return self.keeps_up


class SweepReport(msgspec.Struct, kw_only=True):
    """sweep.json: the points in order of rate, and what was looked for.

    limit: the rate that was found, within `width` (relative); None where the search did not get there.
    goodput: ok answers per second within the limits at the highest rate that passed.
    """

    sweep: int = SWEEP_VERSION
    name: str
    aim: Aim
    slo: dict[str, float]
    good: float
    points: list[Point]
    limit: float | None = None
    below: float | None = None
    above: float | None = None
    goodput: float | None = None
    sentence: str = ""
    lag: str = ""
    """What stood in the way of rates that were too high; empty where nothing did."""


def point_of(
    report: Report, frame: Frame, asked: float, directory: str, starved: float | None = None
) -> Point:
    """One finished run as a point."""
    start, end = _settled(frame)
    started = _count(frame.intended, start, end)
    served = _count(frame.end[frame.ok], start, end)
    seconds = max(end - start, 1e-9)
    latency = report.latency
    ttft, tpot, e2e = latency.ttft, latency.tpot, latency.e2e
    return Point(
        asked=asked,
        started=started / seconds,
        served=served / seconds,
        keeps_up=started == 0 or served >= KEEPS_UP * started,
        ok=float(frame.ok.mean()) if len(frame) else 0.0,
        good=report.goodput.share if report.goodput is not None else None,
        ttft_p50=ttft.p50 if ttft else None,
        ttft_p99=ttft.p99 if ttft else None,
        tpot_p50=tpot.p50 if tpot else None,
        tpot_p99=tpot.p99 if tpot else None,
        e2e_p50=e2e.p50 if e2e else None,
        e2e_p99=e2e.p99 if e2e else None,
        tokens=float(np.nansum(frame.output_tokens[frame.ok & _within(frame.end, start, end)])) / seconds,
        trusted=report.trusted,
        late_p99=latency.lateness.p99 if latency.lateness else None,
        starved=starved,
        dir=directory,
    )


def _settled(frame: Frame) -> tuple[float, float]:
    """The part of the schedule that rates are read from, in seconds of the run."""
    if not len(frame):
        return 0.0, 1.0
    first, last = float(frame.intended.min()), float(frame.intended.max())
    return first + SETTLED_FROM * (last - first), last


def _within(times: np.ndarray, start: float, end: float) -> np.ndarray:
    return np.asarray((times >= start) & (times < end))


def _count(times: np.ndarray, start: float, end: float) -> int:
    return int(_within(times, start, end).sum())
