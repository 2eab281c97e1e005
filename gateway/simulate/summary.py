"""The figures of a simulated run, for a terminal and as JSON. Times in seconds, shares from 0 to 1."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any

from gateway.simulate.calls import Call, Job
from gateway.simulate.load import Load
from gateway.simulate.simulation import Result
from simulator.replay.report import percentile

PERCENTILES = (50, 90, 95, 99)
METRICS = ("ttft", "tpot", "e2e")


@dataclass(frozen=True, slots=True)
class Slo:
    """`metric` at `percentile` is to be at most `limit` seconds."""

    metric: str
    percentile: float
    limit: float

    @property
    def name(self) -> str:
        return f"{self.metric}.p{self.percentile:g}"


def values_of(metric: str, ended: Iterable[tuple[Job, Call]]) -> list[float]:
    """The metric of every ok answer that has it, from the intended start."""
    found: list[float] = []
    for job, call in ended:
        if call.outcome != "ok" or call.end is None:
            continue
        if metric == "e2e":
            found.append(call.end - job.intended)
        elif not job.unit.rules.stream or call.first is None or call.last is None:
            continue
        elif metric == "ttft":
            found.append(call.first - job.intended)
        elif call.output_tokens > 1:
            found.append((call.last - call.first) / (call.output_tokens - 1))
    return found


def figures(result: Result) -> dict[str, Any]:
    """Everything that is said of one run."""
    ended = result.ended
    served = [call for _, call in ended if call.outcome == "ok"]
    prompt = sum(call.prompt_tokens or 0 for call in served)
    cached = sum(call.cached_tokens for call in served)
    output = sum(call.output_tokens for call in served)
    pods = Counter(call.rank.pod for call in served if call.rank is not None)
    return {
        "requests": len(ended),
        "outcomes": dict(Counter(call.outcome for _, call in ended)),
        "virtual_s": result.seconds,
        "latency_s": {metric: spread(values_of(metric, ended)) for metric in METRICS},
        "prompt_tokens": prompt,
        "output_tokens": output,
        "cached_share": cached / prompt if prompt else 0.0,
        "preemptions": sum(call.preemptions for call in served),
        "pods": {pod: count / len(served) for pod, count in sorted(pods.items())},
        "wall_s": result.wall,
        "steps": result.steps,
        "notes": result.notes,
    }


def slo_figures(result: Result, slo: Sequence[Slo]) -> dict[str, Any]:
    """Each limit with its figure, and the share of requests that are ok and within every limit by themselves.

    A request that failed is within none; a percentile of answers counts failed ones as endless.
    """
    held: dict[str, dict[str, float | bool | None]] = {}
    total = max(1, len(result.ended))
    for each in slo:
        values = sorted(values_of(each.metric, result.ended))
        failed = sum(call.outcome != "ok" for _, call in result.ended)
        endless = [*values, *([inf] * failed)]
        value: float | None = percentile(endless, each.percentile) if endless else inf
        if value is None or not isfinite(value):
            value = None
        held[each.name] = {
            "limit": each.limit,
            "value": value,
            "ok": value is not None and value <= each.limit,
        }
    good = sum(_is_good(job, call, slo) for job, call in result.ended)
    return {"slo": held, "goodput": good / total}


def _is_good(job: Job, call: Call, slo: Sequence[Slo]) -> bool:
    found = {metric: values_of(metric, [(job, call)]) for metric in {each.metric for each in slo}}
    return call.outcome == "ok" and all(
        not found[each.metric] or found[each.metric][0] <= each.limit for each in slo
    )


def load_figures(load: Load, seconds: float) -> dict[str, float]:
    """Means and peaks over a run, and what its pods cost in time."""
    looks = load.until(seconds)
    count = len(looks)
    return {
        "kv_mean": sum(look.kv_mean for look in looks) / count,
        "kv_max": max(look.kv_max for look in looks),
        "waiting_mean": sum(look.waiting for look in looks) / count,
        "waiting_max": float(max(look.waiting for look in looks)),
        "pods_mean": sum(look.pods for look in looks) / count,
        "pods_max": float(max(look.pods for look in looks)),
        "pod_hours": sum(look.pods for look in looks) / count * seconds / 3600,
    }


def spread(values: Sequence[float]) -> dict[str, float] | None:
    """Mean and percentiles; None without values."""
    if not values:
        return None
    return {"mean": sum(values) / len(values)} | {f"p{p}": percentile(values, p) for p in PERCENTILES}


def as_text(found: dict[str, Any]) -> str:
    """One run for people."""
    lines = [f"{'':<8}" + "".join(f"{name:>12}" for name in ("mean", *(f"p{p}" for p in PERCENTILES)))]
    for metric, numbers in found["latency_s"].items():
        if numbers is not None:
            lines.append(
                f"{metric.upper():<8}" + "".join(f"{shown(value):>12}" for value in numbers.values())
            )
    outcomes = ", ".join(f"{count} {name}" for name, count in found["outcomes"].items())
    lines += [
        "",
        f"{found['requests']} requests over {found['virtual_s']:.1f} virtual seconds: {outcomes}",
        f"prompt tokens {found['prompt_tokens']}, {100 * found['cached_share']:.1f} % of them cached; "
        f"output tokens {found['output_tokens']}; preemptions {found['preemptions']}",
        pods_line(found["pods"]),
        f"simulated in {found['wall_s']:.2f} s, {found['steps']} engine steps",
    ]
    return "\n".join([*lines, *(f"note: {note}" for note in found["notes"])]) + "\n"


def pods_line(shares: dict[str, float]) -> str:
    """How even the pods were used, in one line however many there are."""
    if not shares:
        return "no pod answered"
    least, most = min(shares.values()), max(shares.values())
    return f"{len(shares)} pods answered: {100 * least:.1f} to {100 * most:.1f} % of the answers each"


def shown(seconds: float) -> str:
    """A time in the unit that fits."""
    return f"{seconds * 1000:.1f} ms" if seconds < 10 else f"{seconds:.1f} s"
