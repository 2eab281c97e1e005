"""The picker's command line: the EPP's flags of every version, and a few of its own.

Flags are written as in Go: -x or --x, `--x value` or `--x=value`; a boolean takes its value only after `=`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.picker.errors import PickerConfigError
from gateway.picker.wire.limits import BODY, MESSAGE
from kit.durations import parse_duration


@dataclass(slots=True)
class Options:
    """What the flags say; durations in seconds."""

    pool_name: str = ""
    pool_namespace: str = ""
    endpoint_selector: str = ""
    grpc_port: int = 9002
    grpc_health_port: int = 9003
    grpc_max_recv_msg_size: int = MESSAGE
    metrics_port: int = 9090
    bind_address: str = "127.0.0.1"
    secure_serving: bool = True
    cert_path: str = ""
    health_checking: bool = False
    config_file: str = ""
    config_text: str = ""
    compat: str = ""
    endpoints_file: str = ""
    objectives_file: str = ""
    decision_log: str = ""
    decision_log_brief: bool = False
    plugin: list[str] = field(default_factory=list)
    seed: int | None = None
    refresh_metrics_interval: float = 0.05
    metrics_staleness_threshold: float = 2.0
    model_server_metrics_port: int = 0
    model_server_metrics_path: str = "/metrics"
    model_server_metrics_scheme: str = "http"
    model_server_metrics_https_insecure_skip_verify: bool = True
    disable_endpoint_subset_filter: bool = False
    allow_experimental_plugins: bool = False
    emit_endpoint_scores: bool = False
    drain_timeout: float = 30.0
    otlp_traces: str = ""
    v: int = 2
    metric_overrides: dict[str, str] = field(default_factory=dict)  # MetricMapping field -> spec

    def check(self) -> None:
        """PickerConfigError for flags that contradict each other."""
        if bool(self.pool_name) == bool(self.endpoint_selector):
            raise PickerConfigError("either --pool-name or --endpoint-selector must be set (one of them)")
        if self.config_file and self.config_text:
            raise PickerConfigError("--config-file and --config-text can not be set at the same time")
        if self.model_server_metrics_scheme not in ("http", "https"):
            raise PickerConfigError(
                f'unexpected "{self.model_server_metrics_scheme}" value for --model-server-metrics-scheme, '
                "it can only be set to 'http' or 'https'"
            )
        if not 0 < self.grpc_max_recv_msg_size <= BODY:
            raise PickerConfigError(
                f"--grpc-max-recv-msg-size is {self.grpc_max_recv_msg_size}; it can be 1 to {BODY} bytes"
            )


def _integer(text: str) -> int:
    return int(text, 0)


def _boolean(text: str) -> bool:
    if text in ("1", "t", "T", "true", "TRUE", "True"):
        return True
    if text in ("0", "f", "F", "false", "FALSE", "False"):
        return False
    raise ValueError(f"{text!r} is not a boolean; write true or false")


_METRIC_FLAGS = {
    "total-queued-requests-metric": "queued",
    "total-running-requests-metric": "running",
    "kv-cache-usage-percentage-metric": "kv_usage",
    "lora-info-metric": "lora",
    "cache-info-metric": "cache_info",
}
_PARSERS: Mapping[str, Callable[[str], Any]] = {
    "grpc-port": _integer,
    "grpc-max-recv-msg-size": _integer,
    "grpc-health-port": _integer,
    "metrics-port": _integer,
    "seed": _integer,
    "v": _integer,
    "model-server-metrics-port": _integer,
    "refresh-metrics-interval": parse_duration,
    "metrics-staleness-threshold": parse_duration,
    "drain-timeout": parse_duration,
    "secure-serving": _boolean,
    "health-checking": _boolean,
    "allow-experimental-plugins": _boolean,
    "decision-log-brief": _boolean,
    "disable-endpoint-subset-filter": _boolean,
    "emit-endpoint-scores": _boolean,
    "model-server-metrics-https-insecure-skip-verify": _boolean,
}
_STRINGS = frozenset(
    {
        "pool-name",
        "pool-namespace",
        "endpoint-selector",
        "bind-address",
        "cert-path",
        "config-file",
        "config-text",
        "compat",
        "endpoints-file",
        "objectives-file",
        "decision-log",
        "otlp-traces",
        "plugin",
        "model-server-metrics-path",
        "model-server-metrics-scheme",
    }
)
# Flags of some EPP version that mean nothing here. The value says whether the flag is a boolean.
_IGNORED: Mapping[str, bool] = {
    "enable-cert-reload": True,
    "enable-grpc-stream-metrics": True,
    "enable-pprof": True,
    "endpoint-target-ports": False,
    "fairness-id-metric-label-limit": False,
    "grpc-max-send-msg-size": False,
    "ha-enable-leader-election": True,
    "kubeconfig": False,
    "max-pool-buffer-size": False,
    "metrics-cert-dir": False,
    "metrics-client-ca-file": False,
    "metrics-endpoint-auth": True,
    "pool-group": False,
    "refresh-prometheus-metrics-interval": False,
    "tls-cipher-suites": False,
    "tls-min-version": False,
    "tracing": True,
    "zap-devel": True,
    "zap-encoder": False,
    "zap-log-level": False,
    "zap-stacktrace-level": False,
    "zap-time-encoding": False,
}


def parse_options(argv: Sequence[str], env: Mapping[str, str] = os.environ) -> Options:
    """PickerConfigError names the flag that cannot be used."""
    options = Options()
    rest = list(argv)
    while rest:
        name, value = _next_flag(rest)
        if name in _IGNORED:
            continue
        if name in _METRIC_FLAGS:
            options.metric_overrides[_METRIC_FLAGS[name]] = value
            continue
        try:
            parsed = _PARSERS[name](value) if name in _PARSERS else value
        except ValueError as error:
            raise PickerConfigError(f'invalid value "{value}" for flag -{name}: {error}') from None
        if name == "plugin":
            options.plugin.append(value)
        else:
            setattr(options, name.replace("-", "_"), parsed)
    options.pool_namespace = options.pool_namespace or env.get("NAMESPACE", "") or "default"
    options.check()
    return options


def _next_flag(rest: list[str]) -> tuple[str, str]:
    """Takes one flag and its value off the front of `rest`."""
    word = rest.pop(0)
    if not word.startswith("-") or word in ("-", "--"):
        raise PickerConfigError(
            f"unexpected argument {word!r}; a boolean flag takes its value after =, "
            "as in --secure-serving=false"
        )
    name, separator, value = word.lstrip("-").partition("=")
    if name not in _PARSERS and name not in _STRINGS and name not in _IGNORED and name not in _METRIC_FLAGS:
        raise PickerConfigError(f"flag provided but not defined: -{name}; --help lists the flags")
    if separator:
        return name, value
    if _IGNORED.get(name) or _PARSERS.get(name) is _boolean:
        return name, "true"
    if not rest:
        raise PickerConfigError(f"flag needs an argument: -{name}")
    return name, rest.pop(0)


HELP = """\
usage: python -m gateway.picker --pool-name NAME --endpoints-file FILE [flags]

The reference endpoint picker: an Envoy ext_proc server that answers as the EPP of the Gateway API Inference
Extension and of llm-d does, without Kubernetes. Prints one line that starts with "ready" when it serves.

pool
  --pool-name NAME              name of the InferencePool (or --endpoint-selector k=v,...)
  --pool-namespace NS           its namespace (default: $NAMESPACE, then "default")
  --endpoints-file FILE         endpoints in llm-d-router's file-discovery format; changes count within 100 ms
  --objectives-file FILE        InferenceObjectives and InferenceModelRewrites, YAML or JSON; watched too
ports
  --bind-address ADDR           127.0.0.1; all three ports listen there
  --grpc-port N                 9002, ext_proc      --grpc-health-port N  9003      --metrics-port N  9090
  --secure-serving[=false]      TLS on ext_proc (default true)
  --cert-path DIR               tls.crt and tls.key of it; without it the certificate is self-signed
  --health-checking             gRPC health on the ext_proc port too
  --grpc-max-recv-msg-size N    4194304, bytes of one ext_proc message
decisions
  --config-file FILE            EndpointPickerConfig (or --config-text TEXT)
  --compat NAME                 gie-v1.0 to gie-v1.5, llm-d-v0.4 to llm-d-v0.10 or llm-d-head (default: the
                                release that has what the configuration names, gie-v1.2 or llm-d-v0.10 first)
  --allow-experimental-plugins  plugins that llm-d-router calls Alpha
  --plugin FILE                 a Python file with PLUGINS = {"my-scorer": scorer(function)}; may be repeated
  --seed N                      makes random ties and pickers repeatable
  --decision-log FILE           one JSON line per request: candidates, metrics and their age, scores, pick
  --decision-log-brief          of each decision the pick and the 8 best others; at most twice 64 MiB on disk
  --emit-endpoint-scores        scores as dynamic metadata
  --disable-endpoint-subset-filter
metrics of the endpoints
  --refresh-metrics-interval D  50ms      --metrics-staleness-threshold D  2s
  --model-server-metrics-port N | -path PATH | -scheme http|https | -https-insecure-skip-verify
  --total-queued-requests-metric, --total-running-requests-metric, --kv-cache-usage-percentage-metric,
  --lora-info-metric, --cache-info-metric SPEC    name or name{label=value}; "" for none
other
  --otlp-traces URL             a span of each pick for this OTLP/HTTP collector, http://HOST:4318/v1/traces
  --v N                         5 logs debug lines      --drain-timeout D  30s, for open streams at the end

Every other flag of an EPP release is accepted and means nothing here.
"""
