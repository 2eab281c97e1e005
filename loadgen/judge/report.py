"""A run as one dictionary: what report.json holds and every other form of the report is made from."""

import importlib.metadata
import json
import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from loadgen.judge.figures import figures, split_figures
from loadgen.judge.selfchecks import selfchecks, trusted
from loadgen.numbers import stats
from loadgen.records.bins import curve, timeline
from loadgen.records.frame import LATENCIES, Frame
from loadgen.records.rundata import RunData
from loadgen.records.series import PodSeries
from loadgen.score.scorecard import scorecard

REPORT_VERSION: Final = 1


def build(run: RunData) -> dict[str, Any]:
    """The report of a run, without expectations (verdict.py adds them). Values are finite or None."""
    frame = run.frame
    slo = run.scenario.slo if run.scenario else {}
    card = scorecard(run)
    checks = selfchecks(run)
    report = {
        "report": REPORT_VERSION,
        "run": _about(run),
        **figures(frame, slo),
        "lengths": _lengths(frame),
        "by": split_figures(frame, slo),
        "refusals": _refusals(frame),
        **card,
        "session_outcomes": _session_outcomes(frame),
        "pod_gauges": {name: _gauges(pod) for name, pod in run.pods.items()},
        "events": [
            {"at": event.t, "name": event.name, "source": event.source, "exit": event.exit}
            for event in run.events
        ],
        "timeline": timeline(frame, list(run.pods.values()), run.pod_names),
        "curves": _curves(frame),
        "selfchecks": [
            {"name": c.name, "status": c.status, "words": c.words, "value": c.value} for c in checks
        ],
        "trusted": trusted(checks),
    }
    late = stats.summarize(frame.lateness[np.isfinite(frame.lateness)], intervals=False)
    if late:
        report["latency"]["lateness"] = late.as_dict()
    finite: dict[str, Any] = clean(report)
    return finite


def _about(run: RunData) -> dict[str, Any]:
    meta, scenario = run.meta, run.scenario
    return {
        "name": meta.scenario or (scenario.name if scenario else run.path.name),
        "description": scenario.description if scenario else "",
        "dir": str(run.path),
        "arm": meta.arm,
        "repeat": meta.repeat,
        "seed": meta.seed,
        "target": meta.target,
        "t0": run.t0,
        "status": meta.status,
        "workers": run.header.workers,
        "host": meta.host,
        "version": importlib.metadata.version("vllm-simfleet"),
        "versions": meta.versions,
        "command": meta.command,
        "models": sorted({record.model for record in run.records if record.model}),
        "requests": len(run.frame),
        "warmup": run.warmup,
        "warmup_requests": len(run.records) - len(run.frame),
        "scenario_text": scenario.text if scenario else "",
        "ceiling": run.meta.ceiling.total if run.meta.ceiling else None,
        "client_cpu_per_request": meta.client.cpu_per_request,
    }


def _lengths(frame: Frame) -> dict[str, Any]:
    sent = np.array([record.bytes_out for record in frame.records], dtype=np.float64)[frame.sent]
    columns = {
        "prompt_tokens": frame.prompt_tokens[frame.ok],
        "output_tokens": frame.output_tokens[frame.ok],
        "bytes_out": sent,
    }
    found = {
        name: stats.summarize(column[np.isfinite(column)], intervals=False)
        for name, column in columns.items()
    }
    return {name: summary.as_dict() for name, summary in found.items() if summary}


def _refusals(frame: Frame) -> dict[str, Any]:
    """How long answers other than ok took, by outcome, from the actual start: sheds apart from errors."""
    out = {}
    for name in sorted({str(x) for x in frame.outcome} - {"ok", "missed", "skipped"}):
        rows = frame.where(np.asarray(frame.outcome == name))
        times = rows.end - rows.start
        summary = stats.summarize(times[np.isfinite(times)], intervals=False)
        if summary:
            out[name] = summary.as_dict()
    return out


def _session_outcomes(frame: Frame) -> dict[str, int] | None:
    sessions: dict[str, list[bool]] = defaultdict(list)
    for record in frame.records:
        if record.session is not None and record.outcome != "missed":
            sessions[record.session].append(record.outcome == "ok")
    if not sessions:
        return None
    whole = sum(all(turns) for turns in sessions.values())
    return {
        "total": len(sessions),
        "succeeded": whole,
        "failed": len(sessions) - whole,
        "turns": sum(map(len, sessions.values())),
        "turns_ok": sum(map(sum, sessions.values())),
    }


def _gauges(pod: PodSeries) -> dict[str, Any]:
    out: dict[str, Any] = {"preempted": pod.grew("preempted")}
    for name in ("waiting", "running", "kv"):
        values = np.asarray(pod.columns.get(name, ()))
        summary = stats.summarize(values[np.isfinite(values)], intervals=False) if values.size else None
        if summary:
            out[name] = summary.as_dict()
    return out


def _curves(frame: Frame) -> dict[str, list[float]]:
    found = {name: frame.latency(name)[0] for name in LATENCIES}
    return {name: curve(values) for name, values in found.items() if values.size}


def clean(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become None."""
    if isinstance(value, dict):
        return {str(key): clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.integer):
        return int(value)
    return value


def as_json(report: Mapping[str, Any]) -> str:
    """The text of report.json."""
    return json.dumps(report, indent=1, allow_nan=False) + "\n"
