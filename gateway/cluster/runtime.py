"""What a cluster runs: a stack that follows the cluster's objects, and the facts of its pods.

The API does not import this module before it serves: a simulator and an Envoy take a second to load.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Collection, Mapping
from pathlib import Path

from gateway.cluster.controllers.facts import PodFact
from gateway.cluster.controllers.gateways import Running
from gateway.envoy.ads import IstiodGateway
from gateway.envoy.config import EnvoyConfig
from gateway.errors import GatewayError
from gateway.manifests.load import Manifests
from gateway.manifests.workloads import Workload
from gateway.stack.change import apply
from gateway.stack.pickerset import PickerHandle
from gateway.stack.plan import Plan, make_plan, pod_name
from gateway.stack.pods import Pod, PodState
from gateway.stack.stack import Stack

_PICKER = re.compile(r"(?:^|[/-])(?:epp|endpoint-picker|inference-scheduler|router-endpoint-picker)\b")
_POLL_S = 0.02
NOT_RUN = "ImageNotRunHere"


class Runtime:
    """The running half of a cluster, around one stack."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self._plan: Plan | None = None  # of the manifests that were asked about last
        self._in_vain: dict[str, EnvoyConfig] = {}  # what an istiod did not send in time, by gateway

    def _planned(self, manifests: Manifests) -> set[tuple[str, str]]:
        """The workloads that run, as soon as the stack has been changed to them."""
        if self._plan is None or self._plan.manifests is not manifests:
            self._plan = make_plan(manifests, stack=self.stack.plan.stack)
        return {s.workload.key for s in self._plan.servers}

    async def change(self, manifests: Manifests) -> tuple[list[str], dict[str, str]]:
        """Run `manifests`: what was done, and what could not be, by object. Raises GatewayError, OSError."""
        plan = make_plan(manifests, stack=self.stack.plan.stack)
        done = await apply(self.stack, plan, reload=False)
        return done.lines, done.problems

    def facts(self, manifests: Manifests, problems: Mapping[str, str]) -> list[PodFact]:
        """Every pod that the workloads have: those that run, and those that do not with the reason."""
        return _facts(self.stack, manifests, problems, self._planned(manifests))

    def gateways(self) -> dict[tuple[str, str], Running]:
        """The gateways that serve."""
        found = {}
        for process in self.stack.gateways:
            if process.process.is_running:
                host = next((b.host for b in process.config.listeners), "127.0.0.1")
                patches = tuple(process.patches) if isinstance(process, IstiodGateway) else ()
                found[process.gateway.key] = Running(host, dict(process.ports), patches)
        return found

    async def converged(self, timeout_s: float) -> None:
        """Wait until istiod has sent what our own translation has, which for odd manifests it never does.

        What has been waited for in vain is not waited for again.
        """
        deadline = time.monotonic() + timeout_s
        for process in self.stack.gateways:
            if not isinstance(process, IstiodGateway) or self._in_vain.get(process.name) is process.config:
                continue
            while not await process.has_converged():
                if time.monotonic() > deadline:
                    self._in_vain[process.name] = process.config
                    break
                await asyncio.sleep(_POLL_S)

    async def end(self, names: Collection[str], grace_s: float) -> str | None:
        """End the pods called so, all together; why they could not be. A picker comes back."""
        try:
            for picker in [h for h in self.stack.pickers if h.name in names]:
                await self.stack.restart(picker.name)
            owners = {str(p.server.workload) for p in self.stack.pods if p.name in names}
            async with self.stack.turns.of(*owners):
                await self.stack.remove_pods([p for p in self.stack.pods if p.name in names], grace_s)
        except GatewayError as error:
            return str(error)
        return None

    async def revive(self, fact: PodFact) -> str | None:
        """Start what died; why it could not be."""
        try:
            await self.stack.restart(fact.name)
        except GatewayError as error:
            return str(error)
        return None

    def log_of(self, name: str) -> Path | None:
        """The file that a picker writes to; None for a pod without one."""
        handle = self.stack.pickers.find(name)
        return handle.process.process.log if handle else None


def _facts(
    stack: Stack, manifests: Manifests, problems: Mapping[str, str], planned: set[tuple[str, str]]
) -> list[PodFact]:
    found = [_of_pod(pod) for pod in stack.pods]
    having = {pod.server.workload.key for pod in stack.pods}
    pickers = {h.plan.workload.key: h for h in stack.pickers}
    for workload in manifests.workloads:
        problem = problems.get(str(workload))
        if (handle := pickers.get(workload.key)) is not None:
            found.append(_of_picker(handle))
        elif workload.key not in planned:
            found += _not_run(stack, workload, *_why(workload, problem))
        elif problem is not None and workload.key not in having:
            found += _not_run(stack, workload, "CreateContainerConfigError", problem)
    return found


def _why(workload: Workload, problem: str | None) -> tuple[str, str]:
    images = ", ".join(c.image for c in workload.containers if c.image)
    if problem is not None:
        return "CreateContainerConfigError", problem
    if any(_PICKER.search(c.image) for c in workload.containers):
        return "ContainerCreating", "the endpoint picker starts with the InferencePool that names its Service"
    return NOT_RUN, f"{images}: only model servers, endpoint pickers and gateways run here"


def _not_run(stack: Stack, workload: Workload, reason: str, message: str) -> list[PodFact]:
    kind = workload.resource.kind
    return [
        PodFact(
            pod_name(workload, i, stack.plan.stack),
            kind,
            workload.namespace,
            workload.name,
            waiting=(reason, message),
        )
        for i in range(workload.replicas)
    ]


def _of_pod(pod: Pod) -> PodFact:
    workload = pod.server.workload
    ports = {number: (pod.address, number) for number in pod.ports}
    return PodFact(
        pod.name,
        workload.resource.kind,
        workload.namespace,
        workload.name,
        address=pod.address,
        ready=pod.state is PodState.READY,
        ending=pod.state in {PodState.DRAINING, PodState.DRAINED},
        dead=pod.state is PodState.KILLED,
        restarts=pod.restarts,
        ports=ports,
    )


def _of_picker(handle: PickerHandle) -> PodFact:
    workload, process = handle.plan.workload, handle.process
    declared = {p.number for c in workload.containers for p in c.ports}
    ports = {number: ("127.0.0.1", handle.local_port(number)) for number in declared}
    alive = process.process.is_running
    return PodFact(
        handle.name,
        workload.resource.kind,
        workload.namespace,
        workload.name,
        address="127.0.0.1",
        ready=alive,
        dead=not alive,
        ports=ports,
    )
