"""Rules about pools and the model servers in them."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.lint.facts import is_fixed, picker_of, servers_of, split_image
from gateway.lint.finding import Finding, find
from gateway.manifests.inference import InferencePool
from gateway.manifests.load import Manifests
from gateway.manifests.workloads import Container, Workload
from gateway.stack.plan import model_server


def check(manifests: Manifests) -> Iterator[Finding]:
    for resource in manifests.of_kind("InferencePool"):
        if (resource.namespace, resource.name) not in manifests.pools:
            yield find(
                "pool-api-version",
                resource.root,
                f"{resource} is of {resource.api_version}",
                "Istio from 1.28 reads only inference.networking.k8s.io/v1: routes to it are not resolved",
                "use apiVersion inference.networking.k8s.io/v1 with selector.matchLabels, targetPorts and "
                "endpointPickerRef",
                "apiVersion",
            )
    for pool in manifests.pools.values():
        yield from _check_pool(manifests, pool)


def _check_pool(manifests: Manifests, pool: InferencePool) -> Iterator[Finding]:
    spec = pool.resource.root.child("spec")
    servers = servers_of(manifests, pool)
    if not servers:
        elsewhere = [w for w in manifests.workloads if w.pod_labels.items() >= pool.selector.items()]
        hint = f"; {elsewhere[0]} would match but is in another namespace" if elsewhere else ""
        yield find(
            "pool-selector",
            spec,
            f"{pool} selects {dict(pool.selector)}, which no pod template in {pool.namespace} carries{hint}",
            "the pool has no endpoints: every request is answered 503 (no healthy upstream)",
            "make selector.matchLabels a subset of the model servers' pod labels",
            "selector",
        )
    if not (pool.picker and pool.picker.root.has("failureMode")):
        yield find(
            "pool-failure-mode",
            pool.picker.root if pool.picker else spec,
            f"{pool} does not set endpointPickerRef.failureMode",
            "FailClose by default: while the picker is down every request is answered 500",
            "write failureMode: FailClose where that is meant, or FailOpen",
        )
    picker = picker_of(manifests, pool).workload
    for workload in servers:
        if workload is not picker:
            yield from _check_server(workload, model_server(workload, pool.target_ports))


def _check_server(workload: Workload, container: Container) -> Iterator[Finding]:
    name, tag = split_image(container.image)
    names = {e.name for e in container.env}
    if name.endswith("llm-d-inference-sim") and "NAMESPACE" in names and "POD_NAMESPACE" not in names:
        yield find(
            "server-env",
            container.root,
            f"{workload} sets NAMESPACE; llm-d-inference-sim {tag} reads POD_NAME, POD_NAMESPACE and POD_IP",
            "answers carry no x-inference-namespace header",
            "name the variable POD_NAMESPACE",
            "env",
        )
    if container.root.at("imagePullPolicy").value == "Always" and is_fixed(container.image):
        yield find(
            "server-image",
            container.root,
            f"{workload} pulls {container.image} on every start",
            "a start needs the registry, and loading the image onto the node does not help",
            "imagePullPolicy: IfNotPresent for a fixed tag",
            "imagePullPolicy",
        )
    yield from _check_hardening(workload, container)


def _check_hardening(workload: Workload, container: Container) -> Iterator[Finding]:
    root = container.root
    pod = workload.template.at("spec")
    missing = [p for p in ("readinessProbe", "livenessProbe") if not root.has(p)]
    if root.at("resources", "requests", "memory").value is None:
        missing.append("resources.requests.memory")
    if not root.has("securityContext") and not pod.has("securityContext"):
        missing.append("securityContext")
    if missing:
        yield find(
            "server-hardening",
            root,
            f"container {container.name} of {workload} has no {', no '.join(missing)}",
            "pods count as ready before they serve, and restricted pod security refuses them",
            "probe /health and /ready, request memory, run as non-root without privileges",
        )
