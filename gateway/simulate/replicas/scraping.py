"""What the picker sees of a replica: its /metrics at each tick of the scraper, and how old that is.

A tick is looked at only when somebody asks what was seen: between two ticks nothing changes for the picker.
What a page would say is read from the engine's numbers; which of them the picker sees in a page, and under
which rules, is found out once per kind of pod with a real page (`probe`). Where that is not plain (
custom metrics, other number formats, series of adapters that stay) each look renders the page and reads it as
the picker does; so does the first look at other adapters than before.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gateway.picker.app import Picker
from gateway.picker.errors import ScrapeError
from gateway.picker.pool.endpoints import NEVER_SCRAPED, Endpoint, EndpointMetrics
from gateway.picker.pool.extract import extract
from simulator.engine.stats import EngineStats
from simulator.server.metrics.exposition import Exposition

# Numbers that no field has by accident: running, waiting for room, waiting deferred, share of the KV cache.
_PROBES = ((7, 11, 2, 0.1234567), (3, 5, 0, 0.75))


@dataclass(slots=True)
class Ticks:
    """When one endpoint is scraped: `first`, then every `interval` seconds, up to `last`."""

    first: float
    interval: float
    last: float = math.inf

    def before(self, now: float) -> float:
        """The last tick at or before `now`; minus infinity where there was none."""
        now = min(now, self.last)
        if now < self.first:
            return -math.inf
        number = math.floor((now - self.first) / self.interval)
        # the division may have been rounded to either side
        around = (self.first + each * self.interval for each in (number + 1, number, number - 1))
        return next(moment for moment in around if moment <= now)


class ScrapedMetrics(EndpointMetrics):
    """Metrics that each tick renews, for as long as the page says the same."""

    __slots__ = ("clock", "ticks")

    ticks: Ticks
    clock: Callable[[], float]

    @property
    def updated_at(self) -> float:
        return self.ticks.before(self.clock())

    @updated_at.setter
    def updated_at(self, _: float) -> None:
        """What the base class writes; the ticks know better."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What the picker makes of the pages of one kind of pod. `still`: fields that never change.

    None: every page has to be read. Else which of the engine's numbers it sees.
    """

    plain: tuple[bool, bool, bool] | None  # waiting, running, KV cache
    still: EndpointMetrics


def probe(picker: Picker, endpoint: Endpoint, exposition: Exposition) -> Sight:
    """Find out with real pages what the picker sees; the engine's numbers are left as they were."""
    stats = exposition.stats
    kept = _numbers(stats)
    seen: set[tuple[bool, bool, bool] | None] = set()
    read = NEVER_SCRAPED
    try:
        for numbers in _PROBES:
            _set_numbers(stats, numbers)
            read = read_page(picker, endpoint, exposition, NEVER_SCRAPED)
            seen.add(_seen(read, numbers))
    finally:
        _set_numbers(stats, kept)
    plain = seen.pop() if len(seen) == 1 else None
    stays = exposition.lora is not None and exposition.lora.wants_steps
    if stays or read.custom or read.updated_at == -math.inf:
        plain = None
    return Sight(plain, read)


def read_page(
    picker: Picker, endpoint: Endpoint, exposition: Exposition, last: EndpointMetrics
) -> EndpointMetrics:
    """A page as the picker reads it; `last` where it cannot."""
    try:
        mapping = picker.engines.mapping_for(endpoint.labels)
        return extract(exposition.render(), mapping, last, picker.compat, 0.0)[0]
    except ScrapeError:
        return last


def _seen(read: EndpointMetrics, numbers: tuple[int, int, int, float]) -> tuple[bool, bool, bool] | None:
    running, capacity, deferred, usage = numbers
    pairs = ((read.waiting, capacity + deferred), (read.running, running), (read.kv_usage, usage))
    if any(got not in (said, 0) for got, said in pairs):
        return None
    return read.waiting != 0, read.running != 0, read.kv_usage != 0.0


def _numbers(stats: EngineStats) -> tuple[int, int, int, float]:
    return (
        stats.num_requests_running,
        stats.num_requests_waiting_capacity,
        stats.num_requests_waiting_deferred,
        stats.kv_cache_usage,
    )


def _set_numbers(stats: EngineStats, numbers: tuple[int, int, int, float]) -> None:
    stats.num_requests_running, stats.num_requests_waiting_capacity = numbers[:2]
    stats.num_requests_waiting_deferred, stats.kv_cache_usage = numbers[2:]


@dataclass(slots=True, eq=False)
class Eye:
    """One endpoint as its scraper sees it; `clock` tells the world's time."""

    picker: Picker
    endpoint: Endpoint
    exposition: Exposition
    sight: Sight
    ticks: Ticks
    clock: Callable[[], float]
    _shown: Any = None
    _adapters: Any = None  # those of the page that `_still` is out of
    _still: EndpointMetrics = NEVER_SCRAPED

    def look(self) -> None:
        """A tick: the endpoint's metrics become what the page says at this moment."""
        stats, plain = self.exposition.stats, self.sight.plain
        adapters = (stats.lora_running, stats.lora_waiting)
        if plain is None or adapters != self._adapters:
            last = self.endpoint.metrics
            read = read_page(self.picker, self.endpoint, self.exposition, last)
            self._adapters, self._still, self._shown = adapters, read, None
            if plain is None and read is not last:
                self.endpoint.metrics = self._metrics(read, read.waiting, read.running, read.kv_usage)
        if plain is None:
            return
        shown = (stats.num_requests_waiting, stats.num_requests_running, stats.kv_cache_usage)
        if shown != self._shown:
            self._shown = shown
            waiting, running, usage = (value if sees else 0 for value, sees in zip(shown, plain, strict=True))
            self.endpoint.metrics = self._metrics(self._still, int(waiting), int(running), usage)

    def _metrics(self, still: EndpointMetrics, waiting: int, running: int, usage: float) -> EndpointMetrics:
        made = ScrapedMetrics(
            waiting=waiting,
            running=running,
            kv_usage=usage,
            active_models=still.active_models,
            waiting_models=still.waiting_models,
            max_active_models=still.max_active_models,
            block_size=still.block_size,
            num_blocks=still.num_blocks,
            custom=still.custom,
        )
        object.__setattr__(made, "ticks", self.ticks)
        object.__setattr__(made, "clock", self.clock)
        return made
