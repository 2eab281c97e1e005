"""What runs, told to the controllers: they know pods by these facts and nothing of processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class PodFact:
    """One pod of a workload as it is at this moment.

    `waiting` is (reason, message) of a pod that does not run: its image is none that runs here, or what it
    mounts is missing. `ports` leads from a port in the container to (address, port) on this machine.
    """

    name: str
    kind: str  # of its workload
    namespace: str
    workload: str
    address: str = ""
    ready: bool = False
    ending: bool = False  # finishes what it has
    dead: bool = False  # ended unasked
    restarts: int = 0
    waiting: tuple[str, str] | None = None
    ports: Mapping[int, tuple[str, int]] = field(default_factory=dict)

    @property
    def owner(self) -> tuple[str, str, str]:
        return self.kind, self.namespace, self.workload
