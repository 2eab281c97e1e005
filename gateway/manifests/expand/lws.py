"""The StatefulSets of a LeaderWorkerSet: names, labels and variables as kubernetes-sigs/lws sets them."""

from __future__ import annotations

from gateway.manifests.expand.objects import MOST_GROUPS, Find, Made, Object, numbered, template
from gateway.manifests.resources import Resource
from kit.yamldoc import Cursor

LWS = ("leaderworkerset.x-k8s.io", "LeaderWorkerSet")
_LABEL = "leaderworkerset.sigs.k8s.io"


def leader_worker_set(resource: Resource, _: Find) -> Made:
    """A StatefulSet of the leaders, and the workers of each group, which are numbered from 1.

    Raises ManifestError for less than one pod a group.
    """
    spec = resource.root.child("spec")
    groups = spec.number("replicas", 1)
    both = spec.child("leaderWorkerTemplate")
    size = both.number("size", 1)
    if size < 1:
        raise both.error(f"must be 1 or more, is {size}", "size")
    if not 0 <= groups <= MOST_GROUPS:
        raise spec.error(f"must be 0 to {MOST_GROUPS}, is {groups}", "replicas")
    worker = both.child("workerTemplate")
    leader = both.opt("leaderTemplate") or worker
    common = {f"{_LABEL}/name": resource.name}
    index = f"{_LABEL}/worker-index"
    first = _template(resource, leader, {**common, index: "0"}, size, "$(LWS_POD_NAME)")
    yield numbered(resource, resource.name, groups, first, 0)
    for group in range(groups):
        for i in range(1, size):
            name = f"{resource.name}-{group}"
            labels = {**common, f"{_LABEL}/group-index": str(group), index: str(i)}
            yield numbered(resource, name, 1, _template(resource, worker, labels, size, name), i)


def _template(resource: Resource, written: Cursor, labels: dict[str, str], size: int, leader: str) -> Object:
    """The pod template with the labels and variables that the controller's webhook adds."""
    added: list[Object] = [
        {"name": "LWS_POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "LWS_LEADER_ADDRESS", "value": f"{leader}.{resource.name}.{resource.namespace}"},
        {"name": "LWS_GROUP_SIZE", "value": str(size)},
        {"name": "LWS_WORKER_INDEX", "value": labels[f"{_LABEL}/worker-index"]},
    ]
    return template(written.value, labels, added)
