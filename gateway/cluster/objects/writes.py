"""How a request writes, and what of an object it may change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gateway.cluster.objects.kinds import Served
from gateway.cluster.objects.owners import Author

Object = dict[str, Any]
FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"  # finalizers of the garbage collector


@dataclass(frozen=True)
class Write:
    """How a request writes: who, how strictly, and whether for show only."""

    manager: str = "simfleet"
    field_validation: str = "Ignore"
    dry_run: bool = False
    force: bool = False
    subresource: str = ""

    def author(self, served: Served, operation: str = "Update") -> Author:
        return Author(self.manager, operation, served.api_version, self.subresource)


@dataclass(frozen=True)
class Deletion:
    """The DeleteOptions of a request."""

    grace_s: int | None = None
    propagation: str = ""
    uid: str | None = None
    version: str | None = None


OURS = Write()

_GENERATIONS = {"apps", "networking.k8s.io", "policy", "apiextensions.k8s.io", "admissionregistration.k8s.io",
                "discovery.k8s.io", "batch"}  # fmt: skip


def has_generation(served: Served) -> bool:
    return served.custom or served.kind.group in _GENERATIONS


def content(obj: Object) -> Object:
    return {k: v for k, v in obj.items() if k not in {"metadata", "status", "apiVersion", "kind"}}


def through(served: Served, old: Object, obj: Object, subresource: str) -> Object:
    """What of `obj` may change: its status through that subresource alone, all else through none."""
    if subresource == "status":
        return {**old, "status": obj.get("status", {}), "metadata": dict(old["metadata"])}
    if served.has_status and subresource != "finalize":
        status = {"status": old["status"]} if "status" in old else {}
        return {**{k: v for k, v in obj.items() if k != "status"}, **status}
    return obj


def is_same(obj: Object, old: Object) -> bool:
    """Equal apart from who owns what; nothing is written then."""

    def bare(o: Object) -> Object:
        return {**o, "metadata": {k: v for k, v in o["metadata"].items() if k != "managedFields"}}

    def managed(o: Object) -> list[Object]:
        return [{k: v for k, v in e.items() if k != "time"} for e in o["metadata"].get("managedFields") or ()]

    return bare(obj) == bare(old) and managed(obj) == managed(old)
