"""What flags without effect would change, were there a model: one topic for each, the first that fits.

Several of them change how long a step takes. Here that is the step model's business: a profile or
--step-model measured with such a flag has its effect, and the flag itself adds nothing to it.
"""

from __future__ import annotations

import re

# topic -> parts of names
_PARTS = {
    "pictures, films, sounds and embeddings as input": (
        *("^mm-", "-mm-", "video", "image", "media", "multimodal", "language-model-only", "interleave-mm"),
        *("prompt-embeds", "omni", "^ec-"),
    ),
    "adapters beyond names and slots": ("lora", "prompt-adapter"),
    "how a model is spread over GPUs and nodes": (
        *("tensor-parallel", "context-parallel", "expert-", "eplb", "enable-ep-", "elastic", "data-parallel"),
        *("^dp-", "nnodes", "node-", "master", "distributed", "ray", "numa", "headless", "api-server-count"),
        *("dcp", "cp-kv", "fault-tolerance", "worker-", "nccl"),
    ),
    "logs, traces, profiles and checks of the process": (
        *(
            "^log",
            "-log-",
            "-logging",
            "otlp",
            "traces",
            "nvtx",
            "profiler",
            "watchdog",
            "mfu",
            "environ",
            "vmodule",
        ),
        *("^v$", "stderr", "aggregate", "middleware", "offline-docs", "server-info", "frontend-multi"),
        *("kv-cache-metrics", "cudagraph-metrics"),
    ),
    "how texts become tokens and answers": (
        *(
            "tokenizer",
            "render",
            "chat-template-content",
            "tool",
            "reasoning",
            "cohere",
            "anthropic",
            "guided",
        ),
        *("structured", "logits", "logprobs", "sampling-mask", "routed-experts", "watermark", "pooler"),
        *("io-processor", "diffusion", "trace-replay", "additional", "aux-output"),
    ),
    "the order of requests (a scheduler of one's own, or of engines before V1)": (
        *("scheduler-delay", "scheduler-cls", "partial-prefills", "preemption-mode", "num-scheduler-steps"),
        *("num-lookahead", "use-v2", "multi-step"),
    ),
    "what fits into GPU memory (here --num-gpu-blocks-override and --kv-cache-memory-bytes say it)": (
        *("gpu-memory", "kv-cache-dtype", "offload", "swap-space", "cumem", "sliding-window", "hybrid-kv"),
        *("sleep-", "swa", "retention", "prefix-match", "fp8-kv", "calculate-kv"),
    ),
    "weights and their precision": (
        *("quantization", "^dtype", "load", "safetensors", "revision", "hf-", "weight", "model-class"),
        *("trust-remote", "rope", "^task$", "^convert", "config-format", "generation-config", "neuron"),
        *("ignore-patterns", "device", "engram"),
    ),
    "the time of a step (measure the step model with the flag)": (
        *(
            "attention",
            "backend",
            "moe",
            "monokernel",
            "cascade",
            "custom-all-reduce",
            "dbo",
            "ubatch",
            "eager",
        ),
        *("cudagraph", "cuda-graph", "compilation", "kernel", "optimization", "performance-mode"),
        *("async-output", "flashinfer", "fp64", "ir-op", "hc-sp", "flash-late", "batch-sharded", "replayssm"),
        *("mamba", "specul", "kv-sharing", "jit", "shm-tensor", "max-seq-len-to-capture", "model-impl"),
    ),
    "TLS beyond certificate, key and authorities": ("^ssl",),
    "what is downloaded or looked up elsewhere": ("dataset", "zmq-max"),
    "other protocols (refused)": ("grpc",),
}
_PATTERNS = {topic: re.compile("|".join(parts)) for topic, parts in _PARTS.items()}


def topic_of(name: str) -> str | None:
    """What the flag of that name would change; None: nobody has said."""
    return next((topic for topic, pattern in _PATTERNS.items() if pattern.search(name)), None)
