"""What a set of manifests asks to be run: model servers and picker of each pool, and the gateways.

A plan is data; nothing runs yet. `notes` says what of the manifests will not run, and why.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from gateway.autoscale.hpa import Hpa, read_hpa
from gateway.containers.known import serves_models
from gateway.errors import ControlError
from gateway.manifests.attach import attach
from gateway.manifests.conditions import pool_conditions, route_conditions
from gateway.manifests.gatewayapi import Gateway
from gateway.manifests.inference import InferencePool
from gateway.manifests.load import Manifests
from gateway.manifests.references import resolve_backend
from gateway.manifests.resources import Resource, selects
from gateway.manifests.told.unread import Unread, Why, unread
from gateway.manifests.workloads import Container, Service, ServicePort, Workload
from gateway.sidecar.beside import beside
from gateway.sidecar.options import is_sidecar

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # Kubernetes' safe alphabet: no vowels, no look-alikes


@dataclass(frozen=True)
class ServerPlan:
    """Replicas of a workload that serve a model: a pool's, a plain Service's, nobody's (both None)."""

    pool: InferencePool | None
    workload: Workload
    container: Container
    replicas: int
    service: Service | None = None  # the first that selects its pods

    @property
    def targets(self) -> tuple[int, ...]:
        """The ports at which requests come to its pods, as far as the manifests name numbers."""
        if self.pool is not None:
            return self.pool.target_ports
        found = (container_port(self.container, p) for p in (self.service.ports if self.service else ()))
        return tuple(dict.fromkeys(n for n in found if n is not None))

    @property
    def why_fixed(self) -> str | None:
        """Why the number of its pods cannot be changed; None where it can."""
        resource = self.workload.resource
        if resource.kind in {"Pod", "DaemonSet", "Job"}:
            return f"a {resource.kind} has no scale"
        if resource.made_by is not None and _is_of_group(resource):
            return f"{resource.made_by} has pods that are told apart, which are not made anew here"
        return None

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
    autoscalers: list[tuple[Hpa, ServerPlan]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)  # what has no part in the lab
    stack: str = ""  # what its pods' names hang on beside the manifests

    def server(self, target: str) -> ServerPlan:
        """The workload `target`, or the only one of the pool called so. Raises ControlError."""
        found = [s for s in self.servers if target in {s.workload.name, str(s.workload)}]
        found = found or [s for s in self.servers if target in s.names]
        if len(found) != 1:
            names = ", ".join(sorted({n for s in self.servers for n in (*s.names[:1], s.workload.name)}))
            problem = "is ambiguous, name the workload" if found else "does not exist"
            raise ControlError(f"pool {target!r} {problem}; there are: {names}")
        return found[0]


def make_plan(manifests: Manifests, replicas: int | None = None, stack: str = "") -> Plan:
    """The plan of `manifests`; `replicas` overrides every model server workload's."""
    plan = Plan(manifests, stack=stack, unread=unread(manifests))
    taken: dict[str, InferencePool] = {}
    for pool in manifests.pools.values():
        workloads = [w for w in manifests.workloads if _is_behind(w, pool)]
        if not workloads:
            plan.notes.append(f"{pool}: no workload has pods with labels {dict(pool.selector)}")
        for workload in workloads:
            identity = f"{workload} {workload.first_ordinal}"  # workers of a LeaderWorkerSet share a name
            if identity in taken:
                plan.notes.append(f"{workload} serves {taken[identity]} already, and {pool} too")
                continue
            taken[identity] = pool
            if _is_helper(workload):
                text = f"works for its leader; {pool} counts it as an endpoint that refuses connections"
                _tell(plan, workload, text)
                continue
            container = model_server(workload, pool.target_ports)
            plan.servers.append(ServerPlan(pool, workload, container, _count(workload, replicas)))
        _plan_picker(plan, pool)
    for workload in manifests.workloads:
        is_picker = any(p.workload is workload for p in plan.pickers)
        if not is_picker and f"{workload} {workload.first_ordinal}" not in taken:
            _plan_plain(plan, workload, replicas)
    for resource in manifests.of_kind("HorizontalPodAutoscaler"):
        _plan_autoscaler(plan, read_hpa(resource))
    plan.unread += _beside(plan)
    plan.gateways = list(manifests.gateways.values())
    _note_conditions(plan)
    return plan


def _beside(plan: Plan) -> Iterable[Unread]:
    """The containers that do not run, once however many pods have them."""
    rest = [u for s in plan.servers for u in beside(s.workload, s.container, s.targets)]
    rest += [u for p in plan.pickers for u in beside(p.workload, p.container, is_picker=True)]
    return {str(u): u for u in rest}.values()


def _count(workload: Workload, replicas: int | None) -> int:
    """Its own replicas, or what the command line says; a bare Pod is one."""
    return workload.replicas if replicas is None or workload.resource.kind == "Pod" else replicas


def _is_helper(workload: Workload) -> bool:
    """Whether this is a worker of a group whose command takes no requests, such as `ray start`."""
    if not _is_of_group(workload.resource) or workload.first_ordinal == 0:
        return False
    servers = [c for c in workload.containers if is_model_server(c)]
    return not any(_BEHIND.search(" ".join((*c.command, *c.args))) is None for c in servers)


# vLLM's and SGLang's flags of nodes that compute for the one that takes the requests
_BEHIND = re.compile(r"(?:^|\s)--(?:headless\b|node-rank[= ])")


def _plan_plain(plan: Plan, workload: Workload, replicas: int | None) -> None:
    """A workload of no pool: model servers run, other programs are told of."""
    if (why := _why_idle(workload)) is not None:
        _tell(plan, workload, why)
        return
    services = _services_of(plan.manifests, workload)
    serves = [c for c in workload.containers if is_model_server(c)]
    if serves and (services or workload.resource.kind != "Job"):
        container = serving_container(serves, _target_ports(services))
        service = services[0] if services else None
        plan.servers.append(ServerPlan(None, workload, container, _count(workload, replicas), service))
        return
    what = "a Job that no Service leads to" if serves else f"it serves no model{_image_of(workload)}"
    follows = f"; requests to {services[0]} find no endpoint (503)" if services else ""
    _tell(plan, workload, f"{what}{follows}")


def _target_ports(services: Sequence[Service]) -> list[int]:
    return [p.target_port for s in services for p in s.ports if isinstance(p.target_port, int)]


def _image_of(workload: Workload) -> str:
    return next((f" (image {c.image})" for c in workload.containers if c.image), "")


def _services_of(manifests: Manifests, workload: Workload) -> list[Service]:
    """Those that select its pods."""
    return [
        s
        for s in manifests.services.values()
        if s.namespace == workload.namespace and selects(s.selector, workload.pod_labels)
    ]


def _why_idle(workload: Workload) -> str | None:
    """Why a workload takes no requests, whatever its containers are; None for any other."""
    if _is_helper(workload):
        return "it works for its leader and takes no requests"
    hook = workload.resource.annotations.get("helm.sh/hook")
    return None if hook is None else f"a hook of Helm ({hook}), which an install does not leave running"


def _tell(plan: Plan, workload: Workload, text: str) -> None:
    """A workload that is not run, once where its controller makes several."""
    found = Unread(Why.NOT_RUN, workload.resource.made_by or workload.resource, text)
    if found not in plan.unread:
        plan.unread.append(found)


def _is_of_group(resource: Resource) -> bool:
    """Whether a StatefulSet is one of several that a controller makes of one number of replicas."""
    owner = resource.made_by
    if owner is None or resource.kind != "StatefulSet":
        return False
    size = owner.root.at("spec", "leaderWorkerTemplate", "size").value
    return owner.kind == "RoleSet" or (isinstance(size, int) and size > 1)


def _plan_autoscaler(plan: Plan, hpa: Hpa) -> None:
    """An HPA and the servers that it scales; one that scales nothing here is told of."""
    name, kind = hpa.target_name, hpa.target_kind

    def is_target(server: ServerPlan) -> bool:
        resource = server.workload.resource
        if resource.made_by is not None and resource.made_by.kind == "LeaderWorkerSet":
            resource = resource.made_by
        return (resource.namespace, resource.kind, resource.name) == (hpa.namespace, kind, name)

    target = next((s for s in plan.servers if is_target(s)), None)
    if target is None or target.why_fixed:
        why = target.why_fixed if target else f"there are no pods of {kind} {hpa.namespace}/{name} here"
        text = f"{why}: nothing is scaled"
        plan.unread.append(Unread(Why.NOT_SIMULATED, hpa.resource, text))
        return
    for metric in hpa.metrics:
        if not metric.is_simulated:
            text = f"{metric} counts as unavailable, as without a metrics server: nothing shrinks by it"
            path = metric.root.path
            plan.unread.append(Unread(Why.NOT_SIMULATED, hpa.resource, text, path))
    plan.autoscalers.append((hpa, target))


def _is_behind(workload: Workload, pool: InferencePool) -> bool:
    return workload.namespace == pool.namespace and selects(pool.selector, workload.pod_labels)


def serving_container(containers: Sequence[Container], ports: Sequence[int]) -> Container:
    """The container that declares one of `ports`; the first where none does."""
    return next((c for c in containers if any(p.number in ports for p in c.ports)), containers[0])


def model_server(workload: Workload, ports: Sequence[int]) -> Container:
    """The container that is a model server by image, command, flags; a proxy may have the port."""
    servers = [c for c in workload.containers if not is_sidecar(c) and is_model_server(c)]
    return serving_container(servers or workload.containers, ports)


def fronting_ports(workload: Workload, server: Container, ports: Sequence[int]) -> bool:
    """Whether another container of the pod takes requests on all of `ports` and passes them on."""
    declared = {
        p.number for c in (*workload.containers, *workload.sidecars) if c is not server for p in c.ports
    }
    return declared.issuperset(ports)


def is_model_server(container: Container) -> bool:
    """Whether a container serves a model: by its program or flags, else by its image."""
    text = " ".join((*container.command, *container.args))
    return serves_models(container.image, text, has_command=bool(container.command))


def listening_ports(server: ServerPlan, port: int, ranks: int) -> tuple[int, ...]:
    """Where a pod of `server` listens, with --port `port` and `ranks` data-parallel ranks.

    A server of one rank whose port is among several targets stands for one process for each of the targets
    that its containers declare. Where another container takes requests on the targets and passes them on, the
    server takes them itself. Everything else listens where its flags say, and other targets refuse.
    """
    targets = server.targets
    if ranks > 1:
        return tuple(port + rank for rank in range(ranks))
    if port in targets:
        declared = {p.number for c in server.workload.containers for p in c.ports}
        active = server.workload.active_ports
        return tuple(t for t in targets if t == port or (t in declared and (active is None or t in active)))
    if targets and fronting_ports(server.workload, server.container, targets):
        return targets
    return (port,)


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
    for resource in plan.manifests.of_kind("InferencePool"):
        if (resource.namespace, resource.name) not in plan.manifests.pools:
            plan.notes.append(
                f"{resource}: {resource.api_version} is ignored, as by Istio since 1.28; it reads "
                "inference.networking.k8s.io/v1"
            )


def pod_name(workload: Workload, ordinal: int, stack: str = "") -> str:
    """A name as Kubernetes gives it; the same workload and ordinal have the same name in every run.

    Pods of a Deployment in other stacks end otherwise: what an answer names is of one stack.
    """
    kind = workload.resource.kind
    if kind == "Pod":
        return workload.name
    if workload.is_ordinal:
        return f"{workload.name}-{ordinal}"
    identity = f"{workload.namespace}/{workload.name}/{ordinal}" + (f"/{stack}" if stack else "")
    base = workload.name[: 63 - 17]
    if kind != "Deployment":  # its ReplicaSet is named after the template; nothing stands between the others
        return f"{base}-{_letters(identity, 5)}"
    template = json.dumps(workload.template.value, sort_keys=True, default=str)
    return f"{base}-{_letters(template, 10)}-{_letters(identity, 5)}"


def _letters(text: str, count: int) -> str:
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16])
    letters = []
    for _ in range(count):
        number, index = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[index])
    return "".join(letters)


def container_port(container: Container, service_port: ServicePort) -> int | None:
    """The container's port that a Service port leads to; None for a name that it does not have."""
    target = service_port.target_port
    if isinstance(target, int):
        return target
    return next((p.number for p in container.ports if p.name == target), None)
