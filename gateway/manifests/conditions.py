"""Conditions that Istio would write on routes and pools (conversion.go, inferencepool_collection.go)."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.manifests.attach import ParentResult
from gateway.manifests.inference import InferencePool
from gateway.manifests.load import Manifests
from gateway.manifests.references import resolve_backend

_POOL_REFERENCED = "Referenced by an HTTPRoute accepted by the parentRef Gateway"


@dataclass(frozen=True)
class Condition:
    """One condition of one object towards one Gateway (`namespace/name`)."""

    object: str
    gateway: str
    type: str
    status: bool
    reason: str
    message: str


def route_conditions(manifests: Manifests, results: list[ParentResult]) -> list[Condition]:
    """Accepted and ResolvedRefs of every route, per parent Gateway."""
    conditions = []
    for result in results:
        name, gateway = str(result.route), f"{result.parent.namespace}/{result.parent.name}"
        problem = result.problem
        reason, message = (problem.reason, problem.message) if problem else ("Accepted", "Route was valid")
        conditions.append(Condition(name, gateway, "Accepted", problem is None, reason, message))
        failed = next(
            (
                backend.problem
                for rule in result.route.rules
                for ref in rule.backends
                if (backend := resolve_backend(manifests, result.route, ref)).problem
            ),
            None,
        )
        reason, message = (
            (failed.reason, failed.message) if failed else ("ResolvedRefs", "All references resolved")
        )
        conditions.append(Condition(name, gateway, "ResolvedRefs", failed is None, reason, message))
    return conditions


def pool_conditions(manifests: Manifests, results: list[ParentResult]) -> list[Condition]:
    """Accepted and ResolvedRefs of every pool that a route names, per Gateway of that route."""
    conditions: dict[tuple[str, str, str], Condition] = {}
    for result in results:
        for pool in _pools_of(manifests, result):
            gateway = f"{result.parent.namespace}/{result.parent.name}"
            accepted = result.problem is None
            reason, message = ("Accepted", _POOL_REFERENCED)
            if not accepted:
                reason = "HTTPRouteNotAccepted"
                message = f"Referenced {result.route} not accepted by Gateway {gateway}"
            made = Condition(str(pool), gateway, "Accepted", accepted, reason, message)
            key = (made.object, gateway, "Accepted")
            if key not in conditions or accepted:  # one route that is accepted is enough
                conditions[key] = made
            conditions[made.object, gateway, "ResolvedRefs"] = _picker_condition(manifests, pool, gateway)
    return list(conditions.values())


def _pools_of(manifests: Manifests, result: ParentResult) -> list[InferencePool]:
    found = {}
    for rule in result.route.rules:
        for ref in rule.backends:
            pool = manifests.pools.get((ref.namespace, ref.name)) if ref.kind == "InferencePool" else None
            if pool is not None:
                found[pool.key] = pool
    return list(found.values())


def _picker_condition(manifests: Manifests, pool: InferencePool, gateway: str) -> Condition:
    """Istio looks only for the Service object, not for its port, endpoints or TLS."""
    problem = None
    if pool.picker is None:
        problem = "ExtensionRef not defined"
    elif (pool.picker.group, pool.picker.kind) != ("", "Service"):
        problem = f"Unsupported ExtensionRef kind {pool.picker.kind}"
    elif (pool.namespace, pool.picker.name) not in manifests.services:
        problem = f"Referenced ExtensionRef not found {pool.picker.name}"
    if problem is not None:
        return Condition(str(pool), gateway, "ResolvedRefs", False, "InvalidExtensionRef", problem)
    message = "Referenced ExtensionRef resolved successfully"
    return Condition(str(pool), gateway, "ResolvedRefs", True, "ResolvedRefs", message)
