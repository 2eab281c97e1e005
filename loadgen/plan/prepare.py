"""Puts the plan of a run in its place and takes what the runner must know of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from loadgen.errors import RunError, ScenarioError
from loadgen.plan.build import build_plan
from loadgen.plan.plan import (
    ClassPlan,
    PlanHeader,
    PlanLine,
    PlannedRequest,
    SharedText,
    read_plan,
    read_plan_header,
    write_plan,
)
from loadgen.scenario.redaction import MARK
from loadgen.scenario.scenario import Scenario


@dataclass(slots=True)
class PlanInfo:
    """Facts of a plan; `planned` and `rate` are those of this machine's part of it."""

    header: PlanHeader
    processes: int
    planned: int = 0
    tokens: float = 0.0
    """Mean of max_tokens."""
    rate: float | None = None
    """Requests per second over the span; None with a closed loop in it."""
    models: set[str] = field(default_factory=set)
    authorization: dict[str, str] = field(default_factory=dict)
    hidden: dict[str, str] = field(default_factory=dict)
    """Headers with a placeholder in them, one of each name."""


def prepare_plan(
    scenario: Scenario, given: Path | None, path: Path, parts: int = 1, part: int = 0
) -> PlanInfo:
    """Put the run's plan at `path`: a copy of the given one, or built from the scenario.

    Raises ScenarioError for a plan without requests, RunError when it cannot be written.
    """
    if given is not None:
        header = read_plan_header(given)
        if given.resolve() != path.resolve():
            try:
                shutil.copyfile(given, path)
            except OSError as error:
                raise RunError(f"cannot write {path}: {error.strerror}") from error
        info = PlanInfo(header, worker_processes(header.classes, scenario.processes, parts))
        for _ in _counted(read_plan(path), info, parts, part):
            pass
    else:
        lines = build_plan(scenario)
        first = next(lines)
        assert isinstance(first, PlanHeader)
        info = PlanInfo(first, worker_processes(first.classes, scenario.processes, parts))
        write_plan(path, _with_header(first, _counted(lines, info, parts, part)))
    if info.planned == 0:
        raise ScenarioError("the plan holds no request: rates and durations are too small for a single one")
    info.tokens /= info.planned
    if info.header.span > 0 and all(plan.users is None for plan in info.header.classes.values()):
        info.rate = info.planned / info.header.span
    return info


def worker_processes(classes: Mapping[str, ClassPlan], wanted: int, parts: int) -> int:
    """How many workers a machine has: each needs a user of every closed loop.

    ScenarioError when there are too few.
    """
    users = [plan.users for plan in classes.values() if plan.users is not None]
    if not users:
        return wanted
    if min(users) < parts:
        raise ScenarioError(f"{min(users)} users cannot be split over {parts} machines")
    return min(wanted, min(users) // parts)


def _with_header(header: PlanHeader, lines: Iterable[PlanLine]) -> Iterator[PlanLine]:
    yield header
    yield from lines


def _counted(
    lines: Iterable[PlanLine] | Iterable[SharedText | PlannedRequest], info: PlanInfo, parts: int, part: int
) -> Iterator[PlanLine]:
    """The same lines, each request counted if it is this machine's."""
    workers = parts * info.processes
    for line in lines:
        if isinstance(line, PlannedRequest) and line.slot % workers // info.processes == part:
            info.planned += 1
            info.tokens += line.max_tokens or 1
            info.models.add(line.model)
            if "authorization" in line.headers:
                info.authorization = {"authorization": line.headers["authorization"]}
            info.hidden |= {name: value for name, value in line.headers.items() if MARK in value}
        yield line
