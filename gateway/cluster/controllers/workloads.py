"""ReplicaSets of Deployments, and the status of whatever has pods."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

from gateway.cluster.controllers.common import Events, condition, ending, owned_by, owner_ref, with_times
from gateway.cluster.objects.kinds import DAEMON_SET, DEPLOYMENT, JOB, POD, REPLICA_SET, STATEFUL_SET
from gateway.cluster.objects.owners import now_text
from gateway.cluster.objects.state import State
from gateway.cluster.objects.writes import Deletion

Object = dict[str, Any]
HASH = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
_DESIRED, _MOST = "deployment.kubernetes.io/desired-replicas", "deployment.kubernetes.io/max-replicas"


def template_of(obj: Object) -> Object:
    found: Object = copy.deepcopy(obj["spec"]["template"])
    labels = found.get("metadata", {}).get("labels", {})
    labels.pop(HASH, None)
    return found


def is_ready(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions) and not ending(pod)


class Workloads:
    def __init__(self, state: State, events: Events) -> None:
        self._state = state
        self._events = events

    # ReplicaSets

    def replica_set(self, deployment: Object, name: str) -> Object:
        """The ReplicaSet of a Deployment's template as it is now; `name` tells templates apart."""
        namespace = deployment["metadata"]["namespace"]
        replicas = deployment["spec"].get("replicas", 1)
        found = self._state.get(REPLICA_SET, namespace, name)
        mine = [r for r in self._state.list(REPLICA_SET, namespace) if owned_by(r, deployment)]
        revisions = {r["metadata"]["name"]: _revision(r) for r in mine}
        newest = max(revisions.values(), default=0)
        revision = revisions.get(name, 0)
        if revision < newest or not revision:
            revision = newest + 1
        notes = {
            **_copied(deployment),
            REVISION: str(revision),
            _DESIRED: str(replicas),
            _MOST: str(replicas + 1),
        }
        if found is None:
            found = self._make(deployment, name, replicas, notes)
        else:
            meta = {**found["metadata"], "annotations": {**found["metadata"].get("annotations", {}), **notes}}
            spec = {**found["spec"], "replicas": replicas}
            found = self._state.change(REPLICA_SET, found, metadata=meta, spec=spec)
        self._note_revision(deployment, str(revision))
        self._retire([r for r in mine if r["metadata"]["name"] != name], deployment)
        return found

    def _make(self, deployment: Object, name: str, replicas: int, notes: dict[str, str]) -> Object:
        hash_ = name.rpartition("-")[2]
        template = template_of(deployment)
        meta = template.setdefault("metadata", {})
        meta["labels"] = {**meta.get("labels", {}), HASH: hash_}
        selector = copy.deepcopy(deployment["spec"]["selector"])
        selector["matchLabels"] = {**selector.get("matchLabels", {}), HASH: hash_}
        body = {
            "metadata": {
                "name": name,
                "labels": dict(meta["labels"]),
                "annotations": notes,
                "ownerReferences": [owner_ref(deployment)],
            },
            "spec": {"replicas": replicas, "selector": selector, "template": template},
        }
        namespace = deployment["metadata"]["namespace"]
        made, _ = self._state.create(self._state.served("apps/v1", "ReplicaSet"), namespace, body)
        words = f"Scaled up replica set {name} from 0 to {replicas}"
        self._events.tell(deployment, "ScalingReplicaSet", words)
        return made

    def _note_revision(self, deployment: Object, revision: str) -> None:
        notes = deployment["metadata"].get("annotations", {})
        if notes.get(REVISION) != revision:
            meta = {**deployment["metadata"], "annotations": {**notes, REVISION: revision}}
            self._state.change(DEPLOYMENT, deployment, metadata=meta)

    def _retire(self, old: Sequence[Object], deployment: Object) -> None:
        """Scale the earlier ones down; beyond the limit they go."""
        limit = deployment["spec"].get("revisionHistoryLimit", 10)
        kept = sorted(old, key=_revision)
        for retired in kept:
            if retired["spec"].get("replicas"):
                spec = {**retired["spec"], "replicas": 0}
                self._state.change(REPLICA_SET, retired, spec=spec)
                name = retired["metadata"]["name"]
                words = f"Scaled down replica set {name} from {retired['spec']['replicas']} to 0"
                self._events.tell(deployment, "ScalingReplicaSet", words)
        served = self._state.served("apps/v1", "ReplicaSet")
        for retired in kept[: max(0, len(kept) - limit)]:
            if not retired.get("status", {}).get("replicas"):
                meta = retired["metadata"]
                self._state.delete(served, meta["namespace"], meta["name"], Deletion())

    # status

    def statuses(self) -> None:
        pods: dict[str, list[Object]] = {}
        for pod in self._state.list(POD):
            for reference in pod["metadata"].get("ownerReferences", ()):
                pods.setdefault(reference["uid"], []).append(pod)
        for replica_set in self._state.list(REPLICA_SET):
            mine = pods.get(replica_set["metadata"]["uid"], [])
            self._write(REPLICA_SET, replica_set, {**_counted(mine), "fullyLabeledReplicas": _live(mine)})
        for stateful in self._state.list(STATEFUL_SET):
            mine = pods.get(stateful["metadata"]["uid"], [])
            name = f"{stateful['metadata']['name']}-{stateful['metadata'].get('generation', 1)}"
            counted = {**_counted(mine), "currentReplicas": _live(mine), "updatedReplicas": _live(mine)}
            revision = {"currentRevision": name, "updateRevision": name, "collisionCount": 0}
            self._write(STATEFUL_SET, stateful, {"availableReplicas": 0, **counted, **revision})
        for daemons in self._state.list(DAEMON_SET):
            counted = _counted(pods.get(daemons["metadata"]["uid"], []))
            self._write(DAEMON_SET, daemons, _of_daemons(counted))
        for job in self._state.list(JOB):
            mine = pods.get(job["metadata"]["uid"], [])
            began = job.get("status", {}).get("startTime") or now_text()
            ready = _counted(mine).get("readyReplicas", 0)
            status = {"active": _live(mine), "ready": ready, "startTime": began, "terminating": 0}
            self._state.change(JOB, job, status=status)
        for deployment in self._state.list(DEPLOYMENT):
            self._deployment(deployment, pods)

    def _deployment(self, deployment: Object, pods: dict[str, list[Object]]) -> None:
        sets = [
            r
            for r in self._state.list(REPLICA_SET, deployment["metadata"]["namespace"])
            if owned_by(r, deployment)
        ]
        newest = max(sets, key=_revision, default=None)
        mine = [pod for r in sets for pod in pods.get(r["metadata"]["uid"], ())]
        updated = pods.get(newest["metadata"]["uid"], []) if newest else []
        wanted = deployment["spec"].get("replicas", 1)
        counted = _counted(mine)
        ready = counted.get("readyReplicas", 0)
        if _live(updated):
            counted["updatedReplicas"] = _live(updated)
        if ready < wanted:
            counted["unavailableReplicas"] = wanted - ready
        done = ready >= wanted and _live(updated) >= wanted and _live(mine) == _live(updated)
        name = newest["metadata"]["name"] if newest else ""
        least = wanted - _unavailable(deployment, wanted)
        conditions = [
            condition("Available", True, "MinimumReplicasAvailable", "Deployment has minimum availability.")
            if ready >= least
            else condition(
                "Available",
                False,
                "MinimumReplicasUnavailable",
                "Deployment does not have minimum availability.",
            ),
            condition(
                "Progressing",
                True,
                "NewReplicaSetAvailable" if done else "ReplicaSetUpdated",
                f'ReplicaSet "{name}" has successfully progressed.'
                if done
                else f'ReplicaSet "{name}" is progressing.',
            ),
        ]
        old = deployment.get("status", {})
        counted["conditions"] = with_times(conditions, old.get("conditions"), updates=True)
        self._write(DEPLOYMENT, deployment, counted)

    def _write(self, kind: Any, obj: Object, status: Object) -> None:
        seen = {"observedGeneration": obj["metadata"].get("generation", 1)}
        self._state.change(kind, obj, status={**seen, **status})


def _revision(replica_set: Object) -> int:
    text = replica_set["metadata"].get("annotations", {}).get(REVISION, "0")
    return int(text) if text.isdigit() else 0


def _copied(deployment: Object) -> dict[str, str]:
    """Annotations that a ReplicaSet takes over."""
    notes = deployment["metadata"].get("annotations", {})
    skipped = {"kubectl.kubernetes.io/last-applied-configuration", REVISION, _DESIRED, _MOST}
    return {k: v for k, v in notes.items() if k not in skipped}


def _live(pods: Iterable[Object]) -> int:
    return sum(not ending(p) for p in pods)


def _counted(pods: Sequence[Object]) -> Object:
    """Counts as Kubernetes writes them: zeros are left out, but for `replicas`."""
    ready = sum(is_ready(p) for p in pods)
    found: Object = {"replicas": _live(pods)}
    return found | ({"readyReplicas": ready, "availableReplicas": ready} if ready else {})


def _of_daemons(counted: Object) -> Object:
    """The status of a DaemonSet: this machine is one node."""
    ready, here = counted.get("readyReplicas", 0), counted["replicas"]
    found = {"desiredNumberScheduled": 1, "currentNumberScheduled": here, "updatedNumberScheduled": here}
    found |= {"numberReady": ready, "numberAvailable": ready, "numberMisscheduled": 0}
    return found | ({} if ready else {"numberUnavailable": 1})


def _unavailable(deployment: Object, wanted: int) -> int:
    """How many of its pods may be missing, by strategy.rollingUpdate.maxUnavailable."""
    strategy = deployment["spec"].get("strategy", {})
    value = strategy.get("rollingUpdate", {}).get("maxUnavailable", 0)
    if isinstance(value, str) and value.endswith("%") and value[:-1].isdigit():
        return wanted * int(value[:-1]) // 100
    return value if isinstance(value, int) else 0
