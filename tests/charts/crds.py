"""Custom resources against their CRDs: schema (strict), defaults, and every CEL rule that needs no old object."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft7Validator

SHARED = Path(__file__).parents[3] / "shared" / "data" / "crds"

GENERATIONS = {
    "v1.0.1": "inference-extension-v1.0.1",
    "v1.5.0": "inference-extension-v1.5.0",
    "v1.6.0": "inference-extension-v1.6.0",
    "llm-d": "llm-d-router-v0.10",
}


Schemas = dict[tuple[str, str, str], dict[str, Any]]


@cache
def _folder(name: str) -> Schemas:
    """The schemas of one folder of CRDs, by (group, version, kind)."""
    schemas: Schemas = {}
    for path in sorted((SHARED / name).glob("*.yaml")):
        for crd in yaml.load_all(path.read_text(), Loader=yaml.CSafeLoader):
            if crd and crd.get("kind") == "CustomResourceDefinition":
                spec = crd["spec"]
                for version in spec["versions"]:
                    key = (spec["group"], version["name"], spec["names"]["kind"])
                    schemas[key] = version["schema"]["openAPIV3Schema"]
    return schemas


class Crds:
    """The CRDs of some folders."""

    def __init__(self, *folders: str) -> None:
        self.schemas: Schemas = {}
        for folder in folders:
            self.schemas |= _folder(folder)

    def covers(self, resource: dict[str, Any]) -> bool:
        return self._key(resource) in self.schemas

    @staticmethod
    def _key(resource: dict[str, Any]) -> tuple[str, str, str]:
        group, _, version = resource["apiVersion"].rpartition("/")
        return group, version, resource["kind"]

    def errors(self, resource: dict[str, Any]) -> list[str]:
        """What a strict API server would say about this object; empty when it would take it."""
        schema = self.schemas[self._key(resource)]
        resource = copy.deepcopy(resource)
        found = [
            f"{'.'.join(map(str, e.absolute_path)) or '.'}: {e.message}"
            for e in Draft7Validator(_strict(schema, top=True)).iter_errors(resource)
        ]
        if not found:
            _default(schema, resource)
            found = list(_rules(schema, resource, ""))
        return found


def _strict(schema: dict[str, Any], top: bool = False) -> dict[str, Any]:
    """The CRD schema as JSON Schema that refuses unknown fields, which an API server would prune with a warning."""
    out = {k: v for k, v in schema.items() if not k.startswith("x-kubernetes") and k != "nullable"}
    if schema.get("x-kubernetes-int-or-string"):
        out.pop("type", None)
        out["type"] = ["integer", "string"]
    if "properties" in schema:
        out["properties"] = {k: _strict(v) for k, v in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields") and "additionalProperties" not in schema:
            out["additionalProperties"] = False
        if top:
            out["properties"] |= {"apiVersion": {}, "kind": {}, "metadata": {"type": "object"}}
    if isinstance(schema.get("items"), dict):
        out["items"] = _strict(schema["items"])
    if isinstance(schema.get("additionalProperties"), dict):
        out["additionalProperties"] = _strict(schema["additionalProperties"])
    for key in ("anyOf", "oneOf", "allOf"):
        # Kubernetes allows only value checks in these; properties stand outside.
        out.pop(key, None)
    return out


def _default(schema: dict[str, Any], value: Any) -> None:
    if isinstance(value, dict):
        for name, sub in schema.get("properties", {}).items():
            if name not in value and "default" in sub:
                value[name] = copy.deepcopy(sub["default"])
            if name in value:
                _default(sub, value[name])
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for item in value:
            _default(schema["items"], item)


def _rules(schema: dict[str, Any], value: Any, path: str) -> list[str]:
    found = [
        f"{path or '.'}: {rule.get('message', rule['rule'])}"
        for rule in schema.get("x-kubernetes-validations", [])
        if "oldSelf" not in rule["rule"] and not _holds(rule["rule"], value)
    ]
    if isinstance(value, dict):
        for name, item in value.items():
            sub = schema.get("properties", {}).get(name) or schema.get("additionalProperties")
            if isinstance(sub, dict):
                found += _rules(sub, item, f"{path}.{name}")
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for i, item in enumerate(value):
            found += _rules(schema["items"], item, f"{path}[{i}]")
    return found


@cache
def _cel() -> Any:
    from cel import cel  # not the package's own beginning, which xds-protos may have overwritten

    return cel


def _holds(rule: str, value: Any) -> bool:
    return bool(_cel().evaluate(rule, {"self": value}))
