"""InferencePool (`inference.networking.k8s.io/v1`), as Istio 1.28 and later read it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from gateway.manifests.gatewayapi import POOL_GROUP
from gateway.manifests.resources import Resource, Typed
from kit.yamldoc import Cursor

SHADOW_PORT = 54321
"""First port of the headless Service that Istio makes for a pool; the pool's cluster is named by it."""


@dataclass(frozen=True)
class PickerRef:
    """`spec.endpointPickerRef`."""

    group: str
    kind: str
    name: str
    port: int | None
    failure_mode: Literal["FailOpen", "FailClose"]
    root: Cursor


@dataclass(frozen=True)
class InferencePool(Typed):
    selector: Mapping[str, str]
    target_ports: tuple[int, ...]
    app_protocol: str  # http or kubernetes.io/h2c
    picker: PickerRef | None

    @property
    def shadow_service(self) -> str:
        """Name of Istio's Service for the pool: `<pool>-ip-<8 hex digits>`, at most 63 characters."""
        suffix = "-ip-" + hashlib.sha256(self.name.encode()).hexdigest()[:8]
        return self.name[: 63 - len(suffix)] + suffix

    @property
    def shadow_host(self) -> str:
        return f"{self.shadow_service}.{self.namespace}.svc.cluster.local"

    @property
    def cluster(self) -> str:
        """Name of the pool's Envoy cluster; it holds the endpoints of all target ports."""
        return f"outbound|{SHADOW_PORT}||{self.shadow_host}"


def is_pool(resource: Resource) -> bool:
    """Whether this is the pool that Istio reads; pools of x-k8s.io/v1alpha2 are none since Istio 1.28."""
    return resource.kind == "InferencePool" and resource.api_version == f"{POOL_GROUP}/v1"


def read_pool(resource: Resource) -> InferencePool:
    """An InferencePool; ManifestError for target ports or a protocol that the API does not allow."""
    spec = resource.root.child("spec")
    ports = tuple(p.number("number") for p in spec.items("targetPorts"))
    if not ports:
        raise spec.error("targetPorts is missing: a pool has at least one")
    for i, port in enumerate(ports):
        if not 1 <= port <= 65535:
            raise spec.error(f"must be between 1 and 65535, is {port}", "targetPorts", i, "number")
    protocol = spec.text("appProtocol", "http")
    if protocol not in {"http", "kubernetes.io/h2c"}:
        raise spec.error(f"must be http or kubernetes.io/h2c, is {protocol!r}", "appProtocol")
    ref = spec.opt("endpointPickerRef")
    return InferencePool(
        resource=resource,
        selector=spec.child("selector").string_map("matchLabels"),
        target_ports=ports,
        app_protocol=protocol,
        picker=_read_picker_ref(ref) if ref else None,
    )


def _read_picker_ref(root: Cursor) -> PickerRef:
    mode = root.text("failureMode", "FailClose")
    if mode not in {"FailOpen", "FailClose"}:
        raise root.error(f"must be FailOpen or FailClose, is {mode!r}", "failureMode")
    port = root.opt("port")
    return PickerRef(
        group=root.text("group", ""),
        kind=root.text("kind", "Service"),
        name=root.text("name"),
        port=port.number("number") if port else None,
        failure_mode="FailOpen" if mode == "FailOpen" else "FailClose",
        root=root,
    )
