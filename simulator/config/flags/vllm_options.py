"""Every option of `vllm serve` 0.33 as its own parser knows it; commandline/vllm_parser.py reads this.

A line is `name [-short ...] kind [= choices]`. Kinds: pair (on, and off by `--no-`; enable and disable too),
true (on only), str, int, float, human (4k, 4K), auto (human, -1 or auto), json, object-or-str, config (a JSON
object with the fields of `OBJECTS`), folded (small letters, underscores), devices, parser, lora, append.
`?`: empty or None is none. `+`: one value or more. `~`: none or one.
"""

from __future__ import annotations

OPTIONS = """
headless true
api-server-count -asc int
config str
grpc true
lora-modules lora
chat-template str?
chat-template-content-format str = auto openai string
trust-request-chat-template pair
trust-request-mm-kwargs pair
default-chat-template-kwargs json
reasoning-effort-map json
response-role str
return-tokens-as-token-ids pair
enable-auto-tool-choice pair
exclude-tools-when-tool-choice-none pair
tool-call-parser str?
tool-parser-plugin str
tool-strict-level str? = auto function parameter None
tool-server str?
max-log-len int?
enable-prompt-tokens-details pair
enable-per-request-metrics pair
enable-server-load-tracking pair
enable-force-include-usage pair
sse-keep-alive-interval int
enable-tokenizer-info-endpoint pair
enable-log-outputs pair
enable-log-deltas pair
cohere-is-reasoning-model pair
cohere-format str
anthropic-disabled-thinking-effort str = auto high low max medium none xhigh
log-error-stack pair
tokens-only pair
enable-scale-out pair
fingerprint-mode str = custom full hash none
fingerprint-value str?
host str?
port int
grpc-port int?
data-parallel-supervisor-port int
dp-supervisor-probe-interval-s float
dp-supervisor-probe-timeout-s float
dp-supervisor-probe-failure-threshold int
uds str?
uvicorn-log-level str = critical debug error info trace warning
disable-uvicorn-access-log pair
disable-access-log-for-endpoints str?
allow-credentials pair
allowed-origins json
allowed-methods json
allowed-headers json
api-key str?+
ssl-keyfile str?
ssl-certfile str?
ssl-ca-certs str?
enable-ssl-refresh pair
ssl-cert-reqs int
ssl-ciphers str?
root-path str?
middleware append
enable-request-id-headers pair
disable-fastapi-docs pair
h11-max-incomplete-event-size int
h11-max-header-count int
enable-offline-docs pair
enable-flash-late-interaction pair
model str
runner str = auto draft generate pooling
convert str = auto classify embed none
tokenizer str
tokenizer-mode str
trust-remote-code pair
dtype str = auto bfloat16 float float16 float32 half
seed int
hf-config-path str?
allowed-local-media-path str
allowed-media-domains str?+
revision str?
code-revision str?
tokenizer-revision str?
max-model-len auto
quantization -q str?
quantization-config config?
allow-deprecated-quantization pair
enforce-eager pair
enable-return-routed-experts pair
return-sampling-mask pair
max-logprobs int
logprobs-mode str = processed_logits processed_logprobs raw_logits raw_logprobs
use-fp64-gumbel pair
enable-trace-replay pair
disable-sliding-window pair
disable-cascade-attn pair
skip-tokenizer-init pair
enable-prompt-embeds pair
served-model-name str?+
config-format str
hf-token str~
hf-overrides object-or-str
model-class-overrides json
pooler-config config?
generation-config str
override-generation-config json
enable-sleep-mode pair
sleep-mode-backend str
sleep-mode-offload-cudagraph pair
sleep-preserve-parameter-names str+
enable-cumem-allocator pair
enable-nccl-comm-suspend pair
model-impl str
logits-processors str?+
io-processor-plugin str?
renderer-num-workers int
load-format str
download-dir str?
safetensors-load-strategy str? = eager lazy prefetch torchao None
safetensors-prefetch-num-threads int
safetensors-prefetch-block-size human
model-loader-extra-config object-or-str
ignore-patterns str+
use-tqdm-on-load pair
pt-load-map-location object-or-str
attention-backend str?
mamba-backend str
mamba-ssu-algorithm str? = auto horizontal simple vertical None
enable-mamba-cache-stochastic-rounding pair
mamba-cache-philox-rounds int
reasoning-parser parser
reasoning-parser-plugin str
distributed-executor-backend str?
pipeline-parallel-size -pp int
master-addr str
master-port int
nnodes -n int
node-rank -r int
distributed-timeout-seconds int?
cpu-distributed-timeout-seconds int?
numa-bind pair
numa-bind-nodes int?+
numa-bind-cpus str?+
device-ids devices
tensor-parallel-size -tp int
decode-context-parallel-size -dcp int
dcp-comm-backend str? = a2a ag_rs None
dcp-q-replicate pair
dcp-kv-cache-interleave-size int
cp-kv-cache-interleave-size int
prefill-context-parallel-size -pcp int
data-parallel-size -dp int
data-parallel-rank -dpn int
data-parallel-start-rank -dpr int
data-parallel-size-local -dpl int
data-parallel-address -dpa str
data-parallel-rpc-port -dpp int
data-parallel-backend -dpb str
data-parallel-hybrid-lb -dph pair
data-parallel-external-lb -dpe pair
data-parallel-multi-port-external-lb -dpm true
enable-hc-sp pair
enable-expert-parallel -ep pair
enable-batch-sharded-sampling pair
enable-ep-weight-filter pair
all2all-backend str = allgather_reducescatter deepep_high_throughput deepep_low_latency deepep_v2
    flashinfer_all2allv flashinfer_nvlink_one_sided flashinfer_nvlink_two_sided moonep
    mori_high_throughput mori_low_latency naive nixl_ep pplx
enable-dbo pair
enable-shm-tensor-arena pair
ubatch-size int
enable-elastic-ep pair
elastic-ep-max-dp-size int
dbo-decode-token-threshold int
dp-sync-interval int
dbo-prefill-token-threshold int
disable-nccl-for-dp-synchronization pair
enable-eplb pair
eplb-config config
expert-placement-strategy str = linear round_robin
max-parallel-loading-workers int?
ray-workers-use-nsight pair
disable-custom-all-reduce pair
worker-cls str
worker-extension-cls str
enable-fault-tolerance pair
fault-tolerance-config config
block-size int
gpu-memory-utilization --device-memory-utilization float
kv-cache-memory-bytes human?
kv-cache-dtype str
num-gpu-blocks-override int?
enable-prefix-caching pair
prefix-caching-hash-algo str = sha256 sha256_cbor xxhash xxhash_cbor
prefix-cache-retention-interval int?
kv-cache-dtype-skip-layers str+
kv-sharing-fast-prefill pair
swa-bounded-replay pair
mamba-cache-dtype str = auto bfloat16 float16 float32
mamba-ssm-cache-dtype str = auto bfloat16 float16 float32
mamba-block-size int?
prefix-match-unit int?
mamba-cache-mode str = align none
enable-mamba-shared-prefix-checkpoint pair
replayssm-buffer-len int
use-replayssm pair
kv-offloading-size float?
kv-offloading-backend str = lmcache native
offload-backend str = auto prefetch uva
cpu-offload-gb float
cpu-offload-params str+
offload-group-size int
offload-num-in-group int
offload-prefetch-step int
offload-params str+
language-model-only pair
limit-mm-per-prompt json
enable-mm-embeds pair
media-io-kwargs json
mm-processor-kwargs json?
mm-processor-cache-gb float
mm-processor-cache-type str = lru shm
mm-hasher-algorithm str = blake3 sha256 sha512
mm-shm-cache-max-object-size-mb int
mm-encoder-only pair
mm-encoder-tp-mode str = data weights
mm-encoder-attn-backend str?
mm-encoder-attn-dtype str? = fp8 None
mm-encoder-fp8-scale-path str?
mm-encoder-fp8-scale-save-path str?
mm-encoder-fp8-scale-save-margin float
interleave-mm-strings pair
skip-mm-profiling pair
video-pruning-rate float?
video-pruning-method str = evs vidcom2
mm-tensor-ipc str = direct_rpc torch_shm
mm-processor-device str = auto cpu
mm-ipc-gpu-memory-gb float
mm-device-do-normalize pair
enable-lora pair
max-loras int
max-lora-rank int = 1 8 16 32 64 128 256 320 512
lora-dtype str = auto bfloat16 float16
enable-tower-connector-lora pair
max-cpu-loras int?
fully-sharded-loras pair
lora-target-modules str?+
default-mm-loras json?
specialize-active-lora pair
enable-mixed-moe-lora-format pair
enable-moe-shared-loras pair
max-lora-cls-labels int?
logging-config config
log-level str = CRITICAL ERROR WARNING INFO DEBUG NOTSET
log-config-file str
show-hidden-metrics-for-version str?
otlp-traces-endpoint str?
collect-detailed-traces str?+ = all model worker None
per-request-spec-decode-metrics str = detailed none summary
kv-cache-metrics pair
kv-cache-metrics-sample float
custom-histogram-buckets json?
cudagraph-metrics pair
enable-layerwise-nvtx-tracing pair
enable-mfu-metrics pair
enable-logging-iteration-details pair
jit-monitor-mode str = error warn
jit-monitor-verbose pair
max-num-batched-tokens human
max-num-scheduled-tokens human?
max-num-seqs int
max-num-active-seqs int?
max-num-queued-reqs int?
max-num-queued-tokens human?
long-prefill-token-threshold int
long-prefill-token-threshold-adaptive pair
scheduling-policy str = fcfs priority
enable-chunked-prefill pair
disable-chunked-mm-input pair
scheduler-cls str?
scheduler-reserve-full-isl pair
watermark float
prefill-schedule-interval int
disable-hybrid-kv-cache-manager pair
async-scheduling pair
stream-interval int
cudagraph-capture-sizes int+
max-cudagraph-capture-size int
ir-op-priority config
enable-flashinfer-autotune pair
monokernel pair
moe-backend folded = aiter aiter_mega_moe aiter_triton_mxfp4_bf16 aiter_triton_mxfp4_mxfp4 auto b12x
    batched_triton cutlass deep_gemm deep_gemm_mega_moe emulation flashinfer_b12x flashinfer_cutedsl
    flashinfer_cutlass flashinfer_moe_ep_cutedsl flashinfer_moe_ep_mega_deep_gemm flashinfer_trtllm
    flydsl hpc humming marlin rdna3 triton triton_unfused
linear-backend folded = aiter auto b12x conch cutlass deep_gemm emulation exllama fbgemm flashinfer_b12x
    flashinfer_cudnn flashinfer_cutedsl flashinfer_cutlass flashinfer_trtllm humming machete marlin
    torch triton xpu xpu_woq
sparse-indexer-topk-backend folded = aiter auto cooperative deep_select flashinfer per_row persistent
    torch
speculative-config -sc json?
spec-method str? = bailing_hybrid_mtp bailing_hybrid_v3_mtp custom_class deepseek_mtp dflash
    dots3_note_mtp draft_model dspark eagle eagle3 ernie_mtp exaone4_5_mtp exaone_moe_mtp
    extract_hidden_states gemma4_mtp glm4_moe_lite_mtp glm4_moe_mtp glm5_next_mtp glm_ocr_mtp hy_v3_mtp
    hy_v4_mtp inkling_mtp kimi_k3_mtp longcat_flash_mtp mimo_mtp mimo_v2_mtp minimax_m3_mtp mtp
    nemotron_h_mtp ngram ngram_gpu pangu_ultra_moe_mtp qwen3_5_mtp qwen3_next_mtp qwen4_exp_mtp
    step3p5_mtp step5_mtp suffix None
spec-model str?
spec-tokens int
watermark-config json?
diffusion-config -dc json?
kv-transfer-config config?
kv-events-config config?
ec-transfer-config config?
ec-manager-config config
compilation-config -cc config
attention-config -ac config
engram-config config?
reasoning-config config?
kernel-config config
additional-config object-or-str
structured-outputs-config config
aux-output-config config
profiler-config config
watchdog-config config
optimization-level str
performance-mode str = balanced interactivity throughput
weight-transfer-config config?
disable-log-stats true
aggregate-engine-logging true
fail-on-environ-validation pair
shutdown-timeout int
gdn-prefill-backend str = flashinfer triton cutedsl aiter_flydsl sycl
kda-prefill-backend str = auto triton flashkda flashinfer fused
kda-decode-backend str = auto native flashinfer triton
enable-log-requests pair
"""
