"""The objects of a cluster and every rule of changing them: versions, generations, finalizers, field owners.

All writing goes through here, of the API's clients and of the controllers alike; nothing is stored otherwise.
What is stored is never changed in place.
"""

from __future__ import annotations

import copy
import secrets
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from gateway.cluster.objects import owners
from gateway.cluster.objects.crds import established, served_by
from gateway.cluster.objects.errors import (
    bad_request,
    conflict,
    exists,
    forbidden,
    no_resource,
    not_found,
)
from gateway.cluster.objects.intake import Intake
from gateway.cluster.objects.kinds import CRD, NAMESPACE, POD, Registry, Served
from gateway.cluster.objects.owners import now_text
from gateway.cluster.objects.writes import (
    FOREGROUND,
    ORPHAN,
    OURS,
    Deletion,
    Write,
    content,
    has_generation,
    is_same,
    through,
)
from gateway.kubeapi.store import Kind, Match, Store

Object = dict[str, Any]

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # Kubernetes' safe alphabet
_SUFFIX = 5  # letters that generateName adds
_HISTORY = 8192  # changes that a watcher may come back to
_KEPT_META = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation",
              "namespace", "name", "managedFields")  # fmt: skip


class State:
    """Registry, store and the rules between them."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.store = Store(kinds=(), history=_HISTORY)
        self.admit: Callable[[Served, Object, Object | None], None] = lambda served, obj, old: None
        self.registry_version = 0

    # reading

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        return self.store.get(kind, namespace, name)

    def need(self, kind: Kind, namespace: str, name: str) -> Object:
        """Raises ApiError 404."""
        found = self.store.get(kind, namespace, name)
        if found is None:
            raise not_found(kind, name)
        return found

    def list(self, kind: Kind, namespace: str = "", match: Match | None = None) -> list[Object]:
        return self.store.list(kind, namespace, match)

    def of(self, kind_name: str, group: str | None = None) -> Iterator[Object]:
        """All objects of a kind by its name; of nothing where it is not served."""
        kinds = {s.kind for s in self.registry if s.kind.kind == kind_name and group in (None, s.kind.group)}
        for kind in kinds:
            yield from self.store.list(kind)

    # creating

    def create(self, served: Served, namespace: str, body: Any, write: Write = OURS) -> tuple[Object, Intake]:
        """A new object. Raises ApiError: 400, 403, 404 for its namespace, 409, 422."""
        intake = Intake(served, write.field_validation)
        obj = intake.decode(body)
        kind, meta = served.kind, obj["metadata"]
        if kind.namespaced:
            self._place(kind, meta, namespace)
        else:
            meta.pop("namespace", None)
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = meta["generateName"] + "".join(secrets.choice(_ALPHABET) for _ in range(_SUFFIX))
        for name in ("resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "managedFields"):
            meta.pop(name, None)
        if served.has_status and served.kind != NAMESPACE:
            obj.pop("status", None)
        meta["uid"] = str(uuid.uuid4())
        meta["creationTimestamp"] = now_text()
        if has_generation(served):
            meta["generation"] = 1
        intake.fill(obj)
        self.admit(served, obj, None)
        intake.validate(obj, None)
        if self.store.get(kind, meta.get("namespace", ""), meta["name"]) is not None:
            raise exists(kind, meta["name"])
        meta["managedFields"] = owners.after_update(served.schema, None, obj, write.author(served))
        if write.dry_run:
            return obj, intake
        return self._put(kind, obj), intake

    def add(self, served: Served, namespace: str, obj: Object) -> Object:
        """A controller's own object, made of what was valid already: only filled in and stored."""
        meta = {**obj["metadata"], "namespace": namespace, "uid": str(uuid.uuid4())}
        meta["creationTimestamp"] = now_text()
        found = {"apiVersion": served.api_version, "kind": served.kind.kind, **obj, "metadata": meta}
        Intake(served).fill(found)
        return self._put(served.kind, found)

    def _place(self, kind: Kind, meta: Object, namespace: str) -> None:
        """The namespace of a new object, which has to stand."""
        named = meta.setdefault("namespace", namespace)
        if named != namespace:
            raise bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        home = self.store.get(NAMESPACE, "", namespace)
        if home is None:
            raise not_found(NAMESPACE, namespace)
        if home["metadata"].get("deletionTimestamp"):
            words = f"unable to create new content in namespace {namespace} because it is being terminated"
            ends = f"namespace {namespace} is being terminated"
            cause = {"reason": "NamespaceTerminating", "message": ends, "field": "metadata.namespace"}
            raise forbidden(kind, meta.get("name", ""), words, [cause])

    # changing

    def update(
        self, served: Served, namespace: str, name: str, body: Any, write: Write = OURS
    ) -> tuple[Object, Intake]:
        """Another content of an object. Raises ApiError: 400, 404, 409 for one changed meanwhile, 422."""
        old = self.need(served.kind, namespace, name)
        intake = Intake(served, write.field_validation)
        obj = intake.decode(body)
        given = obj["metadata"].get("name", name)
        if given != name:
            raise bad_request(f"the name of the object ({given}) does not match the name on the URL ({name})")
        return self.replace(served, old, obj, write, intake), intake

    def replace(
        self, served: Served, old: Object, obj: Object, write: Write, intake: Intake, *, owned: bool = False
    ) -> Object:
        """`obj`, decoded, in place of `old`; `owned`: its managedFields stand already. Raises ApiError."""
        kind, meta, was = served.kind, obj["metadata"], old["metadata"]
        if meta.get("resourceVersion") not in (None, "", was["resourceVersion"]):
            words = (
                "the object has been modified; please apply your changes to the latest version and try again"
            )
            raise conflict(kind, was["name"], words)
        if meta.get("uid") not in (None, "", was["uid"]):
            words = (
                f"Precondition failed: UID in precondition: {meta['uid']}, UID in object meta: {was['uid']}"
            )
            raise conflict(kind, was["name"], words)
        managed = meta.get("managedFields")
        written = managed if owned else None
        # A patch may put the owners of fields in order, as kubectl does after its first server-side apply.
        before = old if managed is None else {**old, "metadata": {**was, "managedFields": managed}}
        for key in _KEPT_META:
            meta.pop(key, None)
            if key in was:
                meta[key] = was[key]
        obj = through(served, old, obj, write.subresource)
        intake.fill(obj)
        self.admit(served, obj, old)
        if has_generation(served) and content(obj) != content(old):
            obj["metadata"]["generation"] = was.get("generation", 1) + 1
        intake.validate(obj, old)
        author = write.author(served)
        obj["metadata"]["managedFields"] = (
            written if written is not None else owners.after_update(served.schema, before, obj, author)
        )
        obj["metadata"]["resourceVersion"] = was["resourceVersion"]
        if write.dry_run or is_same(obj, old):
            return obj if write.dry_run else old
        if obj["metadata"].get("deletionTimestamp") and not self._is_held(kind, obj):
            self._remove(kind, obj)
            return obj
        return self._put(kind, obj)

    def apply(
        self, served: Served, namespace: str, name: str, body: Any, write: Write
    ) -> tuple[Object, Intake, bool]:
        """Server-side apply; the last of the three is whether it was created. Raises ApiError."""
        old = self.store.get(served.kind, namespace, name)
        intake = Intake(served, write.field_validation)
        config = intake.decode(body)
        if config["metadata"].get("managedFields"):
            raise bad_request("metadata.managedFields must be nil")
        author = write.author(served, "Apply")
        if old is None:
            obj, intake = self.create(served, namespace, {**config, "metadata": {**config["metadata"],
                                      "name": name}}, Write(**{**vars(write), "dry_run": True}))  # fmt: skip
            bare = {**obj, "metadata": {k: v for k, v in obj["metadata"].items() if k in
                                        ("name", "namespace")}}  # fmt: skip
            applied = owners.apply(served.schema, {"metadata": bare["metadata"]}, config, author, force=True)
            obj["metadata"]["managedFields"] = applied["metadata"]["managedFields"]
            return (obj if write.dry_run else self._put(served.kind, obj)), intake, True
        merged = owners.apply(served.schema, old, config, author, force=write.force)
        merged = copy.deepcopy(merged)
        for key in ("resourceVersion", "uid"):
            if config["metadata"].get(key):
                merged["metadata"][key] = config["metadata"][key]
        return self.replace(served, old, merged, write, intake, owned=True), intake, False

    def change(self, kind: Kind, obj: Object, **parts: Any) -> Object:
        """A controller's change of top-level parts (`status`, `metadata`, `spec`) of a stored object."""
        now = self.store.get(kind, obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
        if now is None or now["metadata"]["uid"] != obj["metadata"]["uid"]:
            return obj
        new = {**now, **{k: v for k, v in parts.items() if v is not None}}
        if new == now:
            return now
        new["metadata"] = dict(new["metadata"])
        if new.get("spec") != now.get("spec") and "generation" in now["metadata"]:
            new["metadata"]["generation"] = now["metadata"]["generation"] + 1
        if new["metadata"].get("deletionTimestamp") and not self._is_held(kind, new):
            self._remove(kind, new)
            return new
        return self._put(kind, new)

    # deleting

    def delete(self, served: Served, namespace: str, name: str, how: Deletion, write: Write = OURS) -> Object:
        """The object as it is afterwards; gone unless it has a deletionTimestamp. Raises ApiError."""
        kind = served.kind
        old = self.need(kind, namespace, name)
        meta = dict(old["metadata"])
        if how.uid not in (None, meta["uid"]):
            words = f"Precondition failed: UID in precondition: {how.uid}, UID in object meta: {meta['uid']}"
            raise conflict(kind, name, words)
        if how.version not in (None, meta["resourceVersion"]):
            raise conflict(kind, name, "the ResourceVersion in the precondition does not match")
        if kind == NAMESPACE and name in {"default", "kube-system", "kube-public"}:
            raise forbidden(kind, name, "this namespace may not be deleted")
        finalizers = [f for f in meta.get("finalizers", ()) if f not in (FOREGROUND, ORPHAN)]
        if how.propagation == "Foreground":
            finalizers.append(FOREGROUND)
        elif how.propagation == "Orphan":
            finalizers.append(ORPHAN)
        meta["finalizers"] = finalizers
        grace = self._grace(kind, old, how)
        new = {**old, "metadata": meta}
        if not finalizers:
            del meta["finalizers"]
        if write.dry_run:
            return new
        if not self._is_held(kind, new) and not grace:
            self._remove(kind, old)
            return old
        if meta.get("deletionTimestamp") and meta.get("deletionGracePeriodSeconds", 0) <= grace:
            return old if meta == old["metadata"] else self._put(kind, new)
        meta["deletionTimestamp"] = meta.get("deletionTimestamp") or now_text()
        meta["deletionGracePeriodSeconds"] = grace
        if kind == NAMESPACE:
            new["status"] = {**new.get("status", {}), "phase": "Terminating"}
        if "generation" in meta:
            meta["generation"] += 1
        return self._put(kind, new)

    @staticmethod
    def _grace(kind: Kind, obj: Object, how: Deletion) -> int:
        """Seconds that a pod has to end; all else, and pods that never ran, go at once."""
        if kind != POD or not obj.get("spec", {}).get("nodeName"):
            return 0
        if obj.get("status", {}).get("phase") in {"Succeeded", "Failed"}:
            return 0
        wanted = how.grace_s
        return int(obj["spec"].get("terminationGracePeriodSeconds", 30)) if wanted is None else wanted

    @staticmethod
    def _is_held(kind: Kind, obj: Object) -> bool:
        if kind == NAMESPACE and obj.get("spec", {}).get("finalizers"):
            return True
        meta = obj["metadata"]
        return bool(meta.get("finalizers")) or (kind == POD and meta.get("deletionGracePeriodSeconds", 0) > 0)

    def drop(self, kind: Kind, obj: Object) -> None:
        """Remove what has come to its end, whatever grace it has; finalizers still hold it."""
        if obj["metadata"].get("finalizers"):
            meta = {**obj["metadata"], "deletionGracePeriodSeconds": 0}
            self._put(kind, {**obj, "metadata": meta})
            return
        self._remove(kind, obj)

    # storing

    def _put(self, kind: Kind, obj: Object) -> Object:
        if kind == CRD:
            obj["status"] = established(obj)
        stored = self.store.put(kind, {**obj, "metadata": dict(obj["metadata"])})
        if kind == CRD:
            self.registry.remove(obj["spec"]["group"], obj["spec"]["names"]["plural"])
            for served in served_by(obj):
                self.registry.add(served)
            self.registry_version += 1
        return stored

    def _remove(self, kind: Kind, obj: Object) -> None:
        meta = obj["metadata"]
        self.store.remove(kind, meta.get("namespace", ""), meta["name"])
        if kind == CRD:
            self._forget(obj)

    def _forget(self, crd: Object) -> None:
        """With a CRD go its objects."""
        group, plural = crd["spec"]["group"], crd["spec"]["names"]["plural"]
        for kind in {s.kind for s in self.registry if (s.kind.group, s.kind.plural) == (group, plural)}:
            for obj in self.store.list(kind):
                meta = obj["metadata"]
                self.store.remove(kind, meta.get("namespace", ""), meta["name"])
        self.registry.remove(group, plural)
        self.registry_version += 1

    def served(self, api_version: str, kind: str) -> Served:
        """Raises ApiError 404 for a kind that is not served."""
        found = self.registry.of_type(api_version, kind)
        if found is None:
            raise no_resource()
        return found
