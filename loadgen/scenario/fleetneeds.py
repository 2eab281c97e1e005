"""What a scenario supposes of the fleet, applied to manifests: `loadgen scenarios NAME --manifests FILE`.

A scenario's expectations hold for pods of a certain speed, size and set of adapters. `fleet:` says which;
here the manifests of any inference gateway are made to meet it: model servers (containers with --model)
get the arguments and replicas, the picker's ConfigMap its configuration, the pool its objectives.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from kit.yamldoc import load_documents
from loadgen.errors import ScenarioError
from loadgen.scenario.scenario import FleetNeeds

PICKER_KIND = "EndpointPickerConfig"
OBJECTIVE_API = "inference.networking.x-k8s.io/v1alpha2"


def flag_name(argument: str) -> str | None:
    """The flag's name without dashes, None for a value."""
    if not argument.startswith("--"):
        return None
    return argument[2:].partition("=")[0].replace("_", "-")


def merged_arguments(base: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """`base` without the flags that `wanted` sets, and `wanted` behind it."""
    names = {name for name in map(flag_name, wanted) if name is not None}
    kept: list[str] = []
    dropping = False
    for argument in map(str, base):
        name = flag_name(argument)
        if name is not None:
            dropping = name in names
        if not dropping:
            kept.append(argument)
    return kept + list(wanted)


def apply_needs(documents: Sequence[dict[str, Any]], needs: FleetNeeds) -> list[dict[str, Any]]:
    """The manifests that meet the needs; ScenarioError when they have no model server or no pool."""
    result = list(documents)
    servers = [document for document in result if _server_container(document) is not None]
    if not servers:
        raise ScenarioError("no Deployment with a container that has --model among its args")
    for server in servers:
        container = _server_container(server)
        assert container is not None
        container["args"] = merged_arguments(container.get("args", []), needs.args)
        if needs.replicas is not None:
            server["spec"]["replicas"] = needs.replicas
    if needs.picker is not None and not any(_set_picker(document, needs.picker) for document in result):
        raise ScenarioError(f"no ConfigMap that holds an {PICKER_KIND}")
    return result + list(_objectives(result, needs.objectives))


def _server_container(document: dict[str, Any]) -> dict[str, Any] | None:
    if document.get("kind") not in ("Deployment", "StatefulSet"):
        return None
    spec = _mapping(_mapping(_mapping(document, "spec"), "template"), "spec")
    for container in _list(spec, "containers"):
        arguments = _list(container, "args") if isinstance(container, dict) else []
        names = [flag_name(str(argument)) for argument in arguments]
        if "model" in names:
            found: dict[str, Any] = container
            return found
    return None


def _mapping(document: dict[str, Any], key: str) -> dict[str, Any]:
    """The mapping under `key`, empty when there is none."""
    value = document.get(key)
    return value if isinstance(value, dict) else {}


def _list(document: dict[str, Any], key: str) -> list[Any]:
    """The list under `key`, empty when there is none."""
    value = document.get(key)
    return value if isinstance(value, list) else []


def _set_picker(document: dict[str, Any], config: dict[str, Any]) -> bool:
    data = _mapping(document, "data") if document.get("kind") == "ConfigMap" else {}
    for key, value in data.items():
        if PICKER_KIND in str(value):
            data[key] = yaml.safe_dump(config, sort_keys=False)
            return True
    return False


def _objectives(documents: Sequence[dict[str, Any]], priorities: dict[str, int]) -> Iterator[dict[str, Any]]:
    if not priorities:
        return
    pool = next((document for document in documents if document.get("kind") == "InferencePool"), None)
    if pool is None:
        raise ScenarioError("no InferencePool for the objectives")
    owner = _mapping(pool, "metadata")
    if "name" not in owner:
        raise ScenarioError("an InferencePool without metadata.name, which its objectives refer to")
    for name, priority in priorities.items():
        metadata = {"name": name}
        if "namespace" in owner:
            metadata["namespace"] = owner["namespace"]
        yield {
            "apiVersion": OBJECTIVE_API,
            "kind": "InferenceObjective",
            "metadata": metadata,
            "spec": {"priority": priority, "poolRef": {"name": owner["name"]}},
        }


def manifests_for(needs: FleetNeeds, path: Path) -> str:
    """The YAML of a manifest file (`-`: of standard input) with the needs applied.

    ScenarioError for a file that is none.
    """
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"cannot be read: {error}", path) from error
    documents = [each.data for each in load_documents(text, str(path), ScenarioError) if each.data]
    for number, document in enumerate(documents, start=1):
        if not isinstance(document, dict):
            raise ScenarioError(f"document {number} is no manifest (a mapping with `kind:`)", path)
    return yaml.safe_dump_all(apply_needs(documents, needs), sort_keys=False)
