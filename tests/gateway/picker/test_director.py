"""One request through the director: candidates, shedding, rewrites, the herd, the decision log."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Any

import pytest

from gateway.picker.compat import (
    GIE_V12,
    GIE_V13,
    GIE_V14,
    GIE_V15,
    LLMD_HEAD,
    LLMD_V010,
    Compat,
)
from gateway.picker.director import Routed
from gateway.picker.errors import RequestError
from gateway.picker.pool.datastore import PoolObjects, RewriteRule, RewriteTarget
from gateway.picker.pool.inflight import estimated_tokens
from tests.gateway.picker.factories import config, endpoint
from tests.gateway.picker.lab import CHART, Lab

LEAST = config("{type: least-request-picker}")


def winner(routed: Routed) -> str:
    return routed.endpoints[0].name


def test_totals_are_weighted_sums() -> None:
    lab = Lab(CHART)
    lab.pool(
        a={"waiting": 3, "kv_usage": 0.25},
        b={"waiting": 1, "kv_usage": 0.75},
        c={"waiting": 5, "kv_usage": 0.0},
    )
    routed = lab.send("y" * 64)
    assert routed.scores == {
        "127.0.0.2:8000": 0.5 * 2 + 0.75 * 2,
        "127.0.0.3:8000": 1.0 * 2 + 0.25 * 2,
        "127.0.0.4:8000": 0.0 * 2 + 1.0 * 2,
    }
    assert routed.destination in ("127.0.0.2:8000", "127.0.0.3:8000")  # 2.5 each


def test_herd_follows_the_prefix_between_two_scrapes() -> None:
    """A burst of identical requests while metrics stand still: the first is drawn, all others pile onto it.

    Weights 2, 2, 3: the prefix (3) outweighs nothing else as long as no scrape shows the queue.
    """
    lab = Lab(CHART)
    lab.pool(a={}, b={}, c={}, d={})
    first = winner(lab.send("herd " * 100))
    assert Counter(winner(lab.send("herd " * 100)) for _ in range(200)) == {first: 200}


def test_herd_stays_until_the_queue_outweighs_the_prefix() -> None:
    """queue 2 + kv 2*(1-1) + prefix 3 = 3 of the full endpoint against 2 + 2 of an idle one."""
    lab = Lab(CHART)
    lab.pool(a={}, b={})
    first = winner(lab.send("herd " * 100))
    busy = {first: {"waiting": 50, "kv_usage": 0.4}}
    lab.pool(**{name: busy.get(name, {}) for name in "ab"})
    # 0 + 2*0.6 + 3 = 4.2 against 2 + 2 + 0 = 4: the prefix still wins.
    assert winner(lab.send("herd " * 100)) == first
    busy = {first: {"waiting": 50, "kv_usage": 0.6}}
    lab.pool(**{name: busy.get(name, {}) for name in "ab"})
    # 0 + 2*0.4 + 3 = 3.8 against 4: it moves, and now both have the prefix.
    assert winner(lab.send("herd " * 100)) != first


def test_herd_spreads_with_the_pickers_own_counts() -> None:
    lab = Lab(LEAST)
    lab.pool(a={}, b={}, c={}, d={})
    assert set(Counter(winner(lab.send("herd " * 100)) for _ in range(200)).values()) == {50}


def test_herd_without_any_score_is_random() -> None:
    lab = Lab(config("{type: queue-scorer}"))
    lab.pool(a={}, b={}, c={}, d={})
    spread = Counter(winner(lab.send("herd " * 100)) for _ in range(2000))
    assert all(400 < count < 600 for count in spread.values())


def test_never_scraped_endpoints_look_best() -> None:
    lab = Lab(CHART)
    lab.pool(a={"waiting": 1, "kv_usage": 0.1}, b={"updated_at": float("-inf")})
    assert {winner(lab.send(str(i))) for i in range(20)} == {"b"}


def test_inflight_counts_from_pick_to_end() -> None:
    lab = Lab(LEAST)
    lab.pool(a={})
    routed = [lab.send() for _ in range(3)]
    assert lab.inflight.requests("ns/a") == 3
    assert lab.inflight.tokens("ns/a") == 3 * estimated_tokens(routed[0].request.size_bytes)
    for one in routed:
        lab.director.complete(one)
    assert (lab.inflight.requests("ns/a"), lab.inflight.tokens("ns/a")) == (0, 0)


@pytest.mark.parametrize(("size", "tokens"), [(0, 0), (1, 3), (4, 3), (8, 5), (400, 250), (407, 253)])
def test_estimated_tokens(size: int, tokens: int) -> None:
    """max(bytes/4, 1) in and 1.5 times that out, halves rounded up."""
    assert estimated_tokens(size) == tokens


def test_no_candidates() -> None:
    error = Lab(CHART).refused()
    assert (error.status, error.message) == (503, "failed to find candidate pods for serving the request")
    later = Lab(CHART, GIE_V15).refused()
    assert later.message == "failed to find endpoint candidates for serving the request"
    assert later.dropped is None
    assert Lab(CHART, LLMD_HEAD).refused().dropped == "rejected-no-endpoints"


def subset(*places: str) -> dict[str, Any]:
    return {"envoy.lb.subset_hint": {"x-gateway-destination-endpoint-subset": list(places)}}


def test_subset_hint() -> None:
    lab = Lab(CHART)
    lab.pool(a={"waiting": 9}, b={}, c={})
    assert winner(lab.send(metadata=subset("127.0.0.2:8000"))) == "a"
    assert winner(lab.send(metadata=subset("127.0.0.2:9999", "10.0.0.1:1"))) == "a"  # ports do not count
    assert lab.refused(metadata=subset()).status == 503
    assert lab.refused(metadata=subset("10.0.0.1:1")).status == 503
    # A hint that is no list is no hint.
    hint = {"envoy.lb.subset_hint": {"x-gateway-destination-endpoint-subset": "127.0.0.2:8000"}}
    assert winner(lab.send(metadata=hint)) in "bc"


def test_subset_filter_can_be_turned_off() -> None:
    lab = Lab(CHART, subset_filter=False)
    lab.pool(a={"waiting": 9}, b={})
    assert winner(lab.send(metadata=subset("127.0.0.2:8000"))) == "b"


OBJECTIVES = PoolObjects({"batch": -1, "urgent": 10})


def batch(prefix: str = "x-gateway-inference-") -> dict[str, str]:
    return {f"{prefix}objective": "batch"}


@pytest.mark.parametrize("compat", [GIE_V12, GIE_V13, GIE_V14, GIE_V15, LLMD_V010])
def test_saturated_pools_shed_negative_priorities_only(compat: Compat) -> None:
    text = CHART if compat is not LLMD_V010 else CHART.replace("inference.networking.x-k8s.io", "llm-d.ai")
    lab = Lab(text, compat)
    lab.store.objects = OBJECTIVES
    lab.pool(a={"waiting": 6}, b={"waiting": 0, "kv_usage": 0.9})
    error = lab.refused(headers=batch())
    assert (error.status, error.message) == (429, "system saturated, sheddable request dropped")
    assert error.dropped == "rejected-saturated"
    assert lab.send(headers={"x-gateway-inference-objective": "urgent"})
    assert lab.send(headers={"x-gateway-inference-objective": "unknown"}).request.priority == 0
    assert lab.send()


def test_one_free_endpoint_prevents_shedding_up_to_v13_but_not_from_v14_on() -> None:
    pools = {"a": {"waiting": 50}, "b": {"waiting": 0}}
    lab = Lab(CHART, GIE_V13)
    lab.store.objects = OBJECTIVES
    lab.pool(**pools)
    assert lab.send(headers=batch())
    lab = Lab(CHART, GIE_V14)
    lab.store.objects = OBJECTIVES
    lab.pool(**pools)
    assert lab.refused(headers=batch()).status == 429


def test_stale_metrics_saturate() -> None:
    lab = Lab(CHART)
    lab.store.objects = OBJECTIVES
    lab.pool(a={"updated_at": time.monotonic() - 0.3})
    assert lab.refused(headers=batch()).status == 429


def test_llm_ds_headers() -> None:
    lab = Lab(CHART.replace("inference.networking.x-k8s.io", "llm-d.ai"), LLMD_V010)
    lab.store.objects = OBJECTIVES
    lab.pool(a={})
    headers = {"x-llm-d-inference-objective": "urgent", "x-llm-d-inference-fairness-id": "team"}
    sent = lab.send(headers=headers).request
    assert (sent.priority, sent.objective, sent.fairness_id) == (10, "urgent", "team")


def test_filters_that_leave_nobody() -> None:
    lab = Lab(config("{type: header-based-testing-filter}"))
    lab.pool(a={})
    error = lab.refused()
    assert (error.status, error.message) == (
        429,
        "failed to find target pod: failed to run scheduler profile 'default'",
    )
    chosen = {"test-epp-endpoint-selection": "127.0.0.9, 127.0.0.2:8000"}
    assert winner(lab.send(headers=chosen)) == "a"


def test_header_filter_takes_addresses_with_and_without_ports() -> None:
    lab = Lab(
        config(
            "{type: header-based-testing-filter}",
            "{type: max-score-picker, parameters: {maxNumOfEndpoints: 9}}",
        )
    )
    lab.pool(a={}, b={}, c={})

    def selected(value: str) -> set[str]:
        return {place.name for place in lab.send(headers={"test-epp-endpoint-selection": value}).endpoints}

    assert selected("127.0.0.4,127.0.0.2") == {"a", "c"}
    assert selected("127.0.0.4:8000,127.0.0.4:1,127.0.0.4") == {"c"}


def test_several_endpoints_are_an_ordered_list() -> None:
    lab = Lab(config("{type: queue-scorer}", "{type: max-score-picker, parameters: {maxNumOfEndpoints: 2}}"))
    lab.pool(a={"waiting": 9}, b={"waiting": 0}, c={"waiting": 1})
    assert lab.send().destination == "127.0.0.3:8000,127.0.0.4:8000"


def test_labels_filter() -> None:
    newer = "{key: gpu, operator: NotIn, values: [old]}"
    text = config(
        "{type: by-label, name: zone, parameters: {label: zone, validValues: [x]}}",
        f"{{type: by-label-selector, parameters: {{matchExpressions: [{newer}]}}}}",
    )
    lab = Lab(text)
    places = [endpoint("a", 2, zone="x", gpu="old"), endpoint("b", 3, zone="x"), endpoint("c", 4)]
    lab.store.replace(places)
    assert {winner(lab.send()) for _ in range(10)} == {"b"}


def test_bodies_are_encoded_anew_by_gie() -> None:
    lab = Lab(CHART)
    lab.pool(a={})
    routed = lab.send("<a>", temperature=1.0, max_tokens=5)
    assert routed.body == b'{"max_tokens":5,"model":"m","prompt":"\\u003ca\\u003e","temperature":1}'


def test_llm_d_sends_bodies_on_as_they_came_from_its_head_on() -> None:
    text = CHART.replace("inference.networking.x-k8s.io", "llm-d.ai")
    lab = Lab(text, LLMD_HEAD)
    lab.pool(a={})
    assert lab.send("<a>", temperature=1.0).body == b'{"model": "m", "prompt": "<a>", "temperature": 1.0}'
    before = Lab(text, LLMD_V010)
    before.pool(a={})
    assert before.send("<a>").body == b'{"model":"m","prompt":"\\u003ca\\u003e"}'


def test_rewrite_header() -> None:
    lab = Lab(CHART)
    lab.pool(a={})
    routed = lab.send(headers={"x-gateway-model-name-rewrite": "other"})
    assert (routed.request.model, routed.request.target_model) == ("m", "other")
    assert json.loads(routed.body)["model"] == "other"


def test_rewrite_rules_by_weight_exact_before_general() -> None:
    rules = [
        RewriteRule("all", frozenset(), (RewriteTarget("general", 1),)),
        RewriteRule("split", frozenset({"m"}), (RewriteTarget("v1", 90), RewriteTarget("v2", 10))),
    ]
    lab = Lab(CHART, GIE_V13)
    lab.store.objects = PoolObjects({}, rules)
    lab.pool(a={})
    drawn = Counter(lab.send().request.target_model for _ in range(2000))
    assert drawn["v1"] / 2000 == pytest.approx(0.9, abs=0.03)
    assert set(drawn) == {"v1", "v2"}
    assert lab.send(model="else").request.target_model == "general"
    lab = Lab(CHART, GIE_V12)  # which does not watch rewrites
    lab.store.objects = PoolObjects({}, rules)
    lab.pool(a={})
    assert lab.send().request.target_model == "m"


def test_adapters_go_where_they_are_loaded() -> None:
    lab = Lab(config("{type: lora-affinity-scorer}"))
    lab.pool(a={"max_active_models": 1}, b={"active_models": frozenset({"m"}), "max_active_models": 1})
    assert {winner(lab.send()) for _ in range(10)} == {"b"}


def test_session_token_of_the_response() -> None:
    lab = Lab(config("{type: session-affinity-scorer}"))
    lab.pool(a={}, b={})
    routed = lab.send()
    headers: dict[str, str] = {}
    lab.director.response_headers(routed, headers, {})
    stays = {winner(lab.send(headers=headers)) for _ in range(10)}
    assert stays == {winner(routed)}


def test_served_endpoint_is_told_to_the_client() -> None:
    lab = Lab(config("{type: destination-endpoint-served-verifier}"))
    lab.pool(a={})
    headers: dict[str, str] = {}
    lab.director.response_headers(lab.send(), headers, {})
    assert headers["x-conformance-test-served-endpoint"] == "fail: missing envoy lb metadata"
    lab.director.response_headers(lab.send(), headers, {"envoy.lb": {}})
    assert "missing destination endpoint served" in headers["x-conformance-test-served-endpoint"]
    lb = {"envoy.lb": {"x-gateway-destination-endpoint-served": "127.0.0.2:8000"}}
    lab.director.response_headers(lab.send(), headers, lb)
    assert headers["x-conformance-test-served-endpoint"] == "127.0.0.2:8000"


def test_cold_requests_go_round() -> None:
    lab = Lab(config("{type: no-hit-lru-scorer}"))
    lab.pool(a={}, b={}, c={})
    assert [winner(lab.send(str(i))) for i in range(6)] == ["a", "b", "c", "a", "b", "c"]


def test_random_endpoint_for_requests_without_a_body() -> None:
    lab = Lab(CHART)
    with pytest.raises(RequestError, match="no pods available in datastore"):
        lab.director.random_endpoint({})
    lab.pool(a={"waiting": 99}, b={})
    assert {lab.director.random_endpoint({}).name for _ in range(50)} == {"a", "b"}
