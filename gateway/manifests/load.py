"""Typed reading of the manifests of an inference gateway: `load()` and what it gives, `Manifests`.

Everything that says what a file of manifests contains starts here; how a kind is read stands with the kind.
A kind that nothing here runs (Role, PodMonitor) is kept as a plain Resource, for lint and the API stand-in.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

from gateway.errors import ManifestError
from gateway.manifests.authorization import AuthorizationPolicy, read_policy
from gateway.manifests.charts import check_chart, check_object, check_text
from gateway.manifests.destinationrule import DestinationRule, read_destination_rule
from gateway.manifests.expand import LWS, expand
from gateway.manifests.gatewayapi import (
    GATEWAY_GROUP,
    Gateway,
    Grant,
    Route,
    read_gateway,
    read_grant,
    read_route,
)
from gateway.manifests.inference import InferencePool, is_pool, read_pool
from gateway.manifests.kustomize.build import build, kustomization_in
from gateway.manifests.resources import Resource, read_resource
from gateway.manifests.workloads import (
    Files,
    Service,
    Workload,
    read_config_map,
    read_secret,
    read_service,
    read_workload,
)
from kit.yamldoc import Cursor, Document, load_documents

Key = tuple[str, str]  # (namespace, name)
Identity = tuple[str, str, str, str]  # (API group, kind, namespace, name)


@dataclass
class Manifests:
    """All objects of a set of manifests; the typed ones by (namespace, name), in the order of the files."""

    resources: list[Resource] = field(default_factory=list)
    workloads: list[Workload] = field(default_factory=list)  # whatever makes pods
    services: dict[Key, Service] = field(default_factory=dict)
    config_maps: dict[Key, Files] = field(default_factory=dict)
    secrets: dict[Key, Files] = field(default_factory=dict)
    gateways: dict[Key, Gateway] = field(default_factory=dict)
    routes: list[Route] = field(default_factory=list)
    grants: list[Grant] = field(default_factory=list)
    pools: dict[Key, InferencePool] = field(default_factory=dict)
    destination_rules: list[DestinationRule] = field(default_factory=list)
    policies: list[AuthorizationPolicy] = field(default_factory=list)

    def objects(self) -> list[Any]:
        """The objects as given, each with the namespace that it is in; none that was made of another."""
        found = []
        for resource in self.resources:
            if resource.made_by is not None:
                continue
            value = resource.root.value
            if resource.namespace:
                meta = {**value.get("metadata", {}), "namespace": resource.namespace}
                value = {**value, "metadata": meta}
            found.append(value)
        return found

    def of_kind(self, *kinds: str) -> list[Resource]:
        return [r for r in self.resources if r.kind in kinds]

    def namespace_labels(self, name: str) -> dict[str, str]:
        """Labels of a namespace; Kubernetes itself adds its name as one."""
        written = next((r.labels for r in self.resources if r.kind == "Namespace" and r.name == name), {})
        return {**written, "kubernetes.io/metadata.name": name}

    def secret(self, namespace: str, name: str) -> Files | None:
        return self.secrets.get((namespace, name))


def load(sources: Sequence[str], namespace: str = "default", stdin: TextIO | None = None) -> Manifests:
    """Read files, directories (plain or kustomize) and `-`.

    Objects without a namespace belong to `namespace`, as with kubectl -n. Raises ManifestError with file and
    line.
    """
    return read((d for source in sources for d in _documents(source, stdin)), namespace)


def read(documents: Iterable[Document], namespace: str = "default") -> Manifests:
    """Documents that are already parsed, as typed objects; ManifestError for an object that stands twice."""
    manifests = Manifests()
    seen: dict[Identity, Resource] = {}
    for document in documents:
        check_object(document)
        for root in _objects(document.cursor()):
            try:
                _take(manifests, seen, read_resource(root, namespace), namespace)
            except ManifestError as error:
                if "${" not in error.message:
                    raise
                hint = "a variable that is still to be filled in, `... | envsubst | simfleet up -f -`"
                raise ManifestError(f"{error.message}: {hint}", error.file, error.line) from error
    return manifests


def _take(manifests: Manifests, seen: dict[Identity, Resource], resource: Resource, namespace: str) -> None:
    """An object and what its controller would make of it."""
    identity = (resource.group, resource.kind, resource.namespace, resource.name)
    if (first := seen.get(identity)) is not None:
        raise resource.error(f"stands twice; the first is at {first.where}")
    seen[identity] = resource
    manifests.resources.append(resource)
    _file(manifests, resource)
    for made in expand(resource):
        below = replace(read_resource(made, namespace), made_by=resource)
        manifests.resources.append(below)
        _file(manifests, below)


def documents_of(source: str, stdin: TextIO | None = None) -> Iterator[Document]:
    """The objects of one file, directory or `-`, a List's one by one. Raises ManifestError."""
    for document in _documents(source, stdin):
        for root in _objects(document.cursor()):
            yield root.document if not root.path else root.document.part(root.path)


def _documents(source: str, stdin: TextIO | None) -> Iterator[Document]:
    if source == "-":
        yield from load_documents((stdin or sys.stdin).read(), "<stdin>", ManifestError)
        return
    path = Path(source)
    if path.is_dir():
        check_chart(path)
        if (kustomization := kustomization_in(path)) is not None:
            yield from build(kustomization)
            return
        files = sorted(p for p in path.iterdir() if p.suffix in {".yaml", ".yml", ".json"})
        if not files:
            raise ManifestError("a directory without .yaml, .yml or .json files", source)
    elif path.exists():  # a file, or the pipe of a <(...)
        files = [path]
    else:
        raise ManifestError("no such file or directory", source)
    for file in files:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ManifestError(f"cannot be read: {error}", str(file)) from error
        try:
            yield from load_documents(text, str(file), ManifestError)
        except ManifestError:
            check_text(text, str(file))
            raise


def _objects(root: Cursor) -> Iterator[Cursor]:
    """The object itself, or the items of a List."""
    if (
        isinstance(root.value, dict)
        and str(root.value.get("kind", "")).endswith("List")
        and root.has("items")
    ):
        for item in root.items("items"):
            yield from _objects(item.document.part(item.path).cursor())
    else:
        yield root


def _file(manifests: Manifests, resource: Resource) -> None:
    """Read a resource of a known kind and put it where its kind belongs."""
    key = (resource.namespace, resource.name)
    if is_pool(resource):
        manifests.pools[key] = read_pool(resource)
        return
    reader = _READERS.get((resource.group, resource.kind))
    if reader is not None:
        reader(manifests, key, resource)


def _keyed(
    attribute: str, read_kind: Callable[[Resource], Any]
) -> Callable[[Manifests, Key, Resource], None]:
    def put(manifests: Manifests, key: Key, resource: Resource) -> None:
        getattr(manifests, attribute).setdefault(key, read_kind(resource))

    return put


def _listed(
    attribute: str, read_kind: Callable[[Resource], Any]
) -> Callable[[Manifests, Key, Resource], None]:
    def put(manifests: Manifests, key: Key, resource: Resource) -> None:
        getattr(manifests, attribute).append(read_kind(resource))

    return put


_READERS: dict[tuple[str, str], Callable[[Manifests, Key, Resource], None]] = {
    **dict.fromkeys(
        (
            *(("apps", kind) for kind in ("Deployment", "StatefulSet", "ReplicaSet", "DaemonSet")),
            *(("batch", "Job"), ("", "Pod"), ("", "ReplicationController")),
        ),
        _listed("workloads", read_workload),
    ),
    ("", "Service"): _keyed("services", read_service),
    ("", "ConfigMap"): _keyed("config_maps", read_config_map),
    ("", "Secret"): _keyed("secrets", read_secret),
    (GATEWAY_GROUP, "Gateway"): _keyed("gateways", read_gateway),
    (GATEWAY_GROUP, "HTTPRoute"): _listed("routes", read_route),
    (GATEWAY_GROUP, "GRPCRoute"): _listed("routes", read_route),
    (GATEWAY_GROUP, "ReferenceGrant"): _listed("grants", read_grant),
    ("networking.istio.io", "DestinationRule"): _listed("destination_rules", read_destination_rule),
    ("security.istio.io", "AuthorizationPolicy"): _listed("policies", read_policy),
}

# (group, kind) of what has a typed reader, or is expanded into what has one
READ_KINDS = {
    *_READERS,
    ("inference.networking.k8s.io", "InferencePool"),
    LWS,
    ("autoscaling", "HorizontalPodAutoscaler"),  # by gateway/autoscale
}
