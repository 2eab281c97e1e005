"""Decisions of the real picker over a pool that changes, and what it would have done with other weights."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.picker.plugins.scheduler import Cycle, Profile, Scheduler
from gateway.picker.pool.endpoints import Candidate
from gateway.picker.request import InferenceRequest
from tests.gateway.picker.lab import CHART, Lab

GROUPS = 24  # shared beginnings, one of them for a quarter of the traffic, as scenario hot-prefix has them


@dataclass
class World:
    """A picker with its log; each request is decided again under `weights` on the same inputs."""

    log: Path
    weights: Mapping[str, float]
    pods: int = 4
    brief: bool = False
    again: list[list[str]] = field(default_factory=list)  # by request: the endpoints with the highest total

    def __post_init__(self) -> None:
        self.lab = Lab(CHART, log=self.log, brief=self.brief)
        self.rng = random.Random(3)
        self.names = [f"p{i}" for i in range(self.pods)]
        director: Any = self.lab.director
        scheduling = director._scheduler
        ((name, scheduler),) = scheduling.schedulers.items()
        profile = scheduler.profile
        scorers = [(s, self.weights[s.name]) for s, _ in profile.scorers]
        other = Scheduler(Profile("other", profile.filters, scorers, profile.picker), [])
        run = scheduler.run

        class Twice(Scheduler):
            def run(_, request: InferenceRequest, candidates: list[Candidate]) -> Cycle:
                cycle: Cycle = run(request, candidates)
                state = self.lab.director._rng.getstate()  # the second run takes none of the first's luck
                second = other.run(request, candidates)
                self.lab.director._rng.setstate(state)
                most = max(second.totals)
                pairs = zip(second.candidates, second.totals, strict=True)
                self.again.append([c.endpoint.host_port for c, total in pairs if total == most])
                return cycle

        scheduling.schedulers = {name: Twice(profile, scheduler.producers, scheduler.observe)}

    def send(self, count: int) -> None:
        """Requests of hot-prefix's form over pods whose load moves."""
        for number in range(count):
            metrics = {
                name: {"waiting": self.rng.choice((0, 0, 1, 3, 7)), "kv_usage": self.rng.random()}
                for name in self.names
            }
            self.lab.pool(**metrics)
            group = 0 if self.rng.random() < 0.25 else self.rng.randrange(1, GROUPS)
            prompt = f"{group:04d}" * 400 + f" question {number}"
            routed = self.lab.send(prompt, headers={"x-request-id": f"r-{number}"})
            if self.rng.random() < 0.7:
                self.lab.director.complete(routed)
