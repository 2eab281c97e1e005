"""The EPP's pickers, and the policies that need no scores, as functions over scored candidates.

Each takes (totals, count, rng) and gives the indexes of the picked candidates, best first.
"""

from __future__ import annotations

import random
from collections.abc import Sequence


def max_score(totals: Sequence[float], count: int, rng: random.Random) -> list[int]:
    """The highest totals; exactly equal ones in uniformly random order (shuffle, then stable sort)."""
    if count == 1:
        best = max(totals)
        ties = [index for index, total in enumerate(totals) if total == best]
        return [ties[0] if len(ties) == 1 else rng.choice(ties)]
    order = list(range(len(totals)))
    rng.shuffle(order)
    order.sort(key=lambda index: -totals[index])
    return order[:count]


def uniform(totals: Sequence[float], count: int, rng: random.Random) -> list[int]:
    """Any of them, whatever the totals."""
    if count == 1:
        return [rng.randrange(len(totals))]
    order = list(range(len(totals)))
    rng.shuffle(order)
    return order[:count]


def weighted_random(totals: Sequence[float], count: int, rng: random.Random) -> list[int]:
    """A-Res sampling (Efraimidis and Spirakis): the largest keys U**(1/total); totals <= 0 get key 0.

    With no total above 0 it is `uniform`.
    """
    if not any(total > 0 for total in totals):
        return uniform(totals, count, rng)
    keys = [(rng.random() or 1e-10) ** (1.0 / total) if total > 0 else 0.0 for total in totals]
    return sorted(range(len(totals)), key=lambda index: -keys[index])[:count]


def least_request(inflight: Sequence[int], count: int, choices: int, rng: random.Random) -> list[int]:
    """The fewest requests in flight among `choices` random candidates (0: among all); ties at random.

    With choices=2 this is Envoy's LEAST_REQUEST of equal weights.
    """
    order = list(range(len(inflight)))
    rng.shuffle(order)
    if choices:
        order = order[: max(choices, count)]
    order.sort(key=lambda index: inflight[index])
    return order[:count]
