"""Objects as controllers write them, and what of a custom one they would refuse or is not made here."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.manifests.resources import Resource
from kit.yamldoc import Path

Object = dict[str, Any]
# The object of a kind, namespace and name among the manifests.
Find = Callable[[str, str, str], Resource | None]

MOST_GROUPS = 1000  # of pods; more than this machine has addresses for


@dataclass(frozen=True)
class Missing:
    """What of an object is not made here, and what follows."""

    text: str
    path: Path = ()


Made = Iterator[Object | Missing]


def made(owner: Resource, kind: tuple[str, str], name: str, spec: Object) -> Object:
    """An object in the namespace of its owner; `kind` is its apiVersion and its kind."""
    meta = {"name": name, "namespace": owner.namespace}
    return {"apiVersion": kind[0], "kind": kind[1], "metadata": meta, "spec": spec}


def pods(owner: Resource, kind: str, name: str, replicas: int | None, template: Object) -> Object:
    """A workload that selects the labels of its own template, with the labels of its owner."""
    spec: Object = {"selector": {"matchLabels": template["metadata"]["labels"]}, "template": template}
    if replicas is not None:
        spec["replicas"] = replicas
    workload = made(owner, ("apps/v1", kind), name, spec)
    workload["metadata"]["labels"] = dict(owner.labels)
    return workload


def numbered(owner: Resource, name: str, replicas: int, template: Object, start: int) -> Object:
    """A StatefulSet whose first pod has the number `start`."""
    workload = pods(owner, "StatefulSet", name, replicas, template)
    workload["spec"] |= {"ordinals": {"start": start}, "serviceName": owner.name}
    return workload


def template(
    written: Any,
    labels: Mapping[str, str],
    env: Sequence[Mapping[str, Any]] = (),
    annotations: Mapping[str, str] | None = None,
) -> Object:
    """A pod template as written, with more labels, and variables before those of its containers."""
    result: Object = copy.deepcopy(written) if isinstance(written, dict) else {}
    meta = result.get("metadata") or {}
    result["metadata"] = {
        **meta,
        "labels": {**(meta.get("labels") or {}), **labels},
        "annotations": {**(meta.get("annotations") or {}), **(annotations or {})},
    }
    taken = {item["name"] for item in env}
    for container in (result.get("spec") or {}).get("containers") or ():
        own = [e for e in container.get("env") or () if e.get("name") not in taken]
        container["env"] = [*map(dict, env), *own]
    return result
