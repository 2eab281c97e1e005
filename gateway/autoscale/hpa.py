"""HorizontalPodAutoscaler (autoscaling/v2, v1 and the betas between) as typed data.

Defaults are those of Kubernetes' API server and of kube-controller-manager's flags.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from gateway.manifests.resources import Resource, Typed
from kit.yamldoc import Cursor

TOLERANCE = 0.1
DOWNSCALE_WINDOW_S = 300.0  # --horizontal-pod-autoscaler-downscale-stabilization
_QUANTITY = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+))([eE][+-]?\d+|[numkMGTPE]|[KMGTPE]i)?")
_SCALE = {"": 1.0, "n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3}
_SCALE |= {letter: 1000.0**i for i, letter in enumerate("MGTPE", 2)}
_SCALE |= {f"{letter}i": 1024.0**i for i, letter in enumerate("KMGTPE", 1)}


@dataclass(frozen=True)
class Selector:
    """Labels that a series must have: `matchLabels`, and (key, operator, values) of `matchExpressions`."""

    labels: Mapping[str, str]
    expressions: tuple[tuple[str, str, tuple[str, ...]], ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(labels.get(k) == v for k, v in self.labels.items()) and all(
            _holds(operator, labels.get(key), values) for key, operator, values in self.expressions
        )


def _holds(operator: str, value: str | None, values: tuple[str, ...]) -> bool:
    return {
        "In": value in values,
        "NotIn": value not in values,
        "Exists": value is not None,
        "DoesNotExist": value is None,
    }.get(operator, False)


@dataclass(frozen=True)
class MetricSpec:
    """One metric. `kind` is its type (Pods, Object, External, Resource, ...); targets are in thousandths."""

    kind: str
    name: str
    selector: Selector
    target_value: int | None  # of the whole
    target_average: int | None  # of each pod
    object: tuple[str, str] | None  # (kind, name) of an Object metric
    root: Cursor

    @property
    def is_simulated(self) -> bool:
        return self.kind in {"Pods", "Object", "External"}

    def __str__(self) -> str:
        return f"{self.kind.lower()} metric {self.name}"


@dataclass(frozen=True)
class Policy:
    """At most `value` pods or percent more, or fewer, in `period_s` seconds."""

    kind: Literal["Pods", "Percent"]
    value: int
    period_s: float


@dataclass(frozen=True)
class ScalingRules:
    policies: tuple[Policy, ...]
    select: Literal["Max", "Min", "Disabled"]
    window_s: float  # stabilisation
    tolerance: float


UP = ScalingRules((Policy("Pods", 4, 15.0), Policy("Percent", 100, 15.0)), "Max", 0.0, TOLERANCE)
DOWN = ScalingRules((Policy("Percent", 100, 15.0),), "Max", DOWNSCALE_WINDOW_S, TOLERANCE)


@dataclass(frozen=True)
class Hpa(Typed):
    target_kind: str
    target_name: str
    min_replicas: int
    max_replicas: int
    metrics: tuple[MetricSpec, ...]
    up: ScalingRules
    down: ScalingRules
    has_behavior: bool  # without it the controller limits by its older rules


def read_hpa(resource: Resource) -> Hpa:
    """An HPA; ManifestError for what the API server refuses."""
    spec = resource.root.child("spec")
    target = spec.child("scaleTargetRef")
    low, high = spec.number("minReplicas", 1), spec.number("maxReplicas")
    if low < 0:
        raise spec.error(f"must be 0 or more, is {low}", "minReplicas")
    if high < max(low, 1):
        raise spec.error(f"must be minReplicas ({low}) or more, and 1 or more, is {high}", "maxReplicas")
    behavior = spec.opt("behavior")
    metrics = tuple(_read_metric(m) for m in spec.items("metrics"))
    if not metrics:
        percent = spec.number("targetCPUUtilizationPercentage", 80)
        metrics = (MetricSpec("Resource", "cpu", Selector({}), None, percent * 1000, None, spec),)
    return Hpa(
        resource=resource,
        target_kind=target.text("kind"),
        target_name=target.text("name"),
        min_replicas=low,
        max_replicas=high,
        metrics=metrics,
        up=_read_rules(behavior.opt("scaleUp") if behavior else None, UP),
        down=_read_rules(behavior.opt("scaleDown") if behavior else None, DOWN),
        has_behavior=behavior is not None,
    )


def _read_metric(root: Cursor) -> MetricSpec:
    kind = root.text("type")
    known = {"Pods", "Object", "External", "Resource", "ContainerResource"}
    if kind not in known:
        raise root.error(f"must be one of {', '.join(sorted(known))}, is {kind!r}", "type")
    body = root.child(kind[:1].lower() + kind[1:])
    target = body.child("target")
    named = body.opt("metric")
    selector = named.opt("selector") if named else None
    described = body.opt("describedObject")
    value, average = _quantity(target, "value"), _quantity(target, "averageValue")
    if kind == "Pods" and average is None:
        raise target.error("averageValue is missing: a Pods metric has only that")
    if kind in {"Object", "External"} and (value is None) == (average is None):
        raise target.error("exactly one of value and averageValue must be set")
    return MetricSpec(
        kind=kind,
        name=named.text("name") if named else body.text("name"),
        selector=_read_selector(selector),
        target_value=value,
        target_average=average,
        object=(described.text("kind"), described.text("name")) if described else None,
        root=root,
    )


def _read_selector(root: Cursor | None) -> Selector:
    if root is None:
        return Selector({})
    expressions = tuple(
        (e.text("key"), e.text("operator"), tuple(e.strings("values")))
        for e in root.items("matchExpressions")
    )
    return Selector(root.string_map("matchLabels"), expressions)


def _quantity(root: Cursor, key: str) -> int | None:
    """A Kubernetes quantity ("2", "500m", "1Ki") in thousandths, rounded up; None where there is none.

    Raises ManifestError for what is none, or not above 0.
    """
    value = root.at(key).value
    if value is None:
        return None
    found = _QUANTITY.fullmatch(str(value)) if isinstance(value, str | int | float) else None
    if found is None or isinstance(value, bool):
        raise root.error(f"must be a quantity such as 2 or 500m, is {value!r}", key)
    suffix = found[2] or ""
    scale = _SCALE[suffix] if suffix in _SCALE else 10.0 ** int(suffix[1:])
    thousandths = math.ceil(round(float(found[1]) * scale * 1000, 6))
    if thousandths <= 0:
        raise root.error(f"must be above 0, is {value!r}", key)
    return thousandths


def _read_rules(root: Cursor | None, default: ScalingRules) -> ScalingRules:
    if root is None:
        return default
    select = root.text("selectPolicy", default.select)
    if select not in {"Max", "Min", "Disabled"}:
        raise root.error(f"must be Max, Min or Disabled, is {select!r}", "selectPolicy")
    window = root.at("stabilizationWindowSeconds").value
    window_s = default.window_s if window is None else float(root.number("stabilizationWindowSeconds"))
    if not 0 <= window_s <= 3600:
        raise root.error(f"must be 0 to 3600, is {window}", "stabilizationWindowSeconds")
    tolerance = _quantity(root, "tolerance") if root.at("tolerance").value not in {None, 0, "0"} else None
    exact = root.at("tolerance").value in {0, "0"}
    return ScalingRules(
        policies=tuple(_read_policy(p) for p in root.items("policies")) or default.policies,
        select=select,  # type: ignore[arg-type] # checked above
        window_s=window_s,
        tolerance=0.0 if exact else default.tolerance if tolerance is None else tolerance / 1000,
    )


def _read_policy(root: Cursor) -> Policy:
    kind, value, period = root.text("type"), root.number("value"), root.number("periodSeconds")
    if kind not in {"Pods", "Percent"}:
        raise root.error(f"must be Pods or Percent, is {kind!r}", "type")
    if value <= 0:
        raise root.error(f"must be above 0, is {value}", "value")
    if not 1 <= period <= 1800:
        raise root.error(f"must be 1 to 1800, is {period}", "periodSeconds")
    return Policy(kind, value, float(period))  # type: ignore[arg-type] # checked above
