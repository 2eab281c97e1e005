"""Typed reading of the manifests of an inference gateway: `load()` and what it gives, `Manifests`.

Everything that says what a file of manifests contains starts here; how a kind is read stands with the kind.
A kind that nothing here runs (Role, PodMonitor) is kept as a plain Resource, for lint and the API stand-in.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

from gateway.errors import ManifestError
from gateway.manifests.authorization import AuthorizationPolicy, read_policy
from gateway.manifests.charts import check_chart, check_object, check_text
from gateway.manifests.destinationrule import DestinationRule, read_destination_rule
from gateway.manifests.expand.controllers import EXPANDED, expand
from gateway.manifests.expand.objects import Missing
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
    unmade: list[tuple[Resource, Missing]] = field(default_factory=list)  # what controllers would not make

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
    given: dict[Identity, Resource] = {}
    for document in documents:
        check_object(document)
        for root in _objects(document.cursor()):
            with _hint():
                _give(given, read_resource(root, namespace))
    for resource in given.values():
        with _hint():
            _take(manifests, given, resource)
    return manifests


def _give(given: dict[Identity, Resource], resource: Resource) -> None:
    first = given.setdefault(_identity(resource), resource)
    if first is not resource:
        raise resource.error(f"stands twice; the first is at {first.where}")


def _identity(resource: Resource) -> Identity:
    return resource.group, resource.kind, resource.namespace, resource.name


@contextlib.contextmanager
def _hint() -> Iterator[None]:
    """Say of an error over a variable that is not filled in how it is."""
    try:
        yield
    except ManifestError as error:
        if "${" not in error.message:
            raise
        hint = "a variable that is still to be filled in, `... | envsubst | simfleet up -f -`"
        raise ManifestError(f"{error.message}: {hint}", error.file, error.line) from error


def _take(manifests: Manifests, given: dict[Identity, Resource], resource: Resource) -> None:
    """An object and what its controller would make of it, where that does not stand there already."""
    manifests.resources.append(resource)
    if _owner(given, resource) is not None:
        return
    _file(manifests, resource)

    def find(kind: str, namespace: str, name: str) -> Resource | None:
        places = (r for (_, k, ns, n), r in given.items() if (k, ns, n) == (kind, namespace, name))
        return next(places, None)

    for made in expand(resource, find):
        if isinstance(made, Missing):
            manifests.unmade.append((resource, made))
            continue
        below = replace(read_resource(made, resource.namespace), made_by=resource)
        stands = given.get(_identity(below))
        if stands is None or _owner(given, stands) is not None:
            _take(manifests, given, below)


def _owner(given: dict[Identity, Resource], resource: Resource) -> Resource | None:
    """The object among the manifests whose controller made this one: it makes it here too."""
    if (resource.group, resource.kind) not in _LISTED_BESIDE or resource.made_by is not None:
        return None
    for reference in resource.root.child("metadata").items("ownerReferences"):
        group, kind = reference.text("apiVersion", "").rpartition("/")[0], reference.text("kind", "")
        name = reference.text("name", "")
        if not reference.flag("controller", False):
            continue
        if (found := given.get((group, kind, resource.namespace, name))) is not None:
            return found
        deployment = name.removesuffix(f"-{resource.labels.get('pod-template-hash', '')}")
        if kind == "ReplicaSet" and deployment != name:
            return given.get((group, "Deployment", resource.namespace, deployment))
    return None


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

# What `kubectl get` lists beside the objects that made it.
_LISTED_BESIDE = {("", "Pod"), ("apps", "ReplicaSet"), ("apps", "StatefulSet"), ("batch", "Job")}

# (group, kind) of what has a typed reader, or is expanded into what has one
READ_KINDS = {
    *_READERS,
    ("inference.networking.k8s.io", "InferencePool"),
    *EXPANDED,
    ("autoscaling", "HorizontalPodAutoscaler"),  # by gateway/autoscale
}
