"""Envoy's OpenTelemetry tracer, from `--otlp-endpoint`."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from gateway.envoy.config import EnvoyOptions, build
from gateway.envoy.tracing import CLUSTER, collector
from gateway.errors import UsageError
from gateway.manifests.load import load
from kit import otlp
from tests.e2e import worlds
from tests.gateway.envoy.test_config import manager


def test_every_request_has_a_span_that_goes_to_the_collector() -> None:
    manifests = load(["-"], "apps", io.StringIO(worlds.dump(worlds.gateway("g", worlds.listener()))))
    options = EnvoyOptions(Path("/state"), {80: 20080}, 19000, collector=collector("http://127.0.0.1"))
    made = build(manifests, next(iter(manifests.gateways.values())), options)
    tracing = manager(made)["tracing"]
    assert tracing["random_sampling"] == {"value": 100}
    told = tracing["provider"]["typed_config"]
    assert told["http_service"]["http_uri"]["uri"] == "http://127.0.0.1:4318/v1/traces"
    (cluster,) = [c for c in made.bootstrap["static_resources"]["clusters"] if c["name"] == CLUSTER]
    (place,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    assert place["endpoint"]["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 4318}


@pytest.mark.parametrize(
    ("url", "traces"),
    [("http://[::1]:4319", "http://[::1]:4319/v1/traces"), ("http://[::1]", "http://[::1]:4318/v1/traces")],
)
def test_an_address_of_ipv6(url: str, traces: str) -> None:
    made = collector(url)
    assert made.traces == traces
    assert made.cluster["name"] == CLUSTER


@pytest.mark.parametrize(
    "url", ["127.0.0.1:4318", "https://x", "http://", "http://x:99999", "http://x/v1/traces", "http://x:0"]
)
def test_what_is_no_collector(url: str) -> None:
    with pytest.raises(UsageError, match=r"--otlp-endpoint .*: the base URL of an OTLP/HTTP collector"):
        collector(url)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"--otlp-endpoint: .* pip install 'vllm-simfleet\[otlp\]'"):
        collector("http://127.0.0.1:4318")
