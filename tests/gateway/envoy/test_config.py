"""Manifests to Envoy's configuration: what Istio 1.28 to 1.31 would have sent (istio.md 1.3)."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from gateway.envoy.compat import istio
from gateway.envoy.config import EnvoyConfig, EnvoyOptions, build
from gateway.envoy.extproc import FILTER
from gateway.errors import ManifestError
from gateway.manifests.load import load
from tests.e2e import worlds

POOL = worlds.pool("p", "x", "epp")
EPP_CLUSTER = "outbound|9002||epp.apps.svc.cluster.local"


def config(*objects: Any, istio_bugs: bool = False) -> EnvoyConfig:
    manifests = load(["-"], "apps", io.StringIO(worlds.dump(*objects)))
    gateway = next(iter(manifests.gateways.values()))
    ports = {listener.port: 20000 + listener.port for listener in gateway.listeners}
    return build(manifests, gateway, EnvoyOptions(Path("/state"), ports, 19000, istio=istio(bugs=istio_bugs)))


def manager(made: EnvoyConfig, listener: int = 0) -> dict[str, Any]:
    chain = made.bootstrap["static_resources"]["listeners"][listener]["filter_chains"][0]
    result: dict[str, Any] = chain["filters"][0]["typed_config"]
    return result


def routes(made: EnvoyConfig, host: str = "*") -> list[dict[str, Any]]:
    hosts = manager(made)["route_config"]["virtual_hosts"]
    found: list[dict[str, Any]] = next(h["routes"] for h in hosts if h["domains"] == [host])
    return found


def cluster(made: EnvoyConfig, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(
        c for c in made.bootstrap["static_resources"]["clusters"] if name in c["name"]
    )
    return found


def one_route(rule: dict[str, Any], *more: Any, istio_bugs: bool = False) -> dict[str, Any]:
    objects = [worlds.gateway("gw"), POOL, worlds.route("r", "gw", rule), *more]
    return routes(config(*objects, istio_bugs=istio_bugs))[0]


def test_an_envoy_that_cannot_limit_its_admin_port_is_not_asked_to() -> None:
    objects = (worlds.gateway("gw"), POOL, worlds.route("r", "gw", worlds.rule(worlds.to_pool("p"))))
    manifests = load(["-"], "apps", io.StringIO(worlds.dump(*objects)))
    gateway = next(iter(manifests.gateways.values()))
    old = build(manifests, gateway, EnvoyOptions(Path("/state"), {80: 20080}, 19000, limits_admin=False))
    assert "allow_paths" not in old.bootstrap["admin"]
    assert "allow_paths" in config(*objects).bootstrap["admin"]


def test_the_listener() -> None:
    made = config(worlds.gateway("gw"), POOL, worlds.route("r", "gw", worlds.rule(worlds.to_pool("p"))))
    listener = made.bootstrap["static_resources"]["listeners"][0]
    assert listener["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 20080}
    hcm = manager(made)
    assert (hcm["server_name"], hcm["stream_idle_timeout"]) == ("istio-envoy", "0s")
    assert [f["name"].rpartition(".")[2] for f in hcm["http_filters"]] == [
        "ext_proc", "grpc_stats", "fault", "cors", "router"
    ]  # fmt: skip
    ext_proc = hcm["http_filters"][0]["typed_config"]
    assert ext_proc["processing_mode"] == {"request_header_mode": "SKIP", "response_header_mode": "SKIP"}
    assert (ext_proc["failure_mode_allow"], ext_proc["message_timeout"]) == (True, "1000s")
    assert ext_proc["metadata_options"] == {
        "forwarding_namespaces": {"untyped": ["envoy.lb"]},
        "receiving_namespaces": {"untyped": ["envoy.lb"]},
    }


@pytest.mark.parametrize("fail_open", [False, True])
def test_the_route_of_a_pool(fail_open: bool) -> None:
    pool = worlds.pool("p", "x", "epp", fail_open=fail_open)
    made = config(worlds.gateway("gw"), pool, worlds.route("r", "gw", worlds.rule(worlds.to_pool("p"))))
    (route,) = routes(made)
    assert route["match"] == {"case_sensitive": True, "prefix": "/"}
    action = route["route"]
    assert action["cluster"].startswith("outbound|54321||p-ip-")
    assert action["timeout"] == "0s"
    retry = action["retry_policy"]
    assert (retry["num_retries"], retry["host_selection_retry_max_attempts"]) == (2, "5")
    assert retry["retry_on"] == "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
    overrides = route["typed_per_filter_config"][FILTER]["overrides"]
    assert overrides["failure_mode_allow"] is fail_open
    assert overrides["grpc_service"] == {"envoy_grpc": {"cluster_name": EPP_CLUSTER}}
    assert overrides["processing_mode"] == {
        "request_header_mode": "SEND",
        "request_body_mode": "FULL_DUPLEX_STREAMED",
        "request_trailer_mode": "SEND",
        "response_header_mode": "SEND",
        "response_body_mode": "FULL_DUPLEX_STREAMED",
        "response_trailer_mode": "SEND",
    }


def test_the_pool_s_cluster_goes_where_the_metadata_says() -> None:
    made = config(worlds.gateway("gw"), POOL, worlds.route("r", "gw", worlds.rule(worlds.to_pool("p"))))
    found = cluster(made, "|54321||")
    assert (found["type"], found["lb_policy"]) == ("EDS", "CLUSTER_PROVIDED")
    policy = found["load_balancing_policy"]["policies"][0]["typed_extension_config"]["typed_config"]
    assert policy["override_host_sources"] == [
        {"metadata": {"key": "envoy.lb", "path": [{"key": "x-gateway-destination-endpoint"}]}}
    ]
    assert policy["selected_host_key"]["path"] == [{"key": "x-gateway-destination-endpoint-served"}]
    assert policy["fallback_policy"]["policies"][0]["typed_extension_config"]["name"].endswith("round_robin")
    assert found["circuit_breakers"]["thresholds"][0]["max_requests"] == 4294967295


def picker_cluster(service: dict[str, Any], *rules: dict[str, Any]) -> dict[str, Any]:
    route = worlds.route("r", "gw", worlds.rule(worlds.to_pool("p")))
    return cluster(config(worlds.gateway("gw"), POOL, route, service, *rules), "|9002||")


def destination_rule(namespace: str = "apps", host: str = "epp", **policy: Any) -> dict[str, Any]:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": worlds.meta("rule", namespace),
        "spec": {"host": host, "trafficPolicy": policy},
    }


SKIP_VERIFY = {"mode": "SIMPLE", "insecureSkipVerify": True}


@pytest.mark.parametrize(
    ("port", "http2"),
    [
        ({"appProtocol": "http2"}, True),
        ({"appProtocol": "grpc"}, True),
        ({"appProtocol": "kubernetes.io/h2c"}, True),
        ({"name": "grpc-ext-proc"}, True),
        ({"name": "http2"}, True),
        ({}, False),
        ({"name": "http"}, False),
        ({"appProtocol": "http", "name": "grpc"}, False),
    ],
)
def test_the_protocol_towards_the_picker(port: dict[str, Any], http2: bool) -> None:
    options = picker_cluster(worlds.service("epp", "epp", 9002, **port))["typed_extension_protocol_options"]
    explicit = next(iter(options.values()))["explicit_http_config"]
    assert explicit == ({"http2_protocol_options": {}} if http2 else {"http_protocol_options": {}})


def test_tls_towards_the_picker_is_the_destination_rule_s() -> None:
    service = worlds.service("epp", "epp", 9002, appProtocol="http2")
    assert "transport_socket" not in picker_cluster(service)
    socket = picker_cluster(service, destination_rule(tls=SKIP_VERIFY))["transport_socket"]["typed_config"]
    assert socket["common_tls_context"] == {"alpn_protocols": ["h2"]}
    (options,) = picker_cluster(service, destination_rule(tls=SKIP_VERIFY))[
        "typed_extension_protocol_options"
    ].values()
    assert options["upstream_http_protocol_options"] == {"auto_sni": True}
    verified = picker_cluster(service, destination_rule(tls={"mode": "SIMPLE"}))["transport_socket"]
    assert "trusted_ca" in verified["typed_config"]["common_tls_context"]["validation_context"]
    off = destination_rule(tls={"mode": "DISABLE"})
    assert "transport_socket" not in picker_cluster(service, off)


@pytest.mark.parametrize(
    ("namespace", "host", "applies"),
    [
        ("apps", "epp", True),
        ("apps", "epp.apps.svc.cluster.local", True),
        ("apps", "*.apps.svc.cluster.local", True),
        ("other", "epp", False),
        ("infra", "epp", False),  # short: infra's own epp
        ("infra", "epp.apps.svc.cluster.local", True),  # the gateway's namespace
        ("istio-system", "epp.apps.svc.cluster.local", True),
        ("other", "epp.apps.svc.cluster.local", False),
    ],
)
def test_which_destination_rule_applies(namespace: str, host: str, applies: bool) -> None:
    service = worlds.service("epp", "epp", 9002, appProtocol="http2")
    made = picker_cluster(service, destination_rule(namespace, host, tls=SKIP_VERIFY))
    assert ("transport_socket" in made) is applies


def test_connection_pool_of_a_destination_rule() -> None:
    limits = {"http": {"http2MaxRequests": 7, "maxRequestsPerConnection": 1}, "tcp": {"connectTimeout": "3s"}}
    service = worlds.service("epp", "epp", 9002, appProtocol="http2")
    made = picker_cluster(service, destination_rule(connectionPool=limits))
    assert made["circuit_breakers"]["thresholds"][0]["max_requests"] == 7
    assert made["connect_timeout"] == "3s"
    of_other_port = [{"port": {"number": 1}, "tls": SKIP_VERIFY}]
    assert "transport_socket" not in picker_cluster(
        service, destination_rule(portLevelSettings=of_other_port)
    )


def test_outlier_detection() -> None:
    service = worlds.service("epp", "epp", 9002, appProtocol="http2")
    plain = picker_cluster(service)
    assert plain["common_lb_config"] == {"healthy_panic_threshold": {"value": 0}}
    made = picker_cluster(service, destination_rule(outlierDetection={"minHealthPercent": 40}))
    assert made["common_lb_config"] == {"healthy_panic_threshold": {"value": 40}}
    assert made["outlier_detection"]["enforcing_success_rate"] == 0


def test_weights_each_with_its_own_picker() -> None:
    rule = worlds.rule(worlds.to_pool("p", weight=3), worlds.to_service("svc", 80, weight=1))
    more = worlds.service("svc", "x", 80)
    parts = one_route(rule, more)["route"]["weighted_clusters"]["clusters"]
    assert [(p["weight"], FILTER in p.get("typed_per_filter_config", {})) for p in parts] == [
        (3, True), (1, False)
    ]  # fmt: skip
    buggy = one_route(rule, more, istio_bugs=True)
    assert "typed_per_filter_config" not in buggy
    assert not any("typed_per_filter_config" in p for p in buggy["route"]["weighted_clusters"]["clusters"])


def test_unresolved_backends() -> None:
    gone = one_route(worlds.rule(worlds.to_pool("gone")))["route"]
    assert gone["cluster"] == "UnknownService"
    assert gone["cluster_not_found_response_code"] == "INTERNAL_SERVER_ERROR"
    assert one_route(worlds.rule())["direct_response"] == {"status": 500}
    mixed = one_route(worlds.rule(worlds.to_pool("p", weight=1), worlds.to_pool("gone", weight=1)))
    names = [c["name"] for c in mixed["route"]["weighted_clusters"]["clusters"]]
    assert names[1] == "UnknownService"
    assert mixed["route"]["cluster_not_found_response_code"] == "INTERNAL_SERVER_ERROR"


def test_an_extension_filter_nobody_knows_answers_500() -> None:
    unknown = {"type": "ExtensionRef", "extensionRef": {"group": "x", "kind": "Y", "name": "z"}}
    rule = worlds.rule(worlds.to_pool("p"), filters=[unknown])
    assert one_route(rule)["direct_response"] == {"status": 500}


def test_order_of_routes_is_gateway_api_s_precedence() -> None:
    def at(kind: str, path: str, **more: Any) -> dict[str, Any]:
        return worlds.rule(worlds.to_pool("p"), matches=[{"path": {"type": kind, "value": path}, **more}])

    header = {"headers": [{"name": "x", "value": "1"}]}
    rules = [
        at("PathPrefix", "/"),
        at("RegularExpression", "/v1/.*"),
        at("PathPrefix", "/v1"),
        at("PathPrefix", "/v1", method="POST"),
        at("PathPrefix", "/v1", **header),
        at("PathPrefix", "/v1/completions"),
        at("Exact", "/v1"),
    ]
    made = routes(config(worlds.gateway("gw"), POOL, worlds.route("r", "gw", *rules)))
    assert [int(route["name"].rpartition(".")[2]) for route in made] == [6, 5, 3, 4, 2, 0, 1]


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        (worlds.prefix("/v1/"), {"path_separated_prefix": "/v1"}),
        ({"path": {"type": "Exact", "value": "/v1"}}, {"path": "/v1"}),
        ({"path": {"type": "RegularExpression", "value": "/v[12]"}}, {"safe_regex": {"regex": "/v[12]"}}),
        (
            {"method": "GET", "headers": [{"name": "a", "value": "b"}]},
            {
                "prefix": "/",
                "headers": [
                    {"name": ":method", "string_match": {"exact": "GET"}},
                    {"name": "a", "string_match": {"exact": "b"}},
                ],
            },
        ),
        (
            {"queryParams": [{"name": "q", "value": "x.*", "type": "RegularExpression"}]},
            {
                "prefix": "/",
                "query_parameters": [{"name": "q", "string_match": {"safe_regex": {"regex": "x.*"}}}],
            },
        ),
    ],
)
def test_matches(match: dict[str, Any], expected: dict[str, Any]) -> None:
    rule = worlds.rule(worlds.to_pool("p"), matches=[match])
    assert one_route(rule)["match"] == {"case_sensitive": True, **expected}


def rewritten(old: str, path: dict[str, Any]) -> dict[str, Any]:
    filters = [{"type": "URLRewrite", "urlRewrite": {"path": path, "hostname": "h.com"}}]
    rule = worlds.rule(worlds.to_pool("p"), matches=[worlds.prefix(old)], filters=filters)
    action: dict[str, Any] = one_route(rule)["route"]
    assert action["host_rewrite_literal"] == "h.com"
    return {k: v for k, v in action.items() if k.endswith("_rewrite")}


def test_path_rewrites() -> None:
    def prefix(new: str) -> dict[str, Any]:
        return {"type": "ReplacePrefixMatch", "replacePrefixMatch": new}

    assert rewritten("/a", prefix("/b/")) == {"prefix_rewrite": "/b"}
    assert rewritten("/", prefix("/b")) == {"prefix_rewrite": "/b/"}
    assert rewritten("/a", prefix("/"))["regex_rewrite"]["substitution"] == r"/\2"
    full = {"type": "ReplaceFullPath", "replaceFullPath": "/x"}
    assert rewritten("/a", full)["regex_rewrite"]["substitution"] == "/x"


def test_timeouts_and_retries() -> None:
    timeouts = {"request": "1m30s", "backendRequest": "2s"}
    rule = worlds.rule(
        worlds.to_pool("p"), timeouts=timeouts, retry={"attempts": 4, "codes": [502], "backoff": "100ms"}
    )
    action = one_route(rule)["route"]
    assert (action["timeout"], action["max_grpc_timeout"]) == ("90s", "90s")
    retry = action["retry_policy"]
    assert (retry["num_retries"], retry["retriable_status_codes"]) == (4, [502])
    assert (retry["per_try_timeout"], retry["retry_back_off"]) == ("2s", {"base_interval": "0.1s"})
    only = one_route(worlds.rule(worlds.to_pool("p"), timeouts={"backendRequest": "2s"}))["route"]
    assert only["timeout"] == "2s"
    none = one_route(worlds.rule(worlds.to_pool("p"), retry={"attempts": 0}))["route"]
    assert "retry_policy" not in none


def test_mirror_and_header_modifiers() -> None:
    filters = [
        {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "svc", "port": 80}, "percent": 5}},
        {"type": "RequestHeaderModifier", "requestHeaderModifier": {
            "set": [{"name": "Host", "value": "h"}, {"name": "a", "value": "1"}],
            "add": [{"name": "b", "value": "2"}], "remove": ["c"]}},
    ]  # fmt: skip
    route = one_route(worlds.rule(worlds.to_pool("p"), filters=filters), worlds.service("svc", "x", 80))
    mirror = route["route"]["request_mirror_policies"][0]
    assert mirror["cluster"] == "outbound|80||svc.apps.svc.cluster.local"
    assert mirror["runtime_fraction"]["default_value"] == {"numerator": 5, "denominator": "HUNDRED"}
    assert route["route"]["host_rewrite_literal"] == "h"
    assert [(h["header"]["key"], h["append_action"]) for h in route["request_headers_to_add"]] == [
        ("a", "OVERWRITE_IF_EXISTS_OR_ADD"), ("b", "APPEND_IF_EXISTS_OR_ADD")
    ]  # fmt: skip
    assert route["request_headers_to_remove"] == ["c"]


def test_cors_and_istio_s_bug_with_it() -> None:
    cors = {
        "type": "CORS",
        "cors": {"allowOrigins": ["https://*.a.com", "*"], "allowMethods": ["GET", "PUT"]},
    }
    rule = worlds.rule(worlds.to_pool("p"), filters=[cors])
    assert FILTER in one_route(rule)["typed_per_filter_config"]
    buggy = one_route(rule, istio_bugs=True)["typed_per_filter_config"]
    assert list(buggy) == ["envoy.filters.http.cors"]
    assert buggy["envoy.filters.http.cors"]["allow_methods"] == "GET,PUT"


def test_grpc_routes_have_a_picker_unless_bugs_are_asked_for() -> None:
    route = worlds.route("g", "gw", {"backendRefs": [worlds.to_pool("p")], "matches": [
        {"method": {"service": "a.B", "method": "C"}}, {"method": {"service": "a.B"}}]})  # fmt: skip
    route["kind"] = "GRPCRoute"
    objects = (worlds.gateway("gw"), POOL, route)
    made = routes(config(*objects))
    assert [m["match"].get("path") or m["match"]["path_separated_prefix"] for m in made] == ["/a.B/C", "/a.B"]
    assert all(FILTER in m["typed_per_filter_config"] for m in made)
    assert not any("typed_per_filter_config" in m for m in routes(config(*objects, istio_bugs=True)))


def test_https_listeners_need_their_secret() -> None:
    tls = {"certificateRefs": [{"name": "cert"}]}
    listener = {**worlds.listener("tls", 443, hostname="a.com"), "protocol": "HTTPS", "tls": tls}
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": worlds.meta("cert", "infra"),
        "stringData": {"tls.crt": "CERT", "tls.key": "KEY"},
    }
    made = config(worlds.gateway("gw", listener), secret)
    chain = made.bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]
    assert chain["filter_chain_match"] == {"server_names": ["a.com"]}
    context = chain["transport_socket"]["typed_config"]["common_tls_context"]
    assert context["tls_certificates"][0]["certificate_chain"] == {"inline_string": "CERT"}
    with pytest.raises(ManifestError, match=r"Secret infra/cert with .* not found"):
        config(worlds.gateway("gw", listener))


def test_two_listeners_of_one_port_share_it() -> None:
    gateway = worlds.gateway(
        "gw", worlds.listener("a", 80, hostname="a.com"), worlds.listener("b", 80, hostname="b.com")
    )
    made = config(gateway, POOL, worlds.route("r", "gw", worlds.rule(worlds.to_pool("p"))))
    assert len(made.bootstrap["static_resources"]["listeners"]) == 1
    domains = [h["domains"] for h in manager(made)["route_config"]["virtual_hosts"]]
    assert domains == [["a.com"], ["b.com"]]
