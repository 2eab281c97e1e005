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
        if not key.startswith("$"):
            _merge_field(result, key, value, schema, patch)
        elif key.startswith("$deleteFromPrimitiveList/"):
            name = key.partition("/")[2]
            result[name] = [item for item in result.get(name, []) if item not in value]
    _reorder(result, patch, schema)
    return result


def _merge_field(result: Object, key: str, value: Any, schema: Node, patch: Object) -> None:
    if value is None:
        result.pop(key, None)
    else:
        inner = schema.field(key) or ANY
        result[key] = _merged(result.get(key), value, inner, patch.get(f"$setElementOrder/{key}"))


def _reorder(result: Object, patch: Object, schema: Node) -> None:
    """Lists of which the patch gives the order and nothing else."""
    for key, order in patch.items():
        name = key.partition("/")[2]
        if key.startswith("$setElementOrder/") and name not in patch and isinstance(result.get(name), list):
            inner = schema.field(name) or ANY
            result[name] = _ordered(result[name], order, inner.merge_key or "")


def _merged(old: Any, new: Any, schema: Node, order: Any) -> Any:
    if isinstance(new, dict):
        return strategic_merge(old, new, schema)
    if not isinstance(new, list) or schema.merge_key is None:
        return copy.deepcopy(new)
    items = list(old) if isinstance(old, list) else []
    if any(isinstance(i, dict) and i.get("$patch") == "replace" for i in new):
        items = [copy.deepcopy(i) for i in new if not (isinstance(i, dict) and "$patch" in i)]
    elif schema.merge_key:
        items = _merged_list(items, new, schema, schema.merge_key)
    else:
        items += [copy.deepcopy(i) for i in new if i not in items]
    return _ordered(items, order, schema.merge_key)


def _merged_list(items: list[Any], new: list[Any], schema: Node, key: str) -> list[Any]:
    """Items with the same value of `key` are merged, others come behind. Raises ApiError 400."""
    for item in new:
        if not isinstance(item, dict) or key not in item:
            raise bad_request(f"map: {item} does not contain declared merge key: {key}")
        places = [i for i, o in enumerate(items) if isinstance(o, dict) and o.get(key) == item[key]]
        if item.get("$patch") == "delete":
            items = [o for i, o in enumerate(items) if i not in places]
        elif places:
            items[places[0]] = strategic_merge(items[places[0]], item, schema.items())
        else:
            items.append(strategic_merge({}, item, schema.items()))
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
