"""The model-server pods of a stack and which of them are endpoints. No I/O: the stack acts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from gateway.errors import ControlError
from gateway.manifests.inference import InferencePool
from gateway.manifests.resources import selects
from gateway.manifests.workloads import Service, ServicePort
from gateway.stack.pickers.process import Endpoint
from gateway.stack.plan import ServerPlan, container_port, pod_name


class ReplicaState(Protocol):
    def is_ready(self) -> bool: ...


class ReplicaView(Protocol):
    """What this package sees of a replica of the simulator."""

    @property
    def state(self) -> ReplicaState: ...

    @property
    def peers(self) -> Sequence[ReplicaView]:
        """All data-parallel ranks of the pod, this one among them."""

    @property
    def prepared(self) -> Any:
        """Its `faults` are what it does wrong on purpose."""

    @property
    def engine(self) -> Any:
        """Its `stats` are plain numbers."""


class PodState(StrEnum):
    STARTING = "starting"  # listens, its readiness probe fails
    READY = "ready"
    DRAINING = "draining"  # finishes what it has, gets nothing new
    DRAINED = "drained"
    KILLED = "killed"


@dataclass
class Pod:
    """One model server. Only a ready pod is an endpoint."""

    name: str
    server: ServerPlan
    ordinal: int
    address: str
    ports: tuple[int, ...] = ()
    state: PodState = PodState.STARTING
    has_probe: bool = False
    models: tuple[str, ...] = field(default=())  # served names, adapters first
    latency: str = ""  # kind of its latency model
    args: tuple[str, ...] = ()  # flags of its server
    restarts: int = 0
    outdated: bool = False  # its workload's template is another than the one it was made of
    template: object = None  # what it was made of

    @property
    def namespace(self) -> str:
        return self.server.workload.namespace

    @property
    def pool(self) -> InferencePool | None:
        return self.server.pool

    @property
    def is_running(self) -> bool:
        return self.state not in {PodState.KILLED, PodState.DRAINED}


class PodTable:
    """All pods by name, in the order in which they were made."""

    def __init__(self, stack: str = "") -> None:
        self._stack = stack
        self._pods: dict[str, Pod] = {}
        self._ordinals: dict[tuple[str, str], int] = {}  # next of each Deployment

    def __iter__(self) -> Iterator[Pod]:
        return iter(list(self._pods.values()))

    def __len__(self) -> int:
        return len(self._pods)

    def add(self, pod: Pod) -> None:
        self._pods[pod.name] = pod

    def remove(self, pod: Pod) -> None:
        del self._pods[pod.name]

    def get(self, name: str) -> Pod:
        """The pod of that name, or of the only name that ends or starts with it. Raises ControlError."""
        if name in self._pods:
            return self._pods[name]
        found = [p for n, p in self._pods.items() if n.endswith(f"-{name}") or n.startswith(name)]
        if len(found) == 1:
            return found[0]
        names = ", ".join(p.name for p in found or self._pods.values())
        problem = "is ambiguous" if found else "does not exist"
        raise ControlError(f"pod {name!r} {problem}; pods: {names or 'none'}")

    def named(self, name: str) -> list[Pod]:
        """The pod of that name, or with `all` every one that runs. Raises ControlError."""
        return [pod for pod in self if pod.is_running] if name == "all" else [self.get(name)]

    def of_workload(self, server: ServerPlan) -> list[Pod]:
        workload = server.workload
        key = (workload.resource.kind, workload.key)
        return [p for p in self if (p.server.workload.resource.kind, p.server.workload.key) == key]

    def next_identity(self, server: ServerPlan) -> tuple[str, int]:
        """Name and ordinal of a pod to be made; the pods of a Deployment never get a name twice."""
        taken = {p.ordinal for p in self.of_workload(server)}
        if server.workload.is_ordinal:
            first = server.workload.first_ordinal
            ordinal = next(i for i in range(first, first + len(taken) + 1) if i not in taken)
        else:
            ordinal = self._ordinals.get(server.workload.key, 0)
            self._ordinals[server.workload.key] = ordinal + 1
        return pod_name(server.workload, ordinal, self._stack), ordinal

    def endpoints(self, pool: InferencePool) -> list[Endpoint]:
        """Ready pods of the pool times its target ports, named as the EPP names them."""
        return [endpoint for pod in self if _is_endpoint(pod, pool) for endpoint in _endpoints_of(pod, pool)]

    def choices(self, pool: InferencePool) -> list[Endpoint]:
        """The endpoints that a picker may choose: of a pod with the annotation active-ports only those."""
        active = {pod.name: pod.server.workload.active_ports for pod in self}
        found = ((e, active[e.pod]) for e in self.endpoints(pool))
        return [e for e, ports in found if ports is None or e.port in ports]

    def behind(self, service: Service, port: ServicePort) -> list[tuple[str, int]]:
        """Addresses of the ready pods that a Service port leads to."""
        return [
            (pod.address, number)
            for pod in self
            if pod.state is PodState.READY
            and pod.namespace == service.namespace
            and selects(service.selector, pod.server.workload.pod_labels)
            and (number := container_port(pod.server.container, port)) is not None
        ]


def _is_endpoint(pod: Pod, pool: InferencePool) -> bool:
    """By the pool's selector, not by the plan: pods may be in two pools."""
    return (
        pod.state is PodState.READY
        and pod.namespace == pool.namespace
        and selects(pool.selector, pod.server.workload.pod_labels)
    )


def _endpoints_of(pod: Pod, pool: InferencePool) -> Iterable[Endpoint]:
    labels = pod.server.workload.pod_labels
    for rank, port in enumerate(pool.target_ports):
        name = f"{pod.name}-rank-{rank}"
        yield Endpoint(name, pod.name, pod.namespace, pod.address, port, labels)


def is_ready(pod: Pod, replica: ReplicaView) -> bool:
    """Without a readiness probe a container is ready as soon as it runs."""
    return not pod.has_probe or (replica.state.is_ready() and not replica.prepared.faults.unready)
