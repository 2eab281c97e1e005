"""Objects against the CRDs of a folder (`--crds`): structure, types and required fields."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from gateway.errors import UsageError
from gateway.lint.finding import Finding, find
from gateway.manifests.load import Manifests
from gateway.manifests.resources import Resource
from kit.yamldoc import Cursor, show_path

Schema = dict[str, Any]
_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
}
_ANY_FIELDS = ("metadata", "apiVersion", "kind")


def load_crds(folder: str) -> dict[tuple[str, str], Schema]:
    """Schemas of the CRDs below `folder`, by (apiVersion, kind). Raises UsageError where there is none."""
    schemas: dict[tuple[str, str], Schema] = {}
    paths = sorted([*Path(folder).rglob("*.yaml"), *Path(folder).rglob("*.yml")])
    for path in paths:
        try:
            schemas |= _schemas_in(path)
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise UsageError(f"--crds {path} cannot be read: {' '.join(str(error).split())}") from None
        except (KeyError, TypeError) as error:
            raise UsageError(f"--crds {path}: no CustomResourceDefinition of v1: {error} is wrong") from None
    if not schemas:
        raise UsageError(f"--crds {folder}: no CustomResourceDefinition in {len(paths)} YAML files")
    return schemas


def _schemas_in(path: Path) -> dict[tuple[str, str], Schema]:
    schemas: dict[tuple[str, str], Schema] = {}
    for crd in yaml.load_all(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader):
        if isinstance(crd, dict) and crd.get("kind") == "CustomResourceDefinition":
            spec = crd["spec"]
            for version in spec["versions"]:
                key = (f"{spec['group']}/{version['name']}", spec["names"]["kind"])
                schemas[key] = version["schema"]["openAPIV3Schema"]
    return schemas


def check_schemas(manifests: Manifests, schemas: dict[tuple[str, str], Schema]) -> Iterator[Finding]:
    groups = {api.rpartition("/")[0] for api, _ in schemas}
    for resource in manifests.resources:
        schema = schemas.get((resource.api_version, resource.kind))
        if schema is not None:
            yield from _check(resource, resource.root, schema)
        elif resource.group in groups:
            yield _finding(
                resource, resource.root, f"these CRDs have no {resource.kind} of {resource.api_version}"
            )


def _check(resource: Resource, at: Cursor, schema: Schema) -> Iterator[Finding]:
    if schema.get("x-kubernetes-int-or-string"):
        wanted: type | tuple[type, ...] = (int, str)
    else:
        wanted = _TYPES.get(schema.get("type", ""), object)
    value = at.value
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted not in (bool, object)):
        yield _finding(resource, at, f"must be {schema.get('type', 'an integer or a string')}, is {value!r}")
        return
    if "enum" in schema and value not in schema["enum"]:
        yield _finding(resource, at, f"must be one of {', '.join(map(str, schema['enum']))}, is {value!r}")
    if isinstance(value, dict):
        yield from _check_object(resource, at, schema)
    elif isinstance(value, list):
        yield from _check_array(resource, at, schema)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        low, high = schema.get("minimum"), schema.get("maximum")
        if (low is not None and value < low) or (high is not None and value > high):
            yield _finding(resource, at, f"must be {_range(low, high)}, is {value}")


def _range(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return f"at least {low}" if high is None else f"at most {high}"
    return f"between {low} and {high}"


def _check_object(resource: Resource, at: Cursor, schema: Schema) -> Iterator[Finding]:
    known = schema.get("properties", {})
    for name in schema.get("required", []):
        if name not in at.value:
            yield _finding(resource, at, f"{name} is missing")
    for name in at.value:
        if name in known:
            if name not in _ANY_FIELDS and at.value[name] is not None:
                yield from _check(resource, at.at(name), known[name])
        elif isinstance(schema.get("additionalProperties"), dict):
            yield from _check(resource, at.at(name), schema["additionalProperties"])
        elif known and not schema.get("x-kubernetes-preserve-unknown-fields") and name not in _ANY_FIELDS:
            yield _finding(resource, at.at(name), f"these CRDs have no field {name!r} here")


def _check_array(resource: Resource, at: Cursor, schema: Schema) -> Iterator[Finding]:
    count = len(at.value)
    low, high = schema.get("minItems", 0), schema.get("maxItems", count)
    if not low <= count <= high:
        yield _finding(resource, at, f"must have {low} to {high} items, has {count}")
    for i in range(count):
        if isinstance(schema.get("items"), dict):
            yield from _check(resource, at.at(i), schema["items"])


def _finding(resource: Resource, at: Cursor, message: str) -> Finding:
    text = f"{resource}: {show_path(at.path)}: {message}"
    consequence = "the API server refuses the object, or drops the field without a word"
    return find(
        "schema", at, text, consequence, "write what the CRD of this generation has, or install its newer one"
    )
