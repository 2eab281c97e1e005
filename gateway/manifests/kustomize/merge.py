"""Strategic merge and JSON patches, as kustomize applies them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from gateway.manifests.kustomize.objects import Built
from kit.yamldoc import Cursor, Document

# Lists that merge by keys (Kubernetes' patchMergeKey and list map keys); every other list is replaced.
_MERGE_KEYS = {
    **dict.fromkeys(("containers", "initContainers", "ephemeralContainers", "env", "volumes"), ("name",)),
    **dict.fromkeys(("imagePullSecrets", "resourceClaims"), ("name",)),
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
    "hostAliases": ("ip",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "ports": ("containerPort", "port", "protocol"),
}
# Groups whose kinds have pods or ports: kustomize knows no merge keys of custom resources.
_MERGING_GROUPS = {"", "apps", "batch"}


def merge(base: Any, patch: Any, built: Built) -> Any:
    """`base`, the data of `built`, with a strategic merge patch applied.

    Null deletes, `$patch: delete` removes an item of a list or a mapping, `$patch: replace` replaces it.
    Raises ManifestError for the directives that are not built here.
    """
    keyed = built.group_version[0] in _MERGING_GROUPS and built.kind != "ServiceAccount"
    return _Merge(built.document.cursor(), keys=_MERGE_KEYS if keyed else {}).value(base, patch, "")


def merge_typed(base: Any, patch: Any, at: Cursor) -> Any:
    """`base` with `patch` over it, as controllers merge pods by Go's types: ports by their numbers alone.

    Raises ManifestError at `at` for lists whose items lack what they are merged by.
    """
    return _Merge(at, keys={**_MERGE_KEYS, "ports": ("containerPort",)}).value(base, patch, "")


class _Merge:
    def __init__(self, at: Cursor, *, keys: Mapping[str, tuple[str, ...]]) -> None:
        self._at = at
        self._keys = keys

    def value(self, base: Any, patch: Any, field: str) -> Any:
        if isinstance(patch, dict):
            return self._mapping(base if isinstance(base, dict) else {}, patch)
        if isinstance(patch, list) and field in self._keys:
            return self._list(base if isinstance(base, list) else [], patch, self._keys[field])
        return deepcopy(patch)

    def _mapping(self, base: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
        directive = self._directive(patch)
        result = {} if directive == "replace" else dict(base)
        for key, value in patch.items():
            if key == "$patch":
                continue
            if value is None or (isinstance(value, dict) and value.get("$patch") == "delete"):
                result.pop(key, None)
            else:
                result[key] = self.value(result.get(key), value, key)
        return result

    def _directive(self, patch: dict[str, Any]) -> str:
        for key, value in patch.items():
            if key.startswith("$") and (key != "$patch" or value not in ("delete", "replace", "merge")):
                raise self._at.error(f"the patch's {key}: {value!r} is not built here")
        return str(patch.get("$patch", "merge"))

    def _list(self, base: list[Any], patch: list[Any], keys: tuple[str, ...]) -> list[Any]:
        """Lists by one key are in the patch's order; by several, new items come before the old order."""
        if any(isinstance(item, dict) and item.get("$patch") == "replace" for item in patch):
            return [deepcopy(x) for x in patch if not (isinstance(x, dict) and "$patch" in x)]
        return self._keyed_list(base, patch, self._used(base, patch, keys))

    def _keyed_list(self, base: list[Any], patch: list[Any], used: list[str]) -> list[Any]:
        first: list[Any] = []
        rest = list(base)
        for item in patch:
            at = next((i for i, old in enumerate(rest) if all(old[k] == item[k] for k in used)), len(rest))
            old = rest[at : at + 1]
            value = [self.value(old[0] if old else {}, item, "")]
            if self._directive(item) == "delete":
                value = []
            if old and len(used) > 1:
                rest[at : at + 1] = value
            else:
                del rest[at : at + 1]
                first += value
        return first + rest

    def _used(self, base: list[Any], patch: list[Any], keys: tuple[str, ...]) -> list[str]:
        """The keys that tell the items of both lists apart: kustomize loses items that lack one of them."""
        items = [*base, *patch]
        used = [key for key in keys if any(isinstance(item, dict) and key in item for item in items)]
        for item in items:
            if not used or not isinstance(item, dict) or any(key not in item for key in used):
                wanted = " and ".join(used or keys)
                raise self._at.error(f"a patch merges lists by {wanted}, which {item!r} lacks: give each all")
        return used


def apply_json_patch(document: Document, patch: Document) -> Any:
    """The data of `document` with an RFC 6902 patch applied. Raises ManifestError at the operation."""
    data = deepcopy(document.data)
    root = patch.cursor()
    for i in range(len(patch.data)):
        operation = root.at(i)
        try:
            _apply_operation(data, operation)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            text = f"{operation.text('op')} {operation.text('path')}: there is nothing at this path"
            raise operation.error(text, "path") from error
    return data


def _apply_operation(data: Any, operation: Cursor) -> None:
    op = operation.text("op")
    if op in {"move", "copy"}:
        holder, key = _place(data, operation, "from")
        value = deepcopy(holder[key])
        if op == "move":
            del holder[key]
        op = "add"
    elif op in {"add", "replace", "test"} and "value" not in operation.value:
        raise operation.error(f"{op} needs a value")
    else:
        value = deepcopy(operation.value.get("value"))
    holder, key = _place(data, operation, "path", may_end=op == "add")
    if op == "add" and isinstance(holder, list):
        holder.insert(key, value)
    elif op == "add":
        holder[key] = value
    elif op == "replace":
        holder[key], _ = value, holder[key]  # KeyError: replace needs an old value
    elif op == "remove":
        del holder[key]
    elif op == "test":
        if holder[key] != value:
            raise operation.error(f"test failed: the value is {holder[key]!r}", "value")
    else:
        raise operation.error(f"must be add, remove, replace, move, copy or test, is {op!r}", "op")


def _place(data: Any, operation: Cursor, field: str, *, may_end: bool = False) -> tuple[Any, Any]:
    """The mapping or list that a JSON pointer leads into, and the key or index in it."""
    parts = [p.replace("~1", "/").replace("~0", "~") for p in operation.text(field).split("/")[1:]]
    if not parts:
        raise operation.error("a patch cannot replace the whole object", field)
    holder: Any = data
    for part in parts[:-1]:
        holder = holder[_index(part, len(holder) - 1)] if isinstance(holder, list) else holder[part]
    if not isinstance(holder, list):
        if not isinstance(holder, dict):
            raise TypeError(field)
        return holder, parts[-1]
    if may_end and parts[-1] == "-":
        return holder, len(holder)
    return holder, _index(parts[-1], len(holder) - (not may_end))


def _index(part: str, last: int) -> int:
    if not re.fullmatch(r"0|[1-9]\d*", part, re.ASCII) or int(part) > last:
        raise IndexError(part)
    return int(part)
