"""Tables and JSON of a replay, with errors against what was measured where the trace has it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from simulator.replay.lab import Outcome, Run

PERCENTILES = (50, 90, 95, 99)
METRICS = ("TTFT", "TPOT", "E2E")

_SIMULATED: dict[str, Callable[[Outcome], float | None]] = {
    "TTFT": lambda outcome: outcome.ttft,
    "TPOT": lambda outcome: outcome.tpot,
    "E2E": lambda outcome: outcome.e2e,
}


def measured_value(outcome: Outcome, metric: str) -> float | None:
    """The measured counterpart of a metric, in seconds."""
    request = outcome.request
    if request.measured is None:
        return None
    first, last = request.measured.first_token, request.measured.last_token
    if metric == "TTFT":
        return first - request.arrival
    if metric == "E2E":
        return last - request.arrival
    return (last - first) / (request.output_tokens - 1) if request.output_tokens > 1 else None


def percentile(values: Iterable[float], percent: float) -> float:
    """Linear interpolation between the closest ranks; 0 for no values."""
    ordered = sorted(values)
    if not ordered:
        return 0.0
    rank = (len(ordered) - 1) * percent / 100
    low = int(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (rank - low)


@dataclass(frozen=True, slots=True)
class Summary:
    """One metric over all requests, in seconds; errors in percent, None where nothing was measured."""

    simulated: dict[str, float]
    measured: dict[str, float] | None
    error: dict[str, float] | None
    mape: float | None


def _statistics(values: list[float]) -> dict[str, float]:
    mean = fmean(values) if values else 0.0
    return {"mean": mean} | {f"p{p}": percentile(values, p) for p in PERCENTILES}


def summarize(outcomes: Iterable[Outcome], metric: str) -> Summary:
    simulated, pairs = [], []
    for outcome in outcomes:
        value = _SIMULATED[metric](outcome)
        if value is None:
            continue
        simulated.append(value)
        measured = measured_value(outcome, metric)
        if measured is not None:
            pairs.append((value, measured))
    ours = _statistics(simulated)
    if not pairs or len(pairs) < len(simulated):
        return Summary(ours, None, None, None)
    theirs = _statistics([measured for _, measured in pairs])
    error = {name: 100 * (ours[name] / theirs[name] - 1) for name in ours if theirs[name] > 0}
    relative = [abs(value - measured) / measured for value, measured in pairs if measured > 0]
    return Summary(ours, theirs, error, 100 * fmean(relative) if relative else None)


def to_json(run: Run, settings: dict[str, Any]) -> dict[str, Any]:
    """Everything of a replay but the single requests."""
    summaries = {metric: summarize(run.outcomes, metric) for metric in METRICS}
    output_tokens = sum(outcome.request.output_tokens for outcome in run.outcomes)
    prompt_tokens = sum(outcome.request.prompt.length for outcome in run.outcomes)
    cached = sum(outcome.cached_tokens for outcome in run.outcomes)
    return {
        "settings": settings,
        "requests": len(run.outcomes),
        "prompt_tokens": prompt_tokens,
        "cached_tokens": cached,
        "output_tokens": output_tokens,
        "virtual_seconds": run.end,
        "output_tokens_per_s": output_tokens / run.end if run.end else 0.0,
        "preemptions": run.preemptions,
        "steps": run.steps,
        "wall_seconds": run.wall_seconds,
        "steps_per_s": run.steps / run.wall_seconds if run.wall_seconds else 0.0,
        "metrics": {
            metric: {
                "simulated_s": summary.simulated,
                "measured_s": summary.measured,
                "error_percent": summary.error,
                "mape_percent": summary.mape,
            }
            for metric, summary in summaries.items()
        },
    }


def request_rows(run: Run) -> Iterable[dict[str, Any]]:
    """One row per request, in order of arrival."""
    for outcome in sorted(run.outcomes, key=lambda outcome: outcome.request.arrival):
        request = outcome.request
        yield {
            "id": request.name,
            "engine": outcome.engine,
            "arrival_s": request.arrival,
            "prompt_tokens": request.prompt.length,
            "cached_tokens": outcome.cached_tokens,
            "output_tokens": request.output_tokens,
            "preemptions": outcome.preemptions,
            "first_token_s": outcome.first_token,
            "last_token_s": outcome.last_token,
            "measured": {metric: measured_value(outcome, metric) for metric in METRICS}
            if request.measured
            else None,
        }


def to_text(report: dict[str, Any]) -> str:
    """The report for people: one table, then one line each on the workload, the engines and the run."""
    columns = ("mean", *(f"p{p}" for p in PERCENTILES))
    lines = [f"{'seconds':<16}" + "".join(f"{column:>12}" for column in columns) + f"{'MAPE %':>10}"]
    for metric, summary in report["metrics"].items():
        lines.append(_line(f"{metric} simulated", summary["simulated_s"], columns, "{:>12.4f}"))
        if summary["measured_s"]:
            lines.append(_line("     measured", summary["measured_s"], columns, "{:>12.4f}"))
            errors = _line("     error %", summary["error_percent"], columns, "{:>+12.2f}")
            mape = summary["mape_percent"]
            lines.append(errors + (f"{mape:>10.2f}" if mape is not None else ""))
    lines.append("")
    lines.append(
        f"requests {report['requests']}, prompt tokens {report['prompt_tokens']} "
        f"({report['cached_tokens']} cached), output tokens {report['output_tokens']}: "
        f"{report['output_tokens_per_s']:.1f} a second over {report['virtual_seconds']:.1f} virtual seconds"
    )
    lines.append(f"preemptions {report['preemptions']}, engine steps {report['steps']}")
    lines.append(f"replayed in {report['wall_seconds']:.2f} s: {report['steps_per_s']:,.0f} steps/s")
    return "\n".join(lines) + "\n"


def _line(label: str, values: dict[str, float], columns: tuple[str, ...], form: str) -> str:
    cells = (form.format(values[column]) if column in values else f"{'-':>12}" for column in columns)
    return f"{label:<16}" + "".join(cells)
