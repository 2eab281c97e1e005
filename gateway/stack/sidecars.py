"""Where the containers of a pod listen, and the routing sidecars of those that have one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from gateway.errors import StackError
from gateway.sidecar.listener import Sidecar
from gateway.sidecar.options import SidecarOptions
from gateway.stack.plan import ServerPlan, listening_ports
from gateway.stack.pods import Pod


def pod_ports(
    server: ServerPlan, port: int, ranks: int, control: int | None, sidecar: SidecarOptions | None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The ports of a pod's model server, and those of its control API and its sidecar."""
    more = (*(sidecar.ports if sidecar else ()), *([] if control is None else [control]))
    if sidecar is not None:  # it takes the requests; the server listens where its flags say
        return tuple(port + rank for rank in range(ranks)), more
    return listening_ports(server, port, ranks), more


def notes_of(server: ServerPlan, options: SidecarOptions, ports: tuple[int, ...]) -> Iterator[str]:
    """What to tell of a sidecar whose model server listens on `ports`."""
    for text in options.notes:
        yield f"{server.workload}, routing sidecar: {text}"
    if ports[:1] != (options.model_port,):
        yield (
            f"{server.workload}: the routing sidecar forwards to port {options.model_port}, the model server "
            f"listens on {ports[0]}; requests get 503"
        )


class Sidecars:
    """The sidecars of a stack, by pod: one lives as long as the pod's server. `note` is told what to tell."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._known: dict[str, Sidecar] = {}

    async def add(self, pod: Pod, options: SidecarOptions | None) -> None:
        """Start the sidecar of a pod that has one. Raises StackError where its port is taken."""
        if options is not None:
            for text in notes_of(pod.server, options, pod.ports):
                self._note(text)
            self._known[pod.name] = Sidecar(options, pod.address)
            await self.start(pod)

    async def start(self, pod: Pod) -> None:
        """Start it again, with its pod. Raises StackError where its port is taken."""
        if (sidecar := self._known.get(pod.name)) is not None:
            try:
                await sidecar.start()
            except OSError as error:
                raise StackError(f"pod {pod.name}: the routing sidecar: {error}") from error

    def stop(self, pod: Pod) -> None:
        if (sidecar := self._known.get(pod.name)) is not None:
            sidecar.stop()

    def close(self) -> None:
        for sidecar in self._known.values():
            sidecar.stop()
