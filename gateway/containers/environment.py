"""A container's variables, as kubelet makes them: env, envFrom, the downward API, `$(VAR)`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.manifests.load import Manifests
from gateway.manifests.workloads import Container, EnvVar, Workload

_REFERENCE = re.compile(r"\$(?:\$|\(([^)]*)\))")


@dataclass(frozen=True)
class PodIdentity:
    """What the downward API knows of a pod."""

    name: str
    namespace: str
    address: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    service_account: str = "default"

    def field(self, path: str) -> str | None:
        """The value of a fieldRef, None for a path that does not exist."""
        fixed = {
            "metadata.name": self.name,
            "metadata.namespace": self.namespace,
            "metadata.uid": f"{self.namespace}-{self.name}",
            "status.podIP": self.address,
            "status.podIPs": self.address,
            "status.hostIP": "127.0.0.1",
            "status.hostIPs": "127.0.0.1",
            "spec.nodeName": "localhost",
            "spec.serviceAccountName": self.service_account,
        }
        if path in fixed:
            return fixed[path]
        if found := re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path):
            source = self.labels if found[1] == "labels" else self.annotations
            return source.get(found[2], "")
        return None


def environment(
    manifests: Manifests, workload: Workload, container: Container, pod: PodIdentity
) -> dict[str, str]:
    """The container's variables, in order, references to earlier ones resolved."""
    env: dict[str, str] = {}
    for kind, name in container.env_from:
        source = manifests.config_maps if kind == "ConfigMap" else manifests.secrets
        files = source.get((workload.namespace, name))
        env.update({k: v.decode(errors="replace") for k, v in files.data.items()} if files else {})
    for variable in container.env:
        env[variable.name] = _value(manifests, workload, variable, pod, env)
    return env


def _value(
    manifests: Manifests, workload: Workload, variable: EnvVar, pod: PodIdentity, env: Mapping[str, str]
) -> str:
    if variable.value is not None:
        return expand(variable.value, env)
    if variable.field_path is not None:
        value = pod.field(variable.field_path)
        if value is None:
            raise workload.resource.error(
                f"env {variable.name}: the downward API has no field {variable.field_path!r}"
            )
        return value
    source = manifests.config_maps if variable.config_map_key else manifests.secrets
    name, key = variable.config_map_key or variable.secret_key or ("", "")
    files = source.get((workload.namespace, name))
    if files is None or key not in files.data:
        if variable.optional or variable.secret_key:  # a Secret is seldom part of the manifests
            return ""
        raise workload.resource.error(f"env {variable.name}: ConfigMap {name} with key {key} not found")
    return files.data[key].decode(errors="replace")


def expand(text: str, env: Mapping[str, str]) -> str:
    """Kubernetes' $(VAR); $$ is a dollar, an unknown variable stays as it is written.

    A reference goes to the first closing parenthesis (k8s.io/kubernetes/third_party/forked/golang/expansion).
    """

    def replaced(found: re.Match[str]) -> str:
        return "$" if found[0] == "$$" else env.get(found[1], found[0])

    return _REFERENCE.sub(replaced, text)
