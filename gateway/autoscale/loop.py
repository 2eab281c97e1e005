"""The loop of one HorizontalPodAutoscaler: look, compute, scale, as the controller does every 15 seconds."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from gateway.autoscale.behavior import History, Limited
from gateway.autoscale.compute import NoMetricError, Seen, replicas_for
from gateway.autoscale.hpa import Hpa, MetricSpec
from gateway.autoscale.metrics import Page, Source, read_pages, value_of
from gateway.errors import GatewayError

SYNC_PERIOD_S = 15.0  # --horizontal-pod-autoscaler-sync-period


class Target(Protocol):
    """What an autoscaler scales, and what it can see."""

    @property
    def name(self) -> str:
        """As `simfleet scale` takes it."""

    def replicas(self) -> int:
        """Pods that there are."""

    def ready(self) -> int:
        """How many of them are ready."""

    def pods(self) -> Sequence[Source]:
        """Those that are not ending, by name."""

    def about(self, metric: MetricSpec) -> tuple[Sequence[Source], str | None]:
        """Whose pages an Object or External metric is on, and the name that its series must have."""

    async def scale(self, replicas: int) -> None:
        """Have that many pods; returns when those that go have ended. Raises ControlError."""


@dataclass
class State:
    """What the last look said; `metrics` has (metric, its value in thousandths or None)."""

    looked: bool = False
    desired: int = 0
    metrics: list[tuple[MetricSpec, int | None]] = field(default_factory=list)
    active: str = ""  # why metrics could not be had; empty: they could
    limited: str = ""  # what held the number back
    last_scale: float | None = None  # wall clock seconds


class Autoscaler:
    """One HPA and its target."""

    def __init__(
        self,
        hpa: Hpa,
        target: Target,
        report: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        look: Callable[[Sequence[Source]], Awaitable[dict[str, Page]]] = read_pages,
    ) -> None:
        self.hpa = hpa
        self.target = target
        self.state = State()
        self._report = report
        self._clock = clock
        self._look = look
        self._history = History()
        self._scaling: asyncio.Task[None] | None = None
        self._asked: int | None = None  # the replicas that are being brought about

    async def run(self, period_s: float = SYNC_PERIOD_S) -> None:
        """Until it is cancelled."""
        try:
            while True:
                await asyncio.sleep(period_s)
                try:
                    await self.sync()
                except Exception as error:  # noqa: BLE001 - the stack goes on, and whoever runs it is told
                    self._report(f"{self.hpa.resource}: {type(error).__name__}: {error}")
        finally:
            if self._scaling is not None:
                self._scaling.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await self._scaling

    async def sync(self) -> None:
        """One look, and the scaling that it calls for."""
        hpa, state = self.hpa, self.state
        current = self.target.replicas() if self._asked is None else self._asked
        state.looked, state.desired = True, current
        state.metrics, state.limited = [], ""
        if current == 0 and hpa.min_replicas != 0:
            state.active = "scaling is disabled since the replica count of the target is zero"
        elif current > hpa.max_replicas:
            self._ask(current, hpa.max_replicas, "Current number of replicas above Spec.MaxReplicas")
        elif current < hpa.min_replicas:
            self._ask(current, hpa.min_replicas, "Current number of replicas below Spec.MinReplicas")
        elif (found := await self._wanted(current)) is not None:
            wanted, metric = found
            limited = self._history.limited(hpa, current, wanted, self._clock())
            state.desired, state.limited = limited.replicas, limited.reason
            self._ask(current, limited.replicas, self._reason(current, limited, metric))

    def _reason(self, current: int, limited: Limited, metric: MetricSpec) -> str:
        return f"{metric} above target" if limited.replicas > current else "All metrics below target"

    async def _wanted(self, current: int) -> tuple[int, MetricSpec] | None:
        """The most that a metric asks for; None when that cannot be said, as `state.active` tells."""
        found: list[tuple[int, MetricSpec]] = []
        problems = []
        for metric in self.hpa.metrics:
            try:
                replicas, value = await self._of(metric, current)
            except NoMetricError as error:
                problems.append(f"unable to get {metric}: {error}")
                self.state.metrics.append((metric, None))
            else:
                found.append((replicas, metric))
                self.state.metrics.append((metric, value))
        self._tell("; ".join(problems))
        best = max(found, key=lambda entry: entry[0], default=None)
        if best is None or (problems and best[0] < current):
            return None  # a metric that is missing might have asked for more
        return best

    def _tell(self, problem: str) -> None:
        """Report what keeps metrics away, once for each time that it begins."""
        if problem and not self.state.active:
            self._report(f"{self.hpa.resource}: {problem}")
        self.state.active = problem

    async def _of(self, metric: MetricSpec, current: int) -> tuple[int, int]:
        if not metric.is_simulated:
            raise NoMetricError("there is no metrics server: simulators use no resources that say anything")
        pods = list(self.target.pods())
        running, ready = frozenset(p.name for p in pods), self.target.ready()
        if metric.kind == "Pods":
            pages = await self._look(pods)
            values = {name: value_of(metric, [page]) for name, page in pages.items()}
            known = {name: value for name, value in values.items() if value is not None}
            return replicas_for(self.hpa, metric, current, Seen(running, ready, known))
        sources, name = self.target.about(metric)
        pages = await self._look(sources)
        total = value_of(metric, list(pages.values()), name)
        return replicas_for(self.hpa, metric, current, Seen(running, ready, {}, total))

    def _ask(self, current: int, desired: int, reason: str) -> None:
        """Scale beside the loop: pods that end may take as long as their requests do."""
        self.state.desired = desired
        if desired == current or self._scaling is not None:
            return
        self._history.changed(self.hpa, current, desired, self._clock())
        self.state.last_scale = time.time()
        self._report(
            f"{self.hpa.resource}: {self.target.name} {current} -> {desired} pods, New size: {desired}; "
            f"reason: {reason}"
        )
        self._asked = desired
        self._scaling = asyncio.create_task(self._scale(desired))

    async def _scale(self, desired: int) -> None:
        try:
            await self.target.scale(desired)
        except GatewayError as error:
            self._report(f"{self.hpa.resource}: {error}")
        finally:
            self._asked, self._scaling = None, None

    def status(self) -> dict[str, Any]:
        """The HPA as data, in the API's words: for `simfleet ps --format json`."""
        state, hpa = self.state, self.hpa
        return {
            "name": hpa.name,
            "namespace": hpa.namespace,
            "target": f"{hpa.target_kind}/{hpa.target_name}",
            "min_replicas": hpa.min_replicas,
            "max_replicas": hpa.max_replicas,
            "current_replicas": self.target.replicas(),
            "desired_replicas": state.desired if state.looked else self.target.replicas(),
            "metrics": [
                {
                    "type": metric.kind,
                    "name": metric.name,
                    "value": None if value is None else value / 1000,
                    "target": (metric.target_average or metric.target_value or 0) / 1000,
                }
                for metric, value in state.metrics
            ],
            "problem": state.active or None,
            "limited": state.limited or None,
            "last_scale": state.last_scale,
        }
