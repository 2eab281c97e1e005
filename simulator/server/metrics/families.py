"""The metric catalogue as a table: vLLM 0.33, vLLM 0.11 and llm-d-inference-sim 0.7, in order of output.

Names, types, labels, HELP texts and order of the 0.33 families are those of a recorded server; the buckets
stand with the histograms in `engine.stats`. A family says how its numbers are read from EngineStats and
nothing more: rendering is `exposition`'s work, and the docs print this table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from simulator.engine.request import FinishReason
from simulator.engine.stats import KV_FETCH_STAGES, EngineStats
from simulator.server.metrics.family import ALL, LLMD, V011, V033, VLLM, Family, Source, zero, zeros
from simulator.server.metrics.features import NIXL_FAMILIES, TOOL_CALLS, spec_families


def _sleep(stats: EngineStats) -> Sequence[float]:
    level = stats.sleep_level
    return float(level == 0), float(level == 1), float(level == 2)


def _success(*reasons: str) -> Source:
    return lambda stats: [stats.request_success.get(reason, 0) for reason in reasons]


_REASONS = tuple(reason.value for reason in FinishReason)
_TIERS = ("device", "host", "p2p", "disk", "external_unspecified")
_KV_HELP = "KV-cache usage. 1 means 100 percent usage."
_GPU = "per GPU (for Model Flops Utilization calculations)."

_GAUGES = (
    Family(
        "vllm:estimated_flops_per_gpu",
        "counter",
        f"Estimated number of floating point operations {_GPU}",
        zero,
    ),
    Family(
        "vllm:estimated_read_bytes_per_gpu",
        "counter",
        f"Estimated number of bytes read from memory {_GPU}",
        zero,
    ),
    Family(
        "vllm:estimated_write_bytes_per_gpu",
        "counter",
        f"Estimated number of bytes written to memory {_GPU}",
        zero,
    ),
    Family(
        "vllm:num_requests_running",
        "gauge",
        "Number of requests in model execution batches.",
        lambda s: s.num_requests_running,
        in_versions=ALL,
    ),
    Family(
        "vllm:num_requests_waiting",
        "gauge",
        "Number of requests waiting to be processed.",
        lambda s: s.num_requests_waiting,
        in_versions=ALL,
    ),
    Family(
        "vllm:num_requests_waiting_by_reason",
        "gauge",
        "Number of waiting requests by reason. Reason labels: 'capacity' = waiting for scheduling capacity; "
        "'deferred' = deferred by transient constraints (LoRA budget, KV transfer, blocked status). "
        "Sum of all reasons equals vllm:num_requests_waiting.",
        lambda s: (s.num_requests_waiting_capacity, s.num_requests_waiting_deferred),
        "reason",
        ("capacity", "deferred"),
    ),
    Family(
        "vllm:num_requests_kv_fetch_by_stage",
        "gauge",
        "Number of waiting requests by async KV load stage. Stage labels: 'waiting_to_start' = needs an "
        "async KV load that has not started; 'in_progress' = load started and not yet reported finished; "
        "'completed_waiting' = load finished, request not running yet.",
        lambda s: tuple(s.kv_fetch_by_stage.values()),
        "stage",
        KV_FETCH_STAGES,
        only_with="kv-consumer",
    ),
    Family(
        "vllm:engine_sleep_state",
        "gauge",
        "Engine sleep state; awake = 0 means engine is sleeping; awake = 1 means engine is awake; "
        "weights_offloaded = 1 means sleep level 1; discard_all = 1 means sleep level 2.",
        _sleep,
        "sleep_state",
        ("awake", "weights_offloaded", "discard_all"),
    ),
    Family("vllm:kv_cache_usage_perc", "gauge", _KV_HELP, lambda s: s.kv_cache_usage, in_versions=ALL),
    Family(
        "vllm:gpu_cache_usage_perc",
        "gauge",
        "GPU KV-cache usage. 1 means 100 percent usage.DEPRECATED: Use vllm:kv_cache_usage_perc instead.",
        lambda s: s.kv_cache_usage,
        in_versions=(V011,),
        only_with="hidden",
    ),
)

_COUNTERS = (
    Family(
        "vllm:prefix_cache_queries",
        "counter",
        "Prefix cache queries, in terms of number of queried tokens.",
        lambda s: s.prefix_cache_queries,
        in_versions=VLLM,
    ),
    Family(
        "vllm:prefix_cache_hits",
        "counter",
        "Prefix cache hits, in terms of number of cached tokens.",
        lambda s: s.prefix_cache_hits,
        in_versions=VLLM,
    ),
    Family(
        "vllm:external_prefix_cache_queries",
        "counter",
        "External prefix cache queries from KV connector cross-instance cache sharing, in terms of number of "
        "queried tokens.",
        lambda s: s.external_prefix_cache_queries,
    ),
    Family(
        "vllm:external_prefix_cache_hits",
        "counter",
        "External prefix cache hits from KV connector cross-instance cache sharing, in terms of number of "
        "cached tokens.",
        lambda s: s.external_prefix_cache_hits,
    ),
    Family(
        "vllm:mm_cache_queries",
        "counter",
        "Multi-modal cache queries, in terms of number of queried items.",
        zero,
    ),
    Family(
        "vllm:mm_cache_hits", "counter", "Multi-modal cache hits, in terms of number of cached items.", zero
    ),
    Family(
        "vllm:num_preemptions",
        "counter",
        "Cumulative number of preemption from the engine.",
        lambda s: s.num_preemptions,
        in_versions=VLLM,
    ),
    Family(
        "vllm:prompt_tokens",
        "counter",
        "Number of prefill tokens processed.",
        lambda s: s.prompt_tokens,
        in_versions=ALL,
        shown_at_zero=False,
    ),
    Family(
        "vllm:prompt_tokens_by_source",
        "counter",
        "Number of prompt tokens by source.",
        lambda s: (s.prompt_tokens_local_compute, s.prompt_tokens_local_cache_hit, s.prompt_tokens_external),
        "source",
        ("local_compute", "local_cache_hit", "external_kv_transfer"),
    ),
    Family(
        "vllm:prompt_tokens_cached",
        "counter",
        "Number of cached prompt tokens (local + external).",
        lambda s: s.prompt_tokens_cached,
    ),
    Family(
        "vllm:prompt_tokens_cached_by_source",
        "counter",
        "Prefix-cache hit tokens by the cache tier that supplied them: device (local HBM), host (offloaded "
        "to DRAM), disk, p2p (transferred from another vLLM instance) or external_unspecified. Counted at "
        "admission; sums to vllm:prefix_cache_hits + vllm:external_prefix_cache_hits.",
        lambda s: (s.prefix_cache_hits, 0, s.external_prefix_cache_hits, 0, 0),
        "source",
        _TIERS,
    ),
    Family(
        "vllm:generation_tokens",
        "counter",
        "Number of generation tokens processed.",
        lambda s: s.generation_tokens,
        in_versions=ALL,
        shown_at_zero=False,
    ),
    Family(
        "vllm:request_success",
        "counter",
        "Count of successfully processed requests.",
        _success(*_REASONS),
        "finished_reason",
        _REASONS,
    ),
    Family(
        "vllm:request_success",
        "counter",
        "Count of successfully processed requests.",
        _success("stop", "length", "abort"),
        "finished_reason",
        ("stop", "length", "abort"),
        (V011,),
    ),
    Family(
        "vllm:request_success",
        "counter",
        "Count of successfully processed requests.",
        _success("stop", "length"),
        "finish_reason",
        ("stop", "length"),
        (LLMD,),
        shown_at_zero=False,
    ),
)


def _histogram(name: str, help_: str, versions: tuple[str, ...], attribute: str = "") -> Family:
    return Family(
        f"vllm:{name}", "histogram", help_, attribute or name, in_versions=versions, shown_at_zero=False
    )


_HISTOGRAMS = (
    _histogram("request_prompt_tokens", "Number of prefill tokens processed.", ALL),
    _histogram("request_generation_tokens", "Number of generation tokens processed.", ALL),
    _histogram("iteration_tokens_total", "Histogram of number of tokens per engine_step.", VLLM),
    _histogram(
        "request_max_num_generation_tokens",
        "Histogram of maximum number of requested generation tokens.",
        VLLM,
    ),
    _histogram(
        "max_num_generation_tokens",
        "Histogram of maximum number of requested generation tokens.",
        (LLMD,),
        "request_max_num_generation_tokens",
    ),
    _histogram("request_params_n", "Histogram of the n request parameter.", VLLM),
    _histogram("request_params_max_tokens", "Histogram of the max_tokens request parameter.", ALL),
    _histogram("time_to_first_token_seconds", "Histogram of time to first token in seconds.", ALL),
    _histogram(
        "time_per_output_token_seconds",
        "Histogram of time per output token in seconds.DEPRECATED: Use vllm:inter_token_latency_seconds "
        "instead.",
        (V011, LLMD),
        "inter_token_latency_seconds",
    ),
    _histogram("inter_token_latency_seconds", "Histogram of inter-token latency in seconds.", ALL),
    _histogram(
        "request_time_per_output_token_seconds",
        "Histogram of time_per_output_token_seconds per request.",
        VLLM,
    ),
    _histogram("e2e_request_latency_seconds", "Histogram of e2e request latency in seconds.", ALL),
    _histogram("request_queue_time_seconds", "Histogram of time spent in WAITING phase for request.", ALL),
    _histogram(
        "request_inference_time_seconds", "Histogram of time spent in RUNNING phase for request.", ALL
    ),
    _histogram("request_prefill_time_seconds", "Histogram of time spent in PREFILL phase for request.", ALL),
    _histogram("request_decode_time_seconds", "Histogram of time spent in DECODE phase for request.", ALL),
    _histogram(
        "request_num_preemptions", "Histogram of the number of times a request was preempted.", (V033,)
    ),
    _histogram(
        "request_prefill_kv_computed_tokens",
        "Histogram of new KV tokens computed during prefill (excluding cached tokens).",
        (V033,),
    ),
)

# Held by the replica, not by its engine.
REJECTIONS = Family(
    "vllm:admission_rejections",
    "counter",
    "Number of admission attempts rejected by a queue limit, by reason.",
    zeros(2),
    "reason",
    ("max_num_queued_reqs", "max_num_queued_tokens"),
    engine_label=False,
)
HELD_BY_REPLICA = (REJECTIONS, TOOL_CALLS)
LORA_NAME = "vllm:lora_requests_info"
LORA_HELP = "Running stats on lora requests."
CACHE_NAME = "vllm:cache_config_info"
CACHE_HELP = "Information of the LLMEngine CacheConfig"

ENGINE_FAMILIES: tuple[Family, ...] = (*_GAUGES, *_COUNTERS, REJECTIONS, *_HISTOGRAMS)


def families(version: str, with_: frozenset[str], both_kv_names: bool) -> tuple[Family, ...]:
    """The engine's families of a version, in order. `with_` holds the conditions (`only_with`) that are met.

    `both_kv_names` adds the KV gauge under the name that this version lacks: endpoint pickers of early 2026
    and before read vllm:gpu_cache_usage_perc.
    """
    return tuple(
        family
        for family in ENGINE_FAMILIES
        if (version in family.in_versions and (not family.only_with or family.only_with in with_))
        or (both_kv_names and family.name == "vllm:gpu_cache_usage_perc")
    )


def describe() -> list[dict[str, Any]]:
    """The table as rows for the docs: name, type, labels, versions, condition, help."""
    return [
        {
            "name": family.exposed_name,
            "type": family.kind,
            "labels": sorted(
                [
                    "model_name",
                    *(["engine"] if family.engine_label else []),
                    *filter(None, family.label.split(",")),
                ]
            ),
            "versions": family.in_versions,
            "only_with": family.only_with,
            "help": family.help,
        }
        for family in (*ENGINE_FAMILIES, *spec_families(1), *NIXL_FAMILIES, TOOL_CALLS)
    ]
