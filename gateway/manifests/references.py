"""What the backendRefs of a route come to: a pool, a Service port, or the reason why neither.

Reasons and messages are those that Istio writes into HTTPRoute.status.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.manifests.gatewayapi import GATEWAY_GROUP, POOL_GROUP, BackendRef, Route
from gateway.manifests.inference import InferencePool
from gateway.manifests.load import Manifests
from gateway.manifests.workloads import Service, ServicePort


@dataclass(frozen=True)
class Problem:
    """Why a reference does not resolve: a condition's reason and message."""

    reason: str
    message: str


@dataclass(frozen=True)
class Backend:
    """A backendRef and what it names: a pool, or a Service and its port, or a problem.

    A Service without the port is no problem to Istio: the reference counts as resolved and requests get 500.
    """

    ref: BackendRef
    pool: InferencePool | None = None
    service: Service | None = None
    port: ServicePort | None = None
    problem: Problem | None = None

    @property
    def cluster(self) -> str | None:
        """Name of the Envoy cluster behind it, None where there is none."""
        if self.pool is not None:
            return self.pool.cluster
        if self.service is not None and self.port is not None:
            return service_cluster(self.service.host, self.port.port)
        return None

    @property
    def destination(self) -> str:
        """The cluster that a route names: one that does not exist where the reference leads nowhere."""
        if self.cluster is not None:
            return self.cluster
        ref = self.ref
        missing = self.problem is None or (ref.kind == "Service" and self.problem.reason == "BackendNotFound")
        if not missing or ref.port is None:
            return "UnknownService"
        return service_cluster(service_host(ref.name, ref.namespace), ref.port)


def service_host(name: str, namespace: str) -> str:
    """A Service's name in the cluster's DNS."""
    return f"{name}.{namespace}.svc.cluster.local"


def service_cluster(host: str, port: int) -> str:
    """Istio's name for the cluster of a Service port."""
    return f"outbound|{port}||{host}"


def is_granted(
    manifests: Manifests, source: tuple[str, str, str], target: tuple[str, str, str], name: str
) -> bool:
    """Whether `source` may refer to `target`, each (group, kind, namespace), when it is called `name`."""
    if source[2] == target[2]:
        return True
    return any(
        grant.namespace == target[2]
        and source in grant.sources
        and any(to[:2] == target[:2] and to[2] in {"", name} for to in grant.targets)
        for grant in manifests.grants
    )


def resolve_backend(manifests: Manifests, route: Route, ref: BackendRef) -> Backend:
    """What `ref` of `route` names. A pool's `port` is ignored, as in Istio."""
    source = (GATEWAY_GROUP, route.resource.kind, route.namespace)
    if not is_granted(manifests, source, (ref.group, ref.kind, ref.namespace), ref.name):
        return _failed(
            ref,
            "RefNotPermitted",
            f"backendRef {ref.name}/{ref.namespace} not accessible to a {route.resource.kind} in namespace "
            f"{route.namespace!r} (missing a ReferenceGrant?)",
        )
    if (ref.group, ref.kind) == (POOL_GROUP, "InferencePool"):
        pool = manifests.pools.get((ref.namespace, ref.name))
        if pool is None or pool.picker is None:
            return _failed(ref, "BackendNotFound", f"backend({ref.name}) not found")
        return Backend(ref, pool=pool)
    if (ref.group, ref.kind) == ("", "Service"):
        return _resolve_service(manifests, ref)
    return _failed(
        ref, "InvalidKind", f"referencing unsupported backendRef: group {ref.group!r} kind {ref.kind!r}"
    )


def _resolve_service(manifests: Manifests, ref: BackendRef) -> Backend:
    service = manifests.services.get((ref.namespace, ref.name))
    if service is None:
        host = service_host(ref.name, ref.namespace)
        return _failed(ref, "BackendNotFound", f"backend({host}) not found")
    if ref.port is None:
        return _failed(ref, "UnsupportedValue", "port is required for a backendRef to a Service")
    return Backend(ref, service=service, port=service.port(ref.port))


def _failed(ref: BackendRef, reason: str, message: str) -> Backend:
    return Backend(ref, problem=Problem(reason, message))
