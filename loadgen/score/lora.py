"""LoRA adapters: which pod answered which adapter, and was it loaded there?

Pods report adapters that are *running*, not those that stand loaded and idle, so "loaded" is followed from
the picks themselves: a pod has `max_lora` slots and drops the adapter that was used longest ago, as vLLM
does. Scrapes check that picture from outside: what a pod ran must be among what it is taken to hold.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict
from collections.abc import Mapping, Sequence
from typing import Annotated

from loadgen.numbers.figure import Card, Figure
from loadgen.records.frame import natural_order
from loadgen.records.series import PodSeries
from loadgen.records.table import Records


class RunningSets(Card):
    """Adapters in the running sets that scrapes saw."""

    appeared: int
    vanished: int
    most_running: int


class Lora(Card):
    """Which adapters met which pods, and what was loaded and dropped for it."""

    adapters: list[str]
    pods: list[str]
    matrix: list[list[int]]
    """Requests, a row an adapter, a column a pod."""
    requests: Annotated[int, Figure("requests for an adapter that a pod answered")]
    routed_loaded: int
    routed_loaded_share: Annotated[
        float,
        Figure(
            "adapter requests whose adapter stood loaded on the picked pod", "share", "higher",
            "adapter loaded", "shown",
        ),
    ]  # fmt: skip
    loaded_somewhere_share: Annotated[
        float, Figure("adapter requests whose adapter stood loaded on some pod", "share")
    ]
    reached: Annotated[
        float | None, Figure("`routed_loaded_share` ÷ `loaded_somewhere_share`", "share", "higher")
    ]
    slots: Annotated[int | None, Figure("adapters that a pod holds (`max_lora`), the most of all pods")]
    loads: Annotated[int, Figure("adapters loaded, in this account", better="lower")]
    evictions: Annotated[int, Figure("adapters dropped for another", better="lower")]
    loads_by_pod: dict[str, int]
    evictions_by_pod: dict[str, int]
    pods_per_adapter: Annotated[float, Figure("pods that answered an adapter, its mean over adapters")]
    scraped: RunningSets | None


def lora(ordered: Records, pods: Mapping[str, PodSeries]) -> Lora | None:
    """The adapter part of the scorecard; None when no pick asked for an adapter."""
    asked = ordered.take(~ordered.among("adapter", (None, "")))
    if not len(asked):
        return None
    slots = {name: series.max_lora for name, series in pods.items() if series.max_lora}
    account = _Account(slots)
    for pod, adapter in zip(asked.labels("pod").tolist(), asked.labels("adapter").tolist(), strict=True):
        account.take(pod or "", adapter)
    names = natural_order({*pods, *asked.distinct("pod")})
    matrix, warm, possible = account.matrix, account.warm, account.possible
    return Lora(
        adapters=natural_order(matrix),
        pods=names,
        matrix=account.table(names),
        requests=len(asked),
        routed_loaded=warm,
        routed_loaded_share=warm / len(asked),
        loaded_somewhere_share=possible / len(asked),
        reached=warm / possible if possible else None,
        slots=account.default,
        loads=sum(account.loads.values()),
        evictions=sum(account.evictions.values()),
        loads_by_pod=_by_pod(account.loads, names),
        evictions_by_pod=_by_pod(account.evictions, names),
        pods_per_adapter=sum(len(row) for row in matrix.values()) / len(matrix),
        scraped=_scraped(pods),
    )


def _by_pod(counts: Counter[str], names: Sequence[str]) -> dict[str, int]:
    return {pod: counts[pod] for pod in names}


class _Account:
    """What each pod holds, pick by pick; a pod whose slots are not known has the most that any has."""

    def __init__(self, slots: Mapping[str, int]) -> None:
        self.slots = slots
        self.default = max(slots.values()) if slots else None
        self.held: dict[str, OrderedDict[str, None]] = defaultdict(OrderedDict)
        self.matrix: dict[str, Counter[str]] = defaultdict(Counter)
        self.loads: Counter[str] = Counter()
        self.evictions: Counter[str] = Counter()
        self.warm = self.possible = 0

    def table(self, pods: Sequence[str]) -> list[list[int]]:
        """Requests, a row an adapter in natural order, a column a pod."""
        return [[self.matrix[adapter][pod] for pod in pods] for adapter in natural_order(self.matrix)]

    def take(self, pod: str, adapter: str) -> None:
        """A request for `adapter` on `pod`."""
        self.matrix[adapter][pod] += 1
        self.possible += any(adapter in held for held in self.held.values())
        mine = self.held[pod]
        if adapter in mine:
            self.warm += 1
            mine.move_to_end(adapter)
            return
        self.loads[pod] += 1
        mine[adapter] = None
        limit = self.slots.get(pod, self.default)
        if limit is not None and len(mine) > limit:
            mine.popitem(last=False)
            self.evictions[pod] += 1


def _scraped(pods: Mapping[str, PodSeries]) -> RunningSets | None:
    """Appearances and disappearances of adapters in the scraped running sets, and the most at once."""
    appeared = vanished = most = 0
    seen = False
    for series in pods.values():
        previous: frozenset[str] = frozenset()
        for current in series.adapters:
            seen = seen or bool(current)
            appeared += len(current - previous)
            vanished += len(previous - current)
            most = max(most, len(current))
            previous = current
    return RunningSets(appeared=appeared, vanished=vanished, most_running=most) if seen else None
