"""AIBrix's StormService, RoleSet and PodAutoscaler: names, labels and variables as its controllers set them.

Facts: vllm-project/aibrix pkg/controller (stormservice, roleset, podset, podautoscaler), August 2026. Where
its names end at random, those here count.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import re
from collections.abc import Iterator

from gateway.manifests.expand.objects import (
    MOST_GROUPS,
    Find,
    Made,
    Missing,
    Object,
    made,
    numbered,
    pods,
    template,
)
from gateway.manifests.resources import Resource
from kit.durations import nanoseconds
from kit.yamldoc import Cursor

STORM_SERVICE = ("orchestration.aibrix.ai", "StormService")
ROLE_SET = ("orchestration.aibrix.ai", "RoleSet")
POD_AUTOSCALER = ("autoscaling.aibrix.ai", "PodAutoscaler")
_OWN = "stormservice.orchestration.aibrix.ai"
_ANNOTATION = "autoscaling.aibrix.ai"
_INHERITED = ("name", "previous-owner")  # labels of a RoleSet that its pods have too


def storm_service(resource: Resource, _: Find) -> Made:
    """Its RoleSets. The headless Service that it makes besides has no port, so nothing is sent by it.

    Raises ManifestError for more replicas than can be.
    """
    spec = resource.root.child("spec")
    written = spec.child("template")
    meta = written.opt("metadata")
    labels = meta.string_map("labels") if meta else {}
    wanted = (spec.opt("selector") or spec).string_map("matchLabels")
    if not wanted.items() <= labels.items():
        yield Missing("the labels of its template are not those of its selector: no RoleSet is made")
        return
    for index in range(_count(spec, "replicas")):
        labels = {**labels, "storm-service-name": resource.name}
        roles = copy.deepcopy(written.child("spec").value)
        kind = (resource.api_version, ROLE_SET[1])
        made_one = made(resource, kind, f"{resource.name}-roleset-{index}", roles)
        made_one["metadata"]["labels"] = labels
        made_one["metadata"]["annotations"] = {f"{_OWN}/roleset-index": str(index)}
        yield made_one


def role_set(resource: Resource, _: Find) -> Made:
    """The pods of its roles. Raises ManifestError for more of them than can be."""
    for role in resource.root.child("spec").items("roles"):
        if not role.has("template"):
            yield Missing(f"role {role.text('name', '')} has no template, so no pods", role.path)
            continue
        yield from _pods_of(resource, role)


def _pods_of(resource: Resource, role: Cursor) -> Iterator[Object]:
    name = role.text("name", "")
    size = role.number("podGroupSize", 1)
    stateful = role.flag("stateful", False)
    replicas = _count(role, "replicas")
    written = role.child("template").value
    digest = hashlib.sha256(json.dumps(written, sort_keys=True).encode()).hexdigest()[:10]
    service = resource.labels.get("storm-service-name", "")
    labels = {
        "roleset-name": resource.name,
        "role-name": name,
        "role-template-hash": digest,
        "storm-service-name": service,
        **{key: resource.labels[key] for key in _INHERITED if key in resource.labels},
    }
    env = {
        "STORM_SERVICE_NAME": service,
        "ROLESET_NAME": resource.name,
        "ROLESET_INDEX": resource.annotations.get(f"{_OWN}/roleset-index", ""),
        "ROLE_NAME": name,
        "ROLE_TEMPLATE_HASH": digest,
    }
    stem = f"{resource.name}-{name}"
    if not stateful and size <= 1:
        yield pods(resource, "ReplicaSet", stem, replicas, template(written, labels, _env(env)))
        return
    for index in range(replicas):
        own, variables = dict(labels), dict(env)
        if stateful:
            own[f"{_OWN}/role-replica-index"] = variables["ROLE_REPLICA_INDEX"] = str(index)
        if size <= 1:
            one = template(written, own, _env(variables))
            yield numbered(resource, f"{stem}-{digest}", 1, one, index)
            continue
        group = f"{stem}-{digest}-{index}"
        for place in range(min(size, MOST_GROUPS)):
            own |= {f"{_OWN}/podset-name": group, f"{_OWN}/pod-group-index": str(place)}
            more = {"PODSET_NAME": group, "POD_GROUP_INDEX": str(place), "POD_GROUP_SIZE": str(size)}
            one = template(written, own, _env({**more, **variables}))
            yield numbered(resource, group, 1, one, place)


def _env(values: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in values.items()]


def _count(at: Cursor, key: str) -> int:
    number = at.number(key, 1)
    if not 0 <= number <= MOST_GROUPS:
        raise at.error(f"must be 0 to {MOST_GROUPS}, is {number}", key)
    return number


def pod_autoscaler(resource: Resource, _: Find) -> Made:
    """The HorizontalPodAutoscaler of the strategy HPA; its own algorithms, KPA and APA, are not made."""
    spec = resource.root.child("spec")
    strategy = spec.text("scalingStrategy", "")
    if strategy != "HPA":
        text = f"nothing scales by the strategy {strategy or 'that is missing'}; by HPA it would"
        yield Missing(text, ("spec", "scalingStrategy"))
        return
    if spec.has("schedules"):
        yield Missing("no schedule is kept: its bounds are those without one", ("spec", "schedules"))
    metrics = []
    for source in spec.items("metricsSources"):
        name, target = source.text("targetMetric"), source.text("targetValue")
        if not re.fullmatch(r"\d+(\.\d*)?", target):
            yield Missing(f"{target!r} is no number: no HPA is made of it", source.path)
            return
        if name.lower() not in {"cpu", "memory"} and float(target) < 1:
            text = f"its HPA has whole numbers only: {target} becomes 0, which an API server refuses"
            yield Missing(text, (*source.path, "targetValue"))
            return
        metrics.append(_metric(name, float(target)))
    if not metrics:
        yield Missing("without metricsSources no HPA is made of it")
        return
    wanted: Object = {
        "scaleTargetRef": copy.deepcopy(spec.child("scaleTargetRef").value),
        "maxReplicas": spec.number("maxReplicas", 0) or MOST_GROUPS,
        "metrics": metrics,
        "behavior": _behavior(resource),
    }
    if least := spec.number("minReplicas", 0):
        wanted["minReplicas"] = least
    yield made(resource, ("autoscaling/v2", "HorizontalPodAutoscaler"), f"{resource.name}-hpa", wanted)


def _metric(name: str, target: float) -> Object:
    if name.lower() == "cpu":
        value: Object = {"type": "Utilization", "averageUtilization": math.ceil(target)}
        return {"type": "Resource", "resource": {"name": "cpu", "target": value}}
    if name.lower() == "memory":
        value = {"type": "AverageValue", "averageValue": f"{int(target)}Mi"}
        return {"type": "Resource", "resource": {"name": "memory", "target": value}}
    value = {"type": "AverageValue", "averageValue": str(int(target))}
    return {"type": "Pods", "pods": {"metric": {"name": name}, "target": value}}


def _behavior(resource: Resource) -> Object:
    """By its annotations, else at most twice as many pods in a minute, and half of them after five."""

    def told(name: str, default: float) -> float:
        text = resource.annotations.get(f"{_ANNOTATION}/{name}", "")
        return float(text) if re.fullmatch(r"\d+(\.\d*)?", text) else default

    def window(name: str, default: int) -> int:
        text = resource.annotations.get(f"{_ANNOTATION}/{name}-cooldown-window", "")
        try:
            return nanoseconds(text) // 10**9
        except ValueError:
            return default

    up = max(int((told("max-scale-up-rate", 2.0) - 1.0) * 100), 0)
    down = max(int((1.0 - 1.0 / max(told("max-scale-down-rate", 2.0), 1e-9)) * 100), 0)
    return {
        "scaleUp": _rules(window("scale-up", 0), "Max", up),
        "scaleDown": _rules(window("scale-down", 300), "Min", down),
    }


def _rules(window: int, select: str, percent: int) -> Object:
    policies = [{"type": "Percent", "value": percent, "periodSeconds": 60}]
    return {"stabilizationWindowSeconds": window, "selectPolicy": select, "policies": policies}
