"""What controllers share: owners, conditions that keep their times, events."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import time
from typing import Any

from gateway.cluster.objects.kinds import EVENT, NAMESPACE, Served
from gateway.cluster.objects.owners import now_text
from gateway.cluster.objects.state import State

Object = dict[str, Any]
EVENT_LIFE = datetime.timedelta(hours=1)  # kube-apiserver's --event-ttl
COMPONENT = "simfleet"
SLICE_S = 0.01  # of a controller that goes through many objects


def owner_ref(obj: Object) -> Object:
    return {
        "apiVersion": obj["apiVersion"],
        "kind": obj["kind"],
        "name": obj["metadata"]["name"],
        "uid": obj["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def owned_by(obj: Object, owner: Object) -> bool:
    uid = owner["metadata"]["uid"]
    return any(r.get("uid") == uid for r in obj["metadata"].get("ownerReferences", ()))


def ending(obj: Object) -> bool:
    return bool(obj["metadata"].get("deletionTimestamp"))


def condition(type_: str, status: bool | str, reason: str, message: str, **more: Any) -> Object:
    shown = status if isinstance(status, str) else "True" if status else "False"
    return {"type": type_, "status": shown, "reason": reason, "message": message, **more}


def with_times(new: list[Object], old: list[Object] | None, *, updates: bool = False) -> list[Object]:
    """The conditions with lastTransitionTime: that of the old one while the status is the same."""
    before = {c.get("type"): c for c in old or ()}
    found = []
    for item in new:
        was = before.get(item["type"], {})
        same = was.get("status") == item["status"]
        moved = was.get("lastTransitionTime") if same else None
        timed = {"lastTransitionTime": moved or now_text(), **item}
        if updates:
            unchanged = same and (was.get("reason"), was.get("message")) == (item["reason"], item["message"])
            timed["lastUpdateTime"] = was.get("lastUpdateTime", now_text()) if unchanged else now_text()
        found.append(timed)
    return found


class Slices:
    """Gives the loop to others whenever it has been held for SLICE_S."""

    def __init__(self) -> None:
        self._ends = 0.0

    async def pause(self) -> None:
        if time.monotonic() >= self._ends:
            await asyncio.sleep(0)
            self._ends = time.monotonic() + SLICE_S


class Events:
    """Writes core/v1 Events; the same one again counts up."""

    def __init__(self, state: State) -> None:
        self._state = state

    def tell(self, about: Object, reason: str, message: str, *, warning: bool = False) -> None:
        meta = about["metadata"]
        namespace = meta.get("namespace") or "default"
        home = self._state.get(NAMESPACE, "", namespace)
        if home is None or ending(home):
            return
        now = now_text()
        told = hashlib.sha256(f"{meta['uid']}{reason}{message}".encode()).hexdigest()[:16]
        name = f"{meta['name'][:200]}.{told}"
        old = self._state.get(EVENT, namespace, name)
        if old is not None:
            self._state.change(EVENT, old, lastTimestamp=now, count=old.get("count", 1) + 1)
            return
        body = {
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": {
                "apiVersion": about["apiVersion"],
                "kind": about["kind"],
                "name": meta["name"],
                "namespace": meta.get("namespace", ""),
                "uid": meta["uid"],
                "resourceVersion": meta.get("resourceVersion", ""),
            },
            "reason": reason,
            "message": message,
            "type": "Warning" if warning else "Normal",
            "source": {"component": COMPONENT},
            "reportingComponent": COMPONENT,
            "reportingInstance": "",
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        self._state.add(self._event(), namespace, body)

    def forget_old(self) -> None:
        """Remove what is past its life."""
        limit = (datetime.datetime.now(datetime.UTC) - EVENT_LIFE).strftime("%Y-%m-%dT%H:%M:%SZ")
        for event in self._state.list(EVENT):
            if str(event.get("lastTimestamp", "")) < limit:
                self._state.drop(EVENT, event)

    def _event(self) -> Served:
        return self._state.served("v1", "Event")
