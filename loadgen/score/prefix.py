"""Prefix caches: what the pods reused, and the most that any placement of this load could have reused.

The server says how many prompt tokens it found cached (usage.prompt_tokens_details). What it could have
found follows from the plan alone: prompts are compared byte for byte, and bytes become tokens by the ratio
that the server itself counted for each request; prompts of token ids are exact. Where that ratio is a token
off, the hit that was served is the proof that it was possible. Formulas: docs/scorecard.md.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Annotated

from loadgen.numbers.figure import Card, Figure
from loadgen.records.frame import natural_order
from loadgen.records.records import Record
from loadgen.score.prefix_prompts import Ask
from loadgen.score.prefix_tree import PrefixTree, best_hits, held_by

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


class _Forest:
    """All prompts in one tree, and the path of each through it."""

    def __init__(self, ordered: Sequence[Ask]) -> None:
        tree = PrefixTree()
        self.common: list[int] = []
        """Bytes that each prompt shares with something asked or answered before it."""
        for ask in ordered:
            self.common.append(tree.insert(ask.space, ask.content))
            if ask.after:
                tree.insert(ask.space, ask.after)
        self.lengths = tree.number()
        self.paths = [tree.path(ask.space, ask.content) for ask in ordered]
        self.after = [tree.path(ask.space, ask.after) if ask.after else None for ask in ordered]


def score(
    ordered: Sequence[Ask],
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
    counted, hits = _counted(ordered, since, pod_hits or {})
    if not counted:
        return None
    prompt = sum(ask.tokens for ask in counted)
    cached = sum(hits.values()) or _cached(counted)
    forest = _Forest(ordered)
    wanted = {id(ask) for ask in counted}
    room = float(sum(caches.values())) or None
    infinite, capacity = _bounds(ordered, forest, wanted, room, block)
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
        hit_requests_share=_ratio(sum(bool(ask.record.cached_tokens) for ask in counted), len(counted)),
        pods=_hit_table(counted, lambda record: record.pod),
        groups=_hit_table(counted, lambda record: record.group),
        group_pods=_group_pods(counted),
        unexplained_tokens=_unexplained(counted, ordered, forest, block),
        decisions=_decisions(ordered, forest, wanted, block),
    )
    if hits:
        _use_counters(card, hits)
    return card


def _counted(
    ordered: Sequence[Ask], since: float, pod_hits: Mapping[str, float]
) -> tuple[list[Ask], Mapping[str, float]]:
    """The answers that count, and the pods' counters where no answer says what was cached."""
    answered = [ask for ask in ordered if ask.answered]
    said = [ask for ask in answered if ask.record.cached_tokens is not None and ask.record.intended >= since]
    if said:
        return said, {}
    return (answered, pod_hits) if pod_hits else ([], {})


def _cached(asks: Sequence[Ask]) -> int:
    return sum(ask.record.cached_tokens or 0 for ask in asks)


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _use_counters(card: Prefix, hits: Mapping[str, float]) -> None:
    """Put what the pods counted in the place of what the answers did not say."""
    card.source, card.hit_requests_share, card.groups, card.unexplained_tokens = "pods", None, {}, 0
    card.pods = {name: row for name, row in card.pods.items() if name in hits}
    for name, row in card.pods.items():
        row.cached_tokens = hits[name]
        row.hit_share = _ratio(row.cached_tokens, row.prompt_tokens) or 0.0


def _bounds(
    ordered: Sequence[Ask], forest: _Forest, wanted: set[int], capacity: float | None, block: int
) -> tuple[float, float | None]:
    """Tokens that one cache of infinite and of pooled size could have served of the wanted requests."""
    limits = [
        max(_whole_blocks(ask, length, block), ask.record.cached_tokens or 0)
        for ask, length in zip(ordered, forest.common, strict=True)
    ]
    infinite = sum(limit for ask, limit in zip(ordered, limits, strict=True) if id(ask) in wanted)
    if capacity is None:
        return infinite, None
    paths: list[list[int]] = []
    asked: list[int] = []
    for path, after in zip(forest.paths, forest.after, strict=True):
        asked.append(len(paths))
        paths.append(path)
        if after:
            paths.append(after)
    rates = _bytes_per_token(ordered, forest)
    sizes = [length / rate for length, rate in zip(forest.lengths, rates, strict=True)]
    held = best_hits(paths, sizes, capacity, forest.lengths)
    pairs = zip(ordered, limits, (held[at] for at in asked), strict=True)
    return infinite, sum(
        max(min(limit, math.ceil(found / ask.bytes_per_token)), ask.record.cached_tokens or 0)
        for ask, limit, found in pairs
        if id(ask) in wanted
    )


def _bytes_per_token(ordered: Sequence[Ask], forest: _Forest) -> list[float]:
    """For each node the most bytes per token that a request through it counted: its least size in a cache."""
    rates = [0.0] * len(forest.lengths)
    for ask, *paths in zip(ordered, forest.paths, forest.after, strict=True):
        for node in {node for path in paths for node in path or ()}:
            rates[node] = max(rates[node], ask.bytes_per_token if ask.tokens else 0.0)
    most = max(rates, default=0.0) or 1.0
    return [rate or most for rate in rates]


def _whole_blocks(ask: Ask, common: int, block: int) -> int:
    """Tokens of whole blocks in `common` bytes; the last prompt token is always computed anew."""
    if not ask.tokens:
        return 0
    usable = min(ask.tokens_in(common), ask.tokens - 1)
    return max(0, usable // block * block)


def _hit_table(counted: Sequence[Ask], key: Callable[[Record], str | None]) -> dict[str, Hits]:
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for ask in counted:
        name = key(ask.record)
        if name is not None:
            row = sums[name]
            row[0] += ask.tokens
            row[1] += ask.record.cached_tokens or 0
            row[2] += 1
    return {
        name: Hits(
            prompt_tokens=sums[name][0],
            cached_tokens=sums[name][1],
            requests=sums[name][2],
            hit_share=_ratio(sums[name][1], sums[name][0]) or 0.0,
        )
        for name in natural_order(sums)
    }


def _unexplained(counted: Sequence[Ask], ordered: Sequence[Ask], forest: _Forest, block: int) -> int:
    """Cached tokens beyond what this run's own prompts explain, of requests more than a block beyond it.

    Caches that were warm before the run, or prompts that a chat template makes more alike than they are.
    """
    wanted = {id(ask) for ask in counted}
    surplus = 0
    for ask, length in zip(ordered, forest.common, strict=True):
        beyond = (ask.record.cached_tokens or 0) - _whole_blocks(ask, length, block)
        surplus += beyond if id(ask) in wanted and beyond > block else 0
    return surplus


def _group_pods(counted: Sequence[Ask]) -> dict[str, dict[str, int]]:
    """Requests of each prefix group by pod: how far a group was kept together."""
    table: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for ask in counted:
        if ask.record.group is not None and ask.record.pod is not None:
            table[ask.record.group][ask.record.pod] += 1
    return {group: dict(table[group]) for group in natural_order(table)}


def _decisions(ordered: Sequence[Ask], forest: _Forest, wanted: set[int], block: int) -> Decisions:
    """Each pick against what had been sent where before it: did the longest match win, what did it cost?

    Assumes that pods forget nothing, so it judges the picker's memory, not the pods' capacity. Only requests
    with a choice count: at least two pods, and some pod that had seen a whole block of the prompt.
    """
    holders: dict[int, set[str]] = defaultdict(set)
    pods = {ask.record.pod for ask in ordered if ask.record.pod}
    judged = best = lost = tokens = 0
    for ask, path, after in zip(ordered, forest.paths, forest.after, strict=True):
        pod = ask.record.pod
        if pod is None:
            continue
        reach = [0, *accumulate(forest.lengths[node] for node in path)]
        depths = held_by(pods, path, holders)
        top = _whole_blocks(ask, reach[max(depths.values())], block)
        if id(ask) in wanted:
            tokens += ask.tokens
            if top and len(pods) > 1:
                mine = _whole_blocks(ask, reach[depths[pod]], block)
                judged += 1
                best += mine == top
                lost += top - mine
        for node in after or path:
            holders[node].add(pod)
    return Decisions(
        judged=judged,
        best_share=_ratio(best, judged),
        lost_tokens=lost,
        lost_share=_ratio(lost, tokens),
    )
