"""The garbage collector: what an owner takes with it, or leaves behind."""

from __future__ import annotations

from typing import Any

from gateway.cluster.controllers.common import ending, owned_by
from gateway.cluster.objects.errors import ApiError
from gateway.cluster.objects.kinds import Served
from gateway.cluster.objects.state import State
from gateway.cluster.objects.writes import FOREGROUND, ORPHAN, Deletion

Object = dict[str, Any]


class Owners:
    """Deletes objects whose owners are all gone, and carries out foreground and orphan deletion."""

    def __init__(self, state: State) -> None:
        self._state = state

    def run(self) -> None:
        everything = list(self._everything())
        alive = {obj["metadata"]["uid"] for _, obj in everything}
        for served, obj in everything:
            references = obj["metadata"].get("ownerReferences")
            if references and not ending(obj) and not any(r.get("uid") in alive for r in references):
                self._delete(served, obj)
            held = set(obj["metadata"].get("finalizers", ()))
            if ending(obj) and held & {FOREGROUND, ORPHAN}:
                self._release(served, obj, everything)

    def _everything(self) -> list[tuple[Served, Object]]:
        found = []
        seen = set()
        for served in self._state.registry:
            if served.kind not in seen:
                seen.add(served.kind)
                found += [(served, obj) for obj in self._state.list(served.kind)]
        return found

    def _delete(self, served: Served, obj: Object, how: Deletion | None = None) -> None:
        meta = obj["metadata"]
        try:
            self._state.delete(served, meta.get("namespace", ""), meta["name"], how or Deletion())
        except ApiError:
            return  # gone meanwhile

    def _release(self, served: Served, obj: Object, everything: list[tuple[Served, Object]]) -> None:
        dependents = [(s, o) for s, o in everything if owned_by(o, obj)]
        finalizers = obj["metadata"]["finalizers"]
        if ORPHAN in finalizers:
            uid = obj["metadata"]["uid"]
            for its, dependent in dependents:
                left = [r for r in dependent["metadata"]["ownerReferences"] if r.get("uid") != uid]
                meta = {**dependent["metadata"], "ownerReferences": left}
                if not left:
                    del meta["ownerReferences"]
                self._state.change(its.kind, dependent, metadata=meta)
            dependents = []
        for its, dependent in dependents:
            if not ending(dependent):
                self._delete(its, dependent, Deletion(propagation="Foreground"))
        if not dependents:
            kept = [f for f in finalizers if f not in (FOREGROUND, ORPHAN)]
            meta = {**obj["metadata"], "finalizers": kept}
            if not kept:
                del meta["finalizers"]
            self._state.change(served.kind, obj, metadata=meta)
