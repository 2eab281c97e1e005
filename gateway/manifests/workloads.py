"""Kinds that run or feed pods: whatever has a pod template, bare Pods, Service, ConfigMap, Secret."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.manifests import names
from gateway.manifests.resources import Resource, Typed
from kit.yamldoc import Cursor

ACTIVE_PORTS = "inference.networking.k8s.io/active-ports"


@dataclass(frozen=True)
class EnvVar:
    """One environment variable of a container; exactly one source is set, or none: the value is empty."""

    name: str
    value: str | None = None
    field_path: str | None = None  # downward API
    config_map_key: tuple[str, str] | None = None  # (name, key)
    secret_key: tuple[str, str] | None = None
    optional: bool = False


@dataclass(frozen=True)
class ContainerPort:
    number: int
    name: str = ""


@dataclass(frozen=True)
class VolumeMount:
    """Where a volume stands in a container; `sub_path` mounts one file of it."""

    volume: str
    path: str
    sub_path: str = ""


@dataclass(frozen=True)
class Volume:
    """A volume that holds files of manifests; other kinds have neither name."""

    name: str
    config_map: str | None = None
    secret: str | None = None
    items: Mapping[str, str] | None = None  # key -> path; None: each key under its own name


@dataclass(frozen=True)
class Container:
    name: str
    image: str
    command: tuple[str, ...]
    args: tuple[str, ...]
    env: tuple[EnvVar, ...]
    env_from: tuple[tuple[str, str], ...]  # ("ConfigMap" or "Secret", name)
    ports: tuple[ContainerPort, ...]
    mounts: tuple[VolumeMount, ...]
    root: Cursor


@dataclass(frozen=True)
class Workload(Typed):
    """What makes pods of one template: a Deployment, StatefulSet, Job, ..., or one bare Pod."""

    template: Cursor  # metadata and spec of its pods
    replicas: int
    selector: Mapping[str, str]
    pod_labels: Mapping[str, str]
    pod_annotations: Mapping[str, str]
    containers: tuple[Container, ...]
    sidecars: tuple[Container, ...]  # init containers; some run as long as the pod
    volumes: Mapping[str, Volume]
    service_account: str
    first_ordinal: int = 0  # of a StatefulSet's pods

    @property
    def is_ordinal(self) -> bool:
        """Whether its pods are numbered, and come back under the same name."""
        return self.resource.kind == "StatefulSet"

    @property
    def active_ports(self) -> frozenset[int] | None:
        """Target ports that pickers may choose of these pods (GIE's annotation); None: all of the pool's."""
        text = self.pod_annotations.get(ACTIVE_PORTS)
        return None if text is None else frozenset(int(p) for p in re.findall(r"\d+", text))


@dataclass(frozen=True)
class ServicePort:
    name: str
    port: int
    target_port: int | str
    app_protocol: str | None

    @property
    def is_http2(self) -> bool:
        """Whether Istio speaks HTTP/2 to it: by appProtocol, else by the prefix of the name."""
        protocol = self.app_protocol or self.name
        return protocol.split("-")[0] in {"grpc", "http2"} or protocol == "kubernetes.io/h2c"


@dataclass(frozen=True)
class Service(Typed):
    selector: Mapping[str, str]
    ports: tuple[ServicePort, ...]

    @property
    def host(self) -> str:
        return f"{self.name}.{self.namespace}.svc.cluster.local"

    def port(self, number: int) -> ServicePort | None:
        return next((p for p in self.ports if p.port == number), None)


@dataclass(frozen=True)
class Files(Typed):
    """A ConfigMap or Secret: named contents."""

    data: Mapping[str, bytes]


def read_workload(resource: Resource) -> Workload:
    """What runs pods; ManifestError for one without containers, or with fewer than 0 replicas."""
    spec = resource.root.child("spec")
    template = resource.root if resource.kind == "Pod" else spec.child("template")
    meta = template.opt("metadata")
    pod = template.child("spec")
    selector = None if resource.kind == "Pod" else spec.opt("selector")
    containers = tuple(_read_container(c) for c in pod.items("containers"))
    if not containers:
        raise pod.error("containers is missing: a pod has at least one")
    ordinals = spec.opt("ordinals") if resource.kind == "StatefulSet" else None
    return Workload(
        resource=resource,
        template=template,
        replicas=_replicas(resource.kind, spec),
        selector=selector.string_map("matchLabels") if selector else {},
        pod_labels=meta.string_map("labels") if meta else {},
        pod_annotations=meta.string_map("annotations") if meta else {},
        containers=containers,
        sidecars=tuple(_read_container(c) for c in pod.items("initContainers")),
        volumes=_read_volumes(pod),
        service_account=pod.text("serviceAccountName", "default"),
        first_ordinal=ordinals.number("start", 0) if ordinals else 0,
    )


def _replicas(kind: str, spec: Cursor) -> int:
    """How many pods there are at once; this machine is one node, so a DaemonSet has one."""
    if kind in {"Pod", "DaemonSet"}:
        return 1
    if kind == "Job":
        if spec.flag("suspend", False):
            return 0
        parallelism = spec.number("parallelism", 1)
        return min(parallelism, spec.number("completions", parallelism))
    replicas = spec.number("replicas", 1)
    if replicas < 0:
        raise spec.error(f"must be 0 or more, is {replicas}", "replicas")
    return replicas


def _read_container(root: Cursor) -> Container:
    return Container(
        name=names.label(root, "name"),
        image=root.text("image", ""),
        command=tuple(root.strings("command")),
        args=tuple(root.strings("args")),
        env=tuple(_read_env(e) for e in root.items("env")),
        env_from=tuple(_read_env_from(e) for e in root.items("envFrom")),
        ports=tuple(
            ContainerPort(p.number("containerPort"), p.text("name", "")) for p in root.items("ports")
        ),
        mounts=tuple(
            VolumeMount(m.text("name"), names.mount_path(m), names.path_in_volume(m, "subPath", ""))
            for m in root.items("volumeMounts")
        ),
        root=root,
    )


def _read_env(root: Cursor) -> EnvVar:
    name = root.text("name")
    source = root.opt("valueFrom")
    if source is None:
        return EnvVar(name, value=root.text("value", ""))
    if field := source.opt("fieldRef"):
        return EnvVar(name, field_path=field.text("fieldPath"))
    if ref := source.opt("configMapKeyRef"):
        key = (ref.text("name"), ref.text("key"))
        return EnvVar(name, config_map_key=key, optional=ref.flag("optional", False))
    if ref := source.opt("secretKeyRef"):
        key = (ref.text("name"), ref.text("key"))
        return EnvVar(name, secret_key=key, optional=ref.flag("optional", False))
    return EnvVar(name, value="")  # resourceFieldRef: there are no resource limits on loopback


def _read_env_from(root: Cursor) -> tuple[str, str]:
    if ref := root.opt("configMapRef"):
        return "ConfigMap", ref.text("name")
    return "Secret", root.child("secretRef").text("name")


def _read_volumes(pod: Cursor) -> dict[str, Volume]:
    found: dict[str, Volume] = {}
    for item in pod.items("volumes"):
        volume = _read_volume(item)
        if volume.name in found:
            raise item.error(f"the name {volume.name} stands twice", "name")
        found[volume.name] = volume
    return found


def _read_volume(root: Cursor) -> Volume:
    name = names.label(root, "name")
    if source := root.opt("configMap"):
        return Volume(name, config_map=source.text("name"), items=_volume_items(source))
    if source := root.opt("secret"):
        return Volume(name, secret=source.text("secretName"), items=_volume_items(source))
    return Volume(name)


def _volume_items(source: Cursor) -> dict[str, str] | None:
    items = source.items("items")
    return {i.text("key"): names.item_path(i) for i in items} if items else None


def read_service(resource: Resource) -> Service:
    spec = resource.root.child("spec")
    return Service(
        resource=resource,
        selector=spec.string_map("selector"),
        ports=tuple(_read_service_port(p) for p in spec.items("ports")),
    )


def _read_service_port(root: Cursor) -> ServicePort:
    port = root.number("port")
    target = root.at("targetPort").value
    if target is None:
        target = port
    if not isinstance(target, int | str) or isinstance(target, bool):
        raise root.error(
            f"must be a port number or the name of a container port, is {target!r}", "targetPort"
        )
    app_protocol = root.text("appProtocol", "") or None
    return ServicePort(root.text("name", ""), port, target, app_protocol)


def read_config_map(resource: Resource) -> Files:
    """A ConfigMap; ManifestError for a key that is text and binary at once."""
    data = {key: value.encode() for key, value in _checked(resource, "data").items()}
    binary = _decoded(resource, "binaryData")
    for key in data.keys() & binary.keys():
        raise resource.error(f"key {key} stands in data and in binaryData", ("binaryData", key))
    return Files(resource, data | binary)


def read_secret(resource: Resource) -> Files:
    plain = {key: value.encode() for key, value in _checked(resource, "stringData").items()}
    return Files(resource, _decoded(resource, "data") | plain)


def _checked(resource: Resource, field: str) -> dict[str, str]:
    """The texts under `field`, their keys checked."""
    if (child := resource.root.opt(field)) is not None:
        names.check_keys(child)
    return resource.root.string_map(field)


def _decoded(resource: Resource, field: str) -> dict[str, bytes]:
    result = {}
    for key, value in _checked(resource, field).items():
        try:
            result[key] = base64.b64decode(value, validate=False)
        except ValueError as error:
            raise resource.error(f"{field}.{key} is not base64: {error}", (field, key)) from error
    return result
