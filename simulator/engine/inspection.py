"""An engine looked at from outside: its state for people, and whether it contradicts itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from simulator.engine.request import Request
from simulator.engine.scheduler import Scheduler
from simulator.errors import InvariantError


def described(scheduler: Scheduler) -> dict[str, Any]:
    """Queues, blocks and adapters as JSON-able data."""
    loras = scheduler.loras
    return {
        "paused": scheduler.paused,
        "sleep_level": scheduler.stats.sleep_level,
        "steps": scheduler.stats.num_steps,
        "running": [request.describe() for request in scheduler.running],
        "waiting": [request.describe() for request in (*scheduler.holding, *scheduler.waiting)],
        "kv_blocks": scheduler.kv.pool.sizes(),
        "loras": loras.snapshot() if loras is not None else None,
    }


def check(scheduler: Scheduler, requests: Mapping[str, Request], arriving: Iterable[Request]) -> None:
    """Raise InvariantError where queues, blocks or adapters contradict each other."""
    scheduler.check_invariants()
    queued = [*scheduler.running, *scheduler.waiting, *scheduler.holding, *arriving]
    if len(queued) != len(requests) or {r.request_id for r in queued} != set(requests):
        raise InvariantError(f"{len(requests)} requests are known, {len(queued)} stand in queues")
    held = (lease.blocks for lease in scheduler.transfers.held)
    scheduler.kv.check_invariants(requests.values(), held)
    if scheduler.loras is not None:
        scheduler.loras.check_invariants(scheduler.running, len(requests))
