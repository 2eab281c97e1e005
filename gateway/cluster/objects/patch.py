"""The three patches that change an object in place: JSON (RFC 6902), merge (RFC 7386), strategic merge."""

from __future__ import annotations

import copy
from typing import Any

from gateway.cluster.objects.errors import ApiError, bad_request
from gateway.cluster.objects.schema import ANY, Node

Object = dict[str, Any]
_ABSENT = object()


def json_patch(obj: Object, operations: Any) -> Object:
    """Raises ApiError: 400 for what is no patch, 422 for one that does not fit."""
    if not isinstance(operations, list):
        raise bad_request(
            "error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch"
        )
    result: Any = copy.deepcopy(obj)
    for operation in operations:
        if not isinstance(operation, dict) or not isinstance(operation.get("path"), str):
            raise bad_request("error decoding patch: an operation has op and path")
        try:
            result = _operate(result, operation)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            words = "the server rejected our request due to an error in our request"
            raise ApiError(422, "Invalid", words) from error
    return dict(result)


def _operate(doc: Any, operation: Object) -> Any:
    op, path = operation.get("op"), _pointer(operation["path"])
    if op == "test":
        if _get(doc, path) != operation.get("value"):
            raise ValueError(f"testing value {operation['path']} failed")
        return doc
    if op in {"move", "copy"}:
        source = _pointer(str(operation["from"]))
        value = copy.deepcopy(_get(doc, source))
        if op == "move":
            doc = _remove(doc, source)
        return _add(doc, path, value)
    if op == "remove":
        return _remove(doc, path)
    if op == "replace":
        _get(doc, path)
        return _add(_remove(doc, path) if path else doc, path, copy.deepcopy(operation["value"]))
    if op == "add":
        return _add(doc, path, copy.deepcopy(operation["value"]))
    raise ValueError(f"Unexpected kind: {op}")


def _pointer(text: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _get(doc: Any, path: list[str]) -> Any:
    for step in path:
        doc = doc[int(step)] if isinstance(doc, list) else doc[step]
    return doc


def _add(doc: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    target = _get(doc, path[:-1])
    if isinstance(target, list):
        at = len(target) if path[-1] == "-" else int(path[-1])
        if not 0 <= at <= len(target):
            raise IndexError(f"Unable to access invalid index: {at}")
        target.insert(at, value)
    else:
        target[path[-1]] = value
    return doc


def _remove(doc: Any, path: list[str]) -> Any:
    target = _get(doc, path[:-1])
    if isinstance(target, list):
        del target[int(path[-1])]
    else:
        del target[path[-1]]
    return doc


def merge_patch(target: Any, patch: Any) -> Any:
    """`patch` over `target`; null removes."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def strategic_merge(target: Any, patch: Any, schema: Node) -> Any:
    """`patch` over `target` as the kind's merge keys say, its directives ($patch, ...) carried out."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    directive = patch.get("$patch")
    if directive == "replace":
        return {k: copy.deepcopy(v) for k, v in patch.items() if k != "$patch"}
    if directive == "delete":
        return {}
    result = dict(target) if isinstance(target, dict) else {}
    if isinstance(kept := patch.get("$retainKeys"), list):
        result = {key: value for key, value in result.items() if key in kept}
    for key, value in patch.items():
        if key in {"$patch", "$retainKeys"} or key.startswith("$setElementOrder/"):
            continue
        if key.startswith("$deleteFromPrimitiveList/"):
            name = key.partition("/")[2]
            result[name] = [item for item in result.get(name, []) if item not in value]
        elif value is None:
            result.pop(key, None)
        else:
            inner = schema.field(key) or ANY
            result[key] = _merged(result.get(key), value, inner, patch.get(f"$setElementOrder/{key}"))
    for key, order in patch.items():
        name = key.partition("/")[2]
        if key.startswith("$setElementOrder/") and name not in patch and isinstance(result.get(name), list):
            inner = schema.field(name) or ANY
            result[name] = _ordered(result[name], order, inner.merge_key or "")
    return result


def _merged(old: Any, new: Any, schema: Node, order: Any) -> Any:
    if isinstance(new, dict):
        return strategic_merge(old, new, schema)
    if not isinstance(new, list) or schema.merge_key is None:
        return copy.deepcopy(new)
    return _ordered(_merged_list(old, new, schema), order, schema.merge_key)


def _merged_list(old: Any, new: list[Any], schema: Node) -> list[Any]:
    key = schema.merge_key
    items = list(old) if isinstance(old, list) else []
    if any(isinstance(i, dict) and i.get("$patch") == "replace" for i in new):
        return [copy.deepcopy(i) for i in new if not (isinstance(i, dict) and "$patch" in i)]
    for item in new:
        if not key or not isinstance(item, dict):
            if item not in items:
                items.append(copy.deepcopy(item))
            continue
        if key not in item:
            raise bad_request(f"map: {item} does not contain declared merge key: {key}")
        at = next((i for i, o in enumerate(items) if isinstance(o, dict) and o.get(key) == item[key]), None)
        if item.get("$patch") == "delete":
            items = [o for o in items if not (isinstance(o, dict) and o.get(key) == item[key])]
        elif at is None:
            items.append(strategic_merge({}, item, schema.items()))
        else:
            items[at] = strategic_merge(items[at], item, schema.items())
    return items


def _ordered(items: list[Any], order: Any, key: str) -> list[Any]:
    """In the order that the patch's $setElementOrder gives; what it does not name stays behind."""
    if not isinstance(order, list):
        return items
    wanted = [o.get(key) if isinstance(o, dict) else o for o in order]

    def place(item: Any) -> int:
        name = item.get(key, _ABSENT) if isinstance(item, dict) else item
        return wanted.index(name) if name in wanted else len(wanted)

    return sorted(items, key=place)
