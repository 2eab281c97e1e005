"""Kubernetes objects in memory, with versions and a history that can be watched.

Everything about objects, versions and selectors lives here; this file does not know about HTTP.
"""

from __future__ import annotations

import copy
import datetime
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from gateway.kubeapi.defaults import with_defaults

Object = dict[str, Any]
Match = Callable[[Object], bool]


class ExpiredError(Exception):
    """The history no longer reaches back to the version asked for: HTTP 410, the client lists again."""


class BadSelectorError(ValueError):
    """A label or field selector that cannot be read or is not supported."""


@dataclass(frozen=True)
class Kind:
    """One resource type that the API serves; group and plural name it, whatever its versions."""

    group: str
    version: str = field(compare=False)
    plural: str
    kind: str = field(compare=False)
    namespaced: bool = field(default=True, compare=False)
    short: tuple[str, ...] = field(default=(), compare=False)

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


KINDS = (
    Kind("", "v1", "pods", "Pod", short=("po",)),
    Kind("", "v1", "services", "Service", short=("svc",)),
    Kind("", "v1", "configmaps", "ConfigMap", short=("cm",)),
    Kind("", "v1", "namespaces", "Namespace", namespaced=False, short=("ns",)),
    Kind("inference.networking.k8s.io", "v1", "inferencepools", "InferencePool", short=("infpool",)),
    Kind("inference.networking.x-k8s.io", "v1alpha2", "inferenceobjectives", "InferenceObjective"),
    Kind("inference.networking.x-k8s.io", "v1alpha2", "inferencemodelrewrites", "InferenceModelRewrite"),
    Kind("llm-d.ai", "v1alpha2", "inferenceobjectives", "InferenceObjective"),
    Kind("llm-d.ai", "v1alpha2", "inferencemodelrewrites", "InferenceModelRewrite"),
    Kind("gateway.networking.k8s.io", "v1", "gateways", "Gateway", short=("gtw",)),
    Kind("gateway.networking.k8s.io", "v1", "httproutes", "HTTPRoute"),
)


@dataclass(frozen=True)
class Change:
    """One entry of the history: ADDED, MODIFIED or DELETED."""

    version: int
    type: str
    kind: Kind
    object: Object
    before: Object | None


class Store:
    """Objects by kind, namespace and name; every change gets the next version and wakes the watchers."""

    def __init__(self, kinds: tuple[Kind, ...] = KINDS, history: int = 4096) -> None:
        self.kinds = kinds
        self.version = 1
        self._objects: dict[Kind, dict[tuple[str, str], Object]] = {}
        self._changes: deque[Change] = deque(maxlen=history)
        self._oldest = 1
        self._listeners: list[Callable[[Change], None]] = []
        self._by_type = {(k.api_version, k.kind): k for k in kinds}

    def kind_of(self, obj: Object) -> Kind | None:
        """The kind of an object, None for what this API does not serve."""
        return self._by_type.get((obj.get("apiVersion", ""), obj.get("kind", "")))

    def apply(self, obj: Object) -> None:
        """Creates or replaces; raises ValueError for a kind that is not served. No change, no event."""
        kind = self.kind_of(obj)
        if kind is None:
            raise ValueError(f"{obj.get('apiVersion')} {obj.get('kind')} is not served by this API")
        before = self._objects.get(kind, {}).get(self._key(kind, obj))
        obj = with_defaults(obj)
        meta = obj.setdefault("metadata", {})
        old_meta = before["metadata"] if before else {}
        meta["uid"] = old_meta.get("uid") or meta.get("uid") or str(uuid.uuid4())
        meta["creationTimestamp"] = old_meta.get("creationTimestamp") or _now()
        meta["resourceVersion"] = old_meta.get("resourceVersion", "")
        if before is not None and before == obj:
            return
        self.put(kind, obj)

    def put(self, kind: Kind, obj: Object) -> Object:
        """Stores `obj` as it is, under the next version; nobody may change it afterwards."""
        objects = self._objects.setdefault(kind, {})
        key = self._key(kind, obj)
        before = objects.get(key)
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)
        objects[key] = obj
        self._record(Change(self.version, "MODIFIED" if before else "ADDED", kind, obj, before))
        return obj

    def delete(self, obj: Object) -> bool:
        """Removes the object of that kind, namespace and name; False where there is none."""
        kind = self.kind_of(obj)
        return kind is not None and self.remove(kind, *self._key(kind, obj))

    def remove(self, kind: Kind, namespace: str, name: str) -> bool:
        """Removes the object of that name; False where there is none."""
        key = (namespace if kind.namespaced else "", name)
        if (before := self._objects.get(kind, {}).pop(key, None)) is None:
            return False
        self.version += 1
        gone = copy.deepcopy(before)
        gone["metadata"]["resourceVersion"] = str(self.version)
        self._record(Change(self.version, "DELETED", kind, gone, before))
        return True

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        return self._objects.get(kind, {}).get((namespace if kind.namespaced else "", name))

    def list(self, kind: Kind, namespace: str = "", match: Match | None = None) -> list[Object]:
        """Objects of a kind in name order; an empty namespace means all of them."""
        return [
            obj
            for (ns, _), obj in sorted(self._objects.get(kind, {}).items())
            if namespace in ("", ns) and (match is None or match(obj))
        ]

    def since(self, version: int) -> Iterator[Change]:
        """Changes after `version`, oldest first. Raises ExpiredError where the history is too short."""
        if version + 1 < self._oldest:
            raise ExpiredError(f"too old resource version: {version} ({self._oldest})")
        return iter([c for c in self._changes if c.version > version])

    def listen(self, listener: Callable[[Change], None]) -> Callable[[], None]:
        """Calls `listener` on every change; returns what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    @staticmethod
    def _key(kind: Kind, obj: Object) -> tuple[str, str]:
        meta = obj["metadata"]
        return meta.get("namespace", "default") if kind.namespaced else "", meta["name"]

    def _record(self, change: Change) -> None:
        if len(self._changes) == self._changes.maxlen:
            self._oldest = self._changes[0].version + 1
        self._changes.append(change)
        for listener in list(self._listeners):
            listener(change)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def selector(labels: str, fields: str) -> Match:
    """Both selectors of a request as one test. Raises BadSelectorError for what cannot be read."""
    tests = [_label_test(part) for part in _split(labels)] + [_field_test(part) for part in _split(fields)]
    return lambda obj: all(test(obj) for test in tests)


def _split(text: str) -> list[str]:
    """At the commas outside parentheses."""
    parts, depth, start = [], 0, 0
    for i, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if char == "," and depth == 0:
            parts.append(text[start:i])
            start = i + 1
    return [p.strip() for p in [*parts, text[start:]] if p.strip()]


def _label_test(part: str) -> Match:
    def labels(obj: Object) -> Object:
        found = obj["metadata"].get("labels")
        return found if isinstance(found, dict) else {}

    words = part.split(None, 2)
    if len(words) == 3 and words[1] in ("in", "notin"):
        values = {v.strip() for v in words[2].strip("()").split(",")}
        if words[1] == "in":
            return lambda obj: labels(obj).get(words[0]) in values
        return lambda obj: labels(obj).get(words[0]) not in values
    for sign in ("!=", "==", "="):
        if sign in part:
            key, value = (s.strip() for s in part.split(sign, 1))
            equal = sign != "!="
            return lambda obj: (labels(obj).get(key) == value) is equal
    if len(words) != 1:
        raise BadSelectorError(f"unable to parse requirement: {part!r}")
    if part.startswith("!"):
        return lambda obj: part[1:] not in labels(obj)
    return lambda obj: part in labels(obj)


def _field_test(part: str) -> Match:
    for sign in ("!=", "==", "="):
        if sign in part:
            path, value = (s.strip() for s in part.split(sign, 1))
            equal = sign != "!="
            return lambda obj: (_field(obj, path) == value) is equal
    raise BadSelectorError(f"invalid field selector: {part!r}")


def _field(obj: Object, path: str) -> str:
    value: Any = obj
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return "" if value is None else str(value)
