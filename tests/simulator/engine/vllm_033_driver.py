"""vLLM 0.33's scheduler behind tests/conformance/README.md's interface, with what models of 2026 bring.

Runs in the oracle's own environment: `python vllm_033_driver.py LAST_STEP` reads a scenario a line and
answers `LINES [...]` for each. Beside the fields of the README, a scenario's `cfg` may have `spec` (method,
tokens, mtp_layers, block_drop, rates), `max_num_active_seqs`, `max_num_scheduled_tokens`, `adaptive`,
`interval` and `reserve_full_isl`. No model runs: sampled tokens are 7, and how many drafts are accepted is
decided by request and position, as `accepted` says on both sides.
"""

from __future__ import annotations

import json
import os
import sys
import zlib
from collections import deque
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from vllm.config import (
    CacheConfig,
    DeviceConfig,
    KVTransferConfig,
    LoRAConfig,
    ModelConfig,
    SchedulerConfig,
    VllmConfig,
)
from vllm.config.speculative import SpeculativeConfig
from vllm.distributed.kv_transfer.kv_connector.factory import KVConnectorFactory
from vllm.distributed.kv_transfer.kv_connector.v1.base import KVConnectorBase_V1
from vllm.lora.request import LoRARequest
from vllm.sampling_params import SamplingParams
from vllm.utils.hashing import sha256_cbor
from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
from vllm.v1.outputs import DraftTokenIds, KVConnectorOutput, ModelRunnerOutput
from vllm.v1.request import Request, RequestStatus
from vllm.v1.structured_output import StructuredOutputManager


def accepted(name: str, position: int, rates: list[float], drafted: int) -> int:
    """Draft tokens that the target model takes; the same function stands in the tests."""
    share = zlib.crc32(f"{name}/{position}".encode()) / 2**32
    return sum(1 for rate in rates[:drafted] if share < rate)


def speculative(spec: dict[str, Any]) -> SpeculativeConfig:
    """vLLM's own class without its search for draft models on disk."""
    made = object.__new__(SpeculativeConfig)
    made.method = spec["method"]
    made.num_speculative_tokens = spec["tokens"]
    made.parallel_drafting = spec.get("parallel", False)
    made.disable_eagle_block_drop = False
    made.disable_lookahead_block_hashes = spec.get("block_drop", False)
    made.num_speculative_tokens_per_batch_size = None
    hf = SimpleNamespace(num_nextn_predict_layers=spec.get("mtp_layers", 1), model_type="tiny")
    made.draft_model_config = SimpleNamespace(hf_config=hf, architectures=["Tiny"])
    made.enable_adaptive_verification = False
    return made


class Pull(KVConnectorBase_V1):
    """A connector whose pulls end when the scenario says, as those of NIXL in a D engine."""

    def __init__(self, delays: dict[str, int], config: KVTransferConfig) -> None:
        self._kv_transfer_config = config
        self.delays = delays  # of requests whose prompts are still to be pulled
        self.started: list[str] = []

    def get_num_new_matched_tokens(self, request: Request, num_computed_tokens: int) -> tuple[int, bool]:
        count = request.num_prompt_tokens - num_computed_tokens
        return (count, True) if request.request_id in self.delays and count > 0 else (0, False)

    def update_state_after_alloc(self, request: Request, blocks: Any, num_external_tokens: int) -> None:
        if num_external_tokens:
            self.started.append(request.request_id)
        elif request.request_id in self.delays:
            del self.delays[request.request_id]

    def get_loaded_kv_cache_group_ids(self, request: Request) -> tuple[int, ...]:
        return ()

    def get_external_cache_hit_sources(self, request: Request, num_tokens: int) -> None:
        return None

    def build_connector_meta(self, scheduler_output: Any) -> Any:
        return None

    def request_finished(self, request: Request, block_ids: list[int]) -> tuple[bool, None]:
        return False, None

    def start_load_kv(self, *args: Any, **kwargs: Any) -> None: ...

    def wait_for_layer_load(self, layer_name: str) -> None: ...

    def save_kv_layer(self, *args: Any, **kwargs: Any) -> None: ...

    def wait_for_save(self) -> None: ...


class Run:
    """One scenario."""

    def __init__(self, scenario: dict[str, Any]) -> None:
        self.cfg = cfg = scenario["cfg"]
        self.reqs = scenario["reqs"]
        self.depth = 2 if cfg.get("async") else 1
        self.config = self._config()
        block_size = self.config.cache_config.block_size
        group = KVCacheGroupSpec(
            ["layer"],
            FullAttentionSpec(block_size=block_size, num_kv_heads=1, head_size=1, dtype=torch.float32),
        )
        kv = KVCacheConfig(num_blocks=cfg["num_blocks"], kv_cache_tensors=[], kv_cache_groups=[group])
        self.pull: Pull | None = None
        self.pulls: dict[str, int] = {}  # under way: the step of their end
        self.step = 0
        if cfg.get("kv_role"):
            transfer = KVTransferConfig(kv_connector="Pull", kv_role=cfg["kv_role"])
            self.config.kv_transfer_config = transfer
            pull = self.pull = Pull({r["id"]: r["pull"] for r in self.reqs if "pull" in r}, transfer)
            KVConnectorFactory.create_connector = classmethod(lambda *_, **__: pull)
        kind = AsyncScheduler if cfg.get("async") else Scheduler
        self.scheduler = kind(
            vllm_config=self.config,
            kv_cache_config=kv,
            structured_output_manager=StructuredOutputManager(self.config),
            block_size=block_size,
            log_stats=True,
        )
        init_none_hash(sha256_cbor)
        self.hasher = get_request_block_hasher(block_size, sha256_cbor, self.config.num_hash_lookahead_tokens)
        self.loras: dict[str, int] = {}
        self.queue: deque[Any] = deque()

    def _config(self) -> VllmConfig:
        cfg = self.cfg
        length = cfg["max_model_len"]
        scheduling = SchedulerConfig(
            max_num_seqs=cfg["max_num_seqs"],
            max_num_batched_tokens=cfg["max_num_batched_tokens"],
            max_model_len=length,
            is_encoder_decoder=False,
            long_prefill_token_threshold=cfg.get("long_prefill_token_threshold", 0),
            long_prefill_token_threshold_adaptive=cfg.get("adaptive", False),
            enable_chunked_prefill=True,
            async_scheduling=cfg.get("async", False),
            policy=cfg.get("policy", "fcfs"),
            watermark=cfg.get("watermark", 0.0),
            max_num_active_seqs=cfg.get("max_num_active_seqs"),
            max_num_scheduled_tokens=cfg.get("max_num_scheduled_tokens"),
            prefill_schedule_interval=cfg.get("interval", 1),
            scheduler_reserve_full_isl=cfg.get("reserve_full_isl", True),
        )
        model = ModelConfig(model=os.environ["TINY_MODEL"], dtype="bfloat16", seed=0, max_model_len=length)
        cache = CacheConfig(
            block_size=cfg.get("block_size", 16),
            cache_dtype="auto",
            enable_prefix_caching=cfg.get("enable_prefix_caching", True),
            prefix_caching_hash_algo="sha256_cbor",
        )
        cache.num_gpu_blocks = cfg["num_blocks"]
        lora = {}
        if cfg.get("max_loras"):
            lora["lora_config"] = LoRAConfig(max_lora_rank=8, max_loras=cfg["max_loras"])
        made = VllmConfig(
            scheduler_config=scheduling,
            model_config=model,
            cache_config=cache,
            device_config=DeviceConfig("cpu"),
            **lora,
        )
        # the CPU platform has ideas of its own about these
        made.scheduler_config.async_scheduling = cfg.get("async", False)
        made.scheduler_config.max_num_batched_tokens = cfg["max_num_batched_tokens"]
        made.scheduler_config.max_num_scheduled_tokens = cfg.get("max_num_scheduled_tokens")
        if cfg.get("spec"):
            made.speculative_config = speculative(cfg["spec"])
        return made

    def lines(self, last_step: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        todo = sorted(self.reqs, key=lambda r: r["at_step"])
        scheduler = self.scheduler
        for step in range(last_step + 1):
            self.step = step
            while todo and todo[0]["at_step"] <= step:
                self._add(todo.pop(0), step)
            for r in self.reqs:
                if r.get("abort_at") == step:
                    scheduler.finish_requests(r["id"], RequestStatus.FINISHED_ABORTED)
            if not scheduler.has_requests() and not self.queue and not todo:
                break
            line: dict[str, Any] = {"step": step}
            if scheduler.has_requests():
                line |= self._schedule()
            if len(self.queue) >= self.depth or not scheduler.has_unfinished_requests():
                line |= self._update()
            found.append(line)
        return found

    def _add(self, r: dict[str, Any], step: int) -> None:
        prompt = r["prompt"]
        lora = None
        if r.get("lora"):
            lora = LoRARequest(r["lora"], self.loras.setdefault(r["lora"], len(self.loras) + 1), "/x")
        self.scheduler.add_request(
            Request(
                request_id=r["id"],
                prompt_token_ids=list(prompt),
                sampling_params=SamplingParams(max_tokens=r["max_tokens"], ignore_eos=True, temperature=0),
                pooling_params=None,
                arrival_time=float(step),
                lora_request=lora,
                cache_salt=r.get("salt"),
                priority=r.get("priority", 0),
                block_hasher=self.hasher,
            )
        )

    def _schedule(self) -> dict[str, Any]:
        scheduler = self.scheduler
        output = scheduler.schedule()
        if self.pull is not None:
            for name in self.pull.started:
                self.pulls[name] = self.step + self.pull.delays.pop(name)
            self.pull.started.clear()
        emits = {name: not scheduler.requests[name].is_prefill_chunk for name in output.num_scheduled_tokens}
        new = [one.req_id for one in output.scheduled_new_reqs]
        resumed = list(output.scheduled_cached_reqs.resumed_req_ids)
        self.queue.append((output, emits, {*new, *resumed}))
        drafts = output.scheduled_spec_decode_tokens
        return {
            "sched": dict(output.num_scheduled_tokens),
            "drafts": {name: len(tokens) for name, tokens in drafts.items() if tokens},
            "new": new,
            "resumed": resumed,
            "preempted": sorted(output.preempted_req_ids or []),
            "running": [r.request_id for r in scheduler.running],
            "waiting": [r.request_id for r in scheduler.waiting],
            "usage": round(scheduler.kv_cache_manager.usage, 6),
            "computed": {r.request_id: r.num_computed_tokens for r in scheduler.running},
        }

    def _update(self) -> dict[str, Any]:
        if not self.queue:
            return {}
        scheduler, spec = self.scheduler, self.cfg.get("spec")
        output, emits, admitted = self.queue.popleft()
        names = list(output.num_scheduled_tokens)
        sampled: list[list[int]] = []
        for name in names:
            drafted = len(output.scheduled_spec_decode_tokens.get(name, ()))
            request = scheduler.requests.get(name)
            count = 0
            if drafted and request is not None and name not in admitted:
                count = accepted(name, request.num_output_tokens, spec["rates"], drafted)
            sampled.append([7] * (1 + count) if emits[name] else [])
        arrived = {name for name, end in self.pulls.items() if end <= self.step}
        for name in arrived:
            del self.pulls[name]
        results = scheduler.update_from_output(
            output,
            ModelRunnerOutput(
                req_ids=names,
                req_id_to_index={name: i for i, name in enumerate(names)},
                sampled_token_ids=sampled,
                kv_connector_output=KVConnectorOutput(finished_recving=arrived) if arrived else None,
            ),
        )
        if spec and not self.cfg.get("async") and names:
            drafts = [[8] * spec["tokens"] for _ in names]
            scheduler.update_draft_token_ids(DraftTokenIds(names, drafts))
        line: dict[str, Any] = {}
        finished: dict[str, str] = {}
        for group in results.values():
            for one in group.outputs:
                if one.finish_reason is not None:
                    finished[one.request_id] = str(one.finish_reason)
            if group.scheduler_stats is not None:
                line["stats"] = _stats(group.scheduler_stats)
        if finished:
            line["finished"] = finished
        return line


def _stats(stats: Any) -> dict[str, Any]:
    told = {
        "run": stats.num_running_reqs,
        "wait": stats.num_waiting_reqs,
        "deferred": stats.num_skipped_waiting_reqs,
        "usage": round(stats.kv_cache_usage, 6),
        "q": stats.prefix_cache_stats.queries,
        "h": stats.prefix_cache_stats.hits,
    }
    spec = stats.spec_decoding_stats
    if spec is not None:
        told["spec"] = [
            spec.num_drafts,
            spec.num_draft_tokens,
            spec.num_accepted_tokens,
            spec.num_accepted_tokens_per_pos,
        ]
    return told


if __name__ == "__main__":
    for text in sys.stdin:
        print("LINES " + json.dumps(Run(json.loads(text)).lines(int(sys.argv[1]))), flush=True)
