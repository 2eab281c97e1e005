"""Labels of vllm:cache_config_info: every field of vLLM's CacheConfig as text, in alphabetical order."""

from __future__ import annotations

from kit.prometheus import escape
from simulator.config.compat import Compat
from simulator.config.serve import ServeConfig

_KV_BYTES_PER_TOKEN = 131072  # Llama-3.1-8B in bfloat16


def cache_config_labels(config: ServeConfig, compat: Compat, rank: int) -> str:
    """`name="value",...` as the imitated server shows it."""
    engine = config.engine
    labels: dict[str, object] = {
        "block_size": engine.block_size,
        "num_gpu_blocks": engine.num_gpu_blocks,
    }
    if compat.cache_labels != "sizes":
        labels |= {
            "cache_dtype": config.kv_cache_dtype,
            "enable_prefix_caching": engine.enable_prefix_caching,
            "engine": rank,
            "gpu_memory_utilization": config.gpu_memory_utilization,
            "is_attention_free": False,
            "kv_sharing_fast_prefill": False,
            "mamba_block_size": None,
            "mamba_cache_dtype": "auto",
            "mamba_page_size_padded": None,
            "num_cpu_blocks": None,
            "num_gpu_blocks_override": config.num_gpu_blocks_override,
            "prefix_caching_hash_algo": config.prefix_caching_hash_algo,
            "sliding_window": None,
        }
        labels |= _older_labels() if compat.cache_labels == "older" else _newer_labels(config)
    return ",".join(f'{name}="{escape(str(labels[name]))}"' for name in sorted(labels))


def _older_labels() -> dict[str, object]:
    return {
        "calculate_kv_scales": False,
        "cpu_kvcache_space_bytes": None,
        "cpu_offload_gb": 0,
        "mamba_ssm_cache_dtype": "auto",
        "swap_space": 4,
    }


def _newer_labels(config: ServeConfig) -> dict[str, object]:
    engine = config.engine
    tokens = engine.num_gpu_blocks * engine.block_size
    return {
        "_block_size_resolved": True,
        "cache_hit_alignment_tokens": None,
        "effective_attention_block_size": engine.block_size,
        "enable_mamba_shared_prefix_checkpoint": False,
        "hash_block_size": None,
        "kv_cache_dtype_skip_layers": [],
        "kv_cache_layout": None,
        "kv_cache_max_concurrency": tokens / engine.max_model_len,
        "kv_cache_memory_bytes": tokens * _KV_BYTES_PER_TOKEN,
        "kv_cache_size_tokens": tokens,
        "kv_offloading_backend": "native",
        "kv_offloading_size": None,
        "mamba_cache_mode": "none",
        "mamba_ssm_cache_dtype": "float32",
        "prefix_cache_retention_interval": 0,
        "prefix_match_unit": None,
        "replayssm_buffer_len": 16,
        "simple_cpu_offload_num_blocks": None,
        "skip_page_size_padded": None,
        "swa_bounded_replay": True,
        "use_kda_recoverssm": False,
        "use_replayssm": False,
        "user_specified_block_size": config.user_specified_block_size,
    }
