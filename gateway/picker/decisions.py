"""The decision log: one JSON line for each request, with everything that the pick was made of."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gateway.picker.errors import PickerConfigError, RequestError
from gateway.picker.plugins.scheduler import Cycle
from gateway.picker.pool.endpoints import Candidate
from gateway.picker.request import InferenceRequest

_ENCODER = msgspec.json.Encoder()


class DecisionLog:
    """Appends to a file; each line is one write, so a reader never sees half of one."""

    def __init__(self, path: str) -> None:
        """PickerConfigError when the file cannot be written."""
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise PickerConfigError(f"--decision-log {path}: {error.strerror}") from None

    def write(self, record: Mapping[str, Any]) -> None:
        os.write(self._fd, _ENCODER.encode(record) + b"\n")

    def close(self) -> None:
        os.close(self._fd)


def decision_record(
    request: InferenceRequest,
    candidates: Sequence[Candidate],
    cycle: Cycle | None,
    error: RequestError | None,
    *,
    now: float,
    wall: float,
    duration: float,
) -> dict[str, Any]:
    """The line of one request; times are wall-clock seconds, ages ms, the duration microseconds.

    `total` and `scores` are absent for a candidate that a filter took out.
    """
    places = {id(candidate): index for index, candidate in enumerate(cycle.candidates)} if cycle else {}
    return {
        "time": wall,
        "request_id": request.request_id,
        "model": request.model,
        "target_model": request.target_model,
        "objective": request.objective,
        "priority": request.priority,
        "fairness_id": request.fairness_id,
        "size_bytes": request.size_bytes,
        "profile": cycle.profile if cycle else None,
        "candidates": [_candidate(c, cycle, places.get(id(c)), now) for c in candidates],
        "pick": [candidate.endpoint.host_port for candidate in cycle.picked] if cycle else [],
        "error": {"status": error.status, "message": error.message} if error else None,
        "duration_us": round(duration * 1e6, 1),
    }


def unscheduled_record(request_id: str, endpoint: str, reason: str, wall: float) -> dict[str, Any]:
    """The line of a request that went somewhere without being looked at."""
    return {
        "time": wall,
        "request_id": request_id,
        "candidates": [],
        "pick": [endpoint],
        "reason": reason,
        "error": None,
    }


def unread_record(request_id: str, error: RequestError, wall: float) -> dict[str, Any]:
    """The line of a request whose body could not be used."""
    refused = {"status": error.status, "message": error.message}
    return {"time": wall, "request_id": request_id, "candidates": [], "pick": [], "error": refused}


def _candidate(candidate: Candidate, cycle: Cycle | None, index: int | None, now: float) -> dict[str, Any]:
    endpoint, metrics = candidate.endpoint, candidate.metrics
    age = metrics.age(now)
    record: dict[str, Any] = {
        "endpoint": endpoint.host_port,
        "name": endpoint.id,
        "age_ms": None if age == float("inf") else round(age * 1000, 3),
        "waiting": metrics.waiting,
        "running": metrics.running,
        "kv_usage": metrics.kv_usage,
        "active_models": sorted(metrics.active_models),
        "waiting_models": sorted(metrics.waiting_models),
        "max_active_models": metrics.max_active_models,
        "inflight_requests": candidate.inflight_requests,
        "inflight_tokens": candidate.inflight_tokens,
        "prefix_matched": candidate.prefix_matched,
        "prefix_total": candidate.prefix_total,
    }
    if cycle and index is not None:
        record["scores"] = {name: scores[index] for name, scores in cycle.scores}
        record["total"] = cycle.totals[index] if cycle.totals else None
    return record
