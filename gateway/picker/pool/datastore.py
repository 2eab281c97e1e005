"""What the picker knows of the pool: endpoints, objectives and model rewrites, as they are at this moment."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.picker.pool.endpoints import Endpoint


@dataclass(frozen=True, slots=True)
class RewriteTarget:
    model: str
    weight: int


@dataclass(frozen=True, slots=True)
class RewriteRule:
    """One rule of an InferenceModelRewrite; no models: it matches every model."""

    rewrite: str  # name of the object it comes from
    models: frozenset[str]
    targets: tuple[RewriteTarget, ...]


@dataclass(frozen=True, slots=True)
class PoolObjects:
    """InferenceObjectives by name (priority), and rewrite rules, oldest first."""

    priorities: Mapping[str, int] = field(default_factory=dict)
    rewrites: Sequence[RewriteRule] = ()


class Datastore:
    """Endpoints by id; `on_added` and `on_removed` tell the scraper and the plugins."""

    def __init__(self, pool: str, namespace: str) -> None:
        self.pool = pool
        self.namespace = namespace
        self.synced = False  # endpoints have been read once
        self.objects = PoolObjects()
        self.on_added: list[Callable[[Endpoint], None]] = []
        self.on_removed: list[Callable[[Endpoint], None]] = []
        self._endpoints: dict[str, Endpoint] = {}

    @property
    def endpoints(self) -> list[Endpoint]:
        return list(self._endpoints.values())

    def replace(self, endpoints: Iterable[Endpoint]) -> bool:
        """Make these the endpoints; those that stay keep their metrics. Whether anything changed."""
        wanted = {endpoint.id: endpoint for endpoint in endpoints}
        changed = not self.synced
        for gone in [endpoint for key, endpoint in self._endpoints.items() if key not in wanted]:
            self._remove(gone)
            changed = True
        for key, endpoint in wanted.items():
            known = self._endpoints.get(key)
            if known is not None and _same_place(known, endpoint):
                known.labels = endpoint.labels
                continue
            changed = True
            if known is not None:
                endpoint.metrics = known.metrics
                self._remove(known)
            self._endpoints[key] = endpoint
            for listener in self.on_added:
                listener(endpoint)
        self.synced = True
        return changed

    def priority(self, objective: str) -> int:
        """Of the InferenceObjective with that name; 0 when there is none."""
        return self.objects.priorities.get(objective, 0)

    def rewrite(self, model: str, rng: random.Random) -> tuple[str, str] | None:
        """(name of the rewrite, model it becomes): exact matches before general ones, the oldest first."""
        rules = self.objects.rewrites
        rule = next((rule for rule in rules if model in rule.models), None)
        rule = rule or next((rule for rule in rules if not rule.models), None)
        if rule is None:
            return None
        return rule.rewrite, _weighted(rule.targets, rng)

    def _remove(self, endpoint: Endpoint) -> None:
        del self._endpoints[endpoint.id]
        for listener in self.on_removed:
            listener(endpoint)


def _same_place(one: Endpoint, other: Endpoint) -> bool:
    return (one.address, one.port, one.metrics_host) == (other.address, other.port, other.metrics_host)


def _weighted(targets: Sequence[RewriteTarget], rng: random.Random) -> str:
    if not targets:
        return ""
    total = sum(target.weight for target in targets)
    if total == 0:
        return rng.choice(targets).model
    draw = rng.randrange(total)
    for target in targets:
        draw -= target.weight
        if draw < 0:
            return target.model
    return targets[-1].model
