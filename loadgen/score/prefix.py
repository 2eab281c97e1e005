"""Prefix caches: what the pods reused, and the most that any placement of this load could have reused.

The server says how many prompt tokens it found cached (usage.prompt_tokens_details). What it could have
found follows from the plan alone: prompts are compared byte for byte, and bytes become tokens by the ratio
that the server itself counted for each request; prompts of token ids are exact. Where that ratio is a token
off, the hit that was served is the proof that it was possible. Formulas: docs/scorecard.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Annotated

import numpy as np

from loadgen.numbers.figure import Card, Figure
from loadgen.records.frame import natural_order
from loadgen.records.table import Mask, Records
from loadgen.score.prefix_forest import Forest
from loadgen.score.prefix_prompts import Asks

BLOCK_SIZE = 16  # vLLM's default, used until a scrape says otherwise


class Hits(Card):
    """Prompt tokens of one pod or prefix group and how many of them were found cached."""

    prompt_tokens: int
    cached_tokens: float
    requests: int
    hit_share: float


class Decisions(Card):
    """Picks against what had been sent where before them, as if pods forgot nothing."""

    judged: Annotated[
        int,
        Figure("picks with a choice: two pods or more, and some pod had been sent a block of the prompt"),
    ]
    best_share: Annotated[
        float | None,
        Figure(
            "of these, to a pod that had been sent the longest known prefix of the prompt", "share", "higher"
        ),
    ]
    lost_tokens: Annotated[int, Figure("tokens of prefix given away by the others", better="lower")]
    lost_share: Annotated[float | None, Figure("`lost_tokens` ÷ prompt tokens", "share", "lower")]


class Prefix(Card):
    """What the pods reused of the prompts, and the most that any placement could have reused."""

    source: str
    """`usage`: answers say their cached tokens; `pods`: the growth of the pods' counters does."""
    prompt_tokens: Annotated[int, Figure("prompt tokens of the answers that count")]
    cached_tokens: Annotated[float, Figure("of these, found cached")]
    hit_share: Annotated[
        float,
        Figure(
            "cached prompt tokens ÷ prompt tokens, as the server counts them in `usage` (vLLM: "
            "`--enable-prompt-tokens-details`); without that, the growth of the pods' hit counters",
            "share", "higher", "prefix hit share", "shown",
        ),
    ]  # fmt: skip
    block_size: Annotated[int, Figure("tokens of a cache block")]
    capacity_tokens: Annotated[int | None, Figure("what all pods' caches hold together")]
    best_infinite: Annotated[
        float,
        Figure(
            "every request finds the longest prefix that any earlier request, or answer of its own session, "
            "began with: no placement can do better, whatever the caches",
            "share",
        ),
    ]
    best_capacity: Annotated[
        float | None,
        Figure(
            "the same from one cache as large as all pods' together, which always drops what is needed again "
            "last (Belady's rule, with bypass)",
            "share",
        ),
    ]
    reached: Annotated[
        float | None,
        Figure(
            "hit share ÷ `best_capacity` (÷ `best_infinite` where a pod does not tell its capacity)",
            "share", "higher",
        ),
    ]  # fmt: skip
    reached_infinite: Annotated[float | None, Figure("hit share ÷ `best_infinite`", "share", "higher")]
    hit_requests_share: Annotated[
        float | None, Figure("answers with any cached token ÷ answers", "share", "higher")
    ]
    pods: dict[str, Hits]
    groups: dict[str, Hits]
    group_pods: dict[str, dict[str, int]]
    """Requests of each prefix group by pod: how far a group was kept together."""
    unexplained_tokens: Annotated[
        int, Figure("cached tokens that nothing sent before in this run explains: caches that were warm")
    ]
    decisions: Annotated[Decisions, Figure("each pick against what had been sent where")]


def score(
    asks: Asks,
    caches: Mapping[str, int],
    block: int = BLOCK_SIZE,
    since: float = 0.0,
    pod_hits: Mapping[str, float] | None = None,
) -> Prefix | None:
    """The scorecard of prefix caching, or None when nobody said how much of the prompts was cached.

    caches: capacity in tokens by pod, empty when unknown (then there is no bound with real capacity).
    since: requests intended earlier warm the caches but are not counted.
    pod_hits: growth of each pod's hit counter, used when the answers carry no cached tokens; it covers the
    whole run, so `since` does not apply, and there are no figures by group.
    """
    if not pod_hits and not np.isfinite(asks.records.numbers("cached_tokens")).any():
        return None
    forest = Forest(asks, block)
    answered = forest.records.among("outcome", ["ok"])
    said = answered & forest.said & (forest.records.numbers("intended") >= since)
    hits: Mapping[str, float] = {} if said.any() else pod_hits or {}
    counted = answered if hits else said
    if not counted.any():
        return None
    prompt = int(forest.tokens[counted].sum())
    cached = sum(hits.values()) or int(forest.cached[counted].sum())
    infinite, capacity = forest.bounds(counted, float(sum(caches.values())) or None)
    if hits:  # no request says its own hits; together they still prove what was possible
        infinite = max(infinite, cached)
        capacity = None if capacity is None else max(capacity, cached)
    best = infinite if capacity is None else capacity
    card = Prefix(
        source="usage",
        prompt_tokens=prompt,
        cached_tokens=cached,
        hit_share=cached / prompt,
        block_size=block,
        capacity_tokens=sum(caches.values()) or None,
        best_infinite=infinite / prompt,
        best_capacity=None if capacity is None else capacity / prompt,
        reached=_ratio(cached, best),
        reached_infinite=_ratio(cached, infinite),
        hit_requests_share=_ratio(int((forest.cached[counted] > 0).sum()), int(counted.sum())),
        pods=_hit_table(forest, counted, "pod"),
        groups=_hit_table(forest, counted, "group"),
        group_pods=_group_pods(forest.records.take(counted)),
        unexplained_tokens=forest.unexplained(counted),
        decisions=_decisions(forest, counted),
    )
    if hits:
        _use_counters(card, hits)
    return card


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _use_counters(card: Prefix, hits: Mapping[str, float]) -> None:
    """Put what the pods counted in the place of what the answers did not say."""
    card.source, card.hit_requests_share, card.groups, card.unexplained_tokens = "pods", None, {}, 0
    card.pods = {name: row for name, row in card.pods.items() if name in hits}
    for name, row in card.pods.items():
        row.cached_tokens = hits[name]
        row.hit_share = _ratio(row.cached_tokens, row.prompt_tokens) or 0.0


def _hit_table(forest: Forest, counted: Mask, column: str) -> dict[str, Hits]:
    codes, names = forest.records.codes(column)
    codes, most = codes[counted], len(names)
    requests = np.bincount(codes, minlength=most).tolist()
    tokens = np.bincount(codes, forest.tokens[counted], most).astype(np.int64).tolist()
    cached = np.bincount(codes, forest.cached[counted], most).astype(np.int64).tolist()
    rows = {
        name: Hits(
            prompt_tokens=tokens[code],
            cached_tokens=cached[code],
            requests=requests[code],
            hit_share=_ratio(cached[code], tokens[code]) or 0.0,
        )
        for code, name in enumerate(names.tolist())
        if name is not None and requests[code]
    }
    return {name: rows[name] for name in natural_order(rows)}


def _group_pods(counted: Records) -> dict[str, dict[str, int]]:
    """Requests of each prefix group by pod: how far a group was kept together."""
    table: dict[str, dict[str, int]] = defaultdict(dict)
    for (group, pod), count in counted.pairs("group", "pod").items():
        if group is not None and pod is not None:
            table[group][pod] = count
    return {
        group: {pod: table[group][pod] for pod in natural_order(table[group])}
        for group in natural_order(table)
    }


def _decisions(forest: Forest, counted: Mask) -> Decisions:
    """Each pick against what had been sent where before it: did the longest match win, what did it cost?

    Assumes that pods forget nothing, so it judges the picker's memory, not the pods' capacity. Only requests
    with a choice count: at least two pods, and some pod that had seen a whole block of the prompt.
    """
    codes, names = forest.records.codes("pod")
    named = np.array([name is not None for name in names], np.bool_)[codes]
    several = len(np.unique(codes[named])) > 1
    reach, own = forest.reach(codes.astype(np.int64), named)
    top, mine = forest.whole_blocks(reach), forest.whole_blocks(own)
    picked = counted & named
    judged = picked & (top > 0) & several
    tokens, lost = int(forest.tokens[picked].sum()), int((top - mine)[judged].sum())
    return Decisions(
        judged=int(judged.sum()),
        best_share=_ratio(int((mine == top)[judged].sum()), int(judged.sum())),
        lost_tokens=lost,
        lost_share=_ratio(lost, tokens),
    )
