"""A running stack follows other manifests: what is new starts, what changed changes, what is gone ends.

Each part is changed for itself: one that cannot be (a picker whose ConfigMap is missing, a route that Envoy
refuses) is told of, stays as it was, and keeps none of the others from changing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass, field

from gateway.errors import GatewayError, StackError
from gateway.manifests.workloads import Workload
from gateway.stack.pickerset import PickerHandle
from gateway.stack.plan import PickerPlan, Plan, ServerPlan
from gateway.stack.pods import Pod, PodState
from gateway.stack.stack import Stack

READY_TIMEOUT_S = 600.0  # of a replaced pod: a Deployment's progressDeadlineSeconds
_POLL_S = 0.05


@dataclass
class Applied:
    """What was done, a line each, and what could not be, by the object that it is about."""

    lines: list[str] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)


async def apply(stack: Stack, plan: Plan, *, reload: bool = True) -> Applied:
    """Make `stack` run `plan`. Without `reload` a picker goes on when only files that it has read change."""
    async with stack.turns.everything():
        change = _Change(stack, plan, reload)
        await change.run()
        return change.done


class _Change:
    def __init__(self, stack: Stack, plan: Plan, reload: bool) -> None:
        self.stack = stack
        self.plan = plan
        self.reload = reload
        self.before = stack.plan
        self.done = Applied()

    async def run(self) -> None:
        stack, plan = self.stack, self.plan
        stack.plan = plan
        stack.pickers.retarget(plan)
        gone = self._match_servers()
        for server in plan.servers:
            await self._try(server.workload, self._grow(server))
        for picker in plan.pickers:
            await self._try(picker.workload, self._picker(picker))
        for gateway in plan.gateways:
            await self._try(gateway, self._gateway(gateway.key))
        stack.publish()
        for server in plan.servers:
            await self._try(server.workload, self._shrink(server))
        await self._end_rest(gone)
        stack.publish()
        try:
            await stack.until_applied()
        except StackError as error:
            self.done.problems["stack"] = str(error)

    async def _try(self, about: object, doing: Awaitable[None]) -> None:
        try:
            await doing
        except (GatewayError, OSError) as error:
            self.done.problems[str(about)] = str(error)

    # model servers

    def _match_servers(self) -> list[Pod]:
        """Give every pod its workload's new plan; those whose workload is gone are returned."""
        now = {_key(s.workload): s for s in self.plan.servers}
        gone = []
        for pod in self.stack.pods:
            server = now.get(_key(pod.server.workload))
            if server is None:
                gone.append(pod)
            else:
                pod.outdated = self._differs(pod, server)
                pod.server = server
        return gone

    def _differs(self, pod: Pod, server: ServerPlan) -> bool:
        """Whether a pod of `server` would be another one: its template changed, or where it listens."""
        if _bare(pod.template) != _bare(server.workload.resource.root.at("spec", "template").value):
            return True
        if pod.server.targets == server.targets:
            return False
        try:
            return self.stack.ports_of(server, pod.name) != pod.ports
        except GatewayError:  # told of where the pod is to be made
            return True

    async def _grow(self, server: ServerPlan) -> None:
        """Pods that are missing; then each outdated one is replaced, one after the other."""
        pods = self.stack.pods.of_workload(server)
        wanted = self._wanted(server, len(pods))
        name = str(server.workload)
        try:
            for _ in range(wanted - len(pods)):
                await self.stack.add_pod(server)
                await asyncio.sleep(0)
        finally:
            self.stack.publish()
        if wanted > len(pods):
            self.done.lines.append(f"{name}: {len(pods)} -> {wanted} pods")
        old = [p for p in self.stack.pods.of_workload(server) if p.outdated][:wanted]
        for pod in old:
            await self._replace(server, pod)
        if old:
            self.done.lines.append(f"{name}: {len(old)} pods replaced")

    async def _replace(self, server: ServerPlan, old: Pod) -> None:
        """A StatefulSet's pod comes back under its name, a Deployment's when another one is ready."""
        if server.workload.resource.kind != "Deployment":
            await self.stack.remove_pods([old])
            await self.stack.add_pod(server)
            return
        new = await self.stack.add_pod(server)
        self.stack.publish()
        deadline = time.monotonic() + READY_TIMEOUT_S
        while new.state is PodState.STARTING:
            if time.monotonic() > deadline:
                raise StackError(f"pod {new.name} is not ready after {READY_TIMEOUT_S:g} s: {old.name} stays")
            await asyncio.sleep(_POLL_S)
        await self.stack.remove_pods([old])

    async def _shrink(self, server: ServerPlan) -> None:
        pods = self.stack.pods.of_workload(server)
        wanted = self._wanted(server, len(pods))
        if len(pods) > wanted:
            await self.stack.remove_pods(pods[wanted:])
            self.done.lines.append(f"{server.workload}: {len(pods)} -> {wanted} pods")

    def _wanted(self, server: ServerPlan, now: int) -> int:
        """Without spec.replicas a workload keeps what it was scaled to."""
        known = any(_key(s.workload) == _key(server.workload) for s in self.before.servers)
        written = server.workload.resource.root.at("spec", "replicas").value is not None
        return server.replicas if written or not known else now

    # pickers and gateways

    async def _picker(self, picker: PickerPlan) -> None:
        old = self._handle_of(picker.workload)
        if old is not None and not self._is_outdated(old, picker):
            return
        pickers = self.stack.pickers
        new = pickers.make_one(picker)
        new.process.update_endpoints(self.stack.pods.endpoints(new.pool) if new.pool else [])
        try:
            await self.stack.start_picker(new)
        except BaseException:
            await new.process.stop()
            raise
        pickers.swap(old, new)
        self.stack.publish()
        if old is not None:
            await old.process.stop()
        what = "started" if old is None else "restarted: its template or configuration changed"
        self.done.lines.append(f"picker {new.name}: {what}")

    def _is_outdated(self, handle: PickerHandle, picker: PickerPlan) -> bool:
        digest = self.stack.pickers.digest_of(picker)
        if self.reload:
            return digest != handle.digest
        return self.stack.pickers.name_of(picker) != handle.name

    def _handle_of(self, workload: Workload) -> PickerHandle | None:
        return next((h for h in self.stack.pickers if h.plan.workload.key == workload.key), None)

    async def _gateway(self, key: tuple[str, str]) -> None:
        stack = self.stack
        gateway = self.plan.manifests.gateways[key]
        running = next((g for g in stack.gateways if g.gateway.key == key), None)
        if running is None:
            process = stack.make_gateway(gateway)
            await stack.start_gateway(process)
            stack.gateways.append(process)
            self.done.lines.append(f"gateway {process.name}: started")
        elif await running.update(self.plan.manifests, gateway, stack.endpoints_of):
            self.done.lines.append(f"gateway {running.name}: its Envoy has the new configuration")

    # the end

    async def _end_rest(self, gone: list[Pod]) -> None:
        stack = self.stack
        keys = {g.key for g in self.plan.gateways}
        for gateway in [g for g in stack.gateways if g.gateway.key not in keys]:
            stack.gateways.remove(gateway)
            await gateway.stop()
            self.done.lines.append(f"gateway {gateway.name}: ended")
        kept = {p.workload.key for p in self.plan.pickers}
        for handle in [h for h in stack.pickers if h.plan.workload.key not in kept]:
            stack.pickers.swap(handle, None)
            await handle.process.stop()
            self.done.lines.append(f"picker {handle.name}: ended")
        if gone:
            names = dict.fromkeys(str(pod.server.workload) for pod in gone)
            await self._try(next(iter(names)), stack.remove_pods(gone))
            self.done.lines += [f"{name}: its pods ended" for name in names]


def _key(workload: Workload) -> tuple[str, str, str]:
    return workload.resource.kind, workload.namespace, workload.name


def _bare(template: object) -> object:
    """Without what an API server adds to it."""
    if not isinstance(template, dict) or not isinstance(meta := template.get("metadata"), dict):
        return template
    return {**template, "metadata": {k: v for k, v in meta.items() if k != "creationTimestamp"}}
