"""Envoy's own OpenTelemetry tracer, sent to an OTLP/HTTP collector (`simfleet up --otlp-endpoint`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from gateway.errors import UsageError
from kit.otlp import lacking

Json = dict[str, Any]
CLUSTER = "otlp_collector"
TIMEOUT = "1s"
_TYPE = "type.googleapis.com/envoy"


@dataclass(frozen=True)
class Collector:
    """An OTLP/HTTP collector by its base URL, without a path: traces go to /v1/traces."""

    url: str

    @property
    def traces(self) -> str:
        """Where spans are posted."""
        return f"{self.url}/v1/traces"

    @property
    def cluster(self) -> Json:
        """The cluster through which Envoy reaches it."""
        parts = urlsplit(self.url)
        address = {"socket_address": {"address": parts.hostname, "port_value": parts.port or 4318}}
        return {
            "name": CLUSTER,
            "type": "STRICT_DNS",
            "connect_timeout": TIMEOUT,
            "load_assignment": {
                "cluster_name": CLUSTER,
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
            },
        }

    def tracing(self, service: str) -> Json:
        """The connection manager's: a span of every request, below that of the client's `traceparent`."""
        return {
            "random_sampling": {"value": 100},
            "provider": {
                "name": "envoy.tracers.opentelemetry",
                "typed_config": {
                    "@type": f"{_TYPE}.config.trace.v3.OpenTelemetryConfig",
                    "http_service": {
                        "http_uri": {"uri": self.traces, "cluster": CLUSTER, "timeout": TIMEOUT}
                    },
                    "service_name": service,
                },
            },
        }


def collector(url: str) -> Collector:
    """Read `--otlp-endpoint`; UsageError for what is no base URL of a collector, or without the extra."""
    try:
        parts = urlsplit(url)
        fine = parts.scheme == "http" and parts.hostname and parts.path in ("", "/") and parts.port != 0
    except ValueError:
        fine = False
    if not fine:
        raise UsageError(
            f"--otlp-endpoint {url}: the base URL of an OTLP/HTTP collector, such as http://127.0.0.1:4318"
        )
    if (words := lacking()) is not None:
        raise UsageError(f"--otlp-endpoint: {words}")
    host = str(parts.hostname)
    return Collector(f"http://{f'[{host}]' if ':' in host else host}:{parts.port or 4318}")
