"""The routing scorecard of a run: what the picker did against what it could have done."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np

from loadgen.errors import LoadgenError
from loadgen.numbers.figure import Card, Figure
from loadgen.plan.stored import StoredPlan
from loadgen.records.bins import bin_edges
from loadgen.records.frame import natural_order
from loadgen.records.rundata import RunData
from loadgen.records.rundir import ACCESS, DECISIONS, PLAN
from loadgen.records.series import Evenness, PodSeries, ScrapeCost, evenness, scrape_cost
from loadgen.score.decisions import Decision, Staleness, read_decisions, staleness
from loadgen.score.joined import Joined, Joins, read_access
from loadgen.score.lora import Lora, lora
from loadgen.score.prefix import BLOCK_SIZE, Prefix, score
from loadgen.score.prefix_prompts import Asks
from loadgen.score.recovery import Recovery, recovery
from loadgen.score.routing import (
    Herding,
    Picks,
    Sessions,
    Spread,
    herding,
    picked_and_served,
    picks,
    sessions,
    spread_card,
)

# Share of prompt tokens that may come out of caches unexplained, before the report says so.
WARM_CACHES = 0.01


class Scorecard(Card):
    """Every card; None where the run gives nothing to judge it by."""

    spread: Annotated[Spread | None, Figure("how evenly picks fell over pods")]
    herding: Annotated[Herding | None, Figure("runs of one pod, and picks of one pod close in time")]
    prefix: Annotated[Prefix | None, Figure("what prefix caches were used for")]
    lora: Annotated[Lora | None, Figure("adapters and the pods they met")]
    sessions: Annotated[Sessions | None, Figure("turns that stayed on their pod")]
    picks: Annotated[Picks | None, Figure("the endpoint picked against the one that answered")]
    queue: Annotated[Evenness | None, Figure("waiting requests of the pods, as scraped", "number", "lower")]
    running: Annotated[Evenness | None, Figure("running requests of the pods, as scraped")]
    kv: Annotated[Evenness | None, Figure("KV cache in use on the pods, as scraped", "share")]
    joined: Annotated[Joined | None, Figure("requests found again in the logs of gateway, picker and pods")]
    staleness: Annotated[Staleness | None, Figure("the picker's own log of decisions")]
    recovery: list[Recovery] | None
    scraping: Annotated[ScrapeCost | None, Figure("what scraping took")]


def scorecard(run: RunData) -> Scorecard:
    """All cards of a run; what could not be read for one is noted in `run.notes`."""
    ordered = picks(run.frame)
    series = list(run.pods.values())
    edges = [float(edge) for edge in bin_edges(run.frame)] if len(run.frame) else []
    unknown = run.pods.keys() - run.known_pods.keys()
    if unknown:
        run.notes.append(
            f"{', '.join(natural_order(unknown))}: scraped, and not told which pod of the answers each is; "
            "give --scrape NAME=URL with the name in x-inference-pod"
        )
    answering = {name: pod for name, pod in run.known_pods.items() if name in run.answerers}
    addresses = {pod.address: pod.name for pod in series if pod.address}
    prefix = _prefix(run)
    joins = _joins(run)
    return Scorecard(
        spread=spread_card(ordered, run.answerers, lifetimes(answering), run.meta.pools),
        herding=herding(ordered),
        prefix=prefix,
        lora=lora(ordered, run.known_pods),
        sessions=sessions(ordered),
        picks=picked_and_served(ordered, addresses, partial(_logged, joins)),
        queue=evenness(series, "waiting", edges) if edges else None,
        running=evenness(series, "running", edges) if edges else None,
        kv=evenness(series, "kv", edges) if edges else None,
        joined=joins.card(),
        staleness=staleness(joins.decisions, run.records, run.t0, addresses, joins.record_of),
        recovery=recovery(run.frame, run.marks) if run.marks and len(run.frame) else None,
        scraping=scrape_cost(series),
    )


def lifetimes(pods: Mapping[str, PodSeries]) -> dict[str, float] | None:
    """Share of the run in which each pod answered scrapes, as weights of a fair spread; None when all lived.

    A pod that was killed or added on the way is not to blame for a small share.
    """
    answered = {name: sum(map(math.isfinite, pod.columns.get("running", ()))) for name, pod in pods.items()}
    most = max(answered.values(), default=0)
    if not most or min(answered.values()) >= 0.95 * most:
        return None
    return {name: count / most for name, count in answered.items()}


def _prefix(run: RunData) -> Prefix | None:
    hits = {name: pod.grew("hits") for name, pod in run.pods.items()}
    pod_hits = {name: count for name, count in hits.items() if count is not None}
    if not pod_hits and not np.isfinite(run.records.numbers("cached_tokens")).any():
        return None
    path = run.path / PLAN
    if not path.is_file():
        return None
    blocks = {pod.block_size for pod in run.pods.values() if pod.block_size}
    block = max(blocks, default=BLOCK_SIZE)
    try:
        with StoredPlan(path) as plan:
            card = score(Asks(run.records, plan), _capacities(run), block, run.warmup, pod_hits)
    except LoadgenError as error:
        run.notes.append(f"no prefix bounds: {error}")
        return None
    if card is not None and card.unexplained_tokens > WARM_CACHES * card.prompt_tokens:
        run.notes.append(
            f"{card.unexplained_tokens} cached tokens are of nothing that this run had sent before: were "
            "caches warm from the start? The share of the best hits holds only from empty caches"
        )
    return card


def _capacities(run: RunData) -> dict[str, int]:
    """Tokens that the cache of each pod holds; none when a pod that answered does not tell."""
    known = {name: tokens for name, pod in run.pods.items() if (tokens := pod.cache_tokens)}
    return known if known.keys() >= run.records.distinct("pod") - {""} else {}


def _joins(run: RunData) -> Joins:
    """The logs that lie in the run's directory, or where the run was told they are."""
    try:
        access = read_access(run.path / ACCESS)
    except LoadgenError as error:
        run.notes.append(str(error))
        access = None
    return Joins(run.records, run.meta.runs, access, _decisions(run))


def _decisions(run: RunData) -> list[Decision] | None:
    path = run.path / DECISIONS
    if not path.is_file():
        if run.meta.decision_log is None:
            return None
        path = Path(run.meta.decision_log)
    ends = np.fmax(run.records.numbers("end"), run.records.numbers("intended"))
    length = run.meta.duration or float(ends.max(initial=0.0))
    try:
        return read_decisions(path, run.t0, length)
    except LoadgenError as error:
        run.notes.append(str(error))
        return None


def _logged(joins: Joins, name: str) -> tuple[str | None, str | None]:
    """What the gateway's log has as picked and as served for a request."""
    line = joins.routed(name)
    return (line.picked, line.served or line.upstream_host) if line is not None else (None, None)
