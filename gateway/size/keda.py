"""A KEDA ScaledObject as a policy for the virtual clock: what its Prometheus triggers ask for.

KEDA makes a HorizontalPodAutoscaler of it, with one External metric for each trigger, and answers that one's
questions by asking Prometheus. `pollingInterval`, `cooldownPeriod` and `activationThreshold` only decide
between none and one replica, which is not simulated: a gateway without pods answers 503. Source: KEDA 2.17,
pkg/scaling and pkg/scalers/prometheus_scaler.go.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from gateway.errors import ManifestError, UsageError
from gateway.manifests.load import load
from kit.yamldoc import Cursor


class Stats(Protocol):
    """The gauges of one engine that a query may ask for."""

    num_requests_running: int
    kv_cache_usage: float

    @property
    def num_requests_waiting(self) -> int: ...


_QUERY = re.compile(r"(?P<how>sum|avg|max|min|count)\s*\(\s*(?P<metric>[\w:]+)\s*(?:\{[^{}]*\})?\s*\)")
_READ: dict[str, Callable[[Stats], float]] = {
    "vllm:num_requests_waiting": lambda stats: float(stats.num_requests_waiting),
    "vllm:num_requests_running": lambda stats: float(stats.num_requests_running),
    "vllm:kv_cache_usage_perc": lambda stats: stats.kv_cache_usage,
}
_MOST = 100  # maxReplicaCount where none is named


@dataclass(frozen=True, slots=True)
class Trigger:
    """`how` of `metric` over the scraped pods, held against `target`: of each pod, or of the whole."""

    how: str
    metric: str
    target: float
    per_pod: bool = True

    def __str__(self) -> str:
        return f"{self.how}({self.metric}) {self.target:g}{' per pod' if self.per_pod else ''}"

    def value(self, stats: Sequence[Stats]) -> float | None:
        """What Prometheus would answer; None where no pod has the series."""
        values = [_READ[self.metric](each) for each in stats]
        if not values:
            return None
        totals = {"sum": math.fsum(values), "max": max(values), "min": min(values)}
        totals |= {"avg": totals["sum"] / len(values), "count": float(len(values))}
        return totals[self.how]

    def as_metric(self) -> dict[str, Any]:
        """As KEDA writes it into the HorizontalPodAutoscaler."""
        kind = "averageValue" if self.per_pod else "value"
        target = {"type": kind[:1].upper() + kind[1:], kind: f"{math.ceil(self.target * 1000)}m"}
        return {"type": "External", "external": {"metric": {"name": self.metric}, "target": target}}


@dataclass(frozen=True, slots=True)
class ScaledObject:
    """What of it a simulation acts on."""

    least: int
    most: int
    triggers: tuple[Trigger, ...]
    behavior: dict[str, Any]


def read_scaled_object(path: Path) -> ScaledObject:
    """The one ScaledObject of a file. UsageError for what cannot be simulated, with the field's place."""
    try:
        found = load([str(path)], "default").of_kind("ScaledObject")
        if len(found) != 1:
            raise UsageError(
                f"--scaled-object {path}: holds {len(found)} objects of kind ScaledObject, not 1"
            )
        return _read(found[0].root.child("spec"))
    except ManifestError as error:
        raise UsageError(f"--scaled-object: {error}") from error


def _read(spec: Cursor) -> ScaledObject:
    least, most = spec.number("minReplicaCount", 0), spec.number("maxReplicaCount", _MOST)
    if least < 1:
        raise spec.error("must be 1 or more: scaling from zero is not simulated", "minReplicaCount")
    if most < least:
        raise spec.error(f"must be minReplicaCount ({least}) or more, is {most}", "maxReplicaCount")
    triggers = tuple(_trigger(root) for root in spec.items("triggers"))
    if not triggers:
        raise spec.error("needs a trigger", "triggers")
    advanced = spec.opt("advanced")
    if advanced is not None and advanced.has("scalingModifiers"):
        raise advanced.error("is not simulated", "scalingModifiers")
    config = advanced.opt("horizontalPodAutoscalerConfig") if advanced is not None else None
    behavior = config.opt("behavior") if config is not None else None
    return ScaledObject(least, most, triggers, dict(behavior.value) if behavior is not None else {})


def _trigger(root: Cursor) -> Trigger:
    kind = root.text("type")
    if kind != "prometheus":
        raise root.error(f"only prometheus is simulated, not {kind}", "type")
    data = root.child("metadata")
    query = data.text("query")
    read = _QUERY.fullmatch(query.strip())
    if read is None or read["metric"] not in _READ:
        raise data.error(
            f"only sum, avg, max, min or count of one of {', '.join(_READ)} is simulated, not {query!r}",
            "query",
        )
    try:
        target = float(data.at("threshold").as_str())
    except ValueError as error:
        raise data.error("must be a number", "threshold") from error
    if not 0 < target < math.inf:
        raise data.error("must be above 0", "threshold")
    metric_type = root.text("metricType", "AverageValue")
    if metric_type not in ("AverageValue", "Value"):
        raise root.error(f"must be AverageValue or Value, is {metric_type}", "metricType")
    return Trigger(read["how"], read["metric"], target, metric_type == "AverageValue")
