"""A cluster in this process whose pods are facts that a test invents: controllers without processes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, cast

from gateway.cluster.controllers.facts import PodFact
from gateway.cluster.controllers.gateways import Running
from gateway.cluster.world import World, new_state
from gateway.manifests.load import Manifests
from gateway.stack.plan import pod_name

Object = dict[str, Any]


class Machine:
    """Stands for a Runtime: every workload has the pods that it asks for, ready at once."""

    def __init__(self) -> None:
        self.manifests = Manifests()
        self.addresses: dict[tuple[str, str], Running] = {}
        self.ended: list[str] = []
        self._gone: set[str] = set()

    async def change(self, manifests: Manifests) -> tuple[list[str], dict[str, str]]:
        self.manifests = manifests
        self._gone.clear()
        self.addresses = {key: Running("127.0.1.1", {80: 80}) for key in manifests.gateways}
        return [], {}

    def facts(self, manifests: Manifests, problems: Mapping[str, str]) -> list[PodFact]:
        return [
            PodFact(
                name,
                w.resource.kind,
                w.namespace,
                w.name,
                address="127.0.0.9",
                ready=True,
                ports={8000: ("127.0.0.9", 8000)},
            )
            for w in self.manifests.workloads
            for name in (pod_name(w, i) for i in range(w.replicas))
            if name not in self._gone
        ]

    def gateways(self) -> dict[tuple[str, str], Running]:
        return self.addresses

    async def converged(self, timeout_s: float) -> None:
        return None

    async def end(self, names: Collection[str], grace_s: float) -> str | None:
        self.ended += names
        self._gone |= set(names)
        return None

    async def revive(self, fact: PodFact) -> str | None:
        return None

    def log_of(self, name: str) -> Path | None:
        return None


def new_world() -> tuple[World, Machine]:
    """A furnished cluster; run `world.settle()` or `world.start()` to have it move."""
    world = World(new_state(), lambda line: None)
    world.furnish("v1.33.0")
    machine = Machine()
    world.use(cast("Any", machine))
    return world, machine


def create(world: World, obj: Object, namespace: str = "") -> Object:
    served = world.state.served(obj["apiVersion"], obj["kind"])
    made, _ = world.state.create(served, namespace or obj["metadata"].get("namespace", ""), obj)
    return made
