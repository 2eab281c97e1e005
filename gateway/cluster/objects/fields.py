"""Sets of fields, as metadata.managedFields writes them: `f:name`, `k:{"key":"value"}`, `v:value`, `.`.

A path is a tuple of such steps. `leaves` gives every path that somebody can own, with the value there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from gateway.cluster.objects.schema import ANY, Node

Path = tuple[str, ...]
Object = dict[str, Any]
ITEM = object()  # the value of a list item as such: that it is there
_UNOWNED_META = {
    "name", "namespace", "uid", "resourceVersion", "creationTimestamp", "generation", "managedFields",
    "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generateName",
}  # fmt: skip


def leaves(schema: Node, obj: Object) -> dict[Path, Any]:
    """What can be owned of a whole object."""
    found: dict[Path, Any] = {}
    for name, value in obj.items():
        if name == "metadata":
            owned = {k: v for k, v in value.items() if k not in _UNOWNED_META}
            if owned:
                _leaves(schema.field(name) or ANY, owned, ("f:metadata",), found)
        elif name not in {"apiVersion", "kind"}:
            _leaves(schema.field(name) or ANY, value, (f"f:{name}",), found)
    return found


def _leaves(schema: Node, value: Any, path: Path, found: dict[Path, Any]) -> None:
    if isinstance(value, dict) and value and not schema.is_atomic:
        for name, item in value.items():
            _leaves(schema.field(name) or ANY, item, (*path, f"f:{name}"), found)
    elif isinstance(value, list) and (schema.keys or schema.is_set):
        for item in value:
            step = step_of(schema, item)
            found[*path, step] = ITEM
            if isinstance(item, dict):
                for name, inner in item.items():
                    _leaves(schema.items().field(name) or ANY, inner, (*path, step, f"f:{name}"), found)
        if not value:
            found[path] = value
    else:
        found[path] = value


def step_of(schema: Node, item: Any) -> str:
    """How an item of a list is named: by its keys, with their defaults, or by itself."""
    if not schema.keys or not isinstance(item, dict):
        return "v:" + json.dumps(item, sort_keys=True, separators=(",", ":"))
    named = {}
    for key in schema.keys:
        value = item.get(key)
        if value is None:
            inner = schema.items().field(key)
            value = (inner.raw.get("default") if inner else None) or _KEY_DEFAULTS.get(key)
        if value is not None:
            named[key] = value
    return "k:" + json.dumps(named, sort_keys=True, separators=(",", ":"))


_KEY_DEFAULTS = {"protocol": "TCP"}  # of ports, by whose number and protocol they are told apart


def to_fields(paths: Iterable[Path]) -> Object:
    """As fieldsV1."""
    root: Object = {}
    for path in sorted(paths):
        at = root
        for step in path:
            at = at.setdefault(step, {})
        if path[-1].startswith("k:"):
            at.setdefault(".", {})
    return root


def from_fields(fields: Object) -> set[Path]:
    found: set[Path] = set()
    _from(fields, (), found)
    return found


def _from(fields: Object, path: Path, found: set[Path]) -> None:
    if not fields and path:
        found.add(path)
    for step, inner in fields.items():
        if step == ".":
            found.add(path)
        else:
            _from(inner, (*path, step), found)


def shown(path: Path) -> str:
    """`.spec.containers[name="x"].image`, as conflicts name it."""
    text = ""
    for step in path:
        mark, _, rest = step.partition(":")
        if mark == "f":
            text += f".{rest}"
        elif mark == "k":
            keys = json.loads(rest)
            text += "[" + ",".join(f"{k}={json.dumps(v)}" for k, v in keys.items()) + "]"
        else:
            text += f"[={rest}]"
    return text


def merged(schema: Node, live: Any, applied: Any) -> Any:
    """`applied` over `live`: maps and keyed lists join, sets unite, all else is replaced."""
    if isinstance(applied, dict) and isinstance(live, dict) and not schema.is_atomic:
        result = dict(live)
        for name, value in applied.items():
            inner = schema.field(name) or ANY
            result[name] = merged(inner, live[name], value) if name in live else value
        return result
    if isinstance(applied, list) and isinstance(live, list) and (schema.keys or schema.is_set):
        items = {step_of(schema, item): item for item in live}
        for item in applied:
            step = step_of(schema, item)
            items[step] = merged(schema.items(), items[step], item) if step in items else item
        return list(items.values())
    return applied


def removed(schema: Node, value: Any, path: Path) -> Any:
    """`value` without what stands at `path`; maps that are empty thereby go too."""
    step, rest = path[0], path[1:]
    if isinstance(value, dict) and step.startswith("f:"):
        name = step[2:]
        if name not in value:
            return value
        result = dict(value)
        if not rest:
            del result[name]
            return result
        inner = removed(schema.field(name) or ANY, value[name], rest)
        if inner in ({}, []) and value[name]:
            del result[name]
        else:
            result[name] = inner
        return result
    if isinstance(value, list):
        kept = []
        for item in value:
            if step_of(schema, item) != step:
                kept.append(item)
            elif rest:
                kept.append(removed(schema.items(), item, rest))
        return kept
    return value
