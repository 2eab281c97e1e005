"""A decision told as data, for the terminal's table and for the page alike.

What the picker saw comes from its decision log, what became of it from the gateway's access log.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.doctor.causes import HEALTHY, diagnose
from gateway.doctor.evidence import from_log_line
from gateway.why.decision import Candidate, Decision
from gateway.why.reason import clamped, contribution, reason_of, sentence

Json = dict[str, Any]


def summary(decision: Decision) -> Json:
    """A row of a list of requests; `time` in wall-clock seconds."""
    reason = reason_of(decision)
    chosen = decision.chosen
    return {
        "time": decision.time,
        "request_id": decision.request_id,
        "client_id": decision.client_id,
        "model": decision.target_model or decision.model,
        "pod": chosen.pod if chosen else None,
        "pick": decision.pick[0] if decision.pick else None,
        "reason": reason.word,
        "margin": reason.margin,
        "candidates": decision.of_candidates,
        "prefix": [chosen.prefix_matched, chosen.prefix_total] if chosen else [0, 0],
        "begins": decision.prefix,
        "decide_us": decision.duration_us,
    }


def explain(
    decision: Decision, entry: Mapping[str, Any] | None = None, names: Mapping[str, str] | None = None
) -> Json:
    """Everything about one decision. entry: the request's line in the access log; names: pods as shown."""
    reason = reason_of(decision)
    scorers = list(decision.weights)
    rows = [_row(candidate, decision, scorers) for candidate in decision.candidates]
    rows.sort(key=lambda row: (not row["picked"], row["total"] is None, -(row["total"] or 0.0)))
    return {
        **summary(decision),
        "sentence": sentence(decision, reason, names),
        "tied": reason.tied,
        "rival": reason.rival.pod if reason.rival else None,
        "objective": decision.objective,
        "priority": decision.priority,
        "size_bytes": decision.size_bytes,
        "profile": decision.profile,
        "picker": decision.picker,
        "weights": decision.weights,
        "removed": decision.removed,
        "shown": len(rows),
        "prefix_block_tokens": decision.prefix_block_tokens,
        "error": {"status": decision.error.status, "message": decision.error.message}
        if decision.error
        else None,
        "rows": rows,
        "served": outcome(entry, decision) if entry else None,
    }


def _row(candidate: Candidate, decision: Decision, scorers: list[str]) -> Json:
    return {
        "pod": candidate.pod,
        "endpoint": candidate.endpoint,
        "picked": bool(decision.pick) and candidate.endpoint == decision.pick[0],
        "total": candidate.total,
        "scores": {name: candidate.scores.get(name) for name in scorers},
        "parts": {name: contribution(candidate, name, decision.weights) for name in scorers},
        "cut": [n for n, score in candidate.scores.items() if score != clamped(score)],
        "removed_by": candidate.removed_by,
        "age_ms": candidate.age_ms,
        "waiting": candidate.waiting,
        "running": candidate.running,
        "kv_usage": candidate.kv_usage,
        "inflight": candidate.inflight_requests,
        "adapters": candidate.active_models,
        "prefix": [candidate.prefix_matched, candidate.prefix_total],
    }


def outcome(entry: Mapping[str, Any], decision: Decision | None = None) -> Json:
    """What the gateway says became of the request; times in milliseconds, of the picker's call too."""
    evidence = from_log_line(entry)
    cause = diagnose(evidence)
    served = evidence.served or evidence.upstream_host
    picked = evidence.picked.split(",")[0] or (decision.pick[0] if decision and decision.pick else "")
    return {
        "status": evidence.status,
        "flags": evidence.flags,
        "path": evidence.path,
        "served": served,
        "as_picked": served == picked if served and picked else None,
        "pod": entry.get("pod"),
        "first_byte_ms": entry.get("first_byte_ms"),
        "duration_ms": entry.get("duration_ms"),
        "picker_ms": picker_ms(evidence.ext_proc),
        "cause": None if cause is HEALTHY else cause.id,
        "why": None if cause is HEALTHY else cause.cause,
        "cure": None if cause is HEALTHY else cause.cure,
    }


def picker_ms(account: str) -> float | None:
    """How long the gateway waited for the picker, from Envoy's own account; None where it asked nobody.

    `rh:MICROSECONDS:STATUS` is the message with the headers, which is answered once the body has been read
    and the pick is made.
    """
    for part in account.split(","):
        words = part.split(":")
        if words[0] == "rh" and len(words) > 1 and words[1].isdigit():
            return int(words[1]) / 1000
    return None
