"""The command line."""

from __future__ import annotations

import pytest

from gateway.picker.errors import PickerConfigError
from gateway.picker.options import Options, parse_options

POOL = ("--pool-name", "p")


def parse(*argv: str, **env: str) -> Options:
    return parse_options([*POOL, *argv], env)


def test_defaults_are_the_epps() -> None:
    options = parse()
    assert (options.grpc_port, options.grpc_health_port, options.metrics_port) == (9002, 9003, 9090)
    assert options.secure_serving
    assert (options.pool_namespace, options.refresh_metrics_interval) == ("default", 0.05)
    assert options.bind_address == "127.0.0.1"
    assert parse(NAMESPACE="from-env").pool_namespace == "from-env"


def test_the_pages_flags() -> None:
    options = parse("--pool-namespace", "ns", "--v", "4", "--zap-encoder", "json", "--config-file", "/c.yaml")
    assert (options.pool_namespace, options.v, options.config_file) == ("ns", 4, "/c.yaml")


@pytest.mark.parametrize("flag", ["--secure-serving=false", "-secure-serving=f", "--secure-serving=0"])
def test_booleans(flag: str) -> None:
    assert not parse(flag).secure_serving
    assert parse("--secure-serving", "--v=1").secure_serving


def test_metric_flags_and_repeated_plugins() -> None:
    options = parse(
        "--kv-cache-usage-percentage-metric=vllm:kv_cache_usage_perc", "--plugin", "a", "--plugin", "b"
    )
    assert options.metric_overrides == {"kv_usage": "vllm:kv_cache_usage_perc"}
    assert options.plugin == ["a", "b"]


@pytest.mark.parametrize(
    "flags",
    [
        ["--tracing=false", "--metrics-endpoint-auth=false", "--enable-pprof", "--ha-enable-leader-election"],
        ["--pool-group", "inference.networking.k8s.io", "--kubeconfig", "/k"],
        ["--tls-min-version", "1.3", "--allow-experimental-plugins"],
    ],
)
def test_flags_of_other_releases_are_taken(flags: list[str]) -> None:
    parse(*flags)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--secure-serving", "false"], "a boolean flag takes its value after ="),
        (["--nonsense"], "flag provided but not defined: -nonsense"),
        (["--grpc-port"], "flag needs an argument: -grpc-port"),
        (["--grpc-port", "many"], 'invalid value "many" for flag -grpc-port'),
        (["--refresh-metrics-interval", "50"], "is not a duration"),
        (["--health-checking=maybe"], "is not a boolean"),
        (["--endpoint-selector", "a=b"], "either --pool-name or --endpoint-selector"),
        (["--config-file", "a", "--config-text", "b"], "can not be set at the same time"),
        (["--model-server-metrics-scheme", "ftp"], "'http' or 'https'"),
    ],
)
def test_refusals(flags: list[str], words: str) -> None:
    with pytest.raises(PickerConfigError) as caught:
        parse(*flags)
    assert words in str(caught.value)


def test_a_pool_or_a_selector_is_needed() -> None:
    with pytest.raises(PickerConfigError):
        parse_options([], {})
    assert parse_options(["--endpoint-selector", "app=x"], {}).endpoint_selector == "app=x"
