"""The JSON paths of printer columns and scale subresources: fields, indices, [*] and [?(@.a=="b")]."""

from __future__ import annotations

import functools
import re
from typing import Any

_STEP = re.compile(
    r"""\.?(?:(?P<name>[A-Za-z_][\w-]*)|\[['"](?P<quoted>[^'"]+)['"]\]|\[(?P<index>-?\d+|\*)\]"""
    r"""|\[\?\(@\.(?P<path>[\w.]+)\s*==\s*["'](?P<value>[^"']*)["']\)\])"""
)
Step = tuple[str, str, str]


@functools.cache
def _steps(path: str) -> tuple[Step, ...]:
    found = []
    for match in _STEP.finditer(path.replace("\\.", "\x00")):
        if match["index"] is not None:
            found.append(("index", match["index"], ""))
        elif match["path"] is not None:
            found.append(("filter", match["path"], match["value"]))
        else:
            name = match["name"] or match["quoted"]
            found.append(("field", name.replace("\x00", "."), ""))
    return tuple(found)


def find(obj: Any, path: str) -> list[Any]:
    """All values at `path`, none where there are none."""
    values = [obj]
    for kind, name, wanted in _steps(path):
        values = [found for value in values for found in _step(value, kind, name, wanted)]
    return values


def _step(value: Any, kind: str, name: str, wanted: str) -> list[Any]:
    if kind == "field":
        return [value[name]] if isinstance(value, dict) and name in value else []
    items = value if isinstance(value, list) else []
    if kind == "index":
        if name == "*":
            return list(items)
        return [items[int(name)]] if -len(items) <= int(name) < len(items) else []
    return [i for i in items if [str(v) for v in find(i, name)] == [wanted]]


def put(obj: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of `obj` with `value` at a path of fields."""
    names = [name for kind, name, _ in _steps(path) if kind == "field"]
    root = dict(obj)
    at = root
    for name in names[:-1]:
        at[name] = dict(at.get(name) or {})
        at = at[name]
    at[names[-1]] = value
    return root
