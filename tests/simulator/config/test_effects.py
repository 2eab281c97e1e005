"""What every flag comes to: its field of ServeConfig or EngineConfig, given and not given.

One row a flag that does something; a flag without a row is a failing test. Where a default depends on other
flags, the row shows it for vLLM 0.33 without a profile, and test_resolve or test_engine_settings the rest.
"""

from __future__ import annotations

import dataclasses
import math
from functools import reduce
from pathlib import Path
from typing import Any

import pytest

from simulator.config.flags.flag import Kind
from simulator.config.flags.table import FLAGS
from simulator.config.resolve import parse_args
from simulator.config.serve import LoRAModule, ServeConfig
from simulator.engine.spec.settings import SpecConfig, by_rate
from simulator.engine.text.output_length import ThinkingLength

HERE = str(Path(__file__).parent)
Row = tuple[str, str, Any, Any]  # (command line, field, value when given, value when not)


def config(*argv: str) -> ServeConfig:
    return parse_args([*argv] if "--model" in argv else ["--model", "m", *argv], {})


def field(made: ServeConfig, path: str) -> Any:
    return reduce(getattr, path.split("."), made)


MODEL: list[Row] = [
    ("--model org/x", "model", "org/x", "m"),
    ("--served-model-name a b", "served_model_names", ("a", "b"), ("m",)),
    (f"--tokenizer {HERE}", "text.tokenizer", HERE, None),
    ("--max-model-len 1K", "engine.max_model_len", 1024, 32768),
    ("--seed 7", "text.seed", 7, None),
    ('--override-generation-config {"max_new_tokens":5}', "override_generation_config",
     {"max_new_tokens": 5}, {}),
    ("--max-logprobs -1", "max_logprobs", -1, 20),
    ("--chat-template {{messages}}", "text.chat_template", "{{messages}}", None),
    ("--trust-request-chat-template", "trust_request_chat_template", True, False),
    ("--trust-request-mm-kwargs", "trust_request_mm_kwargs", True, False),
    ('--default-chat-template-kwargs {"thinking":true}', "default_chat_template_kwargs",
     {"thinking": True}, {}),
]  # fmt: skip
SCHEDULER: list[Row] = [
    ("--max-num-seqs 7", "engine.max_num_seqs", 7, 256),
    ("--max-num-batched-tokens 4k", "engine.max_num_batched_tokens", 4000, 2048),
    ("--no-enable-chunked-prefill", "engine.enable_chunked_prefill", False, True),
    ("--long-prefill-token-threshold 512", "engine.long_prefill_token_threshold", 512, 0),
    ("--long-prefill-token-threshold-adaptive", "engine.long_prefill_token_threshold_adaptive", True, False),
    ("--max-num-active-seqs 9", "engine.max_num_active_seqs", 9, None),
    ("--max-num-scheduled-tokens 99", "engine.max_num_scheduled_tokens", 99, None),
    ("--prefill-schedule-interval 3", "engine.prefill_schedule_interval", 3, 1),
    ("--no-scheduler-reserve-full-isl", "engine.admission", "chunk", "whole-prompt"),
    (
        '--speculative-config {"method":"ngram","num_speculative_tokens":2}',
        "engine.spec",
        SpecConfig(2, by_rate(0.7, 2), "ngram"),
        None,
    ),
    ("--per-request-spec-decode-metrics summary", "per_request_spec_decode_metrics", "summary", "none"),
    ("--scheduling-policy priority", "engine.scheduling_policy", "priority", "fcfs"),
    ("--no-async-scheduling", "engine.async_scheduling", False, True),
    ("--watermark 0.25", "engine.watermark", 0.25, 0.0),
    ("--max-num-queued-reqs 0", "max_num_queued_reqs", 0, None),
    ("--max-num-queued-tokens 2M", "max_num_queued_tokens", 2 * 2**20, None),
    ("--max-waiting-queue-length 9", "max_waiting_queue_length", 9, None),
    ("--stream-interval 4", "stream_interval", 4, 1),
]
CACHE: list[Row] = [
    ("--block-size 32", "engine.block_size", 32, 16),
    ("--num-gpu-blocks-override 4096", "engine.num_gpu_blocks", 4096, 8192),
    ("--kv-cache-memory-bytes 8G", "engine.num_gpu_blocks", 4096, 8192),
    ("--kv-cache-size 4096", "engine.num_gpu_blocks", 4096, 8192),
    ("--no-enable-prefix-caching", "engine.enable_prefix_caching", False, True),
    ("--prefix-caching-hash-algo sha256_cbor", "engine.hash_algo", "sha256_cbor", "fast"),
    ('--kv-events-config {"enable_kv_cache_events":true}', "engine.kv_events", True, False),
    ('--kv-transfer-config {"kv_connector":"NixlConnector","kv_role":"kv_both"}', "kv_role",
     "kv_both", None),
    ("--kv-offloading-size 2", "engine.kv_offload_bytes", 2 * 2**30, 0),
    ("--kv-offload-bandwidth 50", "engine.kv_offload_bandwidth", 50e9, 25e9),
    ("--pipeline-parallel-size 2", "engine.kv_pp_size", 2, 1),
    ("--decode-context-parallel-size 2", "engine.kv_dcp_size", 2, 1),
    ("--enable-kvcache", "kv_events.enabled", True, False),
    ("--global-cache-hit-threshold 0.5", "global_cache_hit_threshold", 0.5, 0.0),
    ("--hash-seed 42", "engine.hash_seed", "42", None),
]  # fmt: skip
KV_EVENTS: list[Row] = [  # flags that count only beside --enable-kvcache
    ("--zmq-endpoint tcp://epp:1", "kv_events.endpoint", "tcp://epp:1", "tcp://127.0.0.1:5557"),
    ("--event-batch-size 3", "kv_events.batch_size", 3, 16),
    ("--use-vllm-map-event-format", "kv_events.encoding", "map", "array"),
    ("--kv-events-replay-endpoint tcp://*:2", "kv_events.replay_endpoint", "tcp://*:2", None),
    ("--kv-events-replay-queue-size 8", "kv_events.buffer_steps", 8, 1024),
]
LORA: list[Row] = [
    ("--no-enable-lora", "engine.enable_lora", False, True),
    ("--lora-modules a=/a", "lora_modules", (LoRAModule("a", "/a"),), ()),
    ("--max-loras 3", "engine.max_loras", 3, 1),
    ("--max-cpu-loras 5", "engine.max_cpu_loras", 5, None),
    ("--max-lora-rank 64", "max_lora_rank", 64, 16),
    ("--lora-load-time 250ms", "latency.lora_load_time", 0.25, 0.0),
]
SERVER: list[Row] = [
    ("--host 127.0.0.2", "host", "127.0.0.2", "127.0.0.1"),
    ("--port 9000", "port", 9000, 8000),
    ("--uds /tmp/x.sock", "uds", "/tmp/x.sock", None),
    ("--root-path /api", "root_path", "/api", ""),
    ("--api-key k1 k2", "api_keys", ("k1", "k2"), ()),
    (f"--ssl-ca-certs {__file__}", "ssl_ca_certs", __file__, None),
    ('--allowed-origins ["http://a"]', "allowed_origins", ("http://a",), ()),
    ('--allowed-methods ["GET"]', "allowed_methods", ("GET",), ("*",)),
    ('--allowed-headers ["x-a"]', "allowed_headers", ("x-a",), ("*",)),
    ("--allow-credentials", "allow_credentials", True, False),
    ("--disable-fastapi-docs", "disable_fastapi_docs", True, False),
    ("--enable-sleep-mode", "enable_sleep_mode", True, False),
    ("--enable-ssl-refresh", "enable_ssl_refresh", True, False),
    ("--enable-scale-out", "enable_scale_out", True, False),
    ("--tokens-only", "tokens_only", True, False),
    ("--enable-tokenizer-info-endpoint", "enable_tokenizer_info_endpoint", True, False),
    ("--runner pooling", "runner", "pooling", "auto"),
    ("--api-overhead 2ms", "engine.api_overhead", 0.002, 0.0),
    ("--shutdown-timeout 30", "shutdown_timeout", 30.0, 0.0),
    ("--shutdown-mode kubernetes", "shutdown_mode", "kubernetes", "abort"),
    ("--data-parallel-size 2", "data_parallel_size", 2, 1),
    ("--data-parallel-rank 1", "data_parallel_rank", 1, None),
    ("--data-parallel-external-lb", "ranks.mode", "external", "internal"),
    ("--data-parallel-hybrid-lb", "ranks.mode", "hybrid", "internal"),
    ("--data-parallel-multi-port-external-lb", "ranks.mode", "multi-port", "internal"),
    ("--self-signed-certs", "self_signed_certs", True, False),
    ("--startup-duration 1m30s", "startup_duration", 90.0, 0.0),
    ("--h11-max-incomplete-event-size 2048", "max_head_size", 2048, 64 * 2**10),
    ("--h11-max-header-count 5", "max_header_count", 5, 256),
    ("--no-disable-uvicorn-access-log", "log_http", True, False),
    ("--max-request-body-size-mb 2", "max_request_body_size", 2 * 2**20, 10 * 2**20),
    ("--pod-name p", "pod_name", "p", None),
    ("--pod-namespace ns", "pod_namespace", "ns", None),
]
ANSWERS: list[Row] = [
    ("--tool-call-parser hermes", "tool_call_parser", "hermes", None),
    ("--reasoning-parser qwen3", "reasoning.parser", "qwen3", None),
    ('--reasoning-config {"reasoning_end_str":"so</think>"}', "reasoning.forced_end", "so</think>", None),
    ("--thinking-tokens 40", "reasoning.thinking", ThinkingLength(40), None),
    ("--response-role bot", "response_role", "bot", "assistant"),
    ("--enable-prompt-tokens-details", "enable_prompt_tokens_details", True, False),
    ("--enable-force-include-usage", "enable_force_include_usage", True, False),
    ("--enable-per-request-metrics", "enable_per_request_metrics", True, False),
    ("--enable-server-load-tracking", "enable_server_load_tracking", True, False),
    ("--enable-request-id-headers", "enable_request_id_headers", True, False),
    ("--return-tokens-as-token-ids", "return_tokens_as_token_ids", True, False),
    ("--sse-keep-alive-interval 2", "sse_keep_alive_interval", 2.0, 0.0),
    ("--fingerprint-mode hash", "fingerprint_mode", "hash", "full"),
    ("--fingerprint-value fp", "fingerprint_value", "fp", None),
    ("--default-embedding-dimensions 8", "default_embedding_dimensions", 8, 384),
]
LOGS: list[Row] = [
    ("--otlp-traces-endpoint http://127.0.0.1:4318", "otlp_traces_endpoint", "http://127.0.0.1:4318", None),
    ("--disable-log-stats", "disable_log_stats", True, False),
    ("--enable-log-requests", "enable_log_requests", True, False),
    ("--enable-log-outputs --enable-log-requests", "enable_log_outputs", True, False),
    ("--uvicorn-log-level warning", "log_level", "warning", "info"),
    ("--log-level DEBUG", "log_level", "debug", "info"),
    ("--show-hidden-metrics-for-version 0.32", "show_hidden_metrics", True, False),
    ('--custom-histogram-buckets {"vllm:x":[1,2.5]}', "custom_histogram_buckets", {"vllm:x": (1.0, 2.5)}, {}),
    ('--fake-metrics {"running-requests":1}', "fake_metrics", {"running-requests": 1}, None),
    ("--fake-metrics-refresh-interval 2s", "fake_metrics_refresh_interval", 2.0, 0.1),
    ("--log-http", "log_http", True, False),
    ("--log-format json", "log_format", "json", "text"),
]
TEXT: list[Row] = [
    ("--mode echo", "text.mode", "echo", "random"),
    ("--dataset-path d.jsonl", "text.dataset_path", "d.jsonl", None),
    ("--max-tool-call-integer-param 7", "tools.max_integer", 7, 100),
    ("--min-tool-call-integer-param -7", "tools.min_integer", -7, 0),
    ("--max-tool-call-number-param 7.5", "tools.max_number", 7.5, 100.0),
    ("--min-tool-call-number-param -0.5", "tools.min_number", -0.5, 0.0),
    ("--max-tool-call-array-param-length 9", "tools.max_array_length", 9, 5),
    ("--min-tool-call-array-param-length 0", "tools.min_array_length", 0, 1),
    ("--tool-call-not-required-param-probability 0", "tools.not_required_param_probability", 0, 50),
    ("--object-tool-call-not-required-field-probability 100",
     "tools.object_not_required_field_probability", 100, 50),
    ("--tool-call-extra-call-probability 1", "tools.extra_call_probability", 1, 45),
]  # fmt: skip
FAULTS: list[Row] = [
    ("--failure-injection-rate 100", "faults.rate", 100, 0),
    ("--failure-types rate_limit server_error", "faults.types", ("rate_limit", "server_error"), ()),
    ("--control-port 9100", "control.port", 9100, None),
    ("--control-host localhost", "control.host", "localhost", "127.0.0.1"),
    ("--control-token t", "control.token", "t", None),
]
LATENCY: list[Row] = [
    ("--latency constant", "latency.kind", "constant", "zero"),
    ("--latency-calculator per-token", "latency.calculator", "per-token", ""),
    ("--time-to-first-token 1500", "latency.time_to_first_token", 1.5, 0.0),
    ("--time-to-first-token-std-dev 2ms", "latency.time_to_first_token_std_dev", 0.002, 0.0),
    ("--inter-token-latency 500us", "latency.inter_token_latency", 0.0005, 0.0),
    ("--inter-token-latency-std-dev 1ms", "latency.inter_token_latency_std_dev", 0.001, 0.0),
    ("--prefill-overhead 4ms", "latency.prefill_overhead", 0.004, 0.0),
    ("--prefill-time-per-token 0.5", "latency.prefill_time_per_token", 0.0005, 0.0),
    ("--prefill-time-std-dev 8ms", "latency.prefill_time_std_dev", 0.008, 0.0),
    ("--kv-cache-transfer-latency 16ms", "latency.kv_cache_transfer_latency", 0.016, 0.0),
    ("--kv-cache-transfer-latency-std-dev 3ms", "latency.kv_cache_transfer_latency_std_dev", 0.003, 0.0),
    ("--kv-cache-transfer-time-per-token 1us", "latency.kv_cache_transfer_time_per_token", 1e-6, 0.0),
    ("--kv-cache-transfer-time-std-dev 5ms", "latency.kv_cache_transfer_time_std_dev", 0.005, 0.0),
    ("--time-factor-under-load 2.5", "latency.time_factor_under_load", 2.5, 1.0),
    ("--profile llama-3.1-8b/h100", "latency.profile", "llama-3.1-8b/h100", None),
    ('--step-model {"c0":1,"c1":2,"c2":3,"k":4,"c3":5,"c4":6,"c5":7}', "latency.step_coefficients",
     {"c0": 1, "c1": 2, "c2": 3, "k": 4, "c3": 5, "c4": 6, "c5": 7}, {}),
    ("--host-overhead-per-step 1ms", "latency.host_overhead_per_step", 0.001, None),
    ("--host-overhead-per-sequence 10us", "latency.host_overhead_per_sequence", 1e-5, None),
    ("--step-jitter 0.3", "latency.step_jitter", 0.3, 0.0),
]  # fmt: skip
IMITATION: list[Row] = [
    ("--compat vllm-0.11", "compat", "vllm-0.11", "vllm-0.33"),
    ("--strict", "strict", True, False),
    ("--metrics-compat llm-d-0.7", "metrics_compat", "llm-d-0.7", None),
    ("--strict-content-type", "strict_content_type", True, False),
    ("--check-invariants", "engine.check_invariants", True, False),
]
ROWS = [*MODEL, *SCHEDULER, *CACHE, *LORA, *SERVER, *ANSWERS, *LOGS, *TEXT, *FAULTS, *LATENCY, *IMITATION]
# Without a field of their own: where each is tried instead.
ELSEWHERE = {
    **dict.fromkeys(("data-parallel-size-local", "data-parallel-start-rank"), "test_data_parallel"),
    "enable-auto-tool-choice": "test_tool_parsers, with its parser",
    **dict.fromkeys(
        ("spec-method", "spec-model", "spec-tokens", "spec-acceptance", "spec-draft-time"), "test_speculation"
    ),
    "config": "test_configfile",
    "dataset-url": "test_resolve, in place of --dataset-path",
    "ssl-certfile": "test_conflicts, in pairs",
    "ssl-keyfile": "test_conflicts, in pairs",
}


def flag_of(row: Row) -> str:
    name = row[0].split()[0].removeprefix("--")
    return name if name in FLAGS else name.removeprefix("no-")


@pytest.mark.parametrize(("line", "path", "given", "default"), ROWS, ids=[r[0].split()[0] for r in ROWS])
def test_a_flag_sets_its_field(line: str, path: str, given: Any, default: Any) -> None:
    assert field(config(), path) == default
    found = field(config(*line.split()), path)
    assert (found, type(found)) == (given, type(given))


@pytest.mark.parametrize(
    ("line", "path", "given", "default"), KV_EVENTS, ids=[r[0].split()[0] for r in KV_EVENTS]
)
def test_a_flag_of_llmds_kv_events_counts_when_they_are_on(
    line: str, path: str, given: Any, default: Any
) -> None:
    assert field(config("--enable-kvcache"), path) == default
    assert field(config("--enable-kvcache", *line.split()), path) == given
    assert field(config(*line.split()), path) == field(config(), path), "off: nothing changes"


def test_every_flag_that_does_something_has_a_row() -> None:
    rows = [flag_of(row) for row in (*ROWS, *KV_EVENTS)]
    assert len(rows) == len(set(rows)), "one row a flag"
    assert {*rows, *ELSEWHERE} == {name for name, flag in FLAGS.items() if not flag.inert}


# What else a flag of these moves, beside its own field.
ALSO = {
    "model": {"served_model_names"},
    "enable-auto-tool-choice": {"tool_call_parser"},  # without which it is refused
    "enable-log-outputs": {"enable_log_requests"},
    "seed": {"engine.seed"},
    "enable-chunked-prefill": {"engine.max_num_batched_tokens"},  # the budget holds a whole prompt
    "block-size": {"user_specified_block_size"},
    "num-gpu-blocks-override": {"num_gpu_blocks_override"},
    "prefix-caching-hash-algo": {"prefix_caching_hash_algo"},
    "kv-events-config": {"kv_events.enabled"},
    "kv-offloading-size": {"kv_connector"},
    "data-parallel-size": {"ranks.size", "ranks.count"},
    "data-parallel-rank": {"ranks.mode", "ranks.first"},
    "speculative-config": {"engine.async_scheduling"},
    "reasoning-parser": {"reasoning.thinking", "reasoning.is_default"},
    "kv-transfer-config": {"kv_connector", "engine.kv_connector"},
    "enable-kvcache": {f"kv_events.{name}" for name in (
        "endpoint", "buffer_steps", "topic", "encoding", "first_sequence", "batch_size")}
        | {"engine.kv_events"},
    "shutdown-timeout": {"shutdown_mode"},
    "shutdown-mode": {"shutdown_timeout"},
    "dataset-path": {"text.mode"},
    "step-model": {"latency.kind"},
    "profile": {"latency.kind", "engine.max_num_seqs", "engine.max_num_batched_tokens",
                "engine.num_gpu_blocks"},
    "compat": {f"engine.{name}" for name in (
        "async_scheduling", "admission", "free_list", "stop_order", "lora_scope", "prefix_queries",
        "iteration_tokens", "hash_keys", "lone_prefill_is_capped", "self_preemption_ends_pass",
        "long_prompt_is_overtaken", "deferred_order", "detects_repetition", "kv_hand_off")},
    "strict": {"strict_content_type", "metrics_compat", "allow_runtime_lora_updating", "engine.enable_lora"},
}  # fmt: skip
TIMES = {
    "time_to_first_token",
    "inter_token_latency",
    "prefill_overhead",
    "prefill_time",
    "kv_cache_transfer",
}


def flat(made: Any, prefix: str = "") -> dict[str, Any]:
    """All fields by their paths, those of nested configurations too."""
    found: dict[str, Any] = {}
    for item in dataclasses.fields(made):
        value = getattr(made, item.name)
        nested = dataclasses.is_dataclass(value) and not isinstance(value, type)
        found |= flat(value, f"{prefix}{item.name}.") if nested else {prefix + item.name: value}
    return found


@pytest.mark.parametrize("row", ROWS, ids=[r[0].split()[0] for r in ROWS])
def test_a_flag_moves_nothing_but_its_fields(row: Row) -> None:
    made, plain = flat(config(*row[0].split())), flat(config())
    moved = {path for path in plain if made.get(path, "nested now") != plain[path]}
    also = ALSO.get(flag_of(row), set())
    if row[1].startswith("latency.") and any(row[1].startswith(f"latency.{time}") for time in TIMES):
        also = {"latency.kind"}  # any of llm-d's times turns its model on
    assert moved == {row[1]} | also


# Flags whose default is a value that can be typed: writing it changes nothing.
TYPED_DEFAULTS = [
    name for name, flag in FLAGS.items()
    if not flag.inert and flag.default and not flag.many and flag.kind is not Kind.JSON
    and (flag.kind is Kind.BOOL or flag.default.replace(".", "").isdigit() or flag.default in flag.choices
         or flag.default in ("assistant", "127.0.0.1", "vllm-0.33", "100ms"))
    and name not in ("block-size", "num-gpu-blocks-override")  # shown as given by cache_config_info
]  # fmt: skip


@pytest.mark.parametrize("name", TYPED_DEFAULTS)
def test_the_default_that_help_shows_is_the_default(name: str) -> None:
    flag = FLAGS[name]
    given = f"--{name}={flag.default}"
    if flag.kind is Kind.BOOL:
        given = f"--{name}" if flag.default == "true" else f"--no-{name}"
    if name == "disable-log-stats":
        pytest.skip("vLLM has no flag that takes it back")
    made = config(given)
    plain = config()
    same = {k: (getattr(made, k), getattr(plain, k)) for k in ServeConfig.__dataclass_fields__}
    if name == "prefix-caching-hash-algo":  # vLLM's own name is shown where none is given
        assert same.pop("prefix_caching_hash_algo") == ("fast", "sha256")
    assert {k: v for k, v in same.items() if v[0] != v[1]} == {}


def test_a_list_of_typed_defaults_that_is_not_empty() -> None:
    assert len(TYPED_DEFAULTS) > 60


def test_what_follows_from_one_flag_for_another_field() -> None:
    assert config("--seed", "7").engine.seed == 7
    assert config("--seed", "7").seed == 7
    assert config().engine.seed == 0, "the engine's own choices repeat; texts differ from run to run"
    assert config("--block-size", "16").user_specified_block_size
    assert not config().user_specified_block_size
    assert config("--num-gpu-blocks-override", "4096").num_gpu_blocks_override == 4096
    assert config("--kv-cache-size", "4096").num_gpu_blocks_override is None
    assert config("--prefix-caching-hash-algo", "xxhash").engine.hash_algo == "fast"
    assert config("--prefix-caching-hash-algo", "xxhash").prefix_caching_hash_algo == "xxhash"
    assert config("--served-model-name", "a", "b").served_model_name == "a"
    assert config("--dataset-path", "d.jsonl").text.mode == "dataset"
    assert config("--mode", "random", "--dataset-path", "d.jsonl").text.mode == "dataset"


def test_transfer_settings_reach_the_engine() -> None:
    given = '{"kv_connector":"N","kv_role":"kv_producer","engine_id":"e","kv_ip":"10.0.0.1","kv_port":7000}'
    made = config("--kv-transfer-config", given, "--tensor-parallel-size", "2")
    engine = made.engine
    assert (engine.kv_engine_id, engine.kv_host, engine.kv_port, engine.kv_tp_size) == (
        "e",
        "10.0.0.1",
        7000,
        2,
    )
    assert (made.kv_connector, made.kv_role) == ("N", "kv_producer")
    plain = config().engine
    assert (plain.kv_engine_id, plain.kv_host, plain.kv_port, plain.kv_tp_size) == ("", "localhost", 5600, 1)


def test_the_log_level_of_llmd_wins_over_uvicorns() -> None:
    assert config("--log-level", "error", "--uvicorn-log-level", "trace").log_level == "error"
    assert config("--uvicorn-log-level", "trace").log_level == "trace"


@pytest.mark.parametrize(
    ("argv", "mode", "timeout"),
    [
        ((), "abort", 0.0),
        (("--shutdown-timeout", "0"), "abort", 0.0),
        (("--shutdown-timeout", "5"), "drain", 5.0),
        (("--shutdown-mode", "drain"), "drain", math.inf),
        (("--shutdown-mode", "kubernetes"), "kubernetes", math.inf),
        (("--shutdown-mode", "kubernetes", "--shutdown-timeout", "5"), "kubernetes", 5.0),
        (("--shutdown-mode", "abort", "--shutdown-timeout", "5"), "abort", 5.0),
    ],
)
def test_how_a_server_shuts_down(argv: tuple[str, ...], mode: str, timeout: float) -> None:
    made = config(*argv)
    assert (made.shutdown_mode, made.shutdown_timeout) == (mode, timeout)
