"""Who owns which field: metadata.managedFields, and server-side apply, which is decided by it."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

from gateway.cluster.objects import fields
from gateway.cluster.objects.errors import ApiError
from gateway.cluster.objects.fields import Path
from gateway.cluster.objects.schema import Node

Object = dict[str, Any]
_APPLIED_META = {"labels", "annotations", "finalizers", "ownerReferences"}
# `kubectl apply` without --server-side: kubectl's server-side apply takes over from it without a conflict.
_CLIENT_SIDE = "kubectl-client-side-apply"


@dataclass(frozen=True)
class Author:
    """Who writes: a manager's name, how it writes, at which version and through which subresource."""

    manager: str
    operation: str  # Apply or Update
    api_version: str
    subresource: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        return self.manager, self.operation, self.subresource


def after_update(schema: Node, old: Object | None, new: Object, author: Author) -> list[Object]:
    """The managedFields of `new`: what it changes belongs to `author`, what is gone to nobody."""
    entries = _entries(old)
    was = fields.leaves(schema, old) if old else {}
    now = fields.leaves(schema, new)
    if author.subresource != "status":
        was, now = _without_status(was), _without_status(now)
    else:
        was, now = _only_status(was), _only_status(now)
    changed = {path for path, value in now.items() if path not in was or was[path] != value}
    gone = was.keys() - now.keys()
    if not changed and not gone:
        return list(old["metadata"].get("managedFields", ())) if old else []
    return _written(entries, author, changed, take=changed | gone)


def _without_status(leaves: dict[Path, Any]) -> dict[Path, Any]:
    return {path: value for path, value in leaves.items() if path[0] != "f:status"}


def _only_status(leaves: dict[Path, Any]) -> dict[Path, Any]:
    return {path: value for path, value in leaves.items() if path[0] == "f:status"}


def apply(schema: Node, live: Object, config: Object, author: Author, *, force: bool) -> Object:
    """`config` applied to `live` by its author. Raises ApiError: 409 naming every conflict."""
    now = fields.leaves(schema, live)
    wanted = fields.leaves(schema, config)
    entries = _entries(live)
    conflicts = [
        (entry, path)
        for key, entry in entries.items()
        if key != author.key and not (author.manager == "kubectl" and entry["manager"] == _CLIENT_SIDE)
        for path in sorted(fields.from_fields(entry.get("fieldsV1", {})) & wanted.keys())
        if now.get(path) != wanted[path]
    ]
    if conflicts and not force:
        raise _conflict(conflicts)
    result: Object = fields.merged(schema, live, {k: v for k, v in config.items() if k != "metadata"})
    meta = {k: v for k, v in config.get("metadata", {}).items() if k in _APPLIED_META}
    meta_schema = schema.field("metadata")
    if meta_schema is not None:
        result = {**result, "metadata": fields.merged(meta_schema, live["metadata"], meta)}
    before = entries.get(author.key, {})
    others = {p for key, e in entries.items() if key != author.key for p in fields.from_fields(e["fieldsV1"])}
    dropped = fields.from_fields(before.get("fieldsV1", {})) - wanted.keys() - others
    for path in sorted(dropped, key=len, reverse=True):
        if not any(other[: len(path)] == path for other in others):
            result = fields.removed(schema, result, path)
    taken = {path for _, path in conflicts}
    written = _written(entries, author, set(wanted), take=taken, keep=False)
    return {**result, "metadata": {**result["metadata"], "managedFields": written}}


def _entries(obj: Object | None) -> dict[tuple[str, str, str], Object]:
    listed = obj["metadata"].get("managedFields", ()) if obj else ()
    return {(e.get("manager", ""), e.get("operation", ""), e.get("subresource", "")): e for e in listed}


def _written(
    entries: dict[tuple[str, str, str], Object],
    author: Author,
    owned: set[Path],
    take: set[Path],
    *,
    keep: bool = True,
) -> list[Object]:
    """The entries with `take` away from everybody and `owned` given to `author`; `keep`: what it had, too."""
    result = []
    mine = entries.get(author.key)
    for key, entry in entries.items():
        if key == author.key:
            continue
        had = fields.from_fields(entry.get("fieldsV1", {}))
        left = had - take
        if left == had:
            result.append(entry)
        elif left:
            result.append({**entry, "fieldsV1": fields.to_fields(left)})
    if keep and mine is not None:
        owned = owned | (fields.from_fields(mine.get("fieldsV1", {})) - take)
    if owned:
        new = {
            "manager": author.manager,
            "operation": author.operation,
            "apiVersion": author.api_version,
            "time": now_text(),
            "fieldsType": "FieldsV1",
            "fieldsV1": fields.to_fields(owned),
        }
        if author.subresource:
            new["subresource"] = author.subresource
        if mine and all(mine.get(k) == v for k, v in new.items() if k != "time"):
            new["time"] = mine.get("time", new["time"])
        result.append(new)
    return sorted(result, key=lambda e: (e.get("operation"), e.get("time"), e.get("manager")))


def _conflict(conflicts: list[tuple[Object, Path]]) -> ApiError:
    causes: list[Object] = []
    by_manager: dict[str, list[str]] = {}
    for entry, path in conflicts:
        who = f'"{entry["manager"]}"'
        if entry.get("subresource"):
            who += f' with subresource "{entry["subresource"]}"'
        if entry.get("operation") == "Update":
            who += f" using {entry['apiVersion']}"
        causes.append(
            {
                "reason": "FieldManagerConflict",
                "message": f"conflict with {who}",
                "field": fields.shown(path),
            }
        )
        by_manager.setdefault(who, []).append(fields.shown(path))
    parts = []
    for who, paths in by_manager.items():
        if len(paths) == 1:
            parts.append(f"conflict with {who}: {paths[0]}")
        else:
            parts.append(f"conflicts with {who}:" + "".join(f"\n- {p}" for p in paths))
    count = f"{len(conflicts)} conflict" + ("s" if len(conflicts) > 1 else "")
    return ApiError(409, "Conflict", f"Apply failed with {count}: " + "\n".join(parts), {"causes": causes})


def now_text() -> str:
    """RFC 3339 in whole seconds, as Kubernetes stores times."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
