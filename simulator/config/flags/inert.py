"""Flags of `vllm serve` and llm-d-inference-sim that a simulator accepts and has no use for.

Names, spelling and arity of vLLM 0.33 (its own argument parser), and of older versions where manifests still
carry them. Kept apart from the flags that do something, so that both lists stay readable.
"""

from __future__ import annotations

from simulator.config.flags.flag import Flag, Kind, Source

_BOOLEANS = """
aggregate-engine-logging allow-deprecated-quantization cohere-is-reasoning-model cudagraph-metrics
dcp-q-replicate
disable-cascade-attn disable-chunked-mm-input disable-custom-all-reduce disable-hybrid-kv-cache-manager
disable-nccl-for-dp-synchronization disable-sliding-window enable-batch-sharded-sampling
enable-cumem-allocator enable-dbo enable-elastic-ep enable-ep-weight-filter enable-eplb
enable-expert-parallel enable-fault-tolerance enable-flash-late-interaction enable-flashinfer-autotune
enable-hc-sp enable-layerwise-nvtx-tracing enable-log-deltas enable-logging-iteration-details
enable-mamba-cache-stochastic-rounding enable-mamba-shared-prefix-checkpoint enable-mfu-metrics
enable-mixed-moe-lora-format enable-mm-embeds enable-moe-shared-loras enable-nccl-comm-suspend
enable-offline-docs enable-prompt-embeds enable-return-routed-experts
enable-shm-tensor-arena enable-tower-connector-lora
enable-trace-replay enforce-eager exclude-tools-when-tool-choice-none fail-on-environ-validation
fully-sharded-loras grpc headless interleave-mm-strings jit-monitor-verbose kv-cache-metrics
kv-sharing-fast-prefill language-model-only log-error-stack
mm-device-do-normalize monokernel numa-bind ray-workers-use-nsight return-sampling-mask
skip-mm-profiling skip-tokenizer-init sleep-mode-offload-cudagraph specialize-active-lora
swa-bounded-replay trust-remote-code
use-fp64-gumbel use-replayssm use-tqdm-on-load calculate-kv-scales disable-async-output-proc
disable-frontend-multiprocessing disable-logprobs-during-spec-decoding disable-mm-preprocessor-cache
enable-lora-bias enable-multimodal-encoder-data-parallel enable-prompt-adapter enable-reasoning
engine-use-ray multi-step-stream-outputs use-v2-block-manager worker-use-ray
enable-server-info
"""

_VALUES = """
all2all-backend allowed-local-media-path anthropic-disabled-thinking-effort api-server-count
attention-backend chat-template-content-format code-revision cohere-format config-format convert
cp-kv-cache-interleave-size cpu-distributed-timeout-seconds cpu-offload-gb data-parallel-address
data-parallel-backend data-parallel-rpc-port
data-parallel-supervisor-port dbo-decode-token-threshold dbo-prefill-token-threshold dcp-comm-backend
dcp-kv-cache-interleave-size disable-access-log-for-endpoints
distributed-executor-backend distributed-timeout-seconds download-dir dp-supervisor-probe-failure-threshold
dp-supervisor-probe-interval-s dp-supervisor-probe-timeout-s dp-sync-interval dtype elastic-ep-max-dp-size
expert-placement-strategy gdn-prefill-backend generation-config gpu-memory-utilization grpc-port
hf-config-path io-processor-plugin jit-monitor-mode
kda-decode-backend kda-prefill-backend kv-cache-dtype kv-cache-metrics-sample kv-offloading-backend
linear-backend load-format log-config-file logprobs-mode lora-dtype mamba-backend
mamba-block-size mamba-cache-dtype mamba-cache-mode mamba-cache-philox-rounds mamba-ssm-cache-dtype
mamba-ssu-algorithm master-addr master-port max-cudagraph-capture-size max-log-len max-lora-cls-labels
max-parallel-loading-workers mm-encoder-attn-backend
mm-encoder-attn-dtype mm-encoder-fp8-scale-path mm-encoder-fp8-scale-save-margin
mm-encoder-fp8-scale-save-path mm-encoder-tp-mode mm-hasher-algorithm mm-ipc-gpu-memory-gb
mm-processor-cache-gb mm-processor-cache-type mm-processor-device mm-shm-cache-max-object-size-mb
mm-tensor-ipc model-impl moe-backend nnodes node-rank offload-backend offload-group-size
offload-num-in-group offload-prefetch-step optimization-level
performance-mode prefill-context-parallel-size prefix-cache-retention-interval prefix-match-unit
quantization reasoning-parser-plugin renderer-num-workers replayssm-buffer-len revision
safetensors-load-strategy
safetensors-prefetch-block-size safetensors-prefetch-num-threads scheduler-cls skip-tokenizer
sleep-mode-backend sparse-indexer-topk-backend ssl-cert-reqs ssl-ciphers
tensor-parallel-size tokenizer-mode tokenizer-revision tool-parser-plugin tool-server tool-strict-level
ubatch-size video-pruning-method video-pruning-rate worker-cls worker-extension-cls device
guided-decoding-backend lora-extra-vocab-size max-long-partial-prefills max-num-partial-prefills
max-prompt-adapter-token max-prompt-adapters max-seq-len-to-capture num-lookahead-slots num-scheduler-steps
num-speculative-tokens override-attention-dtype preemption-mode rope-scaling rope-theta
scheduler-delay-factor speculative-model swap-space task tokenizer-pool-size use-fp8-kv-cache
"""

_LISTS = """
allowed-media-domains collect-detailed-traces cpu-offload-params cudagraph-capture-sizes cuda-graph-sizes
device-ids ignore-patterns kv-cache-dtype-skip-layers logits-processors lora-target-modules
long-lora-scaling-factors middleware numa-bind-cpus numa-bind-nodes offload-params
sleep-preserve-parameter-names hf-token
"""

_JSON = """
additional-config attention-config aux-output-config compilation-config default-mm-loras diffusion-config
ec-manager-config ec-transfer-config engram-config eplb-config fault-tolerance-config hf-overrides
ir-op-priority kernel-config limit-mm-per-prompt logging-config media-io-kwargs mm-processor-kwargs
model-class-overrides model-loader-extra-config override-neuron-config override-pooler-config pooler-config
profiler-config pt-load-map-location quantization-config structured-outputs-config watchdog-config
watermark-config weight-transfer-config reasoning-effort-map
"""

_LLMD_BOOLEANS = (
    "logtostderr alsologtostderr omni mm-encoder-only force-dummy-tokenizer dataset-in-memory "
    "skip-tool-validation"
)
_LLMD_VALUES = """
v vmodule log-dir log-file log-file-max-size stderrthreshold log-backtrace-at tokenizers-cache-dir
zmq-max-connect-attempts render-url render-timeout mm-render-timeout time-to-generate-image
time-to-generate-image-std-dev image-emission-rate dataset-table-name
"""

_ALIASES: dict[str, tuple[str, ...]] = {
    "tensor-parallel-size": ("-tp",),
    "prefill-context-parallel-size": ("-pcp",),
    "enable-expert-parallel": ("-ep",),
    "quantization": ("-q",),
    "nnodes": ("-n",),
    "node-rank": ("-r",),
    "api-server-count": ("-asc",),
    "attention-config": ("-ac",),
    "compilation-config": ("-cc", "-O"),
    "diffusion-config": ("-dc",),
    "data-parallel-address": ("-dpa",),
    "data-parallel-rpc-port": ("-dpp",),
    "data-parallel-backend": ("-dpb",),
    "gpu-memory-utilization": ("--device-memory-utilization",),
    "v": ("-v",),
}


_OLDER = """
calculate-kv-scales disable-async-output-proc disable-frontend-multiprocessing
disable-logprobs-during-spec-decoding disable-mm-preprocessor-cache enable-lora-bias
enable-multimodal-encoder-data-parallel enable-prompt-adapter enable-reasoning engine-use-ray
multi-step-stream-outputs use-v2-block-manager worker-use-ray enable-server-info
skip-tokenizer device guided-decoding-backend lora-extra-vocab-size max-long-partial-prefills
max-num-partial-prefills max-prompt-adapter-token max-prompt-adapters max-seq-len-to-capture
num-lookahead-slots num-scheduler-steps num-speculative-tokens override-attention-dtype preemption-mode
rope-scaling rope-theta scheduler-delay-factor speculative-model swap-space task tokenizer-pool-size
use-fp8-kv-cache cuda-graph-sizes long-lora-scaling-factors override-neuron-config override-pooler-config
"""


def _flags(names: str, kind: Kind, source: Source) -> tuple[Flag, ...]:
    return tuple(
        Flag(
            name,
            kind,
            "accepted without effect",
            "",
            sources=(source,),
            aliases=_ALIASES.get(name, ()),
            inert=True,
            older=name in _OLDER.split(),
        )
        for name in names.split()
    )


INERT_FLAGS = (
    *_flags(_BOOLEANS, Kind.BOOL, "vllm"),
    *_flags(_VALUES, Kind.TEXT, "vllm"),
    *_flags(_LISTS, Kind.LIST, "vllm"),
    *_flags(_JSON, Kind.TEXT, "vllm"),
    *_flags(_LLMD_BOOLEANS, Kind.BOOL, "llm-d"),
    *_flags(_LLMD_VALUES, Kind.TEXT, "llm-d"),
)
