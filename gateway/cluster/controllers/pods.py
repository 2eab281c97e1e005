"""Pod objects: made of what runs, and of what would run in a cluster but does not here."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from gateway.cluster.controllers.common import (
    Events,
    Slices,
    condition,
    ending,
    owner_ref,
    with_times,
)
from gateway.cluster.controllers.facts import PodFact
from gateway.cluster.objects.kinds import DAEMON_SET, DEPLOYMENT, JOB, POD, REPLICA_SET, STATEFUL_SET
from gateway.cluster.objects.owners import now_text
from gateway.cluster.objects.state import State
from gateway.cluster.objects.writes import Deletion

Object = dict[str, Any]
NODE = "localhost"  # as the downward API tells the containers
HOST_IP = "127.0.0.1"
_KINDS = {"Deployment": DEPLOYMENT, "StatefulSet": STATEFUL_SET, "DaemonSet": DAEMON_SET, "Job": JOB}


class Pods:
    """Keeps the Pod objects equal to the facts."""

    def __init__(self, state: State, events: Events) -> None:
        self._state = state
        self._events = events
        self._known: dict[tuple[str, str], str] = {}  # uid of the object of each fact's pod
        self._told: dict[tuple[str, str], tuple[PodFact, str]] = {}  # the fact and version that agree

    async def run(self, facts: Iterable[PodFact]) -> list[PodFact]:
        """Write the objects; the facts whose object somebody has deleted, which are to end, are returned.

        Others run in between: each pod is looked at as it is when its turn comes.
        """
        doomed = []
        seen = set()
        slices = Slices()
        for fact in facts:
            await slices.pause()
            key = (fact.namespace, fact.name)
            seen.add(key)
            obj = self._state.get(POD, *key)
            if obj is not None and self._told.get(key) == (fact, obj["metadata"]["resourceVersion"]):
                continue
            known = self._known.get(key)
            if known is not None and (obj is None or obj["metadata"]["uid"] != known):
                doomed.append(fact)  # deleted by force
                continue
            if obj is not None and ending(obj) and not fact.ending:
                doomed.append(fact)
            if obj is None:
                obj = self._make(fact)
            if obj is not None:
                self._known[key] = obj["metadata"]["uid"]
                obj = self._bound(obj)
                obj = self._update(obj, fact)
                if not ending(obj):
                    self._told[key] = (fact, obj["metadata"]["resourceVersion"])
        self._drop_all_but(seen)
        return doomed

    def _bound(self, obj: Object) -> Object:
        """A Pod that a user wrote has its node from here on."""
        if obj["spec"].get("nodeName"):
            return obj
        meta = obj["metadata"]
        words = f"Successfully assigned {meta['namespace']}/{meta['name']} to {NODE}"
        self._events.tell(obj, "Scheduled", words)
        return self._state.change(POD, obj, spec={**obj["spec"], "nodeName": NODE})

    def _drop_all_but(self, seen: set[tuple[str, str]]) -> None:
        """The objects of pods that have ended."""
        for key in self._known.keys() - seen:
            obj = self._state.get(POD, *key)
            if obj is not None and obj["metadata"]["uid"] == self._known[key]:
                self._events.tell(obj, "Killing", f"Stopping container {_first(obj)}")
                self._state.drop(POD, obj)
            del self._known[key]
            self._told.pop(key, None)

    def forget(self, fact: PodFact) -> None:
        """Its object is gone and it has ended: the next of its name is another pod."""
        self._known.pop((fact.namespace, fact.name), None)
        self._told.pop((fact.namespace, fact.name), None)

    def _make(self, fact: PodFact) -> Object | None:
        if fact.ending or fact.dead:
            return None
        owner = self._owner(fact)
        if owner is None:
            return None
        template = copy.deepcopy(owner["spec"]["template"])
        meta = {k: v for k, v in template.get("metadata", {}).items() if k in ("labels", "annotations")}
        meta |= {"name": fact.name, "ownerReferences": [owner_ref(owner)]}
        if owner["kind"] == "ReplicaSet":
            meta["generateName"] = owner["metadata"]["name"] + "-"
        elif owner["kind"] == "StatefulSet":
            labels = {"statefulset.kubernetes.io/pod-name": fact.name,
                      "apps.kubernetes.io/pod-index": fact.name.rpartition("-")[2]}  # fmt: skip
            meta["labels"] = {**meta.get("labels", {}), **labels}
        spec = template["spec"] | {"nodeName": NODE}
        made = self._state.add(
            self._state.served("v1", "Pod"), fact.namespace, {"metadata": meta, "spec": spec}
        )
        self._events.tell(owner, "SuccessfulCreate", f"Created pod: {fact.name}")
        words = f"Successfully assigned {fact.namespace}/{fact.name} to {NODE}"
        self._events.tell(made, "Scheduled", words)
        return made

    def _owner(self, fact: PodFact) -> Object | None:
        kind = _KINDS.get(fact.kind)
        workload = self._state.get(kind, fact.namespace, fact.workload) if kind else None
        if workload is None or ending(workload):
            return None
        if fact.kind != "Deployment":
            return workload
        return self._state.get(REPLICA_SET, fact.namespace, fact.name.rpartition("-")[0])

    def _update(self, obj: Object, fact: PodFact) -> Object:
        if fact.ending and not ending(obj):
            served = self._state.served("v1", "Pod")
            obj = self._state.delete(served, fact.namespace, fact.name, Deletion())
        old = obj.get("status", {})
        status = _status(obj, fact, old)
        status = {**old, **status}
        if status == old:
            return obj
        before, after = old.get("phase"), status["phase"]
        if fact.waiting and fact.waiting != self._waiting(old):
            self._events.tell(obj, fact.waiting[0], fact.waiting[1], warning=True)
        if before != after and after == "Running":
            name = _first(obj)
            self._events.tell(obj, "Created", f"Created container: {name}")
            self._events.tell(obj, "Started", f"Started container {name}")
        if fact.restarts > _restarts(old):
            self._events.tell(
                obj, "BackOff", f"Back-off restarting failed container {_first(obj)}", warning=True
            )
        return self._state.change(POD, obj, status=status)

    @staticmethod
    def _waiting(status: Object) -> tuple[str, str] | None:
        for state in status.get("containerStatuses", ()):
            if found := state.get("state", {}).get("waiting"):
                return found.get("reason", ""), found.get("message", "")
        return None


def _first(pod: Object) -> str:
    containers = pod.get("spec", {}).get("containers") or [{}]
    return str(containers[0].get("name", ""))


def _restarts(status: Object) -> int:
    return max((s.get("restartCount", 0) for s in status.get("containerStatuses", ())), default=0)


def _status(obj: Object, fact: PodFact, old: Object) -> Object:
    runs = fact.waiting is None
    ready = fact.ready and not fact.ending and not ending(obj)
    why = ("", "") if ready else ("ContainersNotReady", _unready(obj))
    conditions = [
        condition("PodReadyToStartContainers", runs, "", ""),
        condition("Initialized", True, "", ""),
        condition("Ready", ready, *why),
        condition("ContainersReady", ready, *why),
        condition("PodScheduled", True, "", ""),
    ]
    bare = [{k: v for k, v in c.items() if v != ""} for c in conditions]
    started = old.get("startTime") or now_text()
    status: Object = {
        "phase": "Running" if runs else "Pending",
        "conditions": [{"lastProbeTime": None, **c} for c in with_times_bare(bare, old.get("conditions"))],
        "hostIP": HOST_IP,
        "hostIPs": [{"ip": HOST_IP}],
        "startTime": started,
        "qosClass": old.get("qosClass", "BestEffort"),
        "containerStatuses": [
            _container(c, fact, ready=ready, started=started) for c in obj["spec"].get("containers", ())
        ],
    }
    if fact.address:
        status |= {"podIP": fact.address, "podIPs": [{"ip": fact.address}]}
    return status


def with_times_bare(new: list[Object], old: list[Object] | None) -> list[Object]:
    full = [{"reason": "", "message": "", **c} for c in new]
    timed = with_times(full, old)
    return [{k: v for k, v in c.items() if v != ""} for c in timed]


def _unready(obj: Object) -> str:
    names = " ".join(c.get("name", "") for c in obj["spec"].get("containers", ()))
    return f"containers with unready status: [{names}]"


def _container(container: Object, fact: PodFact, *, ready: bool, started: str) -> Object:
    image = container.get("image", "")
    found: Object = {
        "name": container["name"],
        "image": image,
        "imageID": "",
        "ready": ready,
        "started": fact.waiting is None and not fact.dead,
        "restartCount": fact.restarts,
        "lastState": {},
    }
    if fact.waiting is not None:
        reason, message = fact.waiting
        found["state"] = {"waiting": {"reason": reason, "message": message}}
    elif fact.dead:
        found["state"] = {
            "terminated": {"exitCode": 137, "reason": "Error", "startedAt": started, "finishedAt": now_text()}
        }
    else:
        found["state"] = {"running": {"startedAt": started}}
        found["containerID"] = f"simfleet://{fact.name}/{container['name']}"
    return found
