"""What the picker did, read from the answers: spread over pods, herding, sessions, picked against served.

A "pick" is a request that some pod answered, in order of actual start. Formulas: docs/scorecard.md.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Annotated

import numpy as np

from loadgen.numbers import stats
from loadgen.numbers.figure import Card, Figure
from loadgen.records.frame import Frame, natural_order
from loadgen.records.table import PICKED_HEADER, SERVED_HEADERS, Records

# Seconds between an endpoint picker's scrapes of a pod (its default): picks closer than this are blind.
PICK_INTERVAL = 0.05
NO_POOL = "no pool"  # pods of which the listing names no pool, beside pods of which it does


class Spread(Card):
    """How evenly picks fell over pods."""

    pods: Annotated[int, Figure("k, those that served nothing included")]
    counts: dict[str, int]
    """Picks by pod."""
    shares: Annotated[dict[str, float], Figure("nᵢ ÷ N of one pod", "share", name="share")]
    expected: str
    """`even`, or `by lifetime` where pods came or went; with ` within pools` where there are several."""
    pools: Annotated[
        dict[str, float], Figure("picks of one pool ÷ N, where there are several", "share", name="pool")
    ]
    max_over_mean: Annotated[
        float, Figure("max nᵢ ÷ (N/k)", better="lower", label="busiest / mean", compared="shown")
    ]
    min_over_mean: Annotated[float, Figure("min nᵢ ÷ (N/k)", better="higher")]
    jain: Annotated[float, Figure("(Σnᵢ)² ÷ (k Σnᵢ²): 1 is even, 1/k is all on one", better="higher")]
    cv: Annotated[float, Figure("standard deviation of nᵢ ÷ (N/k)", better="lower")]
    chi_square: Annotated[
        float | None,
        Figure(
            "Σ(nᵢ - eᵢ)²/eᵢ with eᵢ = N/k (in proportion to the time each pod answered scrapes, where pods "
            "came or went; of the picks of its pool alone where a route splits them over several pools)",
            better="lower",
        ),
    ]
    degrees: int
    p_value: Annotated[
        float | None, Figure("the chance of a chi-square as large from independent even picks")
    ]


class Herding(Card):
    """Runs of one pod, and picks of one pod within one scrape interval of a picker."""

    interval: Annotated[float, Figure("the scrape interval that is supposed", "time")]
    longest_run: Annotated[int, Figure("longest run of consecutive picks of one pod", better="lower")]
    mean_run: Annotated[float, Figure("mean of these runs", better="lower")]
    expected_run: Annotated[float | None, Figure("the mean that independent picks give: 1 ÷ (1 - Σ(nᵢ/N)²)")]
    same_pod_pairs: Annotated[
        float | None, Figure("among pairs of picks within one interval, the share on one pod", "share")
    ]
    expected_pairs: Annotated[float, Figure("the same of independent picks: Σ(nᵢ/N)²", "share")]
    index: Annotated[
        float | None,
        Figure(
            "`same_pod_pairs` ÷ `expected_pairs`. 1: picks are independent; above: a herd; below: deliberate "
            "alternation",
            better="lower",
        ),
    ]
    crowded_intervals: Annotated[int, Figure("intervals with three picks or more")]
    whole_herds: Annotated[int, Figure("of these, those that all went to one pod", better="lower")]
    largest_burst_on_one_pod: Annotated[
        int, Figure("most picks of one pod within one interval", better="lower")
    ]


class Sessions(Card):
    """How far the turns of a session stayed on one pod."""

    sessions: Annotated[int, Figure("sessions of two answered turns and more")]
    turns: Annotated[int, Figure("their later turns")]
    sticky_share: Annotated[
        float, Figure("later turns answered by the pod of turn 1 ÷ later turns", "share", "higher")
    ]
    same_as_previous_share: Annotated[
        float, Figure("later turns on the pod of the turn before ÷ later turns", "share", "higher")
    ]
    whole_sessions_share: Annotated[
        float, Figure("sessions that stayed on one pod ÷ sessions", "share", "higher")
    ]
    moves: Annotated[int, Figure("later turns on another pod than the turn before", better="lower")]
    rehomed: Annotated[int, Figure("of these, moves away from a pod that answered nobody afterwards")]


class Misplaced(Card):
    """An answer from another endpoint than the one picked first."""

    id: str
    picked: str
    served: str


class Picks(Card):
    """The endpoint that the picker named first against the one that answered."""

    judged: Annotated[int, Figure("answers that name what was picked")]
    as_picked_share: Annotated[
        float,
        Figure(
            "answers from the endpoint that the picker named first (`x-gateway-destination-endpoint` on the "
            "answer, else in the gateway's access log)",
            "share",
            "higher",
        ),
    ]
    served_elsewhere: Annotated[int, Figure("the other answers", better="lower")]
    on_a_later_choice: Annotated[int, Figure("of these, from an endpoint that the picker named later")]
    examples: list[Misplaced]


def picks(frame: Frame) -> Records:
    """The requests that a pod answered, in order of actual start."""
    rows = np.flatnonzero((frame.pod != "") & np.isfinite(frame.start))
    return frame.records.take(rows[np.argsort(frame.start[rows], kind="stable")])


def spread_card(
    ordered: Records,
    pods: Sequence[str],
    weights: Mapping[str, float] | None,
    pools: Mapping[str, str] | None = None,
) -> Spread | None:
    """Shares of picks per pod; `pods` adds those that served nothing, `weights` the expected shares.

    pools: the pool of each pod. How a route splits requests over pools is its weights' doing and no
    picker's: evenness is looked for within each pool.
    """
    counts = Counter(ordered.labels("pod").tolist())
    names = natural_order({*pods, *counts})
    expected, of_pools = _within_pools(counts, names, weights, pools or {})
    groups = sum(1 for count in of_pools.values() if count)
    found = stats.spread({name: counts[name] for name in names}, expected, max(1, groups))
    if found is None:
        return None
    total = sum(found.counts.values())
    return Spread(
        pods=len(names),
        counts=dict(found.counts),
        shares={name: count / total for name, count in found.counts.items()},
        expected=("by lifetime" if weights else "even") + (" within pools" if of_pools else ""),
        pools={name: count / total for name, count in of_pools.items()},
        max_over_mean=found.max_over_mean,
        min_over_mean=found.min_over_mean,
        jain=found.jain,
        cv=found.cv,
        chi_square=found.chi_square,
        degrees=found.degrees,
        p_value=found.p_value,
    )


def _within_pools(
    counts: Mapping[str, int],
    names: Sequence[str],
    weights: Mapping[str, float] | None,
    pools: Mapping[str, str],
) -> tuple[Mapping[str, float] | None, dict[str, int]]:
    """Picks to be expected of each pod given those of its pool, and these; weights alone with one pool."""
    if len({pools[name] for name in names if name in pools}) < 2:
        return weights, {}
    picked: Counter[str] = Counter()
    whole: dict[str, float] = defaultdict(float)
    own = {name: 1.0 if weights is None else weights.get(name, 1.0) for name in names}
    for name in names:
        pool = pools.get(name, NO_POOL)
        picked[pool] += counts.get(name, 0)
        whole[pool] += own[name]
    of = {name: pools.get(name, NO_POOL) for name in names}
    expected = {name: picked[of[name]] * own[name] / (whole[of[name]] or 1.0) for name in names}
    return expected, {pool: picked[pool] for pool in natural_order(picked)}


def herding(ordered: Records, interval: float = PICK_INTERVAL) -> Herding | None:
    """Runs of one pod, and picks of one pod by several requests within one scrape interval.

    index: how often two picks of one interval fell on one pod, over how often two picks drawn by the pods'
    overall shares would. 1 is independent picking, above it a herd, below it deliberate alternation.
    """
    if len(ordered) < 2:
        return None
    labels = ordered.labels("pod").tolist()
    runs = stats.run_lengths(labels)
    shares = np.array(list(Counter(labels).values())) / len(labels)
    chance = float((shares**2).sum())
    windows = _windows(ordered, interval)
    same = sum(_pairs(window.values()) for window in windows)
    pairs = _pairs(window.total() for window in windows)
    crowded = [window for window in windows if window.total() >= 3]
    return Herding(
        interval=interval,
        longest_run=max(runs),
        mean_run=len(labels) / len(runs),
        expected_run=1 / (1 - chance) if chance < 1 else None,
        same_pod_pairs=same / pairs if pairs else None,
        expected_pairs=chance,
        index=same / pairs / chance if pairs and chance < 1 else None,
        crowded_intervals=len(crowded),
        whole_herds=sum(1 for window in crowded if len(window) == 1),
        largest_burst_on_one_pod=max(max(window.values()) for window in windows),
    )


def _windows(ordered: Records, interval: float) -> list[Counter[str]]:
    """Picks by pod within each interval that has any."""
    found: dict[int, Counter[str]] = defaultdict(Counter)
    (pods, names), starts = ordered.codes("pod"), ordered.numbers("start")
    windows = np.trunc(starts / interval).astype(np.int64)
    cells, counts = np.unique(np.stack((windows, pods)), axis=1, return_counts=True)
    for window, pod, count in zip(*cells.tolist(), counts.tolist(), strict=True):
        found[window][names[pod]] = count
    return list(found.values())


def _pairs(counts: Iterable[int]) -> int:
    """Pairs that can be drawn within groups of so many."""
    return sum(n * (n - 1) // 2 for n in counts)


def sessions(ordered: Records, last_seen: Mapping[str, float] | None = None) -> Sessions | None:
    """How far the turns of a session stayed on one pod; None without sessions of two turns.

    A move away from a pod that answered nobody afterwards counts as re-homed: the pod was gone.
    """
    seen = last_seen or last_answers(ordered)
    codes, names = ordered.codes("session")
    rows = np.flatnonzero(np.array([name is not None for name in names], dtype=np.bool_)[codes])
    rows = rows[np.argsort(codes[rows], kind="stable")]  # a session's turns in a row, in order of start
    pods, ends = ordered.labels("pod")[rows], np.nan_to_num(ordered.numbers("end")[rows])
    edges = np.flatnonzero(np.diff(codes[rows], prepend=-1, append=-1)).tolist()
    followed = moved = rehomed = on_first = whole = many = 0
    for low, high in pairwise(edges):
        if high - low < 2:
            continue
        many += 1
        turns = pods[low:high].tolist()
        whole += len(set(turns)) == 1
        followed += len(turns) - 1
        on_first += turns.count(turns[0]) - 1
        for at, (previous, pod) in enumerate(pairwise(turns), start=low):
            if pod != previous:
                moved += 1
                rehomed += seen.get(previous, 0.0) <= float(ends[at])
    if not followed:
        return None
    return Sessions(
        sessions=many,
        turns=followed,
        sticky_share=on_first / followed,
        same_as_previous_share=1 - moved / followed,
        whole_sessions_share=whole / many,
        moves=moved,
        rehomed=rehomed,
    )


def last_answers(ordered: Records) -> dict[str, float]:
    """When each pod last began to answer something."""
    codes, names = ordered.codes("pod")
    last = np.full(len(names), -np.inf)
    np.fmax.at(last, codes, ordered.numbers("first_byte"))
    return {
        name: max(0.0, at) for name, at in zip(names, last.tolist(), strict=True) if name and at > -np.inf
    }


def _endpoints(pod: str, served: str | None, addresses: Mapping[str, str]) -> set[str]:
    """Everything that the pod which answered may be called in a list of picks."""
    known = {address for address, name in addresses.items() if name == pod}
    return {pod, served or "", *known} - {""}


def _first_said(*names: str | None) -> str | None:
    return next((name for name in names if name is not None), None)


def _as_listed(picked: str | None) -> list[str]:
    return list(filter(None, map(str.strip, (picked or "").split(","))))


def picked_and_served(
    ordered: Records,
    addresses: Mapping[str, str],
    logged: Callable[[str], tuple[str | None, str | None]] = lambda _: (None, None),
) -> Picks | None:
    """The endpoint that the picker named against the pod that answered; None when nothing names it.

    addresses: pod name by `ip:port`; logged: what the gateway's log has as picked
    and served, by the record's id. A picker may
    name several in order of preference; the first is its pick.
    """
    judged = served_elsewhere = fell_back = 0
    examples: list[Misplaced] = []
    columns = (ordered.labels(name).tolist() for name in (PICKED_HEADER, *SERVED_HEADERS, "pod"))
    for name, picked, *heads, pod in zip(ordered.ids, *columns, strict=True):
        by_log = logged(name)
        named = _as_listed(picked or by_log[0])
        served = _first_said(*heads, by_log[1])
        if not named or not (served or any(name in addresses for name in named)):
            continue
        judged += 1
        actual = _endpoints(pod, served, addresses)
        if named[0] in actual:
            continue
        fell_back += any(name in actual for name in named[1:])
        served_elsewhere += 1
        if len(examples) < 5:
            examples.append(Misplaced(id=name, picked=",".join(named), served=pod or served or ""))
    if not judged:
        return None
    return Picks(
        judged=judged,
        as_picked_share=1 - served_elsewhere / judged,
        served_elsewhere=served_elsewhere,
        on_a_later_choice=fell_back,
        examples=examples,
    )
