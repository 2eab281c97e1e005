"""Given values -> ServeConfig: defaults that depend on each other, checks that concern more than one flag."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from simulator.config.commandline.given import Values
from simulator.config.commandline.parser import Arguments, Given
from simulator.config.commandline.vllm_parser import check_together, parse_arguments
from simulator.config.compat import COMPATS, DEFAULT_COMPAT, Compat
from simulator.config.compat import compat as find_compat
from simulator.config.data_parallel import ranks
from simulator.config.engine_settings import (
    engine_config,
    kv_connector,
    kv_events_enabled,
    latency_config,
    values_int,
)
from simulator.config.flags.table import FLAGS
from simulator.config.flags.values import read
from simulator.config.lora import lora_enabled, lora_modules
from simulator.config.reasoning import reasoning_config
from simulator.config.serve import (
    ControlConfig,
    FaultConfig,
    KVEventsConfig,
    ServeConfig,
    ShutdownMode,
    ToolCallConfig,
)
from simulator.config.text_settings import text_config
from simulator.config.tool_parsers import check_tool_parser
from simulator.errors import ConfigError

_DEFAULT_MODEL = "Qwen/Qwen3-0.6B"  # vLLM's
_LOOPBACK = ("127.", "localhost", "::1")
_ENVIRONMENT = {  # variable -> flag; the first variable that is set wins
    "SIM_MODEL": "model",
    "PYTHONHASHSEED": "hash-seed",
    "POD_NAME": "pod-name",
    "POD_NAMESPACE": "pod-namespace",
    "NAMESPACE": "pod-namespace",
    "VLLM_API_KEY": "api-key",
}
# ServeConfig fields that are a flag's value as given, else the field's default
_PLAIN = (
    "uds", "runner", "otlp_traces_endpoint", "max_lora_rank", "max_num_queued_reqs", "max_num_queued_tokens",
    "enable_request_id_headers", "enable_prompt_tokens_details", "enable_force_include_usage",
    "per_request_spec_decode_metrics", "enable_per_request_metrics", "enable_server_load_tracking",
    "enable_auto_tool_choice",
    "tool_call_parser", "return_tokens_as_token_ids", "trust_request_chat_template",
    "trust_request_mm_kwargs",
    "response_role", "max_logprobs", "stream_interval", "sse_keep_alive_interval", "fingerprint_mode",
    "fingerprint_value", "default_embedding_dimensions", "global_cache_hit_threshold", "ssl_certfile",
    "ssl_keyfile", "ssl_ca_certs", "self_signed_certs", "enable_ssl_refresh", "allow_credentials",
    "disable_fastapi_docs",
    "enable_scale_out", "tokens_only", "enable_tokenizer_info_endpoint", "enable_sleep_mode",
    "startup_duration", "disable_log_stats", "fake_metrics_refresh_interval",
    "enable_log_requests", "enable_log_outputs", "log_format", "data_parallel_size",
    "data_parallel_rank", "kv_cache_dtype", "pod_name", "pod_namespace", "root_path", "host", "port",
)  # fmt: skip


def parse_args(argv: Sequence[str], env: Mapping[str, str] = os.environ) -> ServeConfig:
    """The configuration that `simfleet serve ARGV` runs with; raises ConfigError."""
    return configuration(parse_arguments(argv), env)


def configuration(arguments: Arguments, env: Mapping[str, str]) -> ServeConfig:
    """The same from arguments already read."""
    values = _layers(arguments, env)
    compat = find_compat(values.get("compat", DEFAULT_COMPAT))
    check_together(values, compat)
    check_tool_parser(values, compat)
    strict: bool = values.get("strict", False)
    model = _model(values, compat)
    names = values.get("served-model-name", ()) or (model,)
    modules = lora_modules(values, names, model)
    seed = values.get("seed", None)
    lora = lora_enabled(values, strict, bool(modules))
    engine, warnings = engine_config(values, compat, seed if seed is not None else 0, lora)
    plain = {
        field: values.get(field.replace("_", "-")) for field in _PLAIN if field.replace("_", "-") in values
    }
    config = ServeConfig(
        model=model,
        served_model_names=tuple(names),
        engine=engine,
        compat=compat.name,
        strict=strict,
        strict_content_type=values.get("strict-content-type", strict),
        metrics_compat=_metrics_compat(values, compat, strict),
        latency=latency_config(values),
        text=text_config(values, seed),
        reasoning=reasoning_config(values),
        ranks=ranks(values, multi_port=compat.multi_port),
        tools=_tools(values),
        kv_events=_kv_events(values, compat, model, env),
        faults=FaultConfig(values.get("failure-injection-rate", 0), values.get("failure-types", ())),
        control=_control(values),
        lora_modules=modules,
        api_keys=tuple(values.get("api-key", ())),
        max_waiting_queue_length=values.get("max-waiting-queue-length", compat.max_waiting_queue_length),
        default_chat_template_kwargs=values.mapping("default-chat-template-kwargs"),
        override_generation_config=values.mapping("override-generation-config"),
        kv_role=values.mapping("kv-transfer-config").get("kv_role"),
        kv_connector=kv_connector(values),
        fake_metrics=values.mapping("fake-metrics") if "fake-metrics" in values else None,
        custom_histogram_buckets=_buckets(values),
        show_hidden_metrics=values.get("show-hidden-metrics-for-version") is not None,
        log_http=values.get("log-http", not values.get("disable-uvicorn-access-log", True)),
        log_level=str(values.get("log-level", values.get("uvicorn-log-level", "info"))).lower(),
        meaningless_flags=tuple(name for name in values if FLAGS[name].inert),
        warnings=tuple(warnings),
        gpu_memory_utilization=_utilization(values),
        prefix_caching_hash_algo=values.get("prefix-caching-hash-algo", "sha256"),
        num_gpu_blocks_override=values.get("num-gpu-blocks-override", None),
        user_specified_block_size="block-size" in values,
        tensor_parallel_size=values_int(values, "tensor-parallel-size"),
        **_http(values),
        **_of_environment(env, strict),
        **_shutdown(values),
        **plain,
    )
    return _checked(config, values)


def _otlp_protocol(env: Mapping[str, str]) -> Literal["grpc", "http/protobuf"]:
    match env.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"):
        case "grpc":
            return "grpc"
        case "http/protobuf":
            return "http/protobuf"
        case other:
            raise ConfigError(f"Unsupported OTLP protocol '{other}' is configured")


def _http(values: Values) -> dict[str, Any]:
    """Limits of requests, and whose pages may send them."""
    return {
        "max_head_size": values.get("h11-max-incomplete-event-size", 64 * 2**10),
        "max_header_count": values.get("h11-max-header-count", 256),
        "max_request_body_size": values.get("max-request-body-size-mb", 10) * 2**20,
        "allowed_origins": _names(values, "allowed-origins", ()),
        "allowed_methods": _names(values, "allowed-methods", ("*",)),
        "allowed_headers": _names(values, "allowed-headers", ("*",)),
    }


def _names(values: Values, flag: str, default: tuple[str, ...]) -> tuple[str, ...]:
    """A JSON list of names; of an object the keys count, as Python iterates over it."""
    given = values.get(flag, default)
    if not isinstance(given, list | tuple | dict):
        raise ConfigError(f'{values.where(flag)}: a JSON list is expected, such as ["*"], not {given!r}')
    return tuple(map(str, given))


def _of_environment(env: Mapping[str, str], strict: bool) -> dict[str, Any]:
    """What vLLM has variables for and no flags."""
    return {
        "allow_runtime_lora_updating": _truth(env, "VLLM_ALLOW_RUNTIME_LORA_UPDATING", not strict),
        "server_dev_mode": _truth(env, "VLLM_SERVER_DEV_MODE", False),
        "responses_store": _truth(env, "VLLM_ENABLE_RESPONSES_API_STORE", False),
        "max_n_sequences": int(_number(env, "VLLM_MAX_N_SEQUENCES", 16384)),
        "max_completion_prompts": int(_number(env, "VLLM_MAX_COMPLETION_PROMPTS", 1024)),
        "otlp_traces_protocol": _otlp_protocol(env),
        "keep_alive_timeout": int(_number(env, "VLLM_HTTP_TIMEOUT_KEEP_ALIVE", 5)),
        "log_stats_interval": _number(env, "VLLM_LOG_STATS_INTERVAL", 10),
    }


def _layers(arguments: Arguments, env: Mapping[str, str]) -> Values:
    line = dict(arguments.given)
    if len(arguments.positional) > 1:
        raise ConfigError(f"one model is expected, not {' '.join(arguments.positional)!r}")
    if arguments.positional:
        line["model"] = Given(arguments.positional[0], "the model argument")
    from_env: dict[str, Given] = {}
    for variable, name in _ENVIRONMENT.items():
        if env.get(variable) and name not in from_env:
            from_env[name] = Given(read(FLAGS[name], env[variable], variable), variable)
    from_file: dict[str, Given] = {}
    if "config" in line:
        from simulator.config.commandline.configfile import read_file  # noqa: PLC0415 - YAML only where it is used

        from_file = read_file(line["config"].value)
    return Values(line, from_env, from_file)


def _model(values: Values, compat: Compat) -> str:
    model = values.text("model")
    if model is not None:
        return model
    if compat.model_required:
        raise ConfigError(
            "--model is missing: name the model, such as --model meta-llama/Llama-3.1-8B-Instruct"
        )
    return _DEFAULT_MODEL


def _metrics_compat(values: Values, compat: Compat, strict: bool) -> str | None:
    name = values.text("metrics-compat")
    if name is not None and name not in COMPATS:
        raise ConfigError(
            f"{values.where('metrics-compat')}: {name!r} is unknown; there are {', '.join(COMPATS)}"
        )
    return name or (compat.name if strict else None)


_TOOL_FLAGS = {
    "max_integer": "max-tool-call-integer-param",
    "min_integer": "min-tool-call-integer-param",
    "max_number": "max-tool-call-number-param",
    "min_number": "min-tool-call-number-param",
    "max_array_length": "max-tool-call-array-param-length",
    "min_array_length": "min-tool-call-array-param-length",
    "not_required_param_probability": "tool-call-not-required-param-probability",
    "object_not_required_field_probability": "object-tool-call-not-required-field-probability",
    "extra_call_probability": "tool-call-extra-call-probability",
}


def _tools(values: Values) -> ToolCallConfig:
    tools = ToolCallConfig(
        **{field: values.get(flag) for field, flag in _TOOL_FLAGS.items() if flag in values}
    )
    for what in ("integer", "number", "array_length"):
        if getattr(tools, f"max_{what}") < getattr(tools, f"min_{what}"):
            flags = _TOOL_FLAGS[f"max_{what}"], _TOOL_FLAGS[f"min_{what}"]
            raise ConfigError(f"--{flags[0]} cannot be less than --{flags[1]}")
    return tools


def _kv_events(values: Values, compat: Compat, model: str, env: Mapping[str, str]) -> KVEventsConfig:
    """vLLM's JSON where it is given, else llm-d's flags."""
    int_hashes = _truth(env, "VLLM_KV_EVENTS_USE_INT_BLOCK_HASHES", True)
    given = dict(values.mapping("kv-events-config"))
    enabled = kv_events_enabled(values)
    if given:
        switch = given.pop("enable_kv_cache_events", False)
        if not isinstance(switch, bool):
            where = values.where("kv-events-config")
            raise ConfigError(f"{where}: enable_kv_cache_events must be true or false, not {switch!r}")
        names = {field.name for field in dataclasses.fields(KVEventsConfig)} - {"enabled"}
        unknown = set(given) - names
        if unknown:
            raise ConfigError(
                f"{values.where('kv-events-config')}: unknown keys {sorted(unknown)}; "
                f"there are enable_kv_cache_events, {', '.join(sorted(names))}"
            )
        _check_kv_events(given, values.where("kv-events-config"))
        given.setdefault("encoding", compat.kv_event_encoding)
        return KVEventsConfig(enabled=enabled, int_hashes=given.pop("int_hashes", int_hashes), **given)
    if not enabled:
        return KVEventsConfig()
    rank = values.get("data-parallel-rank", None) or 0
    address = env.get("POD_IP") or values.get("host", None) or "127.0.0.1"
    if compat.kv_topic_port:
        address = f"{address}:{values.get('port', 8000) + rank}"
    return KVEventsConfig(
        enabled=True,
        endpoint=values.get("zmq-endpoint", "tcp://127.0.0.1:5557"),
        replay_endpoint=values.text("kv-events-replay-endpoint"),
        buffer_steps=values.get("kv-events-replay-queue-size", 1024),
        topic=f"kv@{address}@{model}",
        encoding="map" if values.get("use-vllm-map-event-format", False) else "array",
        int_hashes=int_hashes,
        first_sequence=1,
        batch_size=values.get("event-batch-size", 16),
    )


_TYPE_NAMES = {str: "text", int: "an integer", bool: "true or false"}
_KV_EVENTS_CHOICES = {"publisher": ("zmq", "null"), "encoding": ("map", "array")}


def _check_kv_events(given: Mapping[str, Any], where: str) -> None:
    """Each value of the type that its default has, and of the names there are."""
    for key, value in given.items():
        default = getattr(KVEventsConfig(), key)
        wanted = str if default is None else type(default)
        if type(value) is not wanted and value is not default:
            raise ConfigError(f"{where}: {key} must be {_TYPE_NAMES[wanted]}, not {value!r}")
        choices = _KV_EVENTS_CHOICES.get(key, (value,))
        if value not in choices:
            raise ConfigError(f"{where}: {key} must be {' or '.join(choices)}, not {value!r}")


def _control(values: Values) -> ControlConfig:
    control = ControlConfig(
        values.get("control-port", None),
        values.get("control-host", "127.0.0.1"),
        values.text("control-token"),
    )
    if control.port is not None and control.token is None and not control.host.startswith(_LOOPBACK):
        raise ConfigError(f"--control-host {control.host} is not loopback: it needs a --control-token")
    return control


def _shutdown(values: Values) -> dict[str, Any]:
    timeout = values.get("shutdown-timeout", None)
    mode: ShutdownMode = values.get("shutdown-mode", "drain" if timeout else "abort")
    assert mode in get_args(ShutdownMode)
    if timeout is None:
        timeout = 0.0 if mode == "abort" else math.inf
    return {"shutdown_mode": mode, "shutdown_timeout": float(timeout)}


def _buckets(values: Values) -> Mapping[str, tuple[float, ...]]:
    result: dict[str, tuple[float, ...]] = {}
    for family, bounds in values.mapping("custom-histogram-buckets").items():
        if not isinstance(bounds, list) or not all(isinstance(bound, int | float) for bound in bounds):
            raise ConfigError(f"--custom-histogram-buckets: {family} needs a list of numbers, not {bounds!r}")
        if list(bounds) != sorted(set(bounds)):
            raise ConfigError(f"--custom-histogram-buckets: the bounds of {family} must rise")
        result[family] = tuple(float(bound) for bound in bounds)
    return result


def _utilization(values: Values) -> float:
    given = values.get("gpu-memory-utilization", 0.92)
    where = values.where("gpu-memory-utilization")
    try:
        share = float(given)
    except ValueError:
        raise ConfigError(f"{where}: {given!r} is not a number") from None
    if not 0 < share <= 1:  # in pydantic's words, which are vLLM's
        bound = "greater than 0" if share <= 0 else "less than or equal to 1"
        raise ConfigError(f"{where}: {given}: Input should be {bound}")
    return share


def _truth(env: Mapping[str, str], name: str, default: bool) -> bool:
    text = env.get(name, "").strip().lower()
    return default if not text else text in {"1", "true", "yes", "on"}


def _number(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name, "")
    try:
        number = float(text) if text else default
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise ConfigError(f"{name}: {text!r} is not a number of seconds")
    return number


def _checked(config: ServeConfig, values: Values) -> ServeConfig:
    if bool(config.ssl_certfile) != bool(config.ssl_keyfile):
        raise ConfigError("--ssl-certfile and --ssl-keyfile must be given together")
    if config.self_signed_certs and config.ssl_certfile:
        raise ConfigError("--self-signed-certs cannot go with --ssl-certfile and --ssl-keyfile")
    for path in (config.ssl_certfile, config.ssl_keyfile, config.ssl_ca_certs):
        if path and not os.path.isfile(path):
            raise ConfigError(f"{path}: no such file (TLS)")
    ports = config.ranks.num_ports
    if config.port + ports - 1 > 65535:
        raise ConfigError(f"{values.where('port')}: {ports} ranks from port {config.port} on pass 65535")
    return config
