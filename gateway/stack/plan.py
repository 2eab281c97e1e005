"""What a set of manifests asks to be run: model servers and picker of each pool, and the gateways.

A plan is data; nothing runs yet. `notes` says what of the manifests will not run or not work, and why.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.manifests.attach import attach
from gateway.manifests.conditions import pool_conditions, route_conditions
from gateway.manifests.gatewayapi import Gateway
from gateway.manifests.inference import InferencePool
from gateway.manifests.load import Manifests
from gateway.manifests.references import resolve_backend
from gateway.manifests.resources import selects
from gateway.manifests.workloads import Container, Service, ServicePort, Workload

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # Kubernetes' safe alphabet: no vowels, no look-alikes


@dataclass(frozen=True)
class ServerPlan:
    """Replicas of one workload that serve a model: a pool's, or nobody's."""

    pool: InferencePool | None
    workload: Workload
    container: Container
    replicas: int

    @property
    def targets(self) -> tuple[int, ...]:
        """The ports at which requests come to its pods, as far as the manifests name numbers."""
        return self.pool.target_ports if self.pool is not None else ()

    @property
    def names(self) -> tuple[str, ...]:
        """What a command may call it, besides the workload's own name."""
        return (self.pool.name, str(self.pool)) if self.pool is not None else ()


@dataclass(frozen=True)
class PickerPlan:
    """The workload behind the Service that a pool names as its endpoint picker."""

    pool: InferencePool
    service: Service
    workload: Workload
    container: Container


@dataclass
class Plan:
    manifests: Manifests
    servers: list[ServerPlan] = field(default_factory=list)
    pickers: list[PickerPlan] = field(default_factory=list)
    gateways: list[Gateway] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    stack: str = ""  # what its pods' names hang on beside the manifests


def make_plan(
    manifests: Manifests, replicas: int | None = None, stack: str = "", *, lone: bool = False
) -> Plan:
    """The plan of `manifests`; `replicas` overrides every model server workload's.

    `lone`: model servers run that no pool selects (yet), as in a cluster.
    """
    plan = Plan(manifests, stack=stack)
    taken: dict[str, InferencePool] = {}
    for pool in manifests.pools.values():
        workloads = [w for w in manifests.workloads if _is_behind(w, pool)]
        if not workloads:
            plan.notes.append(
                f"{pool}: no Deployment or StatefulSet has pods with labels {dict(pool.selector)}"
            )
        for workload in workloads:
            if str(workload) in taken:
                plan.notes.append(f"{workload} serves {taken[str(workload)]} already, and {pool} too")
                continue
            taken[str(workload)] = pool
            count = workload.replicas if replicas is None else replicas
            container = model_server(workload, pool.target_ports)
            plan.servers.append(ServerPlan(pool, workload, container, count))
        _plan_picker(plan, pool)
    for workload in manifests.workloads if lone else ():
        picks = any(p.workload.key == workload.key for p in plan.pickers)
        if str(workload) not in taken and not picks and (alone := lone_server(workload)) is not None:
            plan.servers.append(ServerPlan(None, workload, alone, workload.replicas))
    plan.gateways = list(manifests.gateways.values())
    _note_conditions(plan)
    return plan


def _is_behind(workload: Workload, pool: InferencePool) -> bool:
    return workload.namespace == pool.namespace and selects(pool.selector, workload.pod_labels)


def serving_container(containers: Sequence[Container], ports: Sequence[int]) -> Container:
    """The container that declares one of `ports`; the first where none does."""
    return next((c for c in containers if any(p.number in ports for p in c.ports)), containers[0])


_SERVER = re.compile(r"vllm|inference-sim|simfleet|sglang|--model\b|--served-model-name\b")

_IS_SERVER = re.compile(r"(?:^|[/-])vllm(?!.*(?:router|proxy))|inference-sim|simfleet|sglang")


def model_server(workload: Workload, ports: Sequence[int]) -> Container:
    """The container that is a model server by image, command or flags; a proxy may have the port."""
    servers = [
        c for c in workload.containers if any(_SERVER.search(w) for w in (c.image, *c.command, *c.args))
    ]
    return serving_container(servers or workload.containers, ports)


def lone_server(workload: Workload) -> Container | None:
    """The container of a workload without a pool that is a model server by its image or program."""
    return next(
        (c for c in workload.containers if any(_IS_SERVER.search(w) for w in (c.image, *c.command))), None
    )


def fronting_ports(workload: Workload, server: Container, ports: Sequence[int]) -> bool:
    """Whether another container of the pod takes requests on all of `ports` and passes them on."""
    declared = {
        p.number for c in (*workload.containers, *workload.sidecars) if c is not server for p in c.ports
    }
    return declared.issuperset(ports)


def listening_ports(server: ServerPlan, port: int, ranks: int) -> tuple[int, ...]:
    """Where a pod of `server` listens whose server has --port `port` and `ranks` data-parallel ranks.

    A server of one rank whose --port is among several targetPorts stands for one process per port; a server
    whose --port is none of them listens where it says, and the pool does not reach it.
    """
    targets = server.targets
    if ranks == 1 and port in targets:
        return targets
    if targets and port not in targets and fronting_ports(server.workload, server.container, targets):
        return targets  # a routing proxy beside the server would pass requests on; here the server takes them
    return tuple(port + rank for rank in range(ranks))


def _plan_picker(plan: Plan, pool: InferencePool) -> None:
    if pool.picker is None:
        plan.notes.append(
            f"{pool}: no endpointPickerRef; Istio up to 1.31 refuses such a pool, requests get 500"
        )
        return
    fails = "200 by round robin" if pool.picker.failure_mode == "FailOpen" else "500"
    service = plan.manifests.services.get((pool.namespace, pool.picker.name))
    if service is None:
        plan.notes.append(f"{pool}: picker Service {pool.picker.name} does not exist; requests get {fails}")
        return
    port = service.port(pool.picker.port or 0)
    if port is None:
        plan.notes.append(
            f"{pool}: picker Service {pool.picker.name} has no port {pool.picker.port}; requests get {fails}"
        )
    workload = _behind(plan.manifests, service)
    if workload is None:
        plan.notes.append(f"{pool}: no workload behind picker Service {service.name}; requests get {fails}")
        return
    if any(p.workload.key == workload.key for p in plan.pickers):
        return  # several pools, one picker
    if workload.replicas == 0:
        plan.notes.append(f"{workload}: 0 replicas; requests get {fails}")
        return
    targets = [port.target_port] if port and isinstance(port.target_port, int) else []
    plan.pickers.append(PickerPlan(pool, service, workload, serving_container(workload.containers, targets)))


def _behind(manifests: Manifests, service: Service) -> Workload | None:
    """The first workload whose pods a Service selects."""
    found = (w for w in manifests.workloads if w.namespace == service.namespace)
    return next((w for w in found if selects(service.selector, w.pod_labels)), None)


def _note_conditions(plan: Plan) -> None:
    """False conditions, as `kubectl describe` would show them."""
    results = attach(plan.manifests)
    found = route_conditions(plan.manifests, results) + pool_conditions(plan.manifests, results)
    for condition in found:
        if not condition.status:
            plan.notes.append(
                f"{condition.object} at Gateway {condition.gateway}: {condition.type} is False, "
                f"{condition.reason}: {condition.message}"
            )
    for result in results:
        for ref in (r for rule in result.route.rules for r in rule.backends):
            backend = resolve_backend(plan.manifests, result.route, ref)
            if backend.service is not None and backend.port is None:
                plan.notes.append(
                    f"{result.route}: {backend.service} has no port {ref.port}; requests get 500"
                )
    _note_what_is_not_run(plan)


def _note_what_is_not_run(plan: Plan) -> None:
    for listener, gateway in ((x, g) for g in plan.gateways for x in g.listeners):
        if listener.protocol not in {"HTTP", "HTTPS"}:
            plan.notes.append(
                f"{gateway}: listener {listener.name} speaks {listener.protocol}, which is not run"
            )
    for resource in plan.manifests.of_kind("InferencePool"):
        if (resource.namespace, resource.name) not in plan.manifests.pools:
            plan.notes.append(
                f"{resource}: {resource.api_version} is ignored, as by Istio since 1.28; it reads "
                "inference.networking.k8s.io/v1"
            )


def pod_name(workload: Workload, ordinal: int, stack: str = "") -> str:
    """A name as Kubernetes gives it; the same workload and ordinal have the same name in every run.

    Pods of a Deployment in stacks of other names end otherwise: what an answer names is of one stack.
    """
    if workload.resource.kind == "StatefulSet":
        return f"{workload.name}-{ordinal}"
    template = json.dumps(workload.resource.root.at("spec", "template").value, sort_keys=True, default=str)
    identity = f"{workload.namespace}/{workload.name}/{ordinal}" + (f"/{stack}" if stack else "")
    base = workload.name[: 63 - 17]
    return f"{base}-{_letters(template, 10)}-{_letters(identity, 5)}"


def _letters(text: str, count: int) -> str:
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16])
    letters = []
    for _ in range(count):
        number, index = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[index])
    return "".join(letters)


def container_port(container: Container, service_port: ServicePort) -> int | None:
    """The container's port that a Service port leads to; None for a name that the container does not have."""
    target = service_port.target_port
    if isinstance(target, int):
        return target
    return next((p.number for p in container.ports if p.name == target), None)
