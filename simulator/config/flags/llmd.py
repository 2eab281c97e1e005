"""Flags that llm-d-inference-sim (v0.7.1 and its main branch) has and vLLM has not."""

from __future__ import annotations

from simulator.config.flags.flag import Flag, Kind, Source

_B, _I, _F, _T, _D, _L, _J = (
    Kind.BOOL, Kind.INT, Kind.FLOAT, Kind.TEXT, Kind.DURATION, Kind.LIST, Kind.JSON,
)  # fmt: skip
_S: tuple[Source, ...] = ("llm-d",)


def _duration(name: str, help_: str) -> Flag:
    return Flag(name, _D, "latency (llm-d)", help_, "0", _S, minimum=0)


_LATENCY = (
    Flag("latency-calculator", _T, "latency (llm-d)",
         "constant: time-to-first-token; per-token: prefill times.", "whichever is set", _S,
         choices=("", "constant", "per-token")),
    _duration("time-to-first-token", "Prefill of any prompt."),
    _duration("time-to-first-token-std-dev", "Its deviation, at most 30 %."),
    _duration("inter-token-latency", "Each token after the first."),
    _duration("inter-token-latency-std-dev", "Its deviation, at most 30 %."),
    _duration("prefill-overhead", "Prefill of an empty prompt."),
    _duration("prefill-time-per-token", "Prefill of each token that is not cached."),
    _duration("prefill-time-std-dev", "Deviation of the prefill."),
    _duration("kv-cache-transfer-latency", "Remote prefill: KV cache of any prompt."),
    _duration("kv-cache-transfer-latency-std-dev", "Its deviation, at most 30 %."),
    _duration("kv-cache-transfer-time-per-token", "Remote prefill: KV cache of each token."),
    _duration("kv-cache-transfer-time-std-dev", "Deviation of the transfer."),
    Flag("time-factor-under-load", _F, "latency (llm-d)",
         "Latencies at max-num-seqs, as a multiple of those of a lone request.", "1.0", _S, minimum=1),
)  # fmt: skip

_CONTENT = (
    Flag("mode", _T, "text", "random sentences, or the prompt again.", "random", _S,
         choices=("random", "echo", "dataset")),
    Flag("dataset-path", _T, "text", "JSONL file of prompts and responses to answer from.", "none", _S),
    Flag("dataset-url", _T, "text", "file: URL that is read where --dataset-path is not there.", "none", _S),
    Flag("max-tool-call-integer-param", _I, "text", "Largest integer in invented tool calls.", "100", _S),
    Flag("min-tool-call-integer-param", _I, "text", "Smallest.", "0", _S),
    Flag("max-tool-call-number-param", _F, "text", "Largest number in invented tool calls.", "100", _S),
    Flag("min-tool-call-number-param", _F, "text", "Smallest.", "0", _S),
    Flag("max-tool-call-array-param-length", _I, "text", "Longest array.", "5", _S, minimum=0),
    Flag("min-tool-call-array-param-length", _I, "text", "Shortest.", "1", _S, minimum=0),
    Flag("tool-call-not-required-param-probability", _I, "text", "Percent.", "50", _S, minimum=0,
         maximum=100),
    Flag("object-tool-call-not-required-field-probability", _I, "text", "Percent.", "50", _S, minimum=0,
         maximum=100),
    Flag("tool-call-extra-call-probability", _I, "text", "Percent.", "45", _S, minimum=0, maximum=100),
    Flag("default-embedding-dimensions", _I, "text", "Length of embeddings.", "384", _S, minimum=1),
)  # fmt: skip

_CACHE = (
    Flag("enable-kvcache", _B, "KV cache",
         "Publish KV events to --zmq-endpoint (the cache itself is always there).", "false", _S),
    Flag("kv-cache-size", _I, "KV cache", "Number of KV blocks.", "1024 with --compat llm-d-0.7", _S,
         minimum=0),
    Flag("global-cache-hit-threshold", _F, "KV cache",
         "Share of the prompt that must be cached, else the answer ends at once with finish_reason "
         "cache_threshold; a request's cache_hit_threshold goes before.", "0", _S, minimum=0, maximum=1),
    Flag("hash-seed", _T, "KV cache", "Root of the hash chain.", "PYTHONHASHSEED", _S),
    Flag("zmq-endpoint", _T, "KV cache", "Where KV events are sent (connects).", "tcp://127.0.0.1:5557",
         _S),
    Flag("event-batch-size", _I, "KV cache", "KV events to a message.", "16", _S, minimum=1),
    Flag("use-vllm-map-event-format", _B, "KV cache", "KV events as maps.", "false", _S),
    Flag("kv-events-replay-endpoint", _T, "KV cache", "Where lost KV events can be asked for again.",
         "none", _S),
    Flag("kv-events-replay-queue-size", _I, "KV cache", "Messages kept for it.", "1024", _S, minimum=1),
)  # fmt: skip

_SERVER = (
    Flag("max-waiting-queue-length", _I, "scheduler", "Waiting requests beyond which answers are 429.",
         "unlimited; llm-d: 1000", _S, minimum=0),
    Flag("self-signed-certs", _B, "server", "TLS with a certificate made at start.", "false", _S),
    Flag("startup-duration", _D, "server", "How long readiness answers 503 after start.", "0", _S,
         minimum=0),
    Flag("max-request-body-size-mb", _I, "server", "Largest body in MiB; beyond it 413. To read it "
         "takes 3 ms for each MiB.", "10 (llm-d's own: 64)", _S, minimum=1, maximum=512),
    Flag("failure-injection-rate", _I, "faults", "Percent of requests that fail.", "0", _S, minimum=0,
         maximum=100),
    Flag("failure-types", _L, "faults", "Kinds of failures.", "all", _S),
    Flag("fake-metrics", _J, "metrics and logs", "Values to show instead of the engine's.", "none", _S),
    Flag("fake-metrics-refresh-interval", _D, "metrics and logs", "How often fake functions move.", "100ms",
         _S),
    Flag("log-http", _B, "metrics and logs", "A line for each HTTP request.", "false", _S),
)  # fmt: skip

LLMD_FLAGS = (*_LATENCY, *_CONTENT, *_CACHE, *_SERVER)
