"""How many pods a metric asks for: kube-controller-manager's replica calculator, in thousandths as there.

No I/O and no clock. Source: kubernetes/pkg/controller/podautoscaler/replica_calculator.go.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.autoscale.hpa import Hpa, MetricSpec


class NoMetricError(Exception):
    """A metric has no value: its message is the reason. Raised and caught within autoscale."""


@dataclass(frozen=True)
class Seen:
    """What is known of the target's pods at one moment.

    values: of a Pods metric by pod, in thousandths; total: of an Object or External metric, None without any;
    running: pods that are neither ending nor yet to start; ready: how many of them are ready.
    """

    running: frozenset[str]
    ready: int
    values: Mapping[str, int]
    total: int | None = None


def replicas_for(hpa: Hpa, metric: MetricSpec, current: int, seen: Seen) -> tuple[int, int]:
    """(replicas, the metric as it is compared with its target); NoMetricError where it has no value."""
    if metric.kind == "Pods":
        assert metric.target_average is not None  # read_hpa() saw to it
        return _of_pods(hpa, metric.target_average, current, seen)
    if seen.total is None:
        raise NoMetricError(f"no series of {metric.name} was found")
    if metric.target_average is not None:
        return _of_average(hpa, metric.target_average, current, seen.total)
    assert metric.target_value is not None
    ratio = seen.total / metric.target_value
    if current == 0:
        return math.ceil(ratio), seen.total
    if _within(hpa, ratio):
        return current, seen.total
    return math.ceil(ratio * seen.ready), seen.total


def _within(hpa: Hpa, ratio: float) -> bool:
    return 1.0 - hpa.down.tolerance <= ratio <= 1.0 + hpa.up.tolerance


def _of_average(hpa: Hpa, target: int, current: int, total: int) -> tuple[int, int]:
    replicas = current
    if current == 0 or not _within(hpa, total / (target * current)):
        replicas = math.ceil(total / target)
    return replicas, math.ceil(total / current) if current else total


def _of_pods(hpa: Hpa, target: int, current: int, seen: Seen) -> tuple[int, int]:
    """Pods without a value count as at their target when fewer are wanted, and as idle when more are."""
    if not seen.running:
        raise NoMetricError("no pods returned by selector while calculating replica count")
    values = {pod: value for pod, value in seen.values.items() if pod in seen.running}
    if not values:
        raise NoMetricError("did not receive metrics for targeted pods")
    missing = seen.running - values.keys()
    average = sum(values.values()) // len(values)
    ratio = average / target
    if not missing:
        return (current if _within(hpa, ratio) else math.ceil(ratio * len(values))), average
    values |= dict.fromkeys(missing, target if ratio < 1.0 else 0)
    again = sum(values.values()) // len(values) / target
    if _within(hpa, again) or (ratio < 1.0 < again) or (again < 1.0 < ratio):
        return current, average
    wanted = math.ceil(again * len(values))
    turned = (again < 1.0 and wanted > current) or (again > 1.0 and wanted < current)
    return (current if turned else wanted), average
