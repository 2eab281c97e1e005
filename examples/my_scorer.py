"""A scorer of your own, tried in Python before it is written in Go.

    python -m gateway.picker --plugin examples/my_scorer.py ...
    simfleet up --plugin examples/my_scorer.py

and in the EndpointPickerConfig, beside the others:

    plugins:
    - type: headroom-scorer
      parameters: {kvWeight: 0.7}
    schedulingProfiles:
    - name: default
      plugins:
      - {pluginRef: headroom-scorer, weight: 2}

A scorer is a function of the request, the candidates and its parameters; it gives one number per candidate,
in order. The picker clamps the numbers to [0, 1] and multiplies them by the weight. A candidate offers

    candidate.metrics.waiting, .running, .kv_usage (0..1), .active_models, ...   as last scraped
    candidate.inflight_requests, candidate.inflight_tokens   the picker's own count, never stale
    candidate.prefix_matched / candidate.prefix_total        blocks; needs a prefix-cache-scorer
    candidate.endpoint.name, .labels

PLUGINS names the types; they stand in one registry with the built-in ones, so a type may also replace one.
--decision-log FILE then shows what the function said about each candidate of each request.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gateway.picker.plugins import Candidate, scorer
from gateway.picker.request import InferenceRequest


class HeadroomParameters(msgspec.Struct, rename="camel"):
    """kvWeight: how much free KV cache counts against an empty queue, 0 to 1."""

    kv_weight: float = 0.5


def headroom(
    request: InferenceRequest, candidates: Sequence[Candidate], parameters: HeadroomParameters
) -> list[float]:
    """Free KV cache and a short queue, counting what was sent since the last scrape."""
    scores = []
    for candidate in candidates:
        metrics = candidate.metrics
        # A scrape is up to 50 ms old; requests sent since then are only in our own count.
        unseen = max(candidate.inflight_requests - metrics.running - metrics.waiting, 0)
        queue = 1.0 / (1 + metrics.waiting + unseen)
        scores.append(parameters.kv_weight * (1.0 - metrics.kv_usage) + (1.0 - parameters.kv_weight) * queue)
    return scores


PLUGINS = {"headroom-scorer": scorer(headroom, HeadroomParameters)}
