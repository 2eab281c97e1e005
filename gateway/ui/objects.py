"""The manifests of a stack as the page shows them: each object, what it becomes, conditions, findings.

Made in the stack's own process, where the manifests are; what Envoy made of them is joined by the page's
server (envoydump.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from gateway.lint import lint
from gateway.manifests.attach import attach
from gateway.manifests.conditions import pool_conditions, route_conditions
from gateway.manifests.inference import is_pool
from gateway.manifests.resources import Resource
from gateway.stack.plan import Plan

Json = dict[str, Any]

# kind -> what an object of it is here
_BECOMES: Mapping[str, str] = {
    "Gateway": "an Envoy",
    "HTTPRoute": "routes",
    "GRPCRoute": "routes",
    "InferencePool": "a cluster with a picker",
    "Service": "a cluster where a route or picker needs it",
    "DestinationRule": "settings of clusters",
    "ConfigMap": "files and variables of pods",
    "Secret": "files, variables and certificates",
    "ReferenceGrant": "permission for references",
    "Namespace": "labels for listeners",
    "InferenceObjective": "priorities of the picker",
    "InferenceModelRewrite": "rewrites of the picker",
}


def describe(plan: Plan) -> Json:
    """All objects in the order of the manifests, and what lint finds. Takes a while: not for a busy loop."""
    manifests = plan.manifests
    results = attach(manifests)
    conditions: dict[str, list[Json]] = {}
    for condition in (*route_conditions(manifests, results), *pool_conditions(manifests, results)):
        conditions.setdefault(condition.object, []).append(asdict(condition))
    objects = [
        {
            "kind": resource.kind,
            "namespace": resource.namespace,
            "name": resource.name,
            "api_version": resource.api_version,
            "where": resource.where,
            "becomes": _becomes(plan, resource),
            "conditions": conditions.get(str(resource), []),
        }
        for resource in manifests.resources
    ]
    findings = [
        {
            "rule": f.rule.id,
            "severity": str(f.rule.severity),
            "where": f"{f.file}:{f.line}",
            "message": f.message,
            "consequence": f.consequence,
            "mend": f.mend,
        }
        for f in lint(manifests)
    ]
    return {"objects": objects, "findings": findings, "notes": list(plan.notes)}


def _becomes(plan: Plan, resource: Resource) -> str | None:
    """What an object is in this stack; None for one that nothing is made of."""
    server = next((s for s in plan.servers if s.workload.resource is resource), None)
    if server is not None:
        return f"pods of pool {server.pool.name}" if server.pool is not None else "pods of no pool"
    picker = next((p for p in plan.pickers if p.workload.resource is resource), None)
    if picker is not None:
        return f"the picker of pool {picker.pool.name}"
    if resource.kind == "InferencePool" and not is_pool(resource):
        return None
    return _BECOMES.get(resource.kind)
