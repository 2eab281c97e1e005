"""What an EngineConfig refuses."""

from __future__ import annotations

from typing import Any

import pytest

from simulator.engine.config import EngineConfig
from simulator.errors import ConfigError


def test_the_defaults_are_vllm_0_33() -> None:
    config = EngineConfig()
    assert (config.admission, config.free_list, config.async_scheduling) == (
        "whole-prompt",
        "empty-first",
        True,
    )
    assert config.cpu_lora_slots == config.max_loras == 1


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"max_num_seqs": 0}, "max_num_seqs must be at least 1"),
        ({"num_gpu_blocks": 1}, "num_gpu_blocks must be at least 2"),
        ({"block_size": -1}, "block_size"),
        ({"long_prefill_token_threshold": -1}, "long_prefill_token_threshold"),
        ({"max_loras": 4, "max_cpu_loras": 2}, r"max_cpu_loras \(2\) must be >= max_loras \(4\)"),
        ({"watermark": 1.0}, "watermark must be in"),
        ({"enable_chunked_prefill": False, "max_num_batched_tokens": 16}, "smaller than max_model_len"),
    ],
)
def test_values_that_no_engine_can_run_with(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        EngineConfig(**values)
