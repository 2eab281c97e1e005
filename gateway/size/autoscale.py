"""The chart's HorizontalPodAutoscaler on the virtual clock: so many requests waiting per pod.

As kube-controller-manager decides: every 15 s, wanted = ceil(pods x mean / target) unless the ratio is within
10 % of 1; upwards at most doubled or by 4 pods, whichever is more, in 15 s; downwards to the highest wanted
number of the last 300 s. What is read is what Prometheus last scraped. A pod that is added is ready after
`startup` seconds: image, weights and compilation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from gateway.simulate.replicas.pods import Fleet
from gateway.stack.pods import PodState
from simulator.replay.world import World

SYNC_S = 15.0  # --horizontal-pod-autoscaler-sync-period
TOLERANCE = 0.1
DOWN_WINDOW_S = 300.0  # behavior.scaleDown.stabilizationWindowSeconds
MOST_UP, FACTOR_UP = 4, 2  # behavior.scaleUp.policies: pods, and times as many, in one period


@dataclass(slots=True)
class Hpa:
    """autoscaling.minReplicas, maxReplicas and targetRequestsWaiting of the chart; seconds."""

    least: int
    most: int
    target: float = 4.0
    scrape: float = 5.0  # podMonitor.interval
    startup: float = 60.0
    _wanted: list[tuple[float, int]] = field(default_factory=list)
    _seen: float = 0.0  # requests waiting per ready pod, at the last scrape

    def start(self, world: World, fleet: Fleet, t0: float) -> None:
        fleet.startup = self.startup
        world.at(t0, self._scrape, world, fleet)
        world.at(t0 + SYNC_S, self._sync, world, fleet)

    def _scrape(self, world: World, fleet: Fleet) -> None:
        ready = [pod for pod in fleet if pod.state is PodState.READY]
        ranks = [rank for pod in ready for rank in fleet.of_pod[pod.name]]
        for rank in ranks:
            rank.advance(world.now)
            rank.requeue(rank)
        waiting = sum(rank.engine.stats.num_requests_waiting for rank in ranks)
        self._seen = waiting / max(1, len(ready))
        world.at(world.now + self.scrape, self._scrape, world, fleet)

    def _sync(self, world: World, fleet: Fleet) -> None:
        pods = [pod for pod in fleet if pod.state in (PodState.READY, PodState.STARTING)]
        wanted = self.decide(len(pods), sum(pod.state is PodState.READY for pod in pods), world.now)
        if wanted != len(pods):
            fleet.scale(pods[0].server.workload.name, wanted)
        world.at(world.now + SYNC_S, self._sync, world, fleet)

    def decide(self, current: int, ready: int, now: float) -> int:
        """Pods that are to be, of `current` of which `ready` have a metric."""
        ratio = self._seen / self.target
        raw = current
        if abs(ratio - 1.0) > TOLERANCE:
            # pods that are not ready count as idle when more are wanted
            again = self._seen * ready / self.target / max(1, current) if ratio > 1.0 else ratio
            if abs(again - 1.0) > TOLERANCE and (again > 1.0) == (ratio > 1.0):
                raw = math.ceil(again * current)
        raw = min(max(raw, self.least), self.most)
        self._wanted = [(at, count) for at, count in self._wanted if at > now - DOWN_WINDOW_S]
        self._wanted.append((now, raw))
        if raw > current:
            return min(raw, max(FACTOR_UP * current, current + MOST_UP), self.most)
        return min(current, max(count for _, count in self._wanted))
