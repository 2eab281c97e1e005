"""Routes, listeners and the picker's filter in the corners that a whole gateway seldom shows."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from gateway.envoy.compat import istio
from gateway.envoy.config import EnvoyOptions
from gateway.envoy.extproc import picker_cluster, route_override
from gateway.envoy.listeners import ACCESS_LOG_FIELDS, Bound, build_listener, makes_request_ids
from gateway.envoy.matches import build_match, precedence
from gateway.envoy.routes import RouteBuilder
from gateway.errors import ManifestError
from gateway.manifests.attach import attach, attachments_of
from gateway.manifests.gatewayapi import Match
from gateway.manifests.load import Manifests, read
from kit.yamldoc import Document
from tests.e2e import worlds


def load(*objects: Any) -> Manifests:
    return read((Document("m.yaml", i, each, ManifestError) for i, each in enumerate(objects)), "apps")


def hosts(*objects: Any, istio_bugs: bool = False) -> tuple[RouteBuilder, dict[str, list[dict[str, Any]]]]:
    """The builder, and the routes of each hostname at one gateway."""
    manifests = load(worlds.gateway("gw"), *objects)
    builder = RouteBuilder(manifests, istio(bugs=istio_bugs))
    gateway = next(iter(manifests.gateways.values()))
    made = builder.virtual_hosts(attachments_of(gateway, attach(manifests)), "80")
    return builder, {h["domains"][0]: h["routes"] for h in made}


POOL, OTHER = worlds.pool("p", "x", "epp"), worlds.pool("q", "y", "qpp", fail_open=True)
SERVICE = worlds.service("svc", "x", 80)


def test_weight_zero_gets_nothing_and_has_no_picker() -> None:
    rule = worlds.rule(worlds.to_pool("p", 0), worlds.to_pool("q", 1))
    builder, found = hosts(POOL, OTHER, worlds.route("r", "gw", rule))
    (route,) = found["*"]
    assert route["route"]["cluster"].startswith("outbound|54321||q-ip-")
    override = route["typed_per_filter_config"]["envoy.filters.http.ext_proc"]["overrides"]
    assert override["failure_mode_allow"] is True
    assert list(builder.backends) == [route["route"]["cluster"]], "no cluster for what is never sent to"


@pytest.mark.parametrize("rule", [worlds.rule(), worlds.rule(worlds.to_pool("p", 0))])
def test_no_backend_with_weight_is_500(rule: dict[str, Any]) -> None:
    _, found = hosts(POOL, worlds.route("r", "gw", rule))
    assert [r["direct_response"] for r in found["*"]] == [{"status": 500}]


def test_a_backend_s_own_filters_count_where_it_is_alone() -> None:
    change = {
        "type": "RequestHeaderModifier",
        "requestHeaderModifier": {"set": [{"name": "a", "value": "b"}]},
    }
    alone = {**worlds.to_service("svc", 80), "filters": [change]}
    _, found = hosts(SERVICE, worlds.route("r", "gw", worlds.rule(alone)))
    assert found["*"][0]["request_headers_to_add"][0]["header"] == {"key": "a", "value": "b"}
    _, found = hosts(SERVICE, POOL, worlds.route("r", "gw", worlds.rule(alone, worlds.to_pool("p"))))
    assert "request_headers_to_add" not in found["*"][0]
    shared = found["*"][0]["route"]["weighted_clusters"]["clusters"]
    assert [("request_headers_to_add" in c) for c in shared] == [True, False]
    assert [("typed_per_filter_config" in c) for c in shared] == [False, True]


def test_each_hostname_is_a_virtual_host_of_its_own() -> None:
    one = worlds.route("r", "gw", worlds.rule(worlds.to_pool("p")))
    one["spec"]["hostnames"] = ["A.example", "b.example"]
    two = worlds.route("s", "gw", worlds.rule(worlds.to_service("svc", 80)))
    two["spec"]["hostnames"] = ["b.example"]
    _, found = hosts(POOL, SERVICE, one, two)
    assert {host: [r["name"] for r in routes] for host, routes in found.items()} == {
        "a.example": ["apps.r.0"],
        "b.example": ["apps.r.0", "apps.s.0"],
    }


@pytest.mark.parametrize(
    ("retry", "expected"),
    [
        ({"attempts": 0}, None),
        ({"attempts": 5, "codes": [500, 503]}, (5, [500, 503], None)),
        ({"backoff": "250ms"}, (2, None, {"base_interval": "0.25s"})),
    ],
)
def test_retries(retry: dict[str, Any], expected: Any) -> None:
    _, found = hosts(POOL, worlds.route("r", "gw", worlds.rule(worlds.to_pool("p"), retry=retry)))
    policy = found["*"][0]["route"].get("retry_policy")
    shown = policy and (
        policy["num_retries"], policy.get("retriable_status_codes"), policy.get("retry_back_off")
    )  # fmt: skip
    assert shown == expected


@pytest.mark.parametrize(
    ("timeouts", "retry", "timeout", "each"),
    [
        ({}, None, "0s", None),
        ({"request": "3s"}, None, "3s", None),
        ({"backendRequest": "2s"}, None, "2s", None),
        ({"request": "3s", "backendRequest": "2s"}, None, "2s", None),
        ({"request": "3s", "backendRequest": "2s"}, {"attempts": 1}, "3s", "2s"),
        ({"backendRequest": "2s"}, {"attempts": 0}, "2s", None),
    ],
)
def test_timeouts(timeouts: dict[str, str], retry: Any, timeout: str, each: str | None) -> None:
    more = {"timeouts": timeouts, **({"retry": retry} if retry else {})}
    _, found = hosts(POOL, worlds.route("r", "gw", worlds.rule(worlds.to_pool("p"), **more)))
    action = found["*"][0]["route"]
    assert (action["timeout"], action.get("retry_policy", {}).get("per_try_timeout")) == (timeout, each)


def test_a_prefix_matches_whole_elements_and_longer_paths_come_first() -> None:
    assert build_match(Match("PathPrefix", "/v1/")) == {
        "case_sensitive": True,
        "path_separated_prefix": "/v1",
    }
    assert build_match(Match("PathPrefix", "/")) == {"case_sensitive": True, "prefix": "/"}
    ordered = [
        Match("Exact", "/a"),
        Match("PathPrefix", "/a/b"),
        Match("PathPrefix", "/a", method="GET"),
        Match("PathPrefix", "/a/"),
        Match("RegularExpression", "/a/b/c/d"),
    ]
    assert sorted(ordered, key=precedence, reverse=True) == ordered


def test_the_picker_s_filter_of_a_pool() -> None:
    manifests = load(POOL, OTHER, worlds.pool("none", "x", None))
    p, q, none = (manifests.pools["apps", name] for name in ("p", "q", "none"))
    assert picker_cluster(p) == "outbound|9002||epp.apps.svc.cluster.local"
    assert picker_cluster(none) is None
    (override,) = route_override(q).values()
    assert override["overrides"]["failure_mode_allow"] is True
    (override,) = route_override(p).values()
    assert override["overrides"]["failure_mode_allow"] is False


CERTIFICATE = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": worlds.meta("cert", "certs"),
    "data": {k: base64.b64encode(k.encode()).decode() for k in ("tls.crt", "tls.key")},
}
TLS = {"certificateRefs": [{"name": "cert", "namespace": "certs"}]}
GRANT = {
    "apiVersion": "gateway.networking.k8s.io/v1beta1",
    "kind": "ReferenceGrant",
    "metadata": worlds.meta("g", "certs"),
    "spec": {
        "from": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "infra"}],
        "to": [{"group": "", "kind": "Secret"}],
    },
}


def listener(*objects: Any, **more: Any) -> dict[str, Any]:
    manifests = load(worlds.gateway("gw", worlds.listener("s", 443, protocol="HTTPS", **more)), *objects)
    gateway = next(iter(manifests.gateways.values()))
    bound = Bound(443, "HTTPS", gateway.listeners, "127.0.0.1", 20443)
    return build_listener(manifests, gateway, bound, [], EnvoyOptions(Path("/s"), {}, 1).access_log)


def test_an_https_listener_has_its_certificate_and_its_name() -> None:
    made = listener(CERTIFICATE, GRANT, tls=TLS, hostname="a.example")
    (chain,) = made["filter_chains"]
    assert chain["filter_chain_match"] == {"server_names": ["a.example"]}
    common = chain["transport_socket"]["typed_config"]["common_tls_context"]
    assert common["tls_certificates"] == [
        {"certificate_chain": {"inline_string": "tls.crt"}, "private_key": {"inline_string": "tls.key"}}
    ]
    assert common["alpn_protocols"] == ["h2", "http/1.1"]
    log = chain["filters"][0]["typed_config"]["access_log"][0]["typed_config"]
    assert log["log_format"]["json_format"] == ACCESS_LOG_FIELDS


@pytest.mark.parametrize(
    ("objects", "more", "words"),
    [
        ([CERTIFICATE, GRANT], {}, r"needs tls\.certificateRefs"),
        ([GRANT], {"tls": TLS}, r"certificateRefs: Secret certs/cert with tls\.crt and tls\.key not found"),
        ([{**CERTIFICATE, "data": {"tls.crt": "YQ=="}}, GRANT], {"tls": TLS}, "not found"),
        ([CERTIFICATE], {"tls": TLS}, "needs a ReferenceGrant"),
    ],
)
def test_an_https_listener_without_its_certificate(objects: list[Any], more: Any, words: str) -> None:
    with pytest.raises(ManifestError, match=words):
        listener(*objects, **more)


OFF = "proxyHeaders: {requestId: {disabled: true}}"


@pytest.mark.parametrize(
    ("place", "text", "makes"),
    [
        ("metadata", OFF, False),
        ("infrastructure", OFF, False),
        ("metadata", "proxyHeaders: {requestId: {disabled: false}}", True),
        ("metadata", "concurrency: 2", True),
        ("metadata", "a string", True),
        ("metadata", "", True),
    ],
)
def test_request_ids_are_the_gateways_or_the_clients(place: str, text: str, makes: bool) -> None:
    made = worlds.gateway("gw")
    annotations = {"annotations": {"proxy.istio.io/config": text}}
    if place == "metadata":
        made["metadata"] |= annotations
    else:
        made["spec"]["infrastructure"] = annotations
    gateway = next(iter(load(made).gateways.values()))
    assert makes_request_ids(gateway) is makes


def test_a_proxy_config_that_is_no_yaml_is_refused() -> None:
    made = worlds.gateway("gw")
    made["metadata"]["annotations"] = {"proxy.istio.io/config": "{"}
    gateway = next(iter(load(made).gateways.values()))
    with pytest.raises(ManifestError, match=r"annotations.*proxy\.istio\.io/config is no YAML"):
        makes_request_ids(gateway)
