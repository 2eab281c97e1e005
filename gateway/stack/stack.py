"""A stack: model servers in this process, pickers and Envoys as children, kept in step.

`async with Stack(plan, options)` starts all of it and ends all of it. Between the two, `scale`,
`kill`, `restart` and `drain` change the pods; Envoy and the pickers hear of every change at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gateway.envoy.clusters import ClusterSpec
from gateway.envoy.eds import Address
from gateway.envoy.process import GatewayOptions, GatewayProcess
from gateway.errors import ControlError, StackError
from gateway.machine.ports import MAX_ADDRESSES, AddressPool, is_free
from gateway.manifests.inside import inside
from gateway.stack.containers import server_command
from gateway.stack.pickers.process import PickerOptions, PickerProcess
from gateway.stack.pickerset import PickerHandle, PickerSet
from gateway.stack.plan import Plan, ServerPlan, fronting_ports
from gateway.stack.pods import Pod, PodState, PodTable, ReplicaView
from simulator.config.resolve import parse_args
from simulator.config.serve import ServeConfig
from simulator.errors import ConfigError, FleetError
from simulator.fleet.fleet import Fleet, ReplicaSpec

WATCH_INTERVAL_S = 0.1  # how often pods are asked for their readiness; a kubelet does it every second at most
DRAIN_TIMEOUT_S = 30.0  # Kubernetes' terminationGracePeriodSeconds
_ADDRESS_ATTEMPTS = 20


@dataclass(frozen=True)
class StackOptions:
    """Where and how a stack runs; what it runs is the plan's."""

    directory: Path
    picker: PickerOptions = field(default_factory=PickerOptions)
    gateway: GatewayOptions = field(default_factory=GatewayOptions)


class Stack:
    """Everything that a plan asks for, running; `failure` is done when a part died unasked.

    What it is asked and cannot do is a ControlError.
    """

    def __init__(self, plan: Plan, options: StackOptions, report: Callable[[str], None] = print) -> None:
        self.plan = plan
        self.options = options
        self.report = report
        self.pods = PodTable(plan.stack)
        self.pickers = PickerSet(plan, options.directory, options.picker, report)
        self.gateways: list[GatewayProcess] = []
        self.failure: asyncio.Future[StackError] = asyncio.get_running_loop().create_future()
        self._fleet = Fleet()
        self._addresses = AddressPool()
        self._tasks: list[asyncio.Task[None]] = []
        self._changing = asyncio.Lock()  # one scale, drain or restart at a time
        self._untold: OSError | None = None  # why the endpoints could not be written

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def _start(self) -> None:
        await self._fleet.__aenter__()
        await self._add_pods()
        self.pickers.make()
        for gateway in self.plan.gateways:
            directory = inside(self.options.directory / "gateways", f"{gateway.namespace}.{gateway.name}")
            process = GatewayProcess(self.plan.manifests, gateway, directory, self.options.gateway)
            self.gateways.append(process)
        self.pickers.update(self.pods)
        pickers = [self._start_picker(handle) for handle in self.pickers]
        await _all(*pickers, *(self._start_gateway(g) for g in self.gateways))
        self.publish()
        await self._until_applied()
        self._tasks = [
            asyncio.create_task(self._watch_pods()),
            *(asyncio.create_task(self._watch_gateway(g)) for g in self.gateways),
        ]

    async def _start_picker(self, handle: PickerHandle) -> None:
        for note in handle.process.notes:
            self.report(note)
        await handle.process.start()
        self._watch(handle)
        self.report(handle.describe())

    async def _start_gateway(self, gateway: GatewayProcess) -> None:
        await gateway.start(self._endpoints_of)
        urls = ", ".join(f"{port} at {url}" for port, url in gateway.urls.items())
        self.report(f"gateway  {gateway.name}  Envoy, listens for port {urls}")
        for note in gateway.notes:
            self.report(note)

    async def _stop(self) -> None:
        """In the order of a request: no new ones, no more picks, no more answers."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(g.stop() for g in self.gateways))
        await self.pickers.stop()
        await self._fleet.__aexit__(None, None, None)
        self._addresses.close()

    async def _add_pods(self) -> None:
        """All replicas. What they are built of stays: the garbage collector need not see it."""
        gc.disable()
        try:
            for server in self.plan.servers:
                for _ in range(server.replicas):
                    await self._add_pod(server)
        finally:
            gc.enable()
        gc.collect()
        gc.freeze()

    # what runs, and who is told

    def publish(self) -> None:
        """Tell every picker and every Envoy the endpoints as they are now.

        What cannot be written (a full disk) is reported once and tried again until it can.
        """
        try:
            self.pickers.update(self.pods)
            for gateway in self.gateways:
                gateway.publish(self._endpoints_of)
        except OSError as error:
            if self._untold is None:
                self.report(self._why_untold(error))
            self._untold = error
        else:
            self._untold = None

    def _why_untold(self, error: OSError) -> str:
        directory = self.options.directory
        why = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        cause = why if directory.is_dir() else f"the stack's directory {directory} is gone"
        return f"gateways and pickers cannot be told of changes: {cause}"

    def _endpoints_of(self, spec: ClusterSpec) -> list[Address]:
        if spec.pool is not None:
            return [(e.address, e.port) for e in self.pods.endpoints(spec.pool)]
        if spec.service is None or spec.port is None:
            return []
        return self.pods.behind(spec.service, spec.port) + self.pickers.behind(spec.service, spec.port)

    async def _until_applied(self, timeout_s: float = 5.0) -> None:
        """Return when every Envoy has the endpoints that were published, in milliseconds."""
        if self._untold is not None:
            raise StackError(self._why_untold(self._untold))
        deadline = time.monotonic() + timeout_s
        while not all([await g.has_applied() for g in self.gateways]):
            if time.monotonic() > deadline:
                raise StackError(f"Envoy did not take over the endpoints within {timeout_s:g} s")
            await asyncio.sleep(0.01)

    def _set_state(self, state: PodState, *pods: Pod) -> None:
        for pod in pods:
            pod.state = state
        self.publish()

    # model servers

    async def _add_pod(self, server: ServerPlan) -> Pod:
        name, ordinal = self.pods.next_identity(server)
        ports = _ports(server, self._config(server, name, "127.0.0.2"))
        for attempt in range(_ADDRESS_ATTEMPTS):
            # The pool may send to ports that the pod lacks: nobody else should answer there.
            address = self._addresses.take(sorted({*ports, *server.pool.target_ports}))
            config = self._config(server, name, address)
            try:
                replica = await self._fleet.add(ReplicaSpec(name, address, ports, config))
                break
            except FleetError as error:
                # Another stack may have taken the address since; any other failure is final.
                if all(is_free(address, p) for p in ports) or attempt == _ADDRESS_ATTEMPTS - 1:
                    raise StackError(f"pod {name}: {error}") from error
        pod = Pod(name, server, ordinal, address, ports)
        pod.has_probe = server.container.root.has("readinessProbe")
        pod.models = (*(m.name for m in config.lora_modules), *config.served_model_names)
        pod.latency = config.latency.kind
        self.pods.add(pod)
        pod.state = PodState.READY if _is_ready(pod, replica) else PodState.STARTING
        self.report(f"pod      {name}  {address}:{','.join(map(str, ports))}")
        return pod

    def _config(self, server: ServerPlan, name: str, address: str) -> ServeConfig:
        workload, container = server.workload, server.container
        path = (workload.namespace, workload.resource.kind.lower(), workload.name)
        volumes = inside(self.options.directory / "volumes", *path)
        flags, env = server_command(
            self.plan.manifests, workload, container, name=name, address=address, directory=volumes
        )
        try:
            return parse_args(flags, env)
        except ConfigError as error:
            raise container.root.error(f"the model server would not start: {error}", "args") from error

    def replica(self, pod: Pod) -> ReplicaView | None:
        return self._fleet.replicas.get(pod.name)

    async def _watch_pods(self) -> None:
        """Follow readiness, deaths after a number of tokens, and the size of access logs."""
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            if self._untold is not None:
                self.publish()
            for gateway in self.gateways:
                await gateway.rotate_log()
            for pod in self.pods:
                replica = self.replica(pod)
                if replica is None or pod.state not in {PodState.STARTING, PodState.READY}:
                    continue
                state = PodState.READY if _is_ready(pod, replica) else PodState.STARTING
                if not self._fleet.is_listening(pod.name):
                    state = PodState.KILLED
                    self.report(f"pod {pod.name} died")
                if state is not pod.state:
                    self._set_state(state, pod)

    # deaths

    async def _watch_gateway(self, gateway: GatewayProcess) -> None:
        await gateway.process.wait()
        if not gateway.process.stopping and not self.failure.done():
            log = gateway.process.tail()
            self.failure.set_result(StackError(f"Envoy of {gateway.name} {gateway.process.ending()}\n{log}"))

    def _watch(self, handle: PickerHandle) -> None:
        self._tasks.append(asyncio.create_task(self._watch_picker(handle, handle.process)))

    async def _watch_picker(self, handle: PickerHandle, picker: PickerProcess) -> None:
        """A picker that dies is an endpoint less, as in a cluster; the pool's failure mode rules."""
        await picker.process.wait()
        self.publish()
        if not picker.process.stopping:
            self.report(
                f"picker {handle.name} {picker.process.ending()}: {handle.failure_mode} rules; "
                f"`simfleet restart {handle.name}` brings it back. Its last lines:\n{picker.process.tail()}"
            )

    # commands

    async def scale(self, target: str, replicas: int) -> str:
        """Change the number of pods of a pool or workload; those that go are drained first."""
        if not 0 <= replicas <= MAX_ADDRESSES:
            raise ControlError(f"replicas must be 0 to {MAX_ADDRESSES}, not {replicas}")
        async with self._changing:
            server = self._server(target)
            pods = self.pods.of_workload(server)
            try:
                try:
                    for _ in range(replicas - len(pods)):
                        await self._add_pod(server)
                        await asyncio.sleep(0)  # the pods that run answer from the same thread
                finally:
                    self.publish()
                await self._remove(pods[replicas:])
                await self._until_applied()
            except (StackError, OSError) as error:
                got = f"{len(pods)} -> {len(self.pods.of_workload(server))} pods"
                raise ControlError(f"{server.workload.name}: {got}, then: {error}") from error
        return f"{server.workload.name}: {len(pods)} -> {replicas} pods"

    async def _remove(self, pods: Sequence[Pod]) -> None:
        if running := [pod for pod in pods if pod.is_running]:
            await self._drain(running, DRAIN_TIMEOUT_S)
        for pod in pods:
            await self._fleet.remove(pod.name)
            self.pods.remove(pod)
            self._addresses.release(pod.address)
            await asyncio.sleep(0)

    async def kill(self, name: str, after_tokens: int | None = None) -> str:
        """End a pod or a picker as `kill -9` would; with `after_tokens`, a pod that many tokens later."""
        if after_tokens is not None and after_tokens < 0:
            raise ControlError(f"after_tokens must be 0 or more, not {after_tokens}")
        if (handle := self.pickers.find(name)) is not None:
            await handle.process.process.kill()
            self.publish()
            return f"picker {handle.name} killed"
        pod = self.pods.get(name)
        self._fleet.kill(pod.name, after_tokens)
        if after_tokens:
            return f"pod {pod.name} dies after {after_tokens} more tokens"
        self._set_state(PodState.KILLED, pod)
        return f"pod {pod.name} killed"

    async def drain(self, name: str, grace_s: float = DRAIN_TIMEOUT_S) -> str:
        """Take a pod out of the endpoints, let it finish what it has, close it."""
        if not 0 <= grace_s < float("inf"):
            raise ControlError(f"grace_s must be 0 seconds or more, not {grace_s:g}")
        pod = self.pods.get(name)
        if not pod.is_running:
            raise ControlError(f"pod {pod.name} is {pod.state} already")
        async with self._changing:
            finished = await self._drain([pod], grace_s)
        return f"pod {pod.name} drained" + ("" if finished else f"; cut off after {grace_s:g} s")

    async def _drain(self, pods: Sequence[Pod], grace_s: float) -> bool:
        """All of them together: endpoints are published and applied once. False: some were cut off."""
        self._set_state(PodState.DRAINING, *pods)
        await self._until_applied()
        finished = await asyncio.gather(*(self._fleet.drain(pod.name, grace_s) for pod in pods))
        self._set_state(PodState.DRAINED, *pods)
        return all(finished)

    async def restart(self, name: str) -> str:
        """Start a pod with an empty cache on its old address, or a picker anew."""
        async with self._changing:
            if (handle := self.pickers.find(name)) is not None:
                await handle.process.stop()
                await self._start_picker(handle)
                self.publish()
                await self._until_applied()
                return f"picker {handle.name} restarted"
            pod = self.pods.get(name)
            try:
                replica = await self._fleet.restart(pod.name)
            except FleetError as error:
                raise ControlError(f"pod {pod.name} cannot be restarted: {error}") from error
            self._set_state(PodState.READY if _is_ready(pod, replica) else PodState.STARTING, pod)
            await self._until_applied()
        return f"pod {pod.name} restarted"

    def _server(self, target: str) -> ServerPlan:
        """The workload called `target`, or the only one of the pool called so."""
        servers = self.plan.servers
        found = [s for s in servers if target in {s.workload.name, str(s.workload)}]
        found = found or [s for s in servers if target in {s.pool.name, str(s.pool)}]
        if len(found) != 1:
            names = ", ".join(sorted({s.pool.name for s in servers} | {s.workload.name for s in servers}))
            problem = "is ambiguous, name the workload" if found else "does not exist"
            raise ControlError(f"pool {target!r} {problem}; there are: {names}")
        return found[0]


def _ports(server: ServerPlan, config: ServeConfig) -> tuple[int, ...]:
    """The ports that a pod listens on, one per rank; one for all of them where the pool has one.

    A server of one rank whose --port is among several targetPorts stands for a process per port; one whose
    --port is none of them listens where it says, and the pool does not reach it.
    """
    targets = server.pool.target_ports
    if config.data_parallel_size == 1 and config.port in targets:
        return targets
    if config.port not in targets and fronting_ports(server.workload, server.container, targets):
        return targets  # a proxy beside it would pass requests on; here it takes them
    ranks = config.ranks.num_ports if len(targets) == 1 else config.data_parallel_size
    return tuple(range(config.port, config.port + ranks))


def _is_ready(pod: Pod, replica: ReplicaView) -> bool:
    """Without a readiness probe a container is ready as soon as it runs."""
    return not pod.has_probe or replica.state.is_ready()


async def _all(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Run them together; the first error cancels the rest and is the one that is raised."""
    tasks = [asyncio.create_task(c) for c in coroutines]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
