"""The OpenAPI definitions of Kubernetes' own kinds, from the package kubernetes-validate.

They know types, required fields, merge keys and list types, so nothing of that stands here a second time.
They are read when the first built-in kind is asked for: 1.5 MB, about 20 ms.
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import Any

import msgspec

from gateway.errors import UsageError

Schema = dict[str, Any]

PREFIX = "#/$defs/"
RELEASE = "v1.33.0"  # of Kubernetes, whose definitions are served and whose version is told
META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


@functools.cache
def definitions() -> dict[str, Schema]:
    """All definitions by name. Raises UsageError where the package is not installed."""
    package = importlib.util.find_spec("kubernetes_validate")
    for root in package.submodule_search_locations or () if package else ():
        path = Path(root) / "kubernetes-json-schema" / f"{RELEASE}-local" / "_definitions.json"
        if path.is_file():
            found: dict[str, Schema] = msgspec.json.decode(path.read_bytes())["$defs"]
            return found
    raise UsageError("the definitions of Kubernetes' kinds are missing: pip install 'vllm-simfleet[cluster]'")


@functools.cache
def _by_kind() -> dict[tuple[str, str, str], str]:
    found = {}
    for name, schema in definitions().items():
        for gvk in schema.get("x-kubernetes-group-version-kind", ()):
            found[gvk["group"], gvk["version"], gvk["kind"]] = name
    return found


def definition_of(group: str, version: str, kind: str) -> str | None:
    """The name of the definition of a kind."""
    return _by_kind().get((group, version, kind))


def closure(names: set[str]) -> set[str]:
    """`names` and every definition that they lead to."""
    found: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop()
        if name not in found and name in definitions():
            found.add(name)
            todo += references(definitions()[name])
    return found


def references(schema: Any) -> list[str]:
    """Names of the definitions that a schema names."""
    if isinstance(schema, list):
        return [name for item in schema for name in references(item)]
    if not isinstance(schema, dict):
        return []
    target = schema.get("$ref")
    own = [target.removeprefix(PREFIX)] if isinstance(target, str) else []
    return own + [name for value in schema.values() for name in references(value)]
