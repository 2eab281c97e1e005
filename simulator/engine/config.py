"""EngineConfig: every number and switch that one engine needs, checked once.

The engine never asks for a version. Where versions of vLLM differ, the difference is a row of `EngineRules`,
whose defaults are vLLM 0.33's; `simulator.config.compat` maps a version's name to its rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from simulator.engine.spec.settings import SpecConfig
from simulator.errors import ConfigError

SchedulingPolicyName = Literal["fcfs", "priority"]
HashAlgo = Literal["fast", "sha256", "sha256_cbor"]


@dataclass(frozen=True, slots=True)
class EngineRules:
    """Where versions of the scheduler differ; each row decides one thing."""

    admission: Literal["whole-prompt", "chunk"] = "whole-prompt"  # what must fit to be admitted
    free_list: Literal["empty-first", "lru"] = "empty-first"  # which freed block is reused: without content
    stop_order: Literal["stop-first", "length-first"] = "stop-first"  # what ends a sequence that both end
    lora_scope: Literal["running", "scheduled"] = "running"  # whose adapters count against max_loras
    prefix_queries: Literal["admission", "lookup"] = "admission"  # when prefix_cache_queries counts
    iteration_tokens: Literal["computed", "prompt"] = "computed"  # a prefill in iteration_tokens_total
    hash_keys: Literal["tagged", "untagged"] = "tagged"  # the extra keys inside sha256 hashes
    lone_prefill_is_capped: bool = False  # the long prefill threshold holds for a lone request too
    self_preemption_ends_pass: bool = False  # who preempts itself ends the pass, under priority as well
    long_prompt_is_overtaken: bool = False  # without chunked prefill, one beyond the budget is set aside
    deferred_order: Literal["kept", "reversed"] = "kept"  # in which deferred requests come back
    kv_hand_off: Literal["groups", "flat"] = "groups"  # remote_block_ids: a list for each group, or one
    detects_repetition: bool = True  # repetition_detection of sampling parameters is read


@dataclass(frozen=True, slots=True)
class EngineConfig(EngineRules):
    """The parameters of one engine; vLLM's names where vLLM has the parameter.

    Raises ConfigError on values that no engine can run with. `num_gpu_blocks` includes the null block, as
    vLLM counts it, so `num_gpu_blocks - 1` are usable.
    """

    max_num_seqs: int = 256
    max_num_batched_tokens: int = 2048
    max_model_len: int = 1024
    block_size: int = 16
    num_gpu_blocks: int = 1024
    enable_prefix_caching: bool = True
    enable_chunked_prefill: bool = True
    max_num_active_seqs: int | None = None  # most sequences that run; None: max_num_seqs
    max_num_scheduled_tokens: int | None = None  # most tokens of a step; None: max_num_batched_tokens
    long_prefill_token_threshold: int = 0
    long_prefill_token_threshold_adaptive: bool = False  # never below a fair share of the budget
    prefill_schedule_interval: int = 1  # steps between two that prefill, while others decode
    scheduling_policy: SchedulingPolicyName = "fcfs"
    async_scheduling: bool = True
    watermark: float = 0.0
    api_overhead: float = 0.0  # seconds from a request's arrival at the API until the engine has it
    spec: SpecConfig | None = None  # None: no speculative decoding
    seed: int = 0

    enable_lora: bool = False
    max_loras: int = 1
    max_cpu_loras: int | None = None  # None: as many as max_loras, as vLLM resolves it

    hash_algo: HashAlgo = "fast"  # fast: a chain that only this process can read; sha256*: vLLM's own values
    prefix_index: Literal["compact", "dict"] = "compact"  # a quarter of the memory, or quicker: virtual time
    hash_seed: str | None = None  # PYTHONHASHSEED, the root of vLLM's hash chain
    kv_events: bool = False  # collect BlockStored and friends into StepOutput.kv_events

    check_invariants: bool = False  # after every step: an engine that contradicts itself raises at once

    # P/D disaggregation. Without a connector kv_transfer_params of requests are ignored, as without
    # --kv-transfer-config; the rest is what a prefill engine hands to the decode engine.
    kv_connector: bool = True
    kv_engine_id: str = ""
    kv_host: str = "localhost"
    kv_port: int = 5600
    kv_tp_size: int = 1
    kv_dcp_size: int = 1
    kv_pp_size: int = 1
    kv_lease_seconds: float = 30.0  # how long blocks are kept that nobody has fetched
    kv_load_failure_policy: Literal["fail", "recompute"] = "fail"
    kv_bytes_per_token: int = 131072
    kv_offload_bytes: int = 0  # of the host's memory; 0: nothing is offloaded
    kv_offload_bandwidth: float = 25e9  # bytes a second between host and GPU, about PCIe 4.0 x16

    def __post_init__(self) -> None:
        for name in ("max_num_seqs", "max_num_batched_tokens", "max_model_len", "block_size", "max_loras"):
            self._at_least(name, 1)
        self._at_least("num_gpu_blocks", 2)
        self._at_least("long_prefill_token_threshold", 0)
        self._at_least("prefill_schedule_interval", 1)
        active = self.max_num_active_seqs
        if active is not None and not 1 <= active <= self.max_num_seqs:
            raise ConfigError(
                f"max_num_active_seqs ({active}) must be from 1 to max_num_seqs ({self.max_num_seqs})"
            )
        if self.max_num_scheduled_tokens is not None:
            self._at_least("max_num_scheduled_tokens", 1)
        if self.spec is not None and self.max_num_batched_tokens <= self.spec.lookahead:
            raise ConfigError(
                f"max_num_batched_tokens ({self.max_num_batched_tokens}) leaves no room for a token beside "
                f"the {self.spec.lookahead} that the drafter looks ahead"
            )
        if self.max_cpu_loras is not None and self.max_cpu_loras < self.max_loras:
            raise ConfigError(f"max_cpu_loras ({self.max_cpu_loras}) must be >= max_loras ({self.max_loras})")
        if not 0.0 <= self.watermark < 1.0:
            raise ConfigError(f"watermark must be in [0, 1), not {self.watermark}")
        if not self.enable_chunked_prefill and self.max_num_batched_tokens < self.max_model_len:
            raise ConfigError(
                f"max_num_batched_tokens ({self.max_num_batched_tokens}) is smaller than max_model_len "
                f"({self.max_model_len}): without chunked prefill a long prompt could never be scheduled. "
                "Raise max_num_batched_tokens or lower max_model_len"
            )

    def _at_least(self, name: str, least: int) -> None:
        value = getattr(self, name)
        if value < least:
            raise ConfigError(f"{name} must be at least {least}, not {value}")

    @property
    def max_active(self) -> int:
        """Most sequences that run at once."""
        return self.max_num_seqs if self.max_num_active_seqs is None else self.max_num_active_seqs

    @property
    def token_budget(self) -> int:
        """Most tokens that a step schedules."""
        budget, least = self.max_num_batched_tokens, self.max_num_scheduled_tokens
        return budget if least is None else min(budget, least)

    @property
    def cpu_lora_slots(self) -> int:
        """Adapters that the host cache holds."""
        return self.max_loras if self.max_cpu_loras is None else self.max_cpu_loras
