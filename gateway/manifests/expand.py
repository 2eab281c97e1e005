"""Objects that a controller would make of a custom one: the StatefulSets of a LeaderWorkerSet.

The facts are those of kubernetes-sigs/lws: names, labels and variables of its pods.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

from gateway.manifests.resources import Resource
from kit.yamldoc import Cursor, Document

Object = dict[str, Any]

LWS = ("leaderworkerset.x-k8s.io", "LeaderWorkerSet")
_LABEL = "leaderworkerset.sigs.k8s.io"
_MOST_GROUPS = 1000  # more than this machine has addresses for


def expand(resource: Resource) -> Iterator[Cursor]:
    """What the controller of `resource` would make, each as if it stood where the resource does."""
    maker = _MAKERS.get((resource.group, resource.kind))
    for made in maker(resource) if maker else ():
        root = resource.root.document
        yield Document(root.file, resource.root.line, made, root.refusal).cursor()


def _leader_worker_set(resource: Resource) -> Iterator[Object]:
    """A StatefulSet of the leaders, and the workers of each group, which are numbered from 1.

    Raises ManifestError for less than one pod a group.
    """
    spec = resource.root.child("spec")
    groups = spec.number("replicas", 1)
    both = spec.child("leaderWorkerTemplate")
    size = both.number("size", 1)
    if size < 1:
        raise both.error(f"must be 1 or more, is {size}", "size")
    if not 0 <= groups <= _MOST_GROUPS:
        raise spec.error(f"must be 0 to {_MOST_GROUPS}, is {groups}", "replicas")
    worker = both.child("workerTemplate")
    leader = both.opt("leaderTemplate") or worker
    common = {f"{_LABEL}/name": resource.name}
    index = f"{_LABEL}/worker-index"
    template = _template(resource, leader, {**common, index: "0"}, size, "$(LWS_POD_NAME)")
    yield _set(resource, resource.name, groups, 0, template)
    for group in range(groups):
        for i in range(1, size):
            name = f"{resource.name}-{group}"
            labels = {**common, f"{_LABEL}/group-index": str(group), index: str(i)}
            yield _set(resource, name, 1, i, _template(resource, worker, labels, size, name))


def _set(resource: Resource, name: str, replicas: int, start: int, template: Object) -> Object:
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": name, "namespace": resource.namespace, "labels": dict(resource.labels)},
        "spec": {
            "replicas": replicas,
            "ordinals": {"start": start},
            "serviceName": resource.name,
            "selector": {"matchLabels": template["metadata"]["labels"]},
            "template": template,
        },
    }


def _template(resource: Resource, written: Cursor, labels: dict[str, str], size: int, leader: str) -> Object:
    """The pod template with the labels and variables that the controller's webhook adds."""
    made: Object = copy.deepcopy(written.value)
    meta = made.get("metadata") or {}
    made["metadata"] = {**meta, "labels": {**(meta.get("labels") or {}), **labels}}
    added = [
        {"name": "LWS_POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "LWS_LEADER_ADDRESS", "value": f"{leader}.{resource.name}.{resource.namespace}"},
        {"name": "LWS_GROUP_SIZE", "value": str(size)},
        {"name": "LWS_WORKER_INDEX", "value": labels[f"{_LABEL}/worker-index"]},
    ]
    for container in (made.get("spec") or {}).get("containers") or ():
        container["env"] = [*added, *(container.get("env") or [])]
    return made


_MAKERS: dict[tuple[str, str], Callable[[Resource], Iterator[Object]]] = {LWS: _leader_worker_set}
