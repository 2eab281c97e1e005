"""Strategic merge and JSON patches, as kustomize applies them to the kinds that this package reads."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from kit.yamldoc import Cursor, Document

_MERGE_KEYS = {
    "containers": ("name",),
    "initContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "ports": ("containerPort", "port"),
}
"""Lists that merge by key (Kubernetes' patchMergeKey); every other list is replaced."""


def merge(base: Any, patch: Any, field: str = "") -> Any:
    """`base` with the strategic merge `patch` applied; null deletes, `$patch: delete` removes a list item."""
    if isinstance(base, dict) and isinstance(patch, dict):
        result = dict(base)
        for key, value in patch.items():
            if value is None:
                result.pop(key, None)
            else:
                result[key] = merge(result[key], value, key) if key in result else deepcopy(value)
        return result
    if isinstance(base, list) and isinstance(patch, list) and field in _MERGE_KEYS:
        return _merge_lists(base, patch, field)
    return deepcopy(patch)


def _merge_lists(base: list[Any], patch: list[Any], field: str) -> list[Any]:
    """Items that are new come first, as kustomize puts them."""
    result, added = list(base), []
    for item in patch:
        key = next((k for k in _MERGE_KEYS[field] if isinstance(item, dict) and k in item), None)
        at = next((i for i, old in enumerate(result) if key and old.get(key) == item[key]), None)
        if isinstance(item, dict) and item.get("$patch") == "delete":
            if at is not None:
                del result[at]
        elif at is None:
            added.append(deepcopy(item))
        else:
            result[at] = merge(result[at], item)
    return added + result


def apply_json_patch(document: Document, patch: Document) -> Any:
    """The data of `document` with an RFC 6902 patch (add, remove, replace, test) applied."""
    data = deepcopy(document.data)
    root = patch.cursor()
    for i in range(len(patch.data)):
        _apply_operation(data, root.at(i))
    return data


def _apply_operation(data: Any, operation: Cursor) -> None:
    op, pointer = operation.text("op"), operation.text("path")
    parts = [p.replace("~1", "/").replace("~0", "~") for p in pointer.split("/")[1:]]
    if not parts:
        raise operation.error("a patch cannot replace the whole object", "path")
    target = data
    try:
        for part in parts[:-1]:
            target = target[int(part)] if isinstance(target, list) else target[part]
        _change(target, parts[-1], op, operation)
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise operation.error(f"{op} {pointer}: there is nothing at this path", "path") from error


def _change(target: Any, last: str, op: str, operation: Cursor) -> None:
    value = deepcopy(operation.value.get("value"))
    key: Any = last
    if isinstance(target, list):
        key = len(target) if last == "-" else int(last)
    if op == "add" and isinstance(target, list):
        target.insert(key, value)
    elif op == "add":
        target[key] = value
    elif op == "replace":
        if target[key] is not value:  # KeyError: replace needs an old value
            target[key] = value
    elif op == "remove":
        del target[key]
    elif op == "test":
        if target[key] != value:
            raise operation.error(f"test failed: the value is {target[key]!r}", "value")
    else:
        raise operation.error(f"must be add, remove, replace or test, is {op!r}", "op")
