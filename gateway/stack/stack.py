"""A stack: model servers in this process, pickers and Envoys as children, kept in step.

`async with Stack(plan, options)` starts all of it and ends all of it. Between the two, `scale`,
`kill`, `restart` and `drain` change the pods; Envoy and the pickers hear of every change at once.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Self

from gateway.containers.command import ServerCommand
from gateway.envoy.ads import gateway_process
from gateway.envoy.clusters import ClusterSpec
from gateway.envoy.eds import Address
from gateway.envoy.process import GatewayOptions, GatewayProcess
from gateway.errors import ContainerError, ControlError, StackError
from gateway.machine.ports import MAX_ADDRESSES, AddressPool, is_free
from gateway.machine.processes import together
from gateway.machine.turns import Turns
from gateway.manifests.gatewayapi import Gateway
from gateway.manifests.inside import inside
from gateway.sidecar.plan import sidecar_options
from gateway.stack.faults import change
from gateway.stack.pickers.process import PickerOptions, PickerProcess
from gateway.stack.pickerset import PickerHandle, PickerSet
from gateway.stack.plan import Plan, ServerPlan
from gateway.stack.pods import Pod, PodState, PodTable, ReplicaView, is_ready
from gateway.stack.serving import ranks_of, server_config
from gateway.stack.sidecars import Sidecars, pod_ports
from simulator.config.serve import ServeConfig
from simulator.errors import FleetError
from simulator.fleet.fleet import Fleet, ReplicaSpec

WATCH_INTERVAL_S = 0.1  # how often pods are asked for their readiness; a kubelet: every second
DRAIN_TIMEOUT_S = 30.0  # Kubernetes' terminationGracePeriodSeconds
_ADDRESS_ATTEMPTS = 20


@dataclass(frozen=True)
class StackOptions:
    """Where and how a stack runs; what it runs is the plan's."""

    directory: Path
    picker: PickerOptions = field(default_factory=PickerOptions)
    gateway: GatewayOptions = field(default_factory=GatewayOptions)
    place: Callable[[Gateway], GatewayOptions] | None = None  # of each gateway, where they differ


class Stack:
    """All that a plan asks for; `failure` is done when a part died. It refuses by ControlError."""

    def __init__(self, plan: Plan, options: StackOptions, report: Callable[[str], None] = print):
        self.plan = plan
        self.options = options
        self.report = report
        self.pods = PodTable(plan.stack)
        self.pickers = PickerSet(plan, options.directory, options.picker, report)
        self.gateways: list[GatewayProcess] = []
        self.failure: asyncio.Future[StackError] = asyncio.get_running_loop().create_future()
        self._fleet = Fleet()
        self._sidecars = Sidecars(self.note)
        self._addresses = AddressPool()
        self._tasks: list[asyncio.Task[None]] = []
        self.turns = Turns()  # one scale, drain or restart of a workload at a time
        self._untold: OSError | None = None  # why the endpoints could not be written

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop()

    async def _start(self) -> None:
        await self._fleet.__aenter__()
        await self._add_all()
        self.pickers.make()
        for gateway in self.plan.gateways:
            self.gateways.append(self.make_gateway(gateway))
        self.pickers.update(self.pods)
        pickers = [self.start_picker(handle) for handle in self.pickers]
        await together(*pickers, *(self.start_gateway(g) for g in self.gateways))
        self.publish()
        await self.until_applied()
        self._tasks.append(asyncio.create_task(self._watch_pods()))

    async def start_picker(self, handle: PickerHandle) -> None:
        for note in handle.process.notes:
            self.report(note)
        await handle.process.start()
        self._watch(handle)
        self.report(handle.describe())

    def make_gateway(self, gateway: Gateway) -> GatewayProcess:
        """Its process with its files, not yet started. Raises DocumentError."""
        home = inside(self.options.directory / "gateways", f"{gateway.namespace}.{gateway.name}")
        place = self.options.place(gateway) if self.options.place else self.options.gateway
        taken = {p: g.name for g in self.gateways if g.host == place.host for p in g.ports.values()}
        return gateway_process(self.plan.manifests, gateway, home, place, taken)

    async def start_gateway(self, gateway: GatewayProcess) -> None:
        await gateway.start(self.endpoints_of)
        self._tasks.append(asyncio.create_task(self._watch_gateway(gateway)))
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
        self._sidecars.close()
        await self._fleet.__aexit__(None, None, None)
        self._addresses.close()

    async def _add_all(self) -> None:
        """All replicas. What they are built of stays: the garbage collector need not see it."""
        gc.disable()
        try:
            refused = []
            for server in self.plan.servers:
                try:
                    for _ in range(server.replicas):
                        await self.add_pod(server)
                except ContainerError as error:  # as in a cluster the others start
                    refused.append(error)
                    self.note(f"{server.workload} is not run: {error}")
            if refused and not len(self.pods):
                raise refused[0]
        finally:
            gc.enable()
        gc.collect()
        gc.freeze()

    def note(self, text: str) -> None:
        """Tell once what of the manifests is not run as written, and keep it for `ps`."""
        if text not in self.plan.notes:
            self.plan.notes.append(text)
            self.report(f"note: {text}")

    # what runs, and who is told

    def publish(self) -> None:
        """Tell every picker and every Envoy the endpoints as they are now.

        What cannot be written (a full disk) is reported once and tried again until it can.
        """
        try:
            self.pickers.update(self.pods)
            for gateway in self.gateways:
                gateway.publish(self.endpoints_of)
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

    def endpoints_of(self, spec: ClusterSpec) -> list[Address]:
        if spec.pool is not None:
            return [(e.address, e.port) for e in self.pods.endpoints(spec.pool)]
        if spec.service is None or spec.port is None:
            return []
        return self.pods.behind(spec.service, spec.port) + self.pickers.behind(spec.service, spec.port)

    async def until_applied(self, timeout_s: float = 5.0) -> None:
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
            if not pod.is_running:
                self._sidecars.stop(pod)
        self.publish()

    # model servers

    async def add_pod(self, server: ServerPlan) -> Pod:
        name, ordinal = self.pods.next_identity(server)
        first, _ = self._config(server, name, "127.0.0.2")
        sidecar = sidecar_options(self.plan.manifests, server.workload, name, "127.0.0.2")
        ports, more = pod_ports(server, first.port, ranks_of(server, first), first.control.port, sidecar)
        for attempt in range(_ADDRESS_ATTEMPTS):
            # The pool may send to ports that the pod lacks: nobody else should answer there.
            address = self._addresses.take(sorted({*ports, *server.targets, *more}))
            config, command = self._config(server, name, address)
            try:
                replica = await self._fleet.add(ReplicaSpec(name, address, ports, config, own_control=True))
                break
            except FleetError as error:
                # Another stack may have taken the address since; any other failure is final.
                if all(is_free(address, p) for p in ports) or attempt == _ADDRESS_ATTEMPTS - 1:
                    raise StackError(f"pod {name}: {error}") from error
        pod = Pod(name, server, ordinal, address, ports)
        pod.has_probe = server.container.root.has("readinessProbe")
        pod.models = (*(m.name for m in config.lora_modules), *config.served_model_names)
        pod.latency, pod.args = config.latency.kind, command.flags
        pod.template = server.workload.resource.root.at("spec", "template").value
        await self._sidecars.add(pod, sidecar)
        self.pods.add(pod)
        pod.state = PodState.READY if is_ready(pod, replica) else PodState.STARTING
        self.report(f"pod      {name}  {address}:{','.join(map(str, ports))}")
        return pod

    def ports_of(self, server: ServerPlan, name: str) -> tuple[int, ...]:
        """Where a pod of that name listens. Raises ManifestError."""
        config, _ = self._config(server, name, "127.0.0.2")
        sidecar = sidecar_options(self.plan.manifests, server.workload, name, "127.0.0.2")
        return pod_ports(server, config.port, ranks_of(server, config), config.control.port, sidecar)[0]

    def _config(self, server: ServerPlan, name: str, address: str) -> tuple[ServeConfig, ServerCommand]:
        path, traces = self.options.directory / "volumes", self.options.picker.otlp_traces
        config, command = server_config(self.plan.manifests, server, name, address, path, traces=traces)
        for note in command.notes:
            self.note(f"{server.workload}, container {server.container.name}: {note}")
        return config, command

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
                state = PodState.READY if is_ready(pod, replica) else PodState.STARTING
                if not self._fleet.is_listening(pod.name):
                    state = PodState.KILLED
                    self.report(f"pod {pod.name} died")
                if state is not pod.state:
                    self._set_state(state, pod)

    async def _watch_gateway(self, gateway: GatewayProcess) -> None:
        await gateway.process.wait()
        if not gateway.process.stopping and not self.failure.done():
            log = gateway.process.tail()
            self.failure.set_result(StackError(f"Envoy of {gateway.name} {gateway.process.ending()}\n{log}"))

    def _watch(self, handle: PickerHandle) -> None:
        self._tasks.append(asyncio.create_task(self._watch_picker(handle, handle.process)))

    async def _watch_picker(self, handle: PickerHandle, picker: PickerProcess) -> None:
        """A picker that dies is an endpoint less, and the pool's failure mode rules."""
        await picker.process.wait()
        self.publish()
        if not picker.process.stopping:
            self.report(
                f"picker {handle.name} {picker.process.ending()}: {handle.failure_mode} rules; "
                f"`simfleet restart {handle.name}` brings it back. It said:\n{picker.process.tail()}"
            )

    # commands

    async def scale(self, target: str, replicas: int) -> str:
        """Change the number of pods of a pool or workload; those that go are drained first."""
        if not 0 <= replicas <= MAX_ADDRESSES:
            raise ControlError(f"replicas must be 0 to {MAX_ADDRESSES}, not {replicas}")
        async with self.turns.of(str(self.plan.server(target).workload)):
            server = self.plan.server(target)  # as it is now
            if server.why_fixed:
                raise ControlError(f"{server.workload.name} cannot be scaled: {server.why_fixed}")
            pods = self.pods.of_workload(server)
            try:
                try:
                    for _ in range(replicas - len(pods)):
                        await self.add_pod(server)
                        await asyncio.sleep(0)  # the pods that run answer from the same thread
                finally:
                    self.publish()
                await self.remove_pods(pods[replicas:])
                await self.until_applied()
            except (StackError, OSError) as error:
                got = f"{len(pods)} -> {len(self.pods.of_workload(server))} pods"
                raise ControlError(f"{server.workload.name}: {got}, then: {error}") from error
        return f"{server.workload.name}: {len(pods)} -> {replicas} pods"

    async def remove_pods(self, pods: Sequence[Pod], grace_s: float = DRAIN_TIMEOUT_S) -> None:
        """Let them finish what they have, and be gone."""
        if running := [pod for pod in pods if pod.is_running]:
            await self._drain(running, grace_s)
        for pod in pods:
            await self._fleet.remove(pod.name)
            self.pods.remove(pod)
            self._addresses.release(pod.address)
            await asyncio.sleep(0)

    async def kill(self, name: str, after_tokens: int | None = None) -> str:
        """End a pod or picker as `kill -9` would; with `after_tokens`, that many tokens later."""
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
        async with self.turns.of(str(pod.server.workload)):
            finished = await self._drain([pod], grace_s)
        return f"pod {pod.name} drained" + ("" if finished else f"; cut off after {grace_s:g} s")

    async def fault(
        self, name: str, changes: dict[str, object], clear: bool = False, stall_s: float = 0.0
    ) -> str:
        """Change the faults of a pod, or of `all` that run; those in force, a line a pod."""
        try:
            return await change(
                partial(self._fleet.fault, changes=changes, clear=clear, stall_s=stall_s),
                self.pods.named(name),
            )
        except FleetError as error:
            raise ControlError(str(error)) from error

    async def _drain(self, pods: Sequence[Pod], grace_s: float) -> bool:
        """All together: endpoints are published and applied once. False: some were cut off."""
        self._set_state(PodState.DRAINING, *pods)
        await self.until_applied()
        finished = await asyncio.gather(*(self._fleet.drain(pod.name, grace_s) for pod in pods))
        self._set_state(PodState.DRAINED, *pods)
        return all(finished)

    async def restart(self, name: str) -> str:
        """Start a pod with an empty cache on its old address, or a picker anew."""
        if (handle := self.pickers.find(name)) is not None:
            async with self.turns.of(handle.name):
                if (handle := self.pickers.find(name)) is None:  # while it waited for its turn
                    raise ControlError(f"picker {name} is gone")
                await handle.process.stop()
                await self.start_picker(handle)
                self.publish()
                await self.until_applied()
            return f"picker {handle.name} restarted"
        pod = self.pods.get(name)
        async with self.turns.of(str(pod.server.workload)):
            pod = self.pods.get(name)  # as it is now
            try:
                replica = await self._fleet.restart(pod.name)
            except FleetError as error:
                raise ControlError(f"pod {pod.name} cannot be restarted: {error}") from error
            await self._sidecars.start(pod)
            pod.restarts += 1
            self._set_state(PodState.READY if is_ready(pod, replica) else PodState.STARTING, pod)
            await self.until_applied()
        return f"pod {pod.name} restarted"
