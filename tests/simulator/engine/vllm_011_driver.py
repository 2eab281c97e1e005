"""vLLM 0.11's own scheduler, driven step by step: lines as tests/conformance/README.md describes them.

Runs in vLLM's environment, which install_oracle.py makes. Scenarios come as JSON lines on stdin, answers
leave as "LINES <json>".
Synchronous scheduling, fcfs.
"""

from __future__ import annotations

import json
import os
import sys

os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from vllm.config import CacheConfig, DeviceConfig, LoRAConfig, ModelConfig, SchedulerConfig, VllmConfig
from vllm.lora.request import LoRARequest
from vllm.sampling_params import SamplingParams
from vllm.utils import sha256_cbor
from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request, RequestStatus
from vllm.v1.structured_output import StructuredOutputManager


def build(c):
    scheduler_config = SchedulerConfig(
        max_num_seqs=c["max_num_seqs"],
        max_num_batched_tokens=c["max_num_batched_tokens"],
        max_model_len=c["max_model_len"],
        long_prefill_token_threshold=c["long_prefill_token_threshold"],
        enable_chunked_prefill=True,
        policy="fcfs",
    )
    model_config = ModelConfig(
        model=os.environ["TINY_MODEL"],
        dtype="bfloat16",
        seed=0,
        max_model_len=c["max_model_len"],
        skip_tokenizer_init=True,
    )
    cache_config = CacheConfig(
        block_size=c["block_size"],
        cache_dtype="auto",
        enable_prefix_caching=c["enable_prefix_caching"],
        prefix_caching_hash_algo="sha256_cbor",
    )
    cache_config.num_gpu_blocks = c["num_blocks"]
    config = VllmConfig(
        scheduler_config=scheduler_config,
        model_config=model_config,
        cache_config=cache_config,
        device_config=DeviceConfig("cpu"),
    )
    if c.get("max_loras"):
        config.lora_config = LoRAConfig(max_lora_rank=8, max_loras=c["max_loras"])
    config.scheduler_config.max_num_batched_tokens = c["max_num_batched_tokens"]
    spec = FullAttentionSpec(c["block_size"], 1, 1, torch.float32, False)
    kv_config = KVCacheConfig(
        num_blocks=c["num_blocks"], kv_cache_tensors=[], kv_cache_groups=[KVCacheGroupSpec(["layer"], spec)]
    )
    scheduler = Scheduler(
        vllm_config=config,
        kv_cache_config=kv_config,
        structured_output_manager=StructuredOutputManager(config),
        log_stats=True,
    )
    init_none_hash(sha256_cbor)
    return scheduler, get_request_block_hasher(c["block_size"], sha256_cbor)


def add(scheduler, hasher, r, step, loras):
    lora = None
    if r.get("lora"):
        lora = LoRARequest(r["lora"], loras.setdefault(r["lora"], len(loras) + 1), "/x/" + r["lora"])
    sampling = SamplingParams(max_tokens=r["max_tokens"], ignore_eos=True, temperature=0)
    scheduler.add_request(
        Request(
            request_id=r["id"],
            prompt_token_ids=list(r["prompt"]),
            sampling_params=sampling,
            pooling_params=None,
            eos_token_id=None,
            arrival_time=float(step),
            lora_request=lora,
            cache_salt=r.get("salt"),
            block_hasher=hasher,
        )
    )


def play(scenario, last_step):
    scheduler, hasher = build(scenario["cfg"])
    todo = sorted(scenario["reqs"], key=lambda r: r["at_step"])
    lines, loras = [], {}
    for step in range(last_step + 1):
        while todo and todo[0]["at_step"] <= step:
            add(scheduler, hasher, todo.pop(0), step, loras)
        for r in scenario["reqs"]:
            if r.get("abort_at") == step:
                scheduler.finish_requests(r["id"], RequestStatus.FINISHED_ABORTED)
        if not scheduler.has_requests() and not todo:
            break
        lines.append(one_step(scheduler, step) if scheduler.has_requests() else {"step": step})
    return lines


def one_step(scheduler, step):
    done = scheduler.schedule()
    line = {
        "step": step,
        "sched": dict(done.num_scheduled_tokens),
        "running": [r.request_id for r in scheduler.running],
        "waiting": [r.request_id for r in scheduler.waiting],
        "usage": round(scheduler.kv_cache_manager.usage, 6),
        "computed": {r.request_id: r.num_computed_tokens for r in scheduler.running},
    }
    names = list(done.num_scheduled_tokens)
    tokens = [
        [7] if scheduler.requests[n].num_computed_tokens >= scheduler.requests[n].num_tokens else []
        for n in names
    ]
    output = ModelRunnerOutput(
        req_ids=names,
        req_id_to_index={n: i for i, n in enumerate(names)},
        sampled_token_ids=tokens,
        logprobs=None,
        prompt_logprobs_dict={},
        pooler_output=[],
    )
    for answer in scheduler.update_from_output(done, output).values():
        for one in answer.outputs:
            if one.finish_reason is not None:
                line.setdefault("finished", {})[one.request_id] = str(one.finish_reason)
        if answer.scheduler_stats is not None:
            stats = answer.scheduler_stats
            line["stats"] = {
                "run": stats.num_running_reqs,
                "wait": stats.num_waiting_reqs,
                "usage": round(stats.kv_cache_usage, 6),
                "q": stats.prefix_cache_stats.queries,
                "h": stats.prefix_cache_stats.hits,
            }
    return line


if __name__ == "__main__":
    for text in sys.stdin:
        print("LINES " + json.dumps(play(json.loads(text), int(sys.argv[1]))), flush=True)
