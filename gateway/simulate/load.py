"""How full the fleet was over time, and who changes its size: looks at all replicas every so often."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from gateway.simulate.replicas.pods import Fleet
from gateway.stack.pods import PodState
from simulator.replay.world import World


class Scaler(Protocol):
    """Decides over the number of pods; plain data, for it may go to another process."""

    def start(self, world: World, fleet: Fleet, t0: float) -> None:
        """Put its first decision into the world."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look: seconds after the start, pods that are paid for, and what the replicas had."""

    at: float
    pods: int
    ready: int
    running: int
    waiting: int
    kv_mean: float
    kv_max: float


@dataclass(slots=True)
class Load:
    """The looks of a run, `every` seconds from t0 on; `start` begins them."""

    every: float
    looks: list[Look] = field(default_factory=list)

    def start(self, world: World, fleet: Fleet, t0: float) -> None:
        world.at(t0, self._look, world, fleet, t0, 0)

    def _look(self, world: World, fleet: Fleet, t0: float, number: int) -> None:
        ranks = list(fleet.ranks.values())
        for rank in ranks:
            rank.advance(world.now)
            rank.requeue(rank)
        stats = [rank.engine.stats for rank in ranks]
        usage = [each.kv_cache_usage for each in stats] or [0.0]
        pods = [pod for pod in fleet if pod.is_running]
        self.looks.append(
            Look(
                at=number * self.every,
                pods=len(pods),
                ready=sum(pod.state is PodState.READY for pod in pods),
                running=sum(each.num_requests_running for each in stats),
                waiting=sum(each.num_requests_waiting for each in stats),
                kv_mean=sum(usage) / len(usage),
                kv_max=max(usage),
            )
        )
        world.at(t0 + (number + 1) * self.every, self._look, world, fleet, t0, number + 1)

    def until(self, end: float) -> list[Look]:
        """The looks up to the end of the run."""
        return [look for look in self.looks if look.at <= end] or self.looks[:1]
