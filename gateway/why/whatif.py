"""Where other weights, or another kind of picker, would have sent the requests of a decision log.

Totals are added up from the logged scores as the scheduler does it, in its order and in float64, so that they
are the picker's to the last bit. What the log cannot tell is counted and never guessed: requests that nobody
scored, and those for which a candidate that a brief log left out might have won.

What this cannot know: with other picks, queues and caches would have become others. Each request is decided
anew on what was known when it came.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.errors import UsageError
from gateway.why.decision import Candidate, Decision
from gateway.why.reason import clamped

MAX_SCORE = "max-score-picker"
Shares = list[float]


def totals(candidates: Sequence[Candidate], weights: Mapping[str, float]) -> list[float]:
    """The totals under other weights; a scorer that `weights` does not name counts nothing."""
    found = []
    for candidate in candidates:
        total = 0.0
        for name, score in candidate.scores.items():
            total += clamped(score) * weights.get(name, 0.0)
        found.append(total)
    return found


def best(values: Sequence[float]) -> list[int]:
    """The places of the highest value; several where they are exactly equal, as the picker sees it."""
    highest = max(values)
    return [place for place, value in enumerate(values) if value == highest]


def _evenly(places: Sequence[int], count: int) -> Shares:
    shares = [0.0] * count
    for place in places:
        shares[place] = 1.0 / len(places)
    return shares


def _highest(candidates: Sequence[Candidate], values: Sequence[float]) -> Shares:
    return _evenly(best(values), len(candidates))


def _uniform(candidates: Sequence[Candidate], _: Sequence[float]) -> Shares:
    return _evenly(range(len(candidates)), len(candidates))


def _weighted(candidates: Sequence[Candidate], values: Sequence[float]) -> Shares:
    """One draw of Efraimidis and Spirakis' sampling takes each by its share of the positive totals."""
    positive = [max(value, 0.0) for value in values]
    total = sum(positive)
    return [value / total for value in positive] if total > 0 else _uniform(candidates, values)


def _least_request(candidates: Sequence[Candidate], _: Sequence[float]) -> Shares:
    return _evenly(best([-c.inflight_requests for c in candidates]), len(candidates))


# Type of the picker -> the share of a request that each candidate gets.
PICKERS: Mapping[str, Callable[[Sequence[Candidate], Sequence[float]], Shares]] = {
    MAX_SCORE: _highest,
    "weighted-random-picker": _weighted,
    "random-picker": _uniform,
    "least-request-picker": _least_request,
}


@dataclass
class Changed:
    """A request that would have gone elsewhere."""

    time: float
    request_id: str
    client_id: str | None
    model: str
    before: str
    after: list[str]
    margin: float  # of the new pick over the old one


@dataclass
class WhatIf:
    """What would have come out; spreads are requests by pod, fractions where a picker draws."""

    weights: dict[str, float]
    logged_weights: dict[str, float]
    picker: str
    decisions: int = 0
    changed: int = 0  # surely elsewhere
    drawn: int = 0  # the logged pick is one of several that might be drawn
    drawn_elsewhere: float = 0.0  # of these, so many are expected elsewhere
    unscored: int = 0
    unknown: int = 0  # a candidate that a brief log left out might have won
    before: dict[str, float] = field(default_factory=dict)
    after: dict[str, float] = field(default_factory=dict)
    changes: list[Changed] = field(default_factory=list)

    @property
    def decided(self) -> int:
        """The decisions of which the outcome is known."""
        return self.decisions - self.unscored - self.unknown


def what_if(decisions: Iterable[Decision], wanted: Mapping[str, float], picker: str | None = None) -> WhatIf:
    """Decide anew with `wanted` over the logged weights, and another type of picker if one is named.

    UsageError for a scorer that the log has no scores of, and for a picker whose choice scores do not tell.
    """
    every = list(decisions)
    scored = [d for d in every if d.chosen is not None and d.chosen.scores]
    logged = dict(scored[-1].weights) if scored else {}
    weights = {**logged, **resolve(wanted, logged)}
    kind = picker or (scored[-1].picker if scored else None) or MAX_SCORE
    if kind not in PICKERS:
        raise UsageError(
            f"picker {kind!r}: its choice cannot be told from scores; there are {', '.join(PICKERS)}"
        )
    result = WhatIf(weights, logged, kind, len(every), unscored=len(every) - len(scored))
    before: Counter[str] = Counter()
    after: dict[str, float] = {}
    for decision in scored:
        _decide(decision, result, before, after)
    result.before = dict(sorted(before.items()))
    result.after = {pod: after.get(pod, 0.0) for pod in sorted({*before, *after})}
    return result


def _decide(decision: Decision, result: WhatIf, before: Counter[str], after: dict[str, float]) -> None:
    candidates = decision.scored
    chosen = decision.chosen
    assert chosen is not None
    values = totals(candidates, result.weights)
    if result.picker == MAX_SCORE and _may_be_elsewhere(decision, result.weights, max(values)):
        result.unknown += 1
        return
    shares = PICKERS[result.picker](candidates, values)
    before[chosen.pod] += 1
    for candidate, share in zip(candidates, shares, strict=True):
        if share:
            after[candidate.pod] = after.get(candidate.pod, 0.0) + share
    places = [place for place, share in enumerate(shares) if share]
    old = candidates.index(chosen)
    if old in places:
        result.drawn += len(places) > 1
        result.drawn_elsewhere += 1.0 - shares[old]
        return
    result.changed += 1
    result.changes.append(
        Changed(
            decision.time,
            decision.request_id,
            decision.client_id,
            decision.target_model or decision.model,
            chosen.pod,
            [candidates[place].pod for place in places],
            values[places[0]] - values[old],
        )
    )


def _may_be_elsewhere(decision: Decision, weights: Mapping[str, float], highest: float) -> bool:
    """Whether one of the candidates that the line left out could have as much as the best that it has."""
    if not decision.left_out:
        return False
    bound = 0.0
    for name, score in decision.left_out.items():
        bound += clamped(score) * max(weights.get(name, 0.0), 0.0)
    return bound >= highest


def resolve(wanted: Mapping[str, float], known: Iterable[str]) -> dict[str, float]:
    """Names as people type them, `prefix` for prefix-cache-scorer, as the log has them.

    UsageError for one that none or several of the scorers begin with.
    """
    names, found = list(known), {}
    for word, weight in wanted.items():
        fits = [n for n in names if n == word] or [n for n in names if n.startswith(word)]
        if len(fits) != 1:
            problem = f"is ambiguous: {', '.join(fits)}" if fits else "is not scored in this log"
            raise UsageError(f"scorer {word!r} {problem}; it has scores of {', '.join(names) or 'none'}")
        found[fits[0]] = weight
    return found


def parse_weights(text: str) -> dict[str, float]:
    """`queue=1,prefix=5` as names and numbers; UsageError for what is not so."""
    found = {}
    for part in filter(None, text.split(",")):
        name, equals, value = part.partition("=")
        try:
            weight = float(value)
        except ValueError:
            weight = float("nan")
        if not name.strip() or not equals or not abs(weight) < float("inf"):
            raise UsageError(
                f"weights {part!r}: write them as SCORER=NUMBER,..., for example queue=1,prefix=5"
            )
        found[name.strip()] = weight
    return found


def to_config(result: WhatIf, config: Mapping[str, Any]) -> dict[str, Any]:
    """`config`, an EndpointPickerConfig, with the weights and the picker of `result` in its profiles.

    Weights are written as whole numbers where they are whole: releases up to GIE v1.3 know no others.
    """
    plugins = [dict(plugin) for plugin in config.get("plugins") or ()]
    types = {str(p.get("name") or p.get("type")): str(p.get("type")) for p in plugins}
    profiles = config.get("schedulingProfiles") or [_only_profile(types, result)]
    chooser = next((name for name, kind in types.items() if kind == result.picker), None)
    if chooser is None and result.picker != MAX_SCORE:  # which every profile without a picker has
        chooser = result.picker
        plugins.append({"type": chooser})
    changed = [
        {**profile, "plugins": _references(profile.get("plugins") or (), types, chooser, result.weights)}
        for profile in profiles
    ]
    return {**config, "plugins": plugins, "schedulingProfiles": changed}


def _only_profile(types: Mapping[str, str], result: WhatIf) -> dict[str, Any]:
    """The profile that a configuration without any has: what scores, filters or picks."""
    used = [name for name, kind in types.items() if name in result.logged_weights or _chooses(kind)]
    return {"name": "default", "plugins": [{"pluginRef": name} for name in used]}


def _references(
    references: Iterable[Mapping[str, Any]],
    types: Mapping[str, str],
    chooser: str | None,
    weights: Mapping[str, float],
) -> list[dict[str, Any]]:
    """A profile's plugins with other weights, and `chooser` in place of its picker."""
    kept = [r for r in references if not types.get(str(r.get("pluginRef")), "").endswith("-picker")]
    chosen = [{"pluginRef": chooser}] if chooser is not None else []
    return [*(_weighted_ref(reference, weights) for reference in kept), *chosen]


def _chooses(kind: str) -> bool:
    """Whether a plugin of this type is a filter or picker, which a profile names beside its scorers."""
    return kind.endswith(("-filter", "-picker")) or kind.startswith("by-label")


def _weighted_ref(ref: Mapping[str, Any], weights: Mapping[str, float]) -> dict[str, Any]:
    weight = weights.get(str(ref.get("pluginRef")))
    if weight is None:
        return dict(ref)
    return {**ref, "weight": int(weight) if weight == int(weight) else weight}
