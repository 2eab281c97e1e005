"""A HorizontalPodAutoscaler on the virtual clock: the chart's, or the one that KEDA makes of its triggers.

The rules are gateway/autoscale's, as the live loop has them: every 15 s, with the default behaviour of
autoscaling/v2. What is read is what Prometheus last scraped. A pod that is added is ready after `startup`
seconds: image, weights and compilation.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from typing import Any

from gateway.autoscale.behavior import History
from gateway.autoscale.compute import NoMetricError, Seen, replicas_for
from gateway.autoscale.hpa import Hpa as Rules
from gateway.autoscale.hpa import read_hpa
from gateway.autoscale.loop import SYNC_PERIOD_S
from gateway.manifests.load import load
from gateway.simulate.replicas.pods import Fleet
from gateway.size.keda import Trigger
from gateway.stack.pods import PodState
from simulator.replay.world import World

_METRIC = "vllm:num_requests_waiting"


@dataclass(slots=True)
class Hpa:
    """autoscaling.minReplicas, maxReplicas and targetRequestsWaiting of the chart; seconds.

    `triggers`, with their `behavior`: KEDA's, instead of the target.
    """

    least: int
    most: int
    target: float = 4.0
    scrape: float = 5.0  # podMonitor.interval
    startup: float = 60.0
    triggers: tuple[Trigger, ...] = ()
    behavior: dict[str, Any] = field(default_factory=dict)
    _history: History = field(default_factory=History)
    _seen: float = 0.0  # requests waiting per ready pod, at the last scrape
    _asked: tuple[float | None, ...] = ()  # the triggers' queries, then
    _rules: Rules = field(init=False)

    def __post_init__(self) -> None:
        self._rules = _object(self)

    def start(self, world: World, fleet: Fleet, t0: float) -> None:
        fleet.startup = self.startup
        world.at(t0, self._scrape, world, fleet)
        world.at(t0 + SYNC_PERIOD_S, self._sync, world, fleet)

    def _scrape(self, world: World, fleet: Fleet) -> None:
        ready = [pod for pod in fleet if pod.state is PodState.READY]
        ranks = [rank for pod in ready for rank in fleet.of_pod[pod.name]]
        for rank in ranks:
            rank.advance(world.now)
            rank.requeue(rank)
        waiting = sum(rank.engine.stats.num_requests_waiting for rank in ranks)
        self._seen = waiting / max(1, len(ready))
        stats = [rank.engine.stats for rank in ranks]
        self._asked = tuple(trigger.value(stats) for trigger in self.triggers)
        world.at(world.now + self.scrape, self._scrape, world, fleet)

    def _sync(self, world: World, fleet: Fleet) -> None:
        pods = [pod for pod in fleet if pod.state in (PodState.READY, PodState.STARTING)]
        wanted = self.decide(len(pods), sum(pod.state is PodState.READY for pod in pods), world.now)
        if wanted != len(pods):
            fleet.scale(pods[0].server.workload.name, wanted)
        world.at(world.now + SYNC_PERIOD_S, self._sync, world, fleet)

    def decide(self, current: int, ready: int, now: float) -> int:
        """Pods that are to be, of `current` of which `ready` have a metric."""
        rules = self._rules
        everyone = [str(number) for number in range(current)]
        values = dict.fromkeys(everyone[:ready], int(self._seen * 1000))
        totals = [None if value is None else int(value * 1000) for value in self._asked] or [None]
        try:
            wanted = max(
                replicas_for(rules, metric, current, Seen(frozenset(everyone), ready, values, total))[0]
                for metric, total in zip(rules.metrics, totals, strict=True)
            )
        except NoMetricError:  # nobody is ready, so nobody has been scraped
            return current
        found = self._history.limited(rules, current, wanted, now).replicas
        if found != current:
            self._history.changed(rules, current, found, now)
        return found


def _object(values: Hpa) -> Rules:
    """The object that the chart, or KEDA, makes of these values; autoscaling/v2's behaviour written out."""
    target = {"type": "AverageValue", "averageValue": f"{values.target:g}"}
    written = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "simulated"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "simulated"},
            "minReplicas": values.least,
            "maxReplicas": values.most,
            "metrics": [trigger.as_metric() for trigger in values.triggers]
            or [{"type": "Pods", "pods": {"metric": {"name": _METRIC}, "target": target}}],
            "behavior": values.behavior or {"scaleDown": {"stabilizationWindowSeconds": 300}},
        },
    }
    return read_hpa(load(["-"], "default", io.StringIO(json.dumps(written))).resources[0])
