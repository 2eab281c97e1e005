"""The routing scorecard of a run: what the picker did against what it could have done."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from loadgen.errors import LoadgenError
from loadgen.records.bins import bin_edges
from loadgen.records.frame import natural_order
from loadgen.records.rundata import RunData
from loadgen.records.series import PodSeries, evenness, scrape_cost
from loadgen.score import prefix
from loadgen.score.decisions import read_decisions, staleness
from loadgen.score.lora import lora
from loadgen.score.recovery import recovery
from loadgen.score.routing import herding, picked_and_served, picks, sessions, spread_card

DECISION_LOG: Final = "decisions.jsonl"
WARM_CACHES: Final = 0.01
"""Share of prompt tokens that may come out of caches unexplained, before the report says so."""


def scorecard(run: RunData) -> dict[str, Any]:
    """Every part; None where the run gives nothing to judge it by."""
    ordered = picks(run.frame)
    series = list(run.pods.values())
    edges = [float(edge) for edge in bin_edges(run.frame)] if len(run.frame) else []
    unknown = run.pods.keys() - run.known_pods.keys()
    if unknown:
        run.notes.append(
            f"{', '.join(natural_order(unknown))}: scraped, and not told which pod of the answers each is; "
            "give --scrape NAME=URL with the name in x-inference-pod"
        )
    addresses = {pod.address: pod.name for pod in series if pod.address}
    return {
        "spread": spread_card(ordered, run.pod_names, lifetimes(run.known_pods)),
        "herding": herding(ordered),
        "prefix": _prefix(run),
        "lora": lora(ordered, run.known_pods),
        "sessions": sessions(ordered),
        "picks": picked_and_served(ordered, addresses),
        "queue": evenness(series, "waiting", edges) if edges else None,
        "running": evenness(series, "running", edges) if edges else None,
        "kv": evenness(series, "kv", edges) if edges else None,
        "staleness": _staleness(run, addresses),
        "recovery": recovery(run.frame, run.marks) if run.marks and len(run.frame) else None,
        "scraping": scrape_cost(series),
    }


def lifetimes(pods: Mapping[str, PodSeries]) -> dict[str, float] | None:
    """Share of the run in which each pod answered scrapes, as weights of a fair spread; None when all lived.

    A pod that was killed or added on the way is not to blame for a small share.
    """
    answered = {name: sum(map(math.isfinite, pod.columns.get("running", ()))) for name, pod in pods.items()}
    most = max(answered.values(), default=0)
    if not most or min(answered.values()) >= 0.95 * most:
        return None
    return {name: count / most for name, count in answered.items()}


def _prefix(run: RunData) -> dict[str, Any] | None:
    hits = {name: pod.grew("hits") for name, pod in run.pods.items()}
    pod_hits = {name: count for name, count in hits.items() if count is not None}
    if not pod_hits and not any(record.cached_tokens is not None for record in run.records):
        return None
    try:
        plan = run.plan
    except LoadgenError as error:
        run.notes.append(f"no prefix bounds: {error}")
        return None
    if plan is None:
        return None
    caches = {name: pod.cache_tokens for name, pod in run.pods.items()}
    known = {name: tokens for name, tokens in caches.items() if tokens}
    complete = bool(known) and known.keys() >= {record.pod for record in run.records if record.pod}
    blocks = {pod.block_size for pod in run.pods.values() if pod.block_size}
    block = max(blocks) if blocks else prefix.BLOCK_SIZE
    card = prefix.score(
        prefix.asks(run.records, plan), known if complete else {}, block, run.warmup, pod_hits
    )
    if card is not None and card["unexplained_tokens"] > WARM_CACHES * card["prompt_tokens"]:
        run.notes.append(
            f"{card['unexplained_tokens']} cached tokens are of nothing that this run had sent before: were "
            "caches warm from the start? The share of the best hits holds only from empty caches"
        )
    return card


def _staleness(run: RunData, addresses: dict[str, str]) -> dict[str, Any] | None:
    path = run.path / DECISION_LOG
    if not path.is_file():
        if run.meta.decision_log is None:
            return None
        path = Path(run.meta.decision_log)
    length = run.meta.duration or max((record.end or record.intended for record in run.records), default=0.0)
    try:
        return staleness(read_decisions(path, run.t0, length), run.records, run.t0, addresses)
    except LoadgenError as error:
        run.notes.append(str(error))
        return None
