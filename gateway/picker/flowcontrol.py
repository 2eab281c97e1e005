"""The EPP's flow control layer: requests wait, by priority and fairness, while the pool is saturated.

Behind the feature gate flowControl. One cycle a millisecond, and one with each arrival, sends off at most one
request, the highest priority first, unless the pool is saturated: then everything waits.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from gateway.picker.errors import RequestError
from gateway.picker.request import InferenceRequest

DEFAULT_BAND_BYTES = 1_000_000_000
DEFAULT_BAND_REQUESTS = 5000
_CYCLE_S = 0.001


@dataclass(frozen=True, slots=True)
class BandLimits:
    """What one priority may hold in the queue, and the policies within it."""

    max_bytes: int = DEFAULT_BAND_BYTES
    max_requests: int = DEFAULT_BAND_REQUESTS
    fairness: str = "global-strict-fairness-policy"
    ordering: str = "fcfs-ordering-policy"


@dataclass(frozen=True, slots=True)
class FlowControlLimits:
    """The whole layer's limits; zero: none. `ceiling` is the saturation at which requests start to wait."""

    max_bytes: int = 0
    max_requests: int = 0
    request_ttl: float = 0.0  # seconds
    no_endpoint_ttl: float = 0.0  # seconds
    ceiling: float = 1.0
    default_band: BandLimits = BandLimits()
    negative_band: BandLimits | None = None
    bands: Mapping[int, BandLimits] = field(default_factory=dict)

    def band(self, priority: int) -> BandLimits:
        if priority in self.bands:
            return self.bands[priority]
        if priority < 0 and self.negative_band is not None:
            return self.negative_band
        return self.default_band


@dataclass(slots=True, eq=False)
class _Item:
    request: InferenceRequest
    arrived: float
    deadline: float  # absolute; of the ordering policy
    ready: asyncio.Future[None]


@dataclass(slots=True)
class _Band:
    limits: BandLimits
    flows: OrderedDict[str, list[_Item]] = field(default_factory=OrderedDict)
    last_flow: str = ""

    def items(self) -> Iterator[_Item]:
        for flow in self.flows.values():
            yield from flow

    def bytes(self) -> int:
        return sum(item.request.size_bytes for item in self.items())

    def head(self) -> _Item | None:
        """The item that the fairness policy lets go next."""
        heads = {flow: items[0] for flow, items in self.flows.items() if items}
        if not heads:
            return None
        if self.limits.fairness == "round-robin-fairness-policy":
            names = sorted(heads)
            name = next((name for name in names if name > self.last_flow), names[0])
            self.last_flow = name
            return heads[name]
        return min(heads.values(), key=self._rank)

    def add(self, item: _Item) -> None:
        flow = self.flows.setdefault(item.request.fairness_id, [])
        flow.append(item)
        flow.sort(key=self._rank)

    def remove(self, item: _Item) -> None:
        flow = self.flows.get(item.request.fairness_id, [])
        if item not in flow:
            return
        flow.remove(item)
        if not flow:
            del self.flows[item.request.fairness_id]

    def _rank(self, item: _Item) -> tuple[float, float]:
        return (0.0 if self.limits.ordering == "fcfs-ordering-policy" else item.deadline, item.arrived)


class FlowController:
    """Queues requests until the pool has room.

    `saturation` is asked once a cycle; `has_endpoints` chooses the time limit in force. `on_outcome` hears
    (request, outcome, seconds in queue), `on_cycle` the seconds of a cycle, `on_enqueue` those that a request
    took into its queue and whether it came to be there. `busy_after_ttl`: whose time is over while there are
    endpoints is told 429.
    """

    def __init__(
        self,
        limits: FlowControlLimits,
        saturation: Callable[[], float],
        has_endpoints: Callable[[], bool],
        on_outcome: Callable[[InferenceRequest, str, float], None] | None = None,
        *,
        on_cycle: Callable[[float], None] | None = None,
        on_enqueue: Callable[[InferenceRequest, str, float], None] | None = None,
        busy_after_ttl: bool = False,
    ) -> None:
        self._limits = limits
        self._saturation = saturation
        self._has_endpoints = has_endpoints
        self._on_outcome = on_outcome
        self._on_cycle = on_cycle or (lambda _: None)
        self._on_enqueue = on_enqueue or (lambda *_: None)
        self._busy_after_ttl = busy_after_ttl
        self._bands: dict[int, _Band] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def admit(self, request: InferenceRequest) -> None:
        """Return when the request may go on; RequestError when it may not."""
        began = time.perf_counter()
        band = self._bands.setdefault(request.priority, _Band(self._limits.band(request.priority)))
        if not self._has_capacity(band, request.size_bytes):
            self._on_enqueue(request, "RejectedCapacity", time.perf_counter() - began)
            self._report(request, "RejectedCapacity", 0.0)
            raise RequestError(
                "ResourceExhausted", "request rejected pre-queue: queue at capacity", "rejected-saturated"
            )
        now = time.monotonic()
        deadline = self._deadline(request, now, band.limits.ordering)
        item = _Item(request, now, deadline, asyncio.get_running_loop().create_future())
        band.add(item)
        self._on_enqueue(request, "NotYetFinalized", time.perf_counter() - began)
        self._cycle()
        self._schedule()
        outcome = "EvictedContextCancelled"
        try:
            await item.ready
            outcome = "Dispatched"
        except RequestError:
            outcome = "EvictedTTL"
            raise
        finally:
            if outcome == "EvictedContextCancelled":
                band.remove(item)
            self._report(request, outcome, time.monotonic() - now)

    def depth(self) -> dict[tuple[str, int], int]:
        """Requests that wait, by fairness id and priority."""
        return {
            (flow, priority): len(items)
            for priority, band in self._bands.items()
            for flow, items in band.flows.items()
        }

    def held(self) -> dict[tuple[str, str, str, str], tuple[int, int]]:
        """(requests, bytes) that wait, by fairness id, priority, model and target model."""
        found: dict[tuple[str, str, str, str], tuple[int, int]] = {}
        for priority, band in self._bands.items():
            for item in band.items():
                request = item.request
                key = (request.fairness_id, str(priority), request.model, request.target_model)
                count, size = found.get(key, (0, 0))
                found[key] = count + 1, size + request.size_bytes
        return found

    def saturation(self) -> float:
        """How full the pool is, as the queue is told."""
        return self._saturation()

    def close(self) -> None:
        """Refuse all that wait."""
        if self._timer is not None:
            self._timer.cancel()
        for band in self._bands.values():
            for item in list(band.items()):
                band.remove(item)
                if not item.ready.done():
                    item.ready.set_exception(
                        RequestError(
                            "ServiceUnavailable",
                            "flow controller shutting down: flow controller is not running",
                            "rejected-shutting-down",
                        )
                    )

    def _deadline(self, request: InferenceRequest, now: float, ordering: str) -> float:
        """By its objective for the first token where that is the order, else by its time in the queue."""
        if ordering == "slo-deadline-ordering-policy":
            text = request.headers.get("x-llm-d-slo-ttft-ms") or request.headers.get("x-slo-ttft-ms") or ""
            return now + int(text) / 1000 if text.isdecimal() else float("inf")
        return now + (self._limits.request_ttl or float("inf"))

    def _has_capacity(self, band: _Band, size: int) -> bool:
        limits = self._limits
        waiting = sum(len(list(other.items())) for other in self._bands.values())
        held = sum(other.bytes() for other in self._bands.values())
        if (limits.max_bytes and held + size > limits.max_bytes) or (
            limits.max_requests and waiting + 1 > limits.max_requests
        ):
            return False
        mine = band.limits
        if mine.max_bytes and band.bytes() + size > mine.max_bytes:
            return False
        return not mine.max_requests or len(list(band.items())) + 1 <= mine.max_requests

    def _cycle(self) -> None:
        """Send off one request, if the pool has room for it."""
        began = time.perf_counter()
        saturation = self._saturation()
        for priority in sorted(self._bands, reverse=True):
            if saturation >= self._limits.ceiling:
                break
            band = self._bands[priority]
            item = band.head()
            if item is not None:
                band.remove(item)
                if not item.ready.done():
                    item.ready.set_result(None)
                break
        self._on_cycle(time.perf_counter() - began)

    def _tick(self) -> None:
        self._timer = None
        self._expire()
        self._cycle()
        self._schedule()

    def _expire(self) -> None:
        has_endpoints = self._has_endpoints()
        ttl = self._limits.request_ttl if has_endpoints else self._limits.no_endpoint_ttl
        if not ttl:
            return
        now = time.monotonic()
        for band in self._bands.values():
            for item in [item for item in band.items() if now - item.arrived >= ttl]:
                band.remove(item)
                if not item.ready.done():
                    item.ready.set_exception(self._expired(has_endpoints))

    def _expired(self, has_endpoints: bool) -> RequestError:
        """What a request is told whose time in the queue is over."""
        why = "request evicted from queue: request TTL expired"
        if not self._busy_after_ttl:
            return RequestError(
                "ServiceUnavailable", f"request timed out in queue: {why}", "rejected-ttl-expired"
            )
        if has_endpoints:
            return RequestError(
                "ResourceExhausted", f"request timed out in queue: {why}", "rejected-ttl-expired"
            )
        return RequestError(
            "ServiceUnavailable",
            f"request timed out in queue and no endpoints are available: {why}",
            "rejected-no-endpoints",
        )

    def _schedule(self) -> None:
        if self._timer is None and any(band.flows for band in self._bands.values()):
            self._timer = asyncio.get_running_loop().call_later(_CYCLE_S, self._tick)

    def _report(self, request: InferenceRequest, outcome: str, seconds: float) -> None:
        if self._on_outcome is not None:
            self._on_outcome(request, outcome, seconds)
