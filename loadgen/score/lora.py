"""LoRA adapters: which pod answered which adapter, and was it loaded there?

Pods report adapters that are *running*, not those that stand loaded and idle, so "loaded" is followed from
the picks themselves: a pod has `max_lora` slots and drops the adapter that was used longest ago, as vLLM
does. Scrapes check that picture from outside: what a pod ran must be among what it is taken to hold.
"""

from collections import Counter, OrderedDict, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from loadgen.records.frame import natural_order
from loadgen.records.records import Record
from loadgen.records.series import PodSeries


def lora(ordered: Sequence[Record], pods: Mapping[str, PodSeries]) -> dict[str, Any] | None:
    """The adapter part of the scorecard; None when no pick asked for an adapter."""
    asked = [record for record in ordered if record.adapter]
    if not asked:
        return None
    slots = {name: series.max_lora for name, series in pods.items() if series.max_lora}
    default = max(slots.values()) if slots else None
    held: dict[str, OrderedDict[str, None]] = defaultdict(OrderedDict)
    matrix: dict[str, Counter[str]] = defaultdict(Counter)
    loads: Counter[str] = Counter()
    evictions: Counter[str] = Counter()
    warm = possible = 0
    for record in asked:
        pod, adapter = record.pod or "", record.adapter or ""
        matrix[adapter][pod] += 1
        possible += any(adapter in slots_of for slots_of in held.values())
        mine = held[pod]
        if adapter in mine:
            warm += 1
            mine.move_to_end(adapter)
            continue
        loads[pod] += 1
        mine[adapter] = None
        limit = slots.get(pod, default)
        if limit is not None and len(mine) > limit:
            mine.popitem(last=False)
            evictions[pod] += 1
    names = natural_order({*pods, *(record.pod or "" for record in asked)})
    return {
        "adapters": natural_order(matrix),
        "pods": names,
        "matrix": [[matrix[adapter][pod] for pod in names] for adapter in natural_order(matrix)],
        "requests": len(asked),
        "routed_loaded": warm,
        "routed_loaded_share": warm / len(asked),
        "loaded_somewhere_share": possible / len(asked),
        "reached": warm / possible if possible else None,
        "slots": default,
        "loads": sum(loads.values()),
        "evictions": sum(evictions.values()),
        "loads_by_pod": {pod: loads[pod] for pod in names},
        "evictions_by_pod": {pod: evictions[pod] for pod in names},
        "pods_per_adapter": sum(len(row) for row in matrix.values()) / len(matrix),
        "scraped": _scraped(pods),
    }


def _scraped(pods: Mapping[str, PodSeries]) -> dict[str, Any] | None:
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
    return {"appeared": appeared, "vanished": vanished, "most_running": most} if seen else None
