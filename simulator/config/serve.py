"""What one replica is set to: `ServeConfig` and its parts. `simulator.config.resolve` makes it.

Times are seconds here; milliseconds and Go durations exist only in what users type. The flags themselves are
data in `simulator.config.flags`; this file knows nothing of their spelling.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from simulator.config.compat import DEFAULT_COMPAT
from simulator.config.data_parallel import Ranks
from simulator.config.reasoning import ReasoningConfig
from simulator.engine.config import EngineConfig

ShutdownMode = Literal["abort", "drain", "kubernetes"]


@dataclass(frozen=True, slots=True)
class LoRAModule:
    """One adapter known at start: an item of `--lora-modules`."""

    name: str
    path: str
    base_model_name: str | None = None


@dataclass(frozen=True, slots=True)
class LatencyConfig:
    """How long work takes. Exactly one of three models results; see `simulator.sources.parts.latency_model`.

    `profile` (or any of `step_coefficients`) selects the step model; otherwise the constants of
    llm-d-inference-sim hold, and with all of them zero everything is instant.
    """

    kind: Literal["zero", "constant", "step"] = "zero"
    # llm-d-inference-sim's flags, seconds
    calculator: Literal["", "constant", "per-token"] = ""
    time_to_first_token: float = 0.0
    time_to_first_token_std_dev: float = 0.0
    inter_token_latency: float = 0.0
    inter_token_latency_std_dev: float = 0.0
    prefill_overhead: float = 0.0
    prefill_time_per_token: float = 0.0
    prefill_time_std_dev: float = 0.0
    kv_cache_transfer_latency: float = 0.0
    kv_cache_transfer_latency_std_dev: float = 0.0
    kv_cache_transfer_time_per_token: float = 0.0
    kv_cache_transfer_time_std_dev: float = 0.0
    time_factor_under_load: float = 1.0
    # the step model
    profile: str | None = None  # a name of engine/pace/profiles.py, or the file of one
    step_coefficients: Mapping[str, float] = field(
        default_factory=dict
    )  # c0..c5 (us), k: replace the profile's
    host_overhead_per_step: float | None = None  # None: the profile's
    host_overhead_per_sequence: float | None = None
    step_jitter: float = 0.0  # standard deviation of a step as a share of it
    lora_load_time: float = 0.0


@dataclass(frozen=True, slots=True)
class TextConfig:
    """What the model says."""

    mode: Literal["random", "echo", "dataset"] = "random"
    dataset_path: str | None = None
    seed: int | None = None  # None: differs from run to run
    tokenizer: str | None = None  # path of a tokenizer.json or its folder; None: the built-in one
    chat_template: str | None = None  # the template's text, already read


@dataclass(frozen=True, slots=True)
class ToolCallConfig:
    """llm-d-inference-sim's flags that shape invented tool calls."""

    max_integer: int = 100
    min_integer: int = 0
    max_number: float = 100.0
    min_number: float = 0.0
    max_array_length: int = 5
    min_array_length: int = 1
    not_required_param_probability: int = 50  # percent
    object_not_required_field_probability: int = 50
    extra_call_probability: int = 45


@dataclass(frozen=True, slots=True)
class KVEventsConfig:
    """vLLM's `--kv-events-config`, or what llm-d's zmq flags come to."""

    enabled: bool = False
    publisher: Literal["zmq", "null"] = "zmq"
    endpoint: str = "tcp://*:5557"
    replay_endpoint: str | None = None
    buffer_steps: int = 10_000
    hwm: int = 100_000
    max_queue_size: int = 100_000
    topic: str = ""
    encoding: Literal["map", "array"] = "map"
    int_hashes: bool = True
    first_sequence: int = 0  # llm-d counts from 1
    batch_size: int = 1  # events to wait for before sending; llm-d's --event-batch-size


@dataclass(frozen=True, slots=True)
class FaultConfig:
    """llm-d's failure injection: `rate` percent of requests answer one of `types`."""

    rate: int = 0
    types: tuple[str, ...] = ()  # empty: all


@dataclass(frozen=True, slots=True)
class ControlConfig:
    """Where the control API listens; `port` None: nowhere."""

    port: int | None = None
    host: str = "127.0.0.1"
    token: str | None = None


@dataclass(frozen=True, slots=True)
class ServeConfig:
    """Everything one `simfleet serve` knows. Names are vLLM's or llm-d-inference-sim's flags."""

    model: str
    served_model_names: tuple[str, ...]  # first: metrics label and the name in answers
    engine: EngineConfig
    host: str = "127.0.0.1"  # nothing listens beyond loopback unless asked
    port: int = 8000
    uds: str | None = None
    root_path: str = ""
    runner: str = "auto"  # pooling: a server that generates nothing
    compat: str = DEFAULT_COMPAT
    strict: bool = False  # nothing beyond the imitated server
    metrics_compat: str | None = None  # None: compat's families plus both names of the KV gauge
    latency: LatencyConfig = field(default_factory=LatencyConfig)
    text: TextConfig = field(default_factory=TextConfig)
    reasoning: ReasoningConfig = field(default_factory=ReasoningConfig)
    tools: ToolCallConfig = field(default_factory=ToolCallConfig)
    kv_events: KVEventsConfig = field(default_factory=KVEventsConfig)
    faults: FaultConfig = field(default_factory=FaultConfig)
    control: ControlConfig = field(default_factory=ControlConfig)

    # LoRA; max_loras and max_cpu_loras stand in `engine`
    lora_modules: tuple[LoRAModule, ...] = ()
    max_lora_rank: int = 16
    allow_runtime_lora_updating: bool = True

    # Kubernetes and data parallelism
    pod_name: str | None = None
    pod_namespace: str | None = None
    ranks: Ranks = field(default_factory=Ranks)
    data_parallel_size: int = 1
    data_parallel_rank: int | None = None  # set: this process is that one rank

    # requests and answers
    api_keys: tuple[str, ...] = ()
    strict_content_type: bool = False
    max_head_size: int = 64 * 1024  # bytes
    max_header_count: int = 256
    max_request_body_size: int = 10 * 1024 * 1024  # bytes
    max_n_sequences: int = 16384  # VLLM_MAX_N_SEQUENCES; here also of all prompts of a request together
    max_completion_prompts: int = 1024  # VLLM_MAX_COMPLETION_PROMPTS
    max_num_queued_reqs: int | None = None  # vLLM: 503
    max_num_queued_tokens: int | None = None
    max_waiting_queue_length: int | None = None  # llm-d: 429
    enable_request_id_headers: bool = False
    enable_prompt_tokens_details: bool = False
    enable_force_include_usage: bool = False
    enable_per_request_metrics: bool = False
    enable_server_load_tracking: bool = False
    per_request_spec_decode_metrics: Literal["none", "summary", "detailed"] = "none"
    enable_auto_tool_choice: bool = False
    tool_call_parser: str | None = None
    return_tokens_as_token_ids: bool = False
    trust_request_chat_template: bool = False
    trust_request_mm_kwargs: bool = False
    response_role: str = "assistant"
    max_logprobs: int = 20
    stream_interval: int = 1
    sse_keep_alive_interval: float = 0.0
    fingerprint_mode: str = "full"
    fingerprint_value: str | None = None
    default_chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    override_generation_config: Mapping[str, Any] = field(default_factory=dict)
    default_embedding_dimensions: int = 384
    global_cache_hit_threshold: float = 0.0
    kv_role: str | None = None  # kv_producer, kv_consumer, kv_both of --kv-transfer-config
    kv_connector: str | None = None

    # traces
    otlp_traces_endpoint: str | None = None
    otlp_traces_protocol: Literal["grpc", "http/protobuf"] = "grpc"

    # the HTTP server
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    ssl_ca_certs: str | None = None
    self_signed_certs: bool = False
    enable_ssl_refresh: bool = False  # the files are read again when they have changed
    allowed_origins: tuple[str, ...] = ()
    allowed_methods: tuple[str, ...] = ("*",)
    allowed_headers: tuple[str, ...] = ("*",)
    allow_credentials: bool = False
    disable_fastapi_docs: bool = False
    enable_scale_out: bool = False  # render, derender and generate routes
    tokens_only: bool = False  # these, and no text
    enable_tokenizer_info_endpoint: bool = False
    enable_sleep_mode: bool = False
    server_dev_mode: bool = False
    responses_store: bool = False  # VLLM_ENABLE_RESPONSES_API_STORE
    keep_alive_timeout: int = 5  # seconds that an idle connection stays open (VLLM_HTTP_TIMEOUT_KEEP_ALIVE)
    startup_duration: float = 0.0  # seconds of 503 on the readiness routes
    shutdown_mode: ShutdownMode = "abort"
    shutdown_timeout: float = 0.0  # seconds; drain and kubernetes: no longer than this (inf: no limit)

    # metrics and logs
    disable_log_stats: bool = False
    log_stats_interval: float = 10.0
    fake_metrics: Mapping[str, Any] | None = None  # llm-d's JSON, as given
    fake_metrics_refresh_interval: float = 0.1
    custom_histogram_buckets: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    show_hidden_metrics: bool = False
    enable_log_requests: bool = False
    enable_log_outputs: bool = False
    log_http: bool = False
    log_format: Literal["text", "json"] = "text"
    log_level: str = "info"
    meaningless_flags: tuple[str, ...] = ()  # given, accepted, and without effect here
    warnings: tuple[str, ...] = ()  # what a person should know about the flags given

    # what only cache_config_info and system_fingerprint show
    gpu_memory_utilization: float = 0.92
    kv_cache_dtype: str = "auto"
    prefix_caching_hash_algo: str = "sha256"
    num_gpu_blocks_override: int | None = None
    user_specified_block_size: bool = False
    tensor_parallel_size: int = 1

    @property
    def served_model_name(self) -> str:
        return self.served_model_names[0]

    @property
    def seed(self) -> int | None:
        return self.text.seed
