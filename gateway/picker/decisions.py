"""The decision log: one JSON line for each request, with everything that the pick was made of.

A line names its request twice: by `request_id`, which a gateway may have made, and by `client_id`, the name
that the client gave it in a header which gateways pass on.
"""

from __future__ import annotations

import contextlib
import heapq
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gateway.picker.errors import PickerConfigError, RequestError
from gateway.picker.plugins.scheduler import Cycle
from gateway.picker.pool.endpoints import Candidate
from gateway.picker.request import InferenceRequest

_ENCODER = msgspec.json.Encoder()
REQUEST_ID = "x-request-id"
# The header in which a client names its request; Envoy has no opinion on it.
CLIENT_ID = "x-client-request-id"
PREFIX = "prefix-name"  # in a request's state: a name for what its prompt begins with
BRIEF_BYTES = 64 * 1024 * 1024
BRIEF_CANDIDATES = 8


class DecisionLog:
    """Appends to a file; each line is one write, so a reader never sees half of one.

    A brief log may always run: a line costs no more with a hundred endpoints than with a few, and the file
    that is full becomes PATH.1, in place of the one before.
    """

    def __init__(self, path: str, *, brief: bool = False) -> None:
        """PickerConfigError when the file cannot be written."""
        self._path = path
        self.candidates = BRIEF_CANDIDATES if brief else None
        """Candidates besides the pick that a line has room for; None: all."""
        self._limit = BRIEF_BYTES if brief else None
        try:
            self._open()
        except OSError as error:
            raise PickerConfigError(f"--decision-log {path}: {error.strerror}") from None

    def _open(self) -> None:
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._fd).st_size

    def write(self, record: Mapping[str, Any]) -> None:
        if self._limit is not None and self._size >= self._limit:
            self._turn()
        self._size += os.write(self._fd, _ENCODER.encode(record) + b"\n")

    def _turn(self) -> None:
        """Begin a file anew; where that cannot be, go on with this one."""
        self._size = 0
        with contextlib.suppress(OSError):
            os.replace(self._path, f"{self._path}.1")
            old = self._fd
            self._open()
            os.close(old)

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
    most: int | None = None,
) -> dict[str, Any]:
    """The line of one request; times are wall-clock seconds, ages ms, the duration microseconds.

    `total` and `scores` are absent for a candidate that a filter took out, and `removed_by` names the
    filter; `removed` has the number of each. most: write no more candidates than the pick and so many others,
    the best of them; `of_candidates` says how many there were, and `left_out` the highest that any of the
    others had of each score, so that a reader knows what weights could not have made one of them the pick.
    `prefix` is the same for prompts with the same first block, and tells nothing of them.
    """
    places = {id(candidate): index for index, candidate in enumerate(cycle.candidates)} if cycle else {}
    shown = candidates if most is None else _best(candidates, cycle, places, most)
    removed = _removed(cycle) if cycle and cycle.removed else {}
    return {
        "time": wall,
        "request_id": request.request_id,
        "client_id": request.headers.get(CLIENT_ID),
        "model": request.model,
        "target_model": request.target_model,
        "objective": request.objective,
        "priority": request.priority,
        "fairness_id": request.fairness_id,
        "size_bytes": request.size_bytes,
        "of_candidates": len(candidates),
        "candidates": [_candidate(c, cycle, places.get(id(c)), now, removed) for c in shown],
        "removed": Counter(removed.values()),
        "left_out": _left_out(shown, cycle, places) if len(shown) < len(candidates) else {},
        "prefix": request.state.get(PREFIX),
        "prefix_block_tokens": candidates[0].prefix_block_tokens if candidates else 0,
        **_of_cycle(cycle),
        "profiles": {
            name: [candidate.endpoint.host_port for candidate in other.picked]
            for name, other in (cycle.others.items() if cycle and cycle.others else ())
        },
        "error": {"status": error.status, "message": error.message} if error else None,
        "duration_us": round(duration * 1e6, 1),
    }


def _best(
    candidates: Sequence[Candidate], cycle: Cycle | None, places: Mapping[int, int], most: int
) -> Sequence[Candidate]:
    """What was picked, and of the others the `most` with the highest totals, in their own order."""
    if len(candidates) <= most:
        return candidates
    totals = cycle.totals if cycle else []
    picked = {id(candidate) for candidate in (cycle.picked if cycle else ())}

    def rank(candidate: Candidate) -> float:
        place = places.get(id(candidate))
        return math.inf if place is None or place >= len(totals) else -totals[place]

    others = [candidate for candidate in candidates if id(candidate) not in picked]
    kept = picked | {id(candidate) for candidate in heapq.nsmallest(most, others, key=rank)}
    return [candidate for candidate in candidates if id(candidate) in kept]


def _of_cycle(cycle: Cycle | None) -> dict[str, Any]:
    """Who decided, by which weights, and whom; empty values where no cycle ran."""
    if cycle is None:
        return {"profile": None, "picker": None, "weights": {}, "pick": []}
    return {
        "profile": cycle.profile,
        "picker": cycle.picker,
        "weights": {name: w for (name, _), w in zip(cycle.scores, cycle.weights, strict=True)},
        "pick": [candidate.endpoint.host_port for candidate in cycle.picked],
    }


def _removed(cycle: Cycle) -> dict[int, str]:
    """The filter that took a candidate out, by the candidate's identity."""
    found: dict[int, str] = {}
    for name, before, after in cycle.removed:
        left = set(map(id, after))
        found |= {id(candidate): name for candidate in before if id(candidate) not in left}
    return found


def _left_out(shown: Sequence[Candidate], cycle: Cycle | None, places: Mapping[int, int]) -> dict[str, float]:
    """The highest score of each scorer among the candidates that the line has no room for."""
    if cycle is None:
        return {}
    gone = sorted((places[id(c)] for c in shown if id(c) in places), reverse=True)
    highest = {}
    for name, scores in cycle.scores:
        rest = list(scores)  # copied and cut: this runs for every request, over all endpoints
        for place in gone:
            del rest[place]
        if rest:
            top = max(rest)
            highest[name] = 1.0 if math.isnan(top) else top  # where one is no number, the rest is not known
    return highest


def name_prefix(request: InferenceRequest) -> None:
    """Keep a name of the prompt's first block for the log, before plugins forget the blocks."""
    prompts = request.state.get("prefix-hashes")
    if prompts and prompts[0]:
        request.state[PREFIX] = f"{prompts[0][0] & 0xFFFFFFFF:08x}"


def unscheduled_record(headers: Mapping[str, str], endpoint: str, reason: str, wall: float) -> dict[str, Any]:
    """The line of a request that went somewhere without being looked at."""
    return {
        "time": wall,
        **_names(headers),
        "candidates": [],
        "pick": [endpoint],
        "reason": reason,
        "error": None,
    }


def unread_record(headers: Mapping[str, str], error: RequestError, wall: float) -> dict[str, Any]:
    """The line of a request whose body could not be used."""
    refused = {"status": error.status, "message": error.message}
    return {"time": wall, **_names(headers), "candidates": [], "pick": [], "error": refused}


def _names(headers: Mapping[str, str]) -> dict[str, str | None]:
    return {"request_id": headers.get(REQUEST_ID, ""), "client_id": headers.get(CLIENT_ID)}


def _candidate(
    candidate: Candidate, cycle: Cycle | None, index: int | None, now: float, removed: Mapping[int, str]
) -> dict[str, Any]:
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
    elif removed:
        record["removed_by"] = removed.get(id(candidate))
    return record
