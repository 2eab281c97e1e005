"""The HorizontalPodAutoscalers of a cluster: each looks at its pods and writes its target's replicas."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from gateway.autoscale.hpa import Hpa, MetricSpec
from gateway.autoscale.loop import SYNC_PERIOD_S, Autoscaler
from gateway.cluster.controllers.common import condition, with_times
from gateway.cluster.objects.kinds import HPA
from gateway.cluster.objects.owners import now_text
from gateway.cluster.targets import ObjectTarget
from gateway.cluster.world import World
from gateway.stack.plan import ServerPlan
from gateway.stack.stack import Stack

Object = dict[str, Any]
Key = tuple[str, str]


class Autoscalers:
    """Follows the autoscalers of the stack's plan, one `Autoscaler` for each as it is written now."""

    def __init__(
        self, stack: Stack, world: World, report: Callable[[str], None], period_s: float = SYNC_PERIOD_S
    ) -> None:
        self._stack = stack
        self._world = world
        self._report = report
        self._period_s = period_s
        self._made: dict[Key, tuple[Object, Autoscaler]] = {}  # with the spec that it was made of

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(self._period_s)
            await self.sync()

    async def sync(self) -> None:
        """One look of each, and its status."""
        planned = list(self._stack.plan.autoscalers)
        keys = {(hpa.namespace, hpa.name) for hpa, _ in planned}
        self._made = {key: made for key, made in self._made.items() if key in keys}
        for hpa, server in planned:
            scaler = self._of(hpa, server)
            try:
                await scaler.sync()
                obj = self._world.state.get(HPA, hpa.namespace, hpa.name)
                if obj is not None:
                    self._world.state.change(HPA, obj, status=_status(scaler, obj))
            except Exception as error:  # noqa: BLE001 - the others go on; whoever runs it is told
                self._report(f"{hpa.resource}: {type(error).__name__}: {error}")

    def _of(self, hpa: Hpa, server: ServerPlan) -> Autoscaler:
        spec = hpa.resource.root.value["spec"]
        made = self._made.get((hpa.namespace, hpa.name))
        if made is not None and made[0] == spec:
            return made[1]
        write = partial(self._world.set_replicas, server.workload.key, server.workload.resource.kind)
        scaler = Autoscaler(hpa, ObjectTarget(self._stack, server, write), self._report)
        self._made[hpa.namespace, hpa.name] = (spec, scaler)
        return scaler

    def status(self) -> list[Object]:
        """As `ps --format json` shows them."""
        return [scaler.status() for _, scaler in self._made.values()]


def _status(scaler: Autoscaler, obj: Object) -> Object:
    """A HorizontalPodAutoscalerStatus."""
    state, old = scaler.state, obj.get("status", {})
    before, now = old.get("desiredReplicas"), state.desired
    ready = condition("AbleToScale", True, "ReadyForNewScale", "recommended size matches current size")
    active = condition("ScalingActive", True, "ValidMetricFound", "the HPA was able to compute the count")
    if state.active:
        active = condition("ScalingActive", False, "FailedGetMetrics", state.active)
    limited = condition("ScalingLimited", bool(state.limited), state.limited or "DesiredWithinRange", "")
    found: Object = {
        "currentReplicas": scaler.target.replicas(),
        "desiredReplicas": now,
        "currentMetrics": [
            {"type": ""} if v is None else _metric(metric, v)  # by position, as kubectl pairs them
            for metric, v in state.metrics
        ],
        "conditions": with_times([ready, active, limited], old.get("conditions")),
        "observedGeneration": obj["metadata"].get("generation", 1),
    }
    moved = now_text() if before not in (None, now) else old.get("lastScaleTime")
    return found | ({"lastScaleTime": moved} if moved else {})


def _metric(metric: MetricSpec, thousandths: int) -> Object:
    """A MetricStatus; `thousandths` of the whole, or of each pod where the target is an average."""
    shown = f"{thousandths}m" if thousandths % 1000 else str(thousandths // 1000)
    key = "averageValue" if metric.target_average is not None else "value"
    about = {"metric": {"name": metric.name}, "current": {key: shown}}
    if metric.object is not None:
        kind, name = metric.object
        about["describedObject"] = {"kind": kind, "name": name}
    return {"type": metric.kind, metric.kind[:1].lower() + metric.kind[1:]: about}
