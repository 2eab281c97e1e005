"""A run as one Report: what report.json holds and every other form of the report is made from.

The cards of which it is made say of each figure what it is (numbers/figure.py); they stand beside the code
that computes them, in judge/figures.py, score/ and records/.
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np

from loadgen.errors import RecordError
from loadgen.judge.figures import Figures, Goodput, Latencies, Outcomes, Throughput, figures, split_figures
from loadgen.judge.selfchecks import Check, selfchecks, trusted
from loadgen.numbers import stats
from loadgen.numbers.figure import Card, Figure, finite
from loadgen.numbers.jsonl import NO_JSON
from loadgen.numbers.stats import Summary
from loadgen.records.bins import Timeline, curve, timeline
from loadgen.records.frame import LATENCIES, Frame
from loadgen.records.rundata import RunData
from loadgen.records.series import PodSeries
from loadgen.score.scorecard import Scorecard, scorecard

REPORT_VERSION = 1


class About(Card):
    """Which run it was, against what, with what."""

    name: str
    description: str
    dir: str
    arm: str | None
    repeat: int | None
    seed: int
    target: str
    t0: float
    """Start on the wall clock, seconds since 1970."""
    status: str
    workers: int
    host: str
    version: str
    versions: dict[str, str]
    command: list[str]
    models: list[str]
    requests: int
    """Those that the figures are about."""
    warmup: float
    warmup_requests: int
    scenario_text: str
    ceiling: float | None
    """Requests per second that this client can send at most."""
    client_cpu_per_request: float | None


class Lengths(Card, omit_defaults=True):
    """How long prompts and answers of ok requests were, and the bytes of all that were sent."""

    prompt_tokens: Summary | None = None
    output_tokens: Summary | None = None
    bytes_out: Summary | None = None


class SessionOutcomes(Card):
    """Conversations of which any turn was sent; one succeeded if all of its turns were ok."""

    total: int
    succeeded: int
    failed: int
    turns: int
    turns_ok: int


class PodGauges(Card, omit_defaults=True):
    """What scrapes said of one pod over the run."""

    preempted: float | None
    """Growth of its counter of preemptions; None where it has none."""
    waiting: Summary | None = None
    running: Summary | None = None
    kv: Summary | None = None
    role: str | None = None
    """What it does of a request, where requests are prefilled and decoded apart."""
    requests: float | None = None
    """Growth of its counter of finished requests, as of the two that follow; answers may be other pods'."""
    prompt_tokens: float | None = None
    output_tokens: float | None = None


class EventRow(Card):
    """Something done to the system; `exit` None: it was cut off, or nothing that ends."""

    at: float
    name: str
    source: str
    exit: int | None


class Expected(Card):
    """One expectation and what became of it; `seen` has the figures in it with their values."""

    text: str
    line: int
    where: str | None
    status: Literal["passed", "failed", "error"]
    seen: dict[str, str]
    reason: str


class Report(Scorecard):
    """Everything that is said of a run; values are finite or None."""

    report: int
    """Version of this form."""
    run: About
    latency: Annotated[Latencies, Figure("latency", name="")]
    outcomes: Annotated[Outcomes, Figure("what became of the requests")]
    throughput: Annotated[Throughput, Figure("rates")]
    goodput: Annotated[Goodput | None, Figure("answers within the limits of `slo:`")]
    lengths: Lengths
    by: dict[str, dict[str, Figures]]
    """The figures again by class, adapter, pod, pool and stage."""
    refusals: dict[str, Summary]
    """How long answers other than ok took, by outcome, from the actual start: sheds apart from errors."""
    session_outcomes: SessionOutcomes | None
    pod_gauges: dict[str, PodGauges]
    events: list[EventRow]
    timeline: Timeline | None
    curves: dict[str, list[float]]
    """Sorted samples of each latency, thinned, for a picture of its distribution."""
    selfchecks: list[Check]
    trusted: bool
    expectations: list[Expected] = msgspec.field(default_factory=list)
    exit_code: int = 0


def build(run: RunData) -> Report:
    """The report of a run, without expectations (verdict.py adds them)."""
    frame = run.frame
    slo = run.scenario.slo if run.scenario else {}
    cards = scorecard(run)
    whole = figures(frame, slo)
    by = split_figures(frame, slo, whole, run.meta.pools)
    late = stats.summarize(frame.lateness[np.isfinite(frame.lateness)], intervals=False)
    whole = msgspec.structs.replace(whole, latency=msgspec.structs.replace(whole.latency, lateness=late))
    checks = selfchecks(run)
    report = Report(
        report=REPORT_VERSION,
        run=_about(run),
        **msgspec.structs.asdict(whole),
        lengths=_lengths(frame),
        by=by,
        refusals=_refusals(frame),
        **msgspec.structs.asdict(cards),
        session_outcomes=_session_outcomes(frame),
        pod_gauges={name: _gauges(pod, run.roles.get(name)) for name, pod in run.pods.items()},
        events=[EventRow(at=e.t, name=e.name, source=e.source, exit=e.exit) for e in run.events],
        timeline=timeline(frame, list(run.pods.values()), run.pod_names),
        curves=_curves(frame),
        selfchecks=checks,
        trusted=trusted(checks),
    )
    finite(report)
    return report


def read_report(path: Path) -> Report:
    """The report.json at `path`; RecordError when it cannot be read or is of another form.

    A field that this form does not know, or one that it needs and does not find, is such an error: the
    records are there to make the report anew (`loadgen report DIR`).
    """
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Report)
    except OSError as error:
        raise RecordError(f"{path}: {error.strerror}") from error
    except NO_JSON as error:
        raise RecordError(
            f"{path}: not a report of form {REPORT_VERSION}: {error}; `loadgen report {path.parent}` "
            "makes it anew from the records"
        ) from error
    if found.report != REPORT_VERSION:
        raise RecordError(f"{path}: a report of form {found.report}; this loadgen reads {REPORT_VERSION}")
    return found


def _about(run: RunData) -> About:
    meta, scenario = run.meta, run.scenario
    return About(
        name=meta.scenario or (scenario.name if scenario else run.path.name),
        description=scenario.description if scenario else "",
        dir=str(run.path),
        arm=meta.arm,
        repeat=meta.repeat,
        seed=meta.seed,
        target=meta.target,
        t0=run.t0,
        status=meta.status,
        workers=run.header.workers,
        host=meta.host,
        version=importlib.metadata.version("vllm-simfleet"),
        versions=meta.versions,
        command=meta.command,
        models=sorted(run.records.distinct("model") - {""}),
        requests=len(run.frame),
        warmup=run.warmup,
        warmup_requests=len(run.records) - len(run.frame),
        scenario_text=scenario.text if scenario else "",
        ceiling=run.meta.ceiling.total if run.meta.ceiling else None,
        client_cpu_per_request=meta.client.cpu_per_request,
    )


def _lengths(frame: Frame) -> Lengths:
    sent = frame.records.numbers("bytes_out").astype(np.float64)[frame.sent]
    columns = {
        "prompt_tokens": frame.prompt_tokens[frame.ok],
        "output_tokens": frame.output_tokens[frame.ok],
        "bytes_out": sent,
    }
    found = {
        name: stats.summarize(column[np.isfinite(column)], intervals=False)
        for name, column in columns.items()
    }
    return Lengths(**found)


def _refusals(frame: Frame) -> dict[str, Summary]:
    out = {}
    for name in sorted({str(x) for x in frame.outcome} - {"ok", "missed", "skipped"}):
        rows = frame.where(np.asarray(frame.outcome == name))
        times = rows.end - rows.start
        summary = stats.summarize(times[np.isfinite(times)], intervals=False)
        if summary:
            out[name] = summary
    return out


def _session_outcomes(frame: Frame) -> SessionOutcomes | None:
    codes, names = frame.records.codes("session")
    named = np.array([name is not None for name in names], dtype=np.bool_)
    mine = named[codes] & ~frame.records.among("outcome", ("missed",))
    turns = np.bincount(codes[mine], minlength=len(names))
    good = np.bincount(codes[mine & frame.ok], minlength=len(names))
    total, whole = int((turns > 0).sum()), int(((turns > 0) & (turns == good)).sum())
    if not total:
        return None
    return SessionOutcomes(
        total=total, succeeded=whole, failed=total - whole, turns=int(turns.sum()), turns_ok=int(good.sum())
    )


def _gauges(pod: PodSeries, role: str | None) -> PodGauges:
    out = PodGauges(
        preempted=pod.grew("preempted"),
        role=role,
        requests=pod.grew("succeeded"),
        prompt_tokens=pod.grew("prompt_tokens"),
        output_tokens=pod.grew("output_tokens"),
    )
    for name in ("waiting", "running", "kv"):
        values = np.asarray(pod.columns.get(name, ()))
        if values.size:
            setattr(out, name, stats.summarize(values[np.isfinite(values)], intervals=False))
    return out


def _curves(frame: Frame) -> dict[str, list[float]]:
    found = {name: frame.latency(name)[0] for name in LATENCIES}
    return {name: curve(values) for name, values in found.items() if values.size}
