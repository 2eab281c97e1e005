"""/server_info: a replica's configuration under vLLM's headings."""

from __future__ import annotations

from typing import Any

from simulator.config.serve import ServeConfig


def server_info(config: ServeConfig) -> dict[str, Any]:
    """What vLLM calls vllm_config, as far as a simulator has it."""
    engine = config.engine
    return {
        "model_config": {
            "model": config.model,
            "tokenizer": config.text.tokenizer or config.model,
            "seed": config.seed,
            "max_model_len": engine.max_model_len,
            "max_logprobs": config.max_logprobs,
            "served_model_name": list(config.served_model_names),
        },
        "cache_config": {
            "block_size": engine.block_size,
            "num_gpu_blocks": engine.num_gpu_blocks,
            "enable_prefix_caching": engine.enable_prefix_caching,
        },
        "scheduler_config": {
            "max_num_seqs": engine.max_num_seqs,
            "max_num_batched_tokens": engine.max_num_batched_tokens,
            "enable_chunked_prefill": engine.enable_chunked_prefill,
            "long_prefill_token_threshold": engine.long_prefill_token_threshold,
            "policy": engine.scheduling_policy,
            "async_scheduling": engine.async_scheduling,
            "watermark": engine.watermark,
        },
        "parallel_config": {
            "data_parallel_size": config.data_parallel_size,
            "data_parallel_rank": config.data_parallel_rank or 0,
        },
        "lora_config": {
            "max_loras": engine.max_loras,
            "max_cpu_loras": engine.cpu_lora_slots,
            "max_lora_rank": config.max_lora_rank,
        }
        if engine.enable_lora
        else None,
    }
