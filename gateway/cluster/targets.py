"""What an autoscaler scales: a workload of a running stack, or its object in a cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.autoscale.hpa import MetricSpec
from gateway.autoscale.metrics import Source
from gateway.manifests.inference import InferencePool
from gateway.stack.plan import ServerPlan
from gateway.stack.pods import Pod, PodState
from gateway.stack.stack import Stack

_ENDING = {PodState.DRAINING, PodState.DRAINED}


class StackTarget:
    """One workload of a running stack, as autoscale.loop.Target."""

    def __init__(self, stack: Stack, server: ServerPlan) -> None:
        self._stack = stack
        self._server = server

    @property
    def name(self) -> str:
        return self._server.workload.name

    def _pods(self) -> list[Pod]:
        """Those that are not ending; one that was killed is still there, and answers nobody."""
        return [p for p in self._stack.pods.of_workload(self._server) if p.state not in _ENDING]

    def replicas(self) -> int:
        """As `scale` counts: one that was drained by hand has its place until it is scaled away."""
        return len(self._stack.pods.of_workload(self._server))

    def ready(self) -> int:
        return sum(p.state is PodState.READY for p in self._pods())

    def pods(self) -> Sequence[Source]:
        return [_source(pod) for pod in self._pods()]

    def about(self, metric: MetricSpec) -> tuple[Sequence[Source], str | None]:
        """All pods of the namespace and all pickers; of an object those that are its own."""
        namespace = self._server.workload.namespace
        pods = [p for p in self._stack.pods if p.namespace == namespace and p.state not in _ENDING]
        pickers = list(self._stack.pickers)
        name = None
        if metric.object is not None:
            kind, name = metric.object
            if kind == "InferencePool":
                pods = [p for p in pods if _is_called(p.pool, name)]
                pickers = [h for h in pickers if _is_called(h.pool, name)]
            else:
                pods, pickers = [p for p in pods if _belongs(p, kind, name)], []
        urls = {h.name: f"http://127.0.0.1:{h.process.metrics_port}/metrics" for h in pickers}
        return [*map(_source, pods), *(Source(n, (url,)) for n, url in urls.items())], name

    async def scale(self, replicas: int) -> None:
        await self._stack.scale(str(self._server.workload), replicas)


class ObjectTarget(StackTarget):
    """A workload whose object says how many pods it has; its controller follows."""

    def __init__(self, stack: Stack, server: ServerPlan, write: Callable[[int], None]) -> None:
        super().__init__(stack, server)
        self._write = write

    async def scale(self, replicas: int) -> None:
        self._write(replicas)


def _source(pod: Pod) -> Source:
    return Source(pod.name, tuple(f"http://{pod.address}:{port}/metrics" for port in pod.ports))


def _is_called(pool: InferencePool | None, name: str) -> bool:
    return pool is not None and pool.name == name


def _belongs(pod: Pod, kind: str, name: str) -> bool:
    """Whether a pod is of the workload, behind the Service, or itself of that name."""
    server = pod.server
    if kind == "Service":
        return server.service is not None and server.service.name == name
    if kind == "Pod":
        return pod.name == name
    return (server.workload.resource.kind, server.workload.name) == (kind, name)
