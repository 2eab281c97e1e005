"""Sessions, lengths, labels, bounds and predictions, with the figures of llm-d-router v0.10."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from gateway.picker.compat import LLMD_V010, LLMD_V09, Compat
from gateway.picker.errors import PickerConfigError
from gateway.picker.plugins.base import Filter, Scorer
from gateway.picker.pool.endpoints import Candidate
from gateway.picker.request import InferenceRequest
from tests.gateway.picker.factories import candidate, config, load, request


def plugin_of(kind: str, parameters: str = "{}", compat: Compat = LLMD_V010) -> Any:
    text = config(f"{{type: {kind}, parameters: {parameters}}}", api="llm-d")
    return load(text, compat).plugins[kind]


def scores(
    kind: str, candidates: list[Candidate], asked: InferenceRequest | None = None, parameters: str = "{}"
) -> list[float]:
    scorer = plugin_of(kind, parameters)
    assert isinstance(scorer, Scorer)
    return [round(score, 9) for score in scorer.score(asked or request(prompt="x"), candidates)]


def kept(
    kind: str, candidates: list[Candidate], parameters: str = "{}", asked: InferenceRequest | None = None
) -> list[str]:
    chosen = plugin_of(kind, parameters)
    assert isinstance(chosen, Filter)
    return [c.endpoint.name for c in chosen.filter(asked or request(prompt="x"), candidates)]


def pods(**labels: dict[str, str]) -> list[Candidate]:
    return [candidate(name, host, labels=found) for host, (name, found) in enumerate(labels.items(), 2)]


def token(endpoint: str) -> str:
    return base64.b64encode(endpoint.encode()).decode()


def test_a_session_comes_back_by_its_token() -> None:
    candidates = pods(a={}, b={})
    asked = request(headers={"x-session-token": token("ns/b")})
    assert scores("session-affinity-scorer", candidates, asked) == [0.0, 1.0]
    assert kept("session-affinity-filter", candidates, asked=asked) == ["b"]
    assert kept("session-affinity-filter", candidates) == ["a", "b"]
    named = plugin_of("session-affinity-scorer", "{headerName: X-Mine}", LLMD_V09)
    assert list(named.score(request(headers={"x-mine": token("ns/a")}), candidates)) == [1.0, 0.0]
    headers: dict[str, str] = {}
    named.response_headers(None, "ns/a", headers, {})
    assert headers == {"x-mine": token("ns/a")}


def test_a_session_comes_back_by_its_id() -> None:
    candidates = pods(a={}, b={})
    sources = "{strategy: session_id, sessionIdConfig: {sources: [{header: X-Chat}]}}"
    chosen = plugin_of("session-affinity-filter", sources)
    asked = request(headers={"x-chat": "7"})
    assert [c.endpoint.name for c in chosen.filter(asked, candidates)] == ["a", "b"]
    chosen.pre_request(asked, candidates[1])
    assert [c.endpoint.name for c in chosen.filter(asked, candidates)] == ["b"]
    assert len(chosen.filter(request(headers={"x-chat": "8"}), candidates)) == 2
    headers: dict[str, str] = {}
    chosen.response_headers(asked, "ns/a", headers, {})
    assert headers == {}


def test_lengths_that_pods_are_labelled_with() -> None:
    label = "llm-d.ai/context-length-range"
    candidates = pods(
        short={label: "0-100"},
        long={label: "100-1100"},
        odd={label: "many"},
        any={},
        exact={label: "100-100"},
    )
    asked = request(prompt="x" * 400)  # 100 tokens
    whole = [0.3 + 0.7 * (0.7 / 1.01), 0.3 + 0.7 * (0.7 / 1.1 + 0.3), 0.0, 0.5, 1.0]
    assert scores("context-length-aware", candidates, asked) == [round(score, 9) for score in whole]
    longer = request(prompt="x" * 4800)  # 1200
    assert scores("context-length-aware", candidates, longer)[:2] == [
        round(0.3 / 2.1, 9),
        round(0.3 / 1.1, 9),
    ]
    filtering = "{enableFiltering: true}"
    assert kept("context-length-aware", candidates, filtering, asked) == ["short", "long", "any", "exact"]
    assert kept("context-length-aware", candidates, filtering, longer) == ["any"]
    assert len(kept("context-length-aware", candidates, "{}", longer)) == 5


def test_labels_that_a_header_names() -> None:
    candidates = pods(a={"zone": "x"}, b={"zone": "y"}, c={})
    parameters = "{headerName: X-Zone, labelKey: zone}"
    asked = request(headers={"x-zone": "y"})
    assert scores("header-label-affinity-scorer", candidates, asked, parameters) == [0.0, 1.0, 0.0]
    assert scores("header-label-affinity-scorer", candidates, None, parameters) == [0.0, 0.0, 0.0]


def test_bounds_on_what_endpoints_tell() -> None:
    idle, busy = candidate("idle", 2), candidate("busy", 3, waiting=5, kv_usage=0.9, inflight_requests=3)
    for metric, bound in (("waiting-queue", 4), ("kv-cache-utilization", 0.8), ("active-requests", 2)):
        parameters = f"{{conditions: [{{metric: {metric}, maxValue: {bound}}}]}}"
        assert kept("utilization-filter", [idle, busy], parameters) == ["idle"]
        assert kept("utilization-filter", [busy], parameters) == []
        assert kept("utilization-filter", [busy], parameters[:-1] + ", fallbackOnEmpty: true}") == ["busy"]


def prefixed(name: str, host: int, matched: int, tokens: int = 0) -> Candidate:
    return candidate(name, host, prefix_matched=matched, prefix_total=10, inflight_tokens=tokens)


def test_pods_that_have_the_prefix_unless_they_are_too_far_behind() -> None:
    candidates = [prefixed("has", 2, 8), prefixed("not", 3, 7)]
    assert kept("prefix-cache-affinity-filter", candidates) == ["has"]
    assert kept("prefix-cache-affinity-filter", [candidates[1], candidates[1]]) == ["not", "not"]
    loaded = [prefixed("has", 2, 8, tokens=1001), prefixed("not", 3, 0, tokens=0)]
    gate = "{peakPrefillThroughput: 1000, maxTTFTPenaltyMs: 1000}"
    assert kept("prefix-cache-affinity-filter", loaded, gate) == ["has", "not"]
    loaded[0].inflight_tokens = 1000
    assert kept("prefix-cache-affinity-filter", loaded, gate) == ["has"]
    always = "{explorationProbability: 1}"
    assert kept("prefix-cache-affinity-filter", candidates, always) == ["has", "not"]


def test_without_predictions_latency_is_a_composite() -> None:
    candidates = [
        candidate("a", 2, waiting=0, kv_usage=0.5, prefix_matched=1, prefix_total=4),
        candidate("b", 3, waiting=4, kv_usage=0.0),
    ]
    assert scores("latency-scorer", candidates) == [0.58, 0.33]  # (0.5 + 1 + 0.25) / 3, (1 + 0 + 0) / 3
    only_kv = "{compositeQueueWeight: 0, compositePrefixWeight: 0}"
    assert scores("latency-scorer", candidates, None, only_kv) == [0.5, 1.0]


def predicted(*headrooms: tuple[float, float] | None, busy: bool = True) -> list[Candidate]:
    found = []
    for host, headroom in enumerate(headrooms, 2):
        found.append(candidate(f"p{host}", host, inflight_requests=int(busy)))
        found[-1].headroom = headroom
    return found


def test_headroom_that_is_predicted() -> None:
    on_time = predicted((100.0, 10.0), (200.0, 10.0), (-5.0, 1.0))
    assert scores("latency-scorer", on_time) == [1.01, 0.01, 0.0]  # least first; the flat one does not count
    assert scores("latency-scorer", on_time, None, "{headroomSelectionStrategy: most}") == [0.01, 1.01, 0.0]
    assert scores("latency-scorer", predicted((-1.0, -1.0), (5.0, -1.0), (-1.0, 5.0))) == [0.0, 0.51, 0.0]
    late = predicted((-1.0, -1.0), (5.0, -1.0), busy=False)
    assert scores("latency-scorer", late) == [1.01, 0.01]
    assert kept("slo-headroom-tier-filter", on_time, "{epsilonExploreNeg: 0}") == ["p2", "p3"]
    assert kept("slo-headroom-tier-filter", on_time, "{epsilonExploreNeg: 1}") == ["p4"]
    assert kept("slo-headroom-tier-filter", predicted(None, None)) == ["p2", "p3"]
    assert kept("slo-headroom-tier-filter", predicted((-1.0, 1.0), None)) == ["p2", "p3"]


@pytest.mark.parametrize(
    ("kind", "parameters", "words"),
    [
        ("session-affinity-scorer", "{strategy: luck}", "strategy must be"),
        (
            "session-affinity-filter",
            "{strategy: session_id, sessionIdConfig: {sources: [{attribute: a}]}}",
            "only sources with a header",
        ),
        ("header-label-affinity-scorer", "{headerName: x}", "labelKey must be specified"),
        ("utilization-filter", "{conditions: [{metric: nothing, maxValue: 1}]}", "not 'nothing'"),
        ("utilization-filter", "{}", "at least one condition"),
        ("prefix-cache-affinity-filter", "{affinityThreshold: 2}", "affinityThreshold"),
        ("prefix-cache-affinity-filter", "{ttftSource: latencyPredictor}", "only the EPP has"),
        ("prefix-cache-affinity-filter", "{peakPrefillThroughput: 0}", "peakPrefillThroughput"),
    ],
)
def test_refusals(kind: str, parameters: str, words: str) -> None:
    with pytest.raises(PickerConfigError, match=words):
        plugin_of(kind, parameters)
