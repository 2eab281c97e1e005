"""What decided a pick: a word, the margin, and a sentence that says it.

The word is a scorer's name, where what it added put the pick furthest ahead of the best other candidate, or
one of the words below. Totals and contributions are the picker's arithmetic (picker/plugins/scheduler.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.why.decision import Candidate, Decision

TIE, ONLY, NOT_HIGHEST = "tie", "only candidate", "not the highest"
UNSCORED, REFUSED = "unscored", "refused"
SAME = 1e-9  # totals that are closer are the same


@dataclass(frozen=True, slots=True)
class Reason:
    """`word` and the candidates that it is about; `margin` is the total of `chosen` less that of `rival`."""

    word: str
    chosen: Candidate | None = None
    rival: Candidate | None = None
    margin: float | None = None
    tied: int = 0  # candidates with the total of the pick, itself among them


def clamped(score: float | None) -> float:
    """A score as it counts: within 0 and 1; what is no number (null in the log) counts nothing."""
    if score is None or math.isnan(score):
        return 0.0
    return min(max(score, 0.0), 1.0)


def contribution(candidate: Candidate, scorer: str, weights: Mapping[str, float]) -> float:
    """What a scorer added to a candidate's total."""
    return clamped(candidate.scores.get(scorer)) * weights.get(scorer, 1.0)


def reason_of(decision: Decision) -> Reason:
    """Why this decision was made."""
    if decision.error is not None:
        return Reason(REFUSED)
    chosen = decision.chosen
    if chosen is None or chosen.total is None or not chosen.scores:
        return Reason(UNSCORED, chosen)
    others = [c for c in decision.scored if c is not chosen]
    if not others:
        return Reason(ONLY, chosen)
    rival = max(others, key=_total)
    margin = chosen.total - _total(rival)
    tied = 1 + sum(abs(_total(c) - chosen.total) <= SAME for c in others)
    if abs(margin) <= SAME:
        return Reason(TIE, chosen, rival, margin, tied)
    if margin < 0:
        return Reason(NOT_HIGHEST, chosen, rival, margin, tied)
    return Reason(furthest_ahead(chosen, rival, decision.weights), chosen, rival, margin, tied)


def _total(candidate: Candidate) -> float:
    return -math.inf if candidate.total is None else candidate.total


def furthest_ahead(chosen: Candidate, rival: Candidate, weights: Mapping[str, float]) -> str:
    """The scorer that put one candidate furthest ahead of the other."""
    return max(
        chosen.scores,
        key=lambda name: contribution(chosen, name, weights) - contribution(rival, name, weights),
    )


def sentence(decision: Decision, reason: Reason, names: Mapping[str, str] | None = None) -> str:
    """The reason in words; names: how pods are shown."""
    shown = names or {}

    def name(candidate: Candidate | None) -> str:
        return shown.get(candidate.pod, candidate.pod) if candidate else "nobody"

    if reason.word == REFUSED and decision.error is not None:
        return f"the picker answered {decision.error.status} itself: {decision.error.message}"
    where = name(reason.chosen) if reason.chosen else ", ".join(decision.pick) or "nowhere"
    if reason.word == UNSCORED:
        why = decision.reason or f"{decision.picker or 'the picker'} was given no scores"
        return f"{where} was picked without scores: {why}"
    if reason.margin is None:
        return f"{where} was the only candidate{_removals(decision)}"
    if reason.word == TIE and reason.chosen is not None:
        return f"{where} was drawn from {reason.tied} candidates with the same total {reason.chosen.total:g}"
    rival = name(reason.rival)
    if reason.word == NOT_HIGHEST:
        picker = decision.picker or "the picker"
        return f"{where} was picked by {picker} although {rival} had {-reason.margin:.3g} more"
    ahead = f"{reason.word} put {where} {reason.margin:.3g} ahead of {rival}"
    return ahead + _prefix(reason, decision) + _removals(decision)


def _prefix(reason: Reason, decision: Decision) -> str:
    if "prefix" not in reason.word or reason.chosen is None or not reason.chosen.prefix_total:
        return ""
    block = f" of {decision.prefix_block_tokens} tokens" if decision.prefix_block_tokens else ""
    matched, total = reason.chosen.prefix_matched, reason.chosen.prefix_total
    return f": {matched} of {total} prefix blocks{block} went there before"


def _removals(decision: Decision) -> str:
    parts = [f"{name} had taken out {count}" for name, count in decision.removed.items()]
    return f"; {', '.join(parts)}" if parts else ""
