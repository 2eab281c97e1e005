"""What every Kubernetes object has: identity, labels, and the place in a file where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.errors import ManifestError
from gateway.manifests import names
from kit.yamldoc import Cursor, Path

# Kinds without a namespace, as far as they appear beside a gateway.
CLUSTER_SCOPED = frozenset({
    "Namespace", "GatewayClass", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition",
    "PersistentVolume", "StorageClass", "PriorityClass", "IngressClass", "APIService",
    "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration", "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
})  # fmt: skip


@dataclass(frozen=True)
class Resource:
    """Any object: identity, labels and its raw value with positions."""

    api_version: str
    kind: str
    namespace: str  # empty for cluster-scoped kinds
    name: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    root: Cursor
    made_by: Resource | None = None  # whose controller would have made it

    @property
    def group(self) -> str:
        """The API group; empty for the core group."""
        group, slash, _ = self.api_version.partition("/")
        return group if slash else ""

    @property
    def where(self) -> str:
        return self.root.where

    def line_of(self, *path: str | int) -> int:
        return self.root.document.line_of(path)

    def error(self, message: str, path: Path = ()) -> ManifestError:
        """A ManifestError about this object, at `path` in it."""
        text = f"{self}: {message}"
        return ManifestError(text, self.root.file, self.root.document.line_of(path))

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


@dataclass(frozen=True)
class Typed:
    """An object whose fields were read; `resource` is what it was read from."""

    resource: Resource

    @property
    def name(self) -> str:
        return self.resource.name

    @property
    def namespace(self) -> str:
        return self.resource.namespace

    @property
    def key(self) -> tuple[str, str]:
        """(namespace, name)"""
        return self.resource.namespace, self.resource.name

    def __str__(self) -> str:
        return str(self.resource)


def read_resource(root: Cursor, default_namespace: str) -> Resource:
    """The identity of the object at `root`. Raises ManifestError for what is not a Kubernetes object."""
    if not isinstance(root.value, dict):
        raise root.error("a Kubernetes object is a mapping with apiVersion, kind and metadata")
    api_version, kind = root.text("apiVersion"), root.text("kind")
    group = api_version.rpartition("/")[0]
    meta = root.child("metadata")
    namespace = ""
    if kind not in CLUSTER_SCOPED:
        named = meta.text("namespace", "")  # an empty one is none, as for kubectl
        namespace = names.label(meta, "namespace") if named else default_namespace
    return Resource(
        api_version=api_version,
        kind=kind,
        namespace=namespace,
        name=names.object_name(meta, group, kind),
        labels=meta.string_map("labels"),
        annotations=meta.string_map("annotations"),
        root=root,
    )


def selects(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether every pair of `selector` is in `labels`. An empty selector selects nothing, as in a Service."""
    return bool(selector) and all(labels.get(key) == value for key, value in selector.items())
