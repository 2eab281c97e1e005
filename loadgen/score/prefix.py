"""Prefix caches: what the pods reused, and the most that any placement of this load could have reused.

The server says how many prompt tokens it found cached (usage.prompt_tokens_details). What it could have
found follows from the plan alone: prompts are compared byte for byte, and bytes become tokens by the ratio
that the server itself counted for each request; prompts of token ids are exact. Where that ratio is a token
off, the hit that was served is the proof that it was possible. Formulas: docs/scorecard.md.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

import msgspec

from loadgen.plan.plan import Answer, Plan, PlannedRequest
from loadgen.records.frame import natural_order
from loadgen.records.records import Record
from loadgen.score.prefix_tree import PrefixTree, best_hits, held_by

BLOCK_SIZE: Final = 16
"""vLLM's default, used until a scrape says otherwise."""
REACHED_A_POD: Final = frozenset(
    {"ok", "client_cancel", "timeout", "reset", "stream_truncated", "evicted", "upstream_5xx"}
)
"""Outcomes after which a pod may hold the prompt's blocks, answered or not."""
_IDS: Final = "\0ids"
"""End of the name of a space whose prompts are token ids."""
_BYTES_PER_ID: Final = 4
_BYTES_PER_WORD: Final = 5


@dataclass(slots=True)
class Ask:
    """One request as a prefix cache sees it."""

    record: Record
    space: str
    content: bytes
    after: bytes | None = None
    """Prompt and answer, where a later turn builds on them."""

    @property
    def answered(self) -> bool:
        return self.record.outcome == "ok"

    @property
    def tokens(self) -> int:
        return self.record.prompt_tokens or 0

    @property
    def bytes_per_token(self) -> float:
        return len(self.content) / self.tokens if self.tokens else 1.0

    def tokens_in(self, common: int) -> int:
        """Tokens of so many first bytes: whole ids, or of text, whose ratio is a mean, rounded up."""
        if self.space.endswith(_IDS):
            return common // _BYTES_PER_ID
        return math.ceil(common / self.bytes_per_token)


def asks(records: Iterable[Record], plan: Plan) -> list[Ask]:
    """The requests that may have filled a cache, with the plan's prompts, in order of actual start."""
    planned = {request.id: request for request in plan.requests}
    turns: dict[tuple[str | None, int | None], Record] = {}
    out: list[Ask] = []
    seen = (r for r in records if r.start is not None and r.outcome in REACHED_A_POD)
    for record in sorted(seen, key=lambda record: record.start or 0.0):
        if record.outcome == "ok" and not record.prompt_tokens:
            continue
        request = planned.get(record.id) or planned.get(record.id.partition("#")[0])
        if request is None:
            continue
        if record.outcome == "ok":
            turns[record.session, record.turn] = record
        space, content = prompt_of(request, plan, turns)
        out.append(Ask(record, space, content))
    _link_turns(out)
    return out


def _link_turns(ordered: Sequence[Ask]) -> None:
    """Give each turn that was built upon the bytes its pod knows after answering: the next prompt's start."""
    by_turn = {(ask.record.session, ask.record.turn): ask for ask in ordered if ask.record.turn is not None}
    for (session, turn), ask in by_turn.items():
        then = by_turn.get((session, (turn or 0) + 1))
        if session is not None and then is not None:
            answer = _stand_in(session, turn, ask.record.output_tokens).encode()
            at = then.content.find(answer)
            ask.after = then.content[: at + len(answer)] if at >= 0 and answer else None


def prompt_of(
    request: PlannedRequest, plan: Plan, turns: Mapping[tuple[str | None, int | None], Record]
) -> tuple[str, bytes]:
    """The cache space and the prompt of a planned request.

    What the model answered in earlier turns is not in the plan; a text of the same number of words, different
    for each turn, stands in its place.
    """
    answers = {}
    for piece in request.body:
        if isinstance(piece, Answer):
            record = turns.get((request.session, piece.answer))
            answers[piece.answer] = _stand_in(
                request.session, piece.answer, record.output_tokens if record else 0
            )
    raw = plan.body(request, answers)
    try:
        body = msgspec.json.decode(raw, type=dict[str, Any])
    except msgspec.MsgspecError:
        return "not JSON", raw
    space = f"{body.get('model')}\0{body.get('cache_salt') or ''}"
    prompt = body.get("prompt", body.get("input", body.get("messages")))
    if isinstance(prompt, str):
        return space, prompt.encode()
    if isinstance(prompt, list) and prompt and isinstance(prompt[0], int):
        return space + _IDS, b"".join(token.to_bytes(_BYTES_PER_ID, "big") for token in prompt)
    return space, b"".join(_messages(prompt))


def _messages(messages: object) -> Iterable[bytes]:
    for message in messages if isinstance(messages, list) else [messages]:
        if isinstance(message, dict):
            content = message.get("content")
            text = content if isinstance(content, str) else msgspec.json.encode(content).decode()
            yield f"\x01{message.get('role')}\x02{text}".encode()
        else:
            yield str(message).encode()


def _stand_in(session: str | None, turn: int | None, words: int | None) -> str:
    """About as long as an answer of so many tokens, and like no other turn's."""
    return f"{session}:{turn}".ljust(_BYTES_PER_WORD * (words or 0), "~") if words else ""


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
) -> dict[str, Any] | None:
    """The scorecard of prefix caching, or None when nobody said how much of the prompts was cached.

    caches: capacity in tokens by pod, empty when unknown (then there is no bound with real capacity).
    since: requests intended earlier warm the caches but are not counted.
    pod_hits: growth of each pod's hit counter, used when the answers carry no cached tokens; it covers the
    whole run, so `since` does not apply, and there are no figures by group.
    """
    counted = [
        ask
        for ask in ordered
        if ask.answered and ask.record.cached_tokens is not None and ask.record.intended >= since
    ]
    by_usage = bool(counted)
    if not by_usage:
        counted = [ask for ask in ordered if ask.answered]
        if not pod_hits or not counted:
            return None
    prompt = sum(ask.tokens for ask in counted)
    cached = (
        sum(ask.record.cached_tokens or 0 for ask in counted) if by_usage else sum((pod_hits or {}).values())
    )
    forest = _Forest(ordered)
    wanted = {id(ask) for ask in counted}
    infinite, capacity = _bounds(
        ordered, forest, wanted, float(sum(caches.values())) if caches else None, block
    )
    if not by_usage:  # no request says its own hits; together they still prove what was possible
        infinite = max(infinite, cached)
        capacity = None if capacity is None else max(capacity, cached)
    best = infinite if capacity is None else capacity
    pods = _hit_table(counted, lambda record: record.pod)
    if not by_usage:
        _use_counters(pods, pod_hits or {})
    return {
        "source": "usage" if by_usage else "pods",
        "prompt_tokens": prompt,
        "cached_tokens": cached,
        "hit_share": cached / prompt,
        "block_size": block,
        "capacity_tokens": sum(caches.values()) if caches else None,
        "best_infinite": infinite / prompt,
        "best_capacity": None if capacity is None else capacity / prompt,
        "reached": cached / best if best else None,
        "reached_infinite": cached / infinite if infinite else None,
        "hit_requests_share": sum(1 for a in counted if a.record.cached_tokens) / len(counted)
        if by_usage
        else None,
        "pods": pods,
        "groups": _hit_table(counted, lambda record: record.group) if by_usage else {},
        "group_pods": _group_pods(counted),
        "unexplained_tokens": _unexplained(counted, ordered, forest, block) if by_usage else 0,
        "decisions": _decisions(ordered, forest, wanted, block),
    }


def _use_counters(pods: dict[str, dict[str, float]], hits: Mapping[str, float]) -> None:
    """Put what the pods counted in the place of what the answers did not say."""
    for name in pods.keys() - hits.keys():
        del pods[name]
    for name, row in pods.items():
        row["cached_tokens"] = hits[name]
        row["hit_share"] = row["cached_tokens"] / row["prompt_tokens"] if row["prompt_tokens"] else 0.0


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


def _hit_table(counted: Sequence[Ask], key: Callable[[Record], str | None]) -> dict[str, dict[str, float]]:
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for ask in counted:
        name = key(ask.record)
        if name is not None:
            row = sums[name]
            row[0] += ask.tokens
            row[1] += ask.record.cached_tokens or 0
            row[2] += 1
    return {
        name: {
            "prompt_tokens": sums[name][0],
            "cached_tokens": sums[name][1],
            "requests": sums[name][2],
            "hit_share": sums[name][1] / sums[name][0] if sums[name][0] else 0.0,
        }
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


def _decisions(ordered: Sequence[Ask], forest: _Forest, wanted: set[int], block: int) -> dict[str, Any]:
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
    return {
        "judged": judged,
        "best_share": best / judged if judged else None,
        "lost_tokens": lost,
        "lost_share": lost / tokens if tokens else None,
    }
