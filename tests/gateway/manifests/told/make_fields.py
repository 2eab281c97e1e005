"""Makes gateway/manifests/told/fields.json: which fields the objects of known kinds have.

    pip install kubernetes pyyaml; python make_fields.py FOLDER_OF_CRDS OUT

Kinds of Kubernetes itself come from its Python client, the others from their CRDs; those of the experimental
channel and of CRDs that are not at hand stand in EXTRA.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import kubernetes.client  # type: ignore[import-not-found]
import yaml

CORE = {
    **{f"apps/{kind}": f"V1{kind}" for kind in ("Deployment", "StatefulSet", "ReplicaSet", "DaemonSet")},
    **{
        f"/{kind}": f"V1{kind}" for kind in ("Pod", "Service", "ConfigMap", "Secret", "ReplicationController")
    },
    "batch/Job": "V1Job",
    "batch/CronJob": "V1CronJob",
    "autoscaling/HorizontalPodAutoscaler": "V2HorizontalPodAutoscaler",
}
_PERSISTENCE = ["absoluteTimeout", "cookieConfig", "idleTimeout", "sessionName", "type"]
_SOURCE = ["principals", "requestPrincipals", "namespaces", "serviceAccounts", "ipBlocks", "remoteIpBlocks"]
_OPERATION = ["hosts", "ports", "methods", "paths"]
EXTRA: dict[str, Any] = {
    "gateway.networking.k8s.io/HTTPRoute": {
        "spec": {
            "useDefaultGateways": None,
            "rules": {
                "retry": ["attempts", "backoff", "codes"],
                "sessionPersistence": _PERSISTENCE,
                "backendRefs": {"filters": {"externalAuth": None}},
                "filters": {"externalAuth": None},
            },
        }
    },
    "autoscaling/HorizontalPodAutoscaler": {},
    "security.istio.io/AuthorizationPolicy": {
        "apiVersion": None,
        "kind": None,
        "metadata": "V1ObjectMeta",
        "status": None,
        "spec": {
            "action": None,
            "provider": ["name"],
            "selector": {"matchLabels": None},
            "targetRef": ["group", "kind", "name", "namespace"],
            "targetRefs": ["group", "kind", "name", "namespace"],
            "rules": {
                "from": {"source": [n for s in _SOURCE for n in (s, f"not{s[:1].upper()}{s[1:]}")]},
                "to": {"operation": [n for s in _OPERATION for n in (s, f"not{s[:1].upper()}{s[1:]}")]},
                "when": ["key", "values", "notValues"],
            },
        },
    },
    "leaderworkerset.x-k8s.io/LeaderWorkerSet": {
        "apiVersion": None,
        "kind": None,
        "metadata": "V1ObjectMeta",
        "status": None,
        "spec": {
            "replicas": None,
            "rolloutStrategy": None,
            "startupPolicy": None,
            "networkConfig": None,
            "leaderWorkerTemplate": {
                "leaderTemplate": "V1PodTemplateSpec",
                "workerTemplate": "V1PodTemplateSpec",
                "size": None,
                "restartPolicy": None,
                "subGroupPolicy": None,
                "volumeClaimTemplates": None,
                "persistentVolumeClaimRetentionPolicy": None,
                "resourcesPlacement": None,
            },
        },
    },
}
types: dict[str, Any] = {}


def of_type(name: str) -> str | None:
    """The name under which a type of the client stands in `types`; None for what has no fields."""
    if listed := re.fullmatch(r"[lL]ist\[(.*)\]", name):
        return of_type(listed[1])
    made = getattr(kubernetes.client, name, None)
    if made is None or not hasattr(made, "attribute_map"):
        return None
    if name not in types:
        types[name] = {}
        fields = {made.attribute_map[a]: of_type(t) for a, t in made.openapi_types.items()}
        types[name] = {**fields, "status": None} if {"spec", "status"} <= fields.keys() else fields
    return name


def of_schema(schema: dict[str, Any]) -> Any:
    """The fields of a CRD's schema; None where anything may stand."""
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return None
    if schema.get("type") == "array":
        return of_schema(schema.get("items", {}))
    if "properties" in schema:
        return {name: of_schema(below) for name, below in schema["properties"].items()}
    return None


def union(a: Any, b: Any) -> Any:
    """Both trees in one."""
    if isinstance(a, list):
        a = dict.fromkeys(a)
    if isinstance(b, list):
        b = dict.fromkeys(b)
    if isinstance(a, dict) and isinstance(b, dict):
        return {n: union(a[n], b[n]) if n in a and n in b else a.get(n, b.get(n)) for n in {**a, **b}}
    return b if a is None else a


def small(node: Any) -> Any:
    """Objects that have leaves only as lists of names."""
    if isinstance(node, dict):
        node = {name: small(below) for name, below in sorted(node.items())}
        return sorted(node) if node and all(below is None for below in node.values()) else node
    return node


def main(folder: str, out: str) -> None:
    kinds: dict[str, Any] = {name: of_type(of) for name, of in CORE.items()}
    types["V2HorizontalPodAutoscalerSpec"]["targetCPUUtilizationPercentage"] = None  # of autoscaling/v1
    for path in sorted(Path(folder).rglob("*.yaml")):
        for crd in yaml.safe_load_all(path.read_text()):
            for version in crd["spec"]["versions"]:
                name = f"{crd['spec']['group']}/{crd['spec']['names']['kind']}"
                tree = of_schema(version["schema"]["openAPIV3Schema"])
                tree |= {"apiVersion": None, "kind": None, "metadata": "V1ObjectMeta", "status": None}
                kinds[name] = union(kinds.get(name), tree)
    for name, tree in EXTRA.items():
        kinds[name] = union(kinds.get(name), tree)
    parts = {"types": types, "kinds": kinds}
    lines = []
    for part, found in parts.items():
        rows = [
            f"  {json.dumps(n)}: {json.dumps(small(t), separators=(',', ':'))}"
            for n, t in sorted(found.items())
        ]
        lines.append(f" {json.dumps(part)}: {{\n" + ",\n".join(rows) + "\n }")
    Path(out).write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
