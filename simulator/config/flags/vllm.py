"""Flags of `vllm serve` that change what the simulator does.

Defaults are vLLM 0.33's unless the help says otherwise.
"""

from __future__ import annotations

from simulator.config.flags.flag import Flag, Kind

_B, _I, _H, _F, _T, _L, _J = (
    Kind.BOOL, Kind.INT, Kind.HUMAN_INT, Kind.FLOAT, Kind.TEXT, Kind.LIST, Kind.JSON,
)  # fmt: skip

_MODEL = (
    Flag("model", _T, "model", "Name of the model; also the first positional argument.", "",
         ("vllm", "llm-d")),
    Flag("served-model-name", _L, "model",
         "Names that requests may use; the first stands in answers and metrics.", "the model",
         ("vllm", "llm-d")),
    Flag("tokenizer", _T, "model",
         "Path of a tokenizer.json or of its folder; a name that is no path is ignored.", "built-in",
         ("vllm", "simfleet")),
    Flag("max-model-len", _H, "model", "Longest prompt and answer together.",
         "config.json's, else 32768 (llm-d: 1024)", ("vllm", "llm-d")),
    Flag("seed", _I, "model", "Makes texts and latencies repeat exactly.", "differs from run to run",
         ("vllm", "llm-d")),
    Flag("runner", _T, "model", "pooling: embeddings, scores, ranks and classes instead of generation.",
         "auto", choices=("auto", "generate", "pooling", "draft")),
    Flag("override-generation-config", _J, "model", "Default sampling parameters, such as max_new_tokens.",
         "{}"),
    Flag("max-logprobs", _I, "model", "Most logprobs a request may ask for.", "20", minimum=-1),
    Flag("chat-template", _T, "model", "File of a chat template, or the template itself.",
         "the tokenizer's"),
    Flag("trust-request-chat-template", _B, "model", "Let requests bring their chat template.", "false"),
    Flag("trust-request-mm-kwargs", _B, "model", "Let requests bring options of media readers.", "false"),
    Flag("default-chat-template-kwargs", _J, "model", "Arguments of every chat template.", "{}"),
)  # fmt: skip

_SCHEDULER = (
    Flag("max-num-seqs", _I, "scheduler", "Most sequences running at once.",
         "256; 1024 with a profile of a large GPU; llm-d: 5", ("vllm", "llm-d"), minimum=1),
    Flag("max-num-batched-tokens", _H, "scheduler", "Token budget of one step.",
         "2048; 8192 with a profile of a large GPU", minimum=1),
    Flag("enable-chunked-prefill", _B, "scheduler", "Split long prompts over steps.", "true"),
    Flag("long-prefill-token-threshold", _I, "scheduler",
         "Longest prefill chunk while others wait; 0: no limit.", "0", minimum=0),
    Flag("long-prefill-token-threshold-adaptive", _B, "scheduler",
         "But never less than a fair share of the budget.", "false"),
    Flag("max-num-active-seqs", _I, "scheduler", "Most sequences that are admitted to run.", "max-num-seqs",
         minimum=1),
    Flag("max-num-scheduled-tokens", _I, "scheduler", "Most tokens that a step schedules.",
         "max-num-batched-tokens", minimum=1),
    Flag("prefill-schedule-interval", _I, "scheduler",
         "Steps from one that prefills to the next, while others decode.", "1", minimum=1),
    Flag("scheduler-reserve-full-isl", _B, "scheduler",
         "Admit a prompt only where the whole of it fits into the KV cache.", "true"),
    Flag("speculative-config", _J, "speculative decoding", "vLLM's: method, num_speculative_tokens, model, "
         "parallel_drafting, synthetic_acceptance_rates, ...", "off", aliases=("-sc",)),
    Flag("spec-method", _T, "speculative decoding", "Its method: ngram, eagle3, mtp, draft_model, ..."),
    Flag("spec-model", _T, "speculative decoding", "Its model; the name may say the method."),
    Flag("spec-tokens", _I, "speculative decoding", "Its num_speculative_tokens.", minimum=1),
    Flag("per-request-spec-decode-metrics", _T, "speculative decoding",
         "metrics.speculative_decoding of answers.", "none", choices=("none", "summary", "detailed")),
    Flag("scheduling-policy", _T, "scheduler", "Order of the queue.", "fcfs", choices=("fcfs", "priority")),
    Flag("async-scheduling", _B, "scheduler", "Schedule a step ahead, as vLLM does by default since 0.14.",
         "true"),
    Flag("watermark", _F, "scheduler", "Fraction of KV blocks kept free when admitting.", "0", minimum=0),
    Flag("max-num-queued-reqs", _I, "scheduler", "Waiting requests beyond which answers are 503.",
         "unlimited", minimum=0),
    Flag("max-num-queued-tokens", _H, "scheduler", "Waiting prompt tokens beyond which answers are 503.",
         "unlimited", minimum=0),
    Flag("stream-interval", _I, "scheduler", "Tokens to a chunk.", "1", minimum=1),
)  # fmt: skip

_CACHE = (
    Flag("block-size", _I, "KV cache", "Tokens to a KV block.", "16", ("vllm", "llm-d"), minimum=1),
    Flag("num-gpu-blocks-override", _I, "KV cache", "Number of KV blocks, the null block included.",
         "8192, or what twice max-model-len needs", minimum=2),
    Flag("kv-cache-memory-bytes", _H, "KV cache", "KV cache in bytes at 128 KiB a token (Llama-3.1-8B).",
         "", minimum=1),
    Flag("enable-prefix-caching", _B, "KV cache", "Reuse blocks of equal prefixes.", "true",
         ("vllm", "llm-d")),
    Flag("prefix-caching-hash-algo", _T, "KV cache",
         "fast: this project's; the others give vLLM's own hashes.", "fast",
         choices=("fast", "builtin", "sha256", "sha256_cbor", "xxhash", "xxhash_cbor")),
    Flag("kv-events-config", _J, "KV cache", "vLLM's KV event publisher: enable_kv_cache_events, "
         "publisher, endpoint, replay_endpoint, buffer_steps, hwm, max_queue_size, topic.", "off"),
    Flag("kv-offloading-size", _F, "KV cache", "GiB of the host's memory for blocks that leave the GPU.",
         "off", minimum=0),
    Flag("pipeline-parallel-size", _I, "KV cache", "Told to decode servers with the blocks (pp_size).", "1",
         aliases=("-pp",), minimum=1),
    Flag("decode-context-parallel-size", _I, "KV cache", "The same (dcp_size).", "1", aliases=("-dcp",),
         minimum=1),
    Flag("kv-transfer-config", _J, "KV cache",
         "Prefill/decode disaggregation: kv_connector, kv_role, engine_id.", "off"),
)  # fmt: skip

_LORA = (
    Flag("enable-lora", _B, "LoRA", "Adapters, their slots and their gauge. On by default here; vLLM "
         "(--strict): off unless --lora-modules or --max-loras is given.", "true"),
    Flag("lora-modules", Kind.LORA, "LoRA", "Adapters at start; of several such flags the last one counts.",
         "none",
         ("vllm", "llm-d")),
    Flag("max-loras", _I, "LoRA", "Adapters in one batch.", "1", ("vllm", "llm-d"), minimum=1),
    Flag("max-cpu-loras", _I, "LoRA", "Adapters kept in host memory.", "max-loras", ("vllm", "llm-d"),
         minimum=1),
    Flag("max-lora-rank", _I, "LoRA", "Largest rank.", "16", minimum=1),
)  # fmt: skip

_FRONTEND = (
    Flag("host", _T, "server", "Address to listen on; 0.0.0.0 for all, as in a container.", "127.0.0.1"),
    Flag("port", _I, "server", "Port to listen on; ranks with ports take the following ones.", "8000",
         ("vllm", "llm-d"), minimum=1, maximum=65535),
    Flag("uds", _T, "server", "Unix domain socket instead of host and port."),
    Flag("root-path", _T, "server", "FastAPI's root_path."),
    Flag("api-key", _L, "server", "Keys that /v1 requests must present one of (or VLLM_API_KEY).", "none"),
    Flag("ssl-certfile", _T, "server", "TLS certificate.", "", ("vllm", "llm-d")),
    Flag("ssl-keyfile", _T, "server", "Its key.", "", ("vllm", "llm-d")),
    Flag("ssl-ca-certs", _T, "server", "CA certificates of clients."),
    Flag("enable-ssl-refresh", _B, "server", "Read the TLS files again when they have changed.",
         "false; llm-d-0.10: true"),
    Flag("allowed-origins", _J, "server", "CORS: JSON list.", "[]"),
    Flag("allowed-methods", _J, "server", "CORS: JSON list.", '["*"]'),
    Flag("allowed-headers", _J, "server", "CORS: JSON list.", '["*"]'),
    Flag("allow-credentials", _B, "server", "CORS.", "false"),
    Flag("h11-max-incomplete-event-size", _I, "server", "Bytes of a request's head; beyond it 431.",
         "65536 (vLLM: 4194304)", minimum=1024),
    Flag("h11-max-header-count", _I, "server", "Headers of a request; beyond it 431.", "256", minimum=1),
    Flag("disable-fastapi-docs", _B, "server", "No /docs, /redoc and /openapi.json.", "false"),
    Flag("enable-scale-out", _B, "server", "The routes that render, derender and generate from token ids.",
         "false"),
    Flag("tokens-only", _B, "server", "The same, and no text: generate takes no stop strings.", "false"),
    Flag("enable-tokenizer-info-endpoint", _B, "server", "/tokenizer_info.", "false"),
    Flag("enable-sleep-mode", _B, "server", "sleep and wake_up.", "false", ("vllm", "llm-d")),
    Flag("shutdown-timeout", _F, "server", "Seconds that requests in flight get on SIGTERM; 0 aborts them.",
         "0", minimum=0),
    Flag("data-parallel-external-lb", _B, "server", "This process is one rank; somebody else balances.",
         "false", aliases=("-dpe",)),
    Flag("data-parallel-hybrid-lb", _B, "server", "The ranks of this node behind one port.", "false",
         aliases=("-dph",)),
    Flag("data-parallel-multi-port-external-lb", _B, "server", "A port for each rank, as with llm-d.",
         aliases=("-dpm",)),
    Flag("data-parallel-size-local", _I, "server", "Ranks of this node.", "data-parallel-size",
         aliases=("-dpl",), minimum=0),
    Flag("data-parallel-start-rank", _I, "server", "Its first rank.", aliases=("-dpr",), minimum=0),
    Flag("data-parallel-size", _I, "server", "Ranks, each an engine; without another flag all of them behind "
         "one port, which balances.", "1",
         ("vllm", "llm-d"), aliases=("-dp",), minimum=1, maximum=64),
    Flag("data-parallel-rank", _I, "server", "Be this one rank.", "", ("vllm", "llm-d"), aliases=("-dpn",)),
)  # fmt: skip

_ANSWERS = (
    Flag("enable-auto-tool-choice", _B, "answers", "Allow tool_choice auto.", "false"),
    Flag("tool-call-parser", _T, "answers", "Name of a tool call parser; its presence is what counts."),
    Flag("reasoning-parser", _T, "answers", "Splits answers of chats into reasoning and content, by the "
         "parser of one model family; with it answers begin with a thought."),
    Flag("reasoning-config", _J, "answers", "reasoning_parser, and reasoning_end_str: what is said where "
         "thinking_token_budget is spent.", "{}"),
    Flag("response-role", _T, "answers", "Role of chat answers.", "assistant"),
    Flag("enable-prompt-tokens-details", _B, "answers", "usage.prompt_tokens_details.cached_tokens.",
         "false"),
    Flag("enable-force-include-usage", _B, "answers", "Every stream ends with its usage.", "false"),
    Flag("enable-per-request-metrics", _B, "answers", "Fill `metrics` of answers.", "false"),
    Flag("enable-server-load-tracking", _B, "answers", "Count requests for /load.", "false"),
    Flag("enable-request-id-headers", _B, "answers", "X-Request-Id on answers.", "false",
         ("vllm", "llm-d")),
    Flag("return-tokens-as-token-ids", _B, "answers", "token_id:N in logprobs.", "false"),
    Flag("sse-keep-alive-interval", _F, "answers", "Seconds between comments on idle streams; 0: none.",
         "0", minimum=0),
    Flag("fingerprint-mode", _T, "answers", "Form of system_fingerprint.", "full",
         choices=("full", "hash", "custom", "none")),
    Flag("fingerprint-value", _T, "answers", "system_fingerprint with --fingerprint-mode custom."),
)  # fmt: skip

_OBSERVABILITY = (
    Flag("otlp-traces-endpoint", _T, "metrics and logs", "Collector for a span of each request (extra otlp); "
         "gRPC, or HTTP with OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf.", "none"),
    Flag("disable-log-stats", _B, "metrics and logs", "No vllm:* families and no stats line.", "false"),
    Flag("enable-log-requests", _B, "metrics and logs", "A line for each request.", "false"),
    Flag("enable-log-outputs", _B, "metrics and logs", "Also what was answered.", "false"),
    Flag("disable-uvicorn-access-log", _B, "metrics and logs", "No line for each HTTP request; where given, "
         "it stands for llm-d's --log-http.", "true"),
    Flag("uvicorn-log-level", _T, "metrics and logs", "Log level of the HTTP server.", "info",
         choices=("critical", "error", "warning", "info", "debug", "trace")),
    Flag("log-level", _T, "metrics and logs", "Log level.", "info",
         choices=("debug", "info", "warning", "error", "critical",
         "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")),
    Flag("show-hidden-metrics-for-version", _T, "metrics and logs",
         "Families deprecated after that version."),
    Flag("custom-histogram-buckets", _J, "metrics and logs", 'Bounds by family: {"vllm:...": [...]}.',
         "{}"),
)  # fmt: skip

VLLM_FLAGS = (*_MODEL, *_SCHEDULER, *_CACHE, *_LORA, *_FRONTEND, *_ANSWERS, *_OBSERVABILITY)
