"""Our scheduler behind the interface of the drivers of vLLM's (tests/conformance/README.md has its form).

A scenario goes in, the same JSON lines come out, one for each schedule. As there, the scheduler is driven
directly, without time: a step's results come in at once, or one line later with async scheduling.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from simulator.config.compat import COMPATS
from simulator.config.speculation import drafter
from simulator.engine.config import EngineConfig
from simulator.engine.kv.kv_cache import KVCacheManager
from simulator.engine.kv.transfer import Lease, Transfers
from simulator.engine.lora_slots import LoRAManager
from simulator.engine.pace.latency import ZeroLatency
from simulator.engine.request import LoRARequest, Request, RequestStatus, SamplingParams
from simulator.engine.spec.scheduler import SpecScheduler, make_scheduler
from simulator.engine.spec.settings import SpecConfig, SpecStats
from simulator.engine.spec.step import SpecStep
from simulator.engine.stats import EngineStats
from simulator.engine.step import ScheduledStep
from simulator.engine.text.text_source import ConstantText

DEFAULT_SCENARIO: dict[str, Any] = {
    "cfg": {
        "max_num_seqs": 4,
        "max_num_batched_tokens": 64,
        "num_blocks": 21,
        "block_size": 16,
        "max_model_len": 512,
        "max_loras": 1,
    },
    "reqs": [
        {"id": "a", "at_step": 0, "prompt": 100, "max_tokens": 60},
        {"id": "b", "at_step": 0, "prompt": 100, "max_tokens": 60, "lora": "L1"},
        {"id": "c", "at_step": 1, "prompt": 40, "max_tokens": 5, "lora": "L2"},
        {"id": "d", "at_step": 2, "prompt": 40, "max_tokens": 80},
    ],
}
LAST_STEP = 5000
FINISHED = RequestStatus.FINISHED
REMOTE = RequestStatus.WAITING_FOR_REMOTE_KVS


def accepted(name: str, position: int, rates: Sequence[float], drafted: int) -> int:
    """Draft tokens that the target model takes, as the drivers of vLLM's scheduler have it."""
    share = zlib.crc32(f"{name}/{position}".encode()) / 2**32
    return sum(1 for rate in rates[:drafted] if share < rate)


def spec_config(cfg: dict[str, Any]) -> SpecConfig | None:
    """The drafter of a scenario, with the numbers that a configuration gives it."""
    spec = cfg.get("spec")
    if spec is None:
        return None
    return drafter(
        spec["method"],
        spec["tokens"],
        tuple(spec["rates"]),
        mtp_layers=spec.get("mtp_layers", 1),
        parallel=spec.get("parallel", False),
        lookahead_hashes=cfg.get("enable_prefix_caching", True) and not spec.get("block_drop", False),
    )


def engine_config(cfg: dict[str, Any]) -> EngineConfig:
    """The oracle's configuration as ours, with its defaults; `version` 0.11 means that vLLM's behaviour."""
    old = asdict(COMPATS["vllm-0.11"].engine) if cfg.get("version") == "0.11" else {}
    if not cfg.get("reserve_full_isl", True):
        old["admission"] = "chunk"
    return EngineConfig(
        **old,
        max_num_seqs=cfg.get("max_num_seqs", 4),
        max_num_batched_tokens=cfg.get("max_num_batched_tokens", 128),
        max_model_len=cfg.get("max_model_len", 1024),
        block_size=cfg.get("block_size", 16),
        num_gpu_blocks=cfg.get("num_blocks", 64),
        enable_prefix_caching=cfg.get("enable_prefix_caching", True),
        long_prefill_token_threshold=cfg.get("long_prefill_token_threshold", 0),
        long_prefill_token_threshold_adaptive=cfg.get("adaptive", False),
        max_num_active_seqs=cfg.get("max_num_active_seqs"),
        max_num_scheduled_tokens=cfg.get("max_num_scheduled_tokens"),
        prefill_schedule_interval=cfg.get("interval", 1),
        spec=spec_config(cfg),
        scheduling_policy=cfg.get("policy", "fcfs"),
        async_scheduling=cfg.get("async", False),
        watermark=cfg.get("watermark", 0.0),
        enable_lora=bool(cfg.get("max_loras")),
        max_loras=cfg.get("max_loras") or 1,
    )


class ForEver(ZeroLatency):
    """Pulls end when the scenario says so, and not before."""

    def kv_transfer_seconds(self, request: Request, num_tokens: int) -> float:
        return 1e9


class OracleRun:
    """One scenario in progress."""

    def __init__(self, scenario: dict[str, Any]) -> None:
        config = engine_config(scenario["cfg"])
        latency = ForEver()
        self.config = config
        self.kv = KVCacheManager(config)
        self.stats = EngineStats(config.max_model_len)
        loras = LoRAManager(config, latency.lora_load_seconds) if config.enable_lora else None
        transfers = Transfers(config, self.kv, latency, self.stats)
        self.pulls: dict[str, int] = {}  # under way: the step of their end
        self.leases: dict[str, Lease] = {}  # of pulls whose request was aborted
        self.transfers = transfers
        self.scheduler = make_scheduler(config, self.kv, loras, transfers, self.stats)
        self.has_drafts = "drafts" in scenario["cfg"].get("lines", ())
        if isinstance(self.scheduler, SpecScheduler) and config.spec is not None:
            rates = config.spec.acceptance
            self.scheduler.accept = lambda r, n: accepted(r.request_id, r.num_output_tokens, rates, n)
        self.depth = 2 if config.async_scheduling else 1
        self.requests: dict[str, Request] = {}
        self.reqs: list[dict[str, Any]] = scenario["reqs"]
        self.todo = sorted(self.reqs, key=lambda r: r["at_step"])
        self.loras: dict[str, int] = {}
        self.counted = (0, 0)
        self.seen: set[str] = set()  # requests whose pull has begun
        self.has_ended = False  # a request, since the last schedule: vLLM then runs one more, empty step

    def lines(self) -> Iterator[dict[str, Any]]:
        scheduler, step = self.scheduler, 0
        while step <= LAST_STEP:
            self._inputs(step)
            if not self._has_requests() and not scheduler.in_flight and not self.todo:
                return
            line: dict[str, Any] = {"step": step}
            if self._has_requests():
                line |= self._schedule(step)
            if len(scheduler.in_flight) >= self.depth or not scheduler.num_unfinished:
                line |= self._update(step)
            yield line
            step += 1

    def _has_requests(self) -> bool:
        return bool(self.scheduler.num_unfinished) or self.has_ended or bool(self.leases)

    def _inputs(self, step: int) -> None:
        while self.todo and self.todo[0]["at_step"] <= step:
            self._add(self.todo.pop(0), step)
        for r in self.reqs:
            request = self.requests.get(r["id"])
            if r.get("abort_at") == step and request is not None and request.status is not FINISHED:
                self.scheduler.abort(request, float(step))
                if r["id"] in self.pulls:
                    self.leases[r["id"]] = self.transfers.held[-1]
                self.has_ended = True

    def _add(self, r: dict[str, Any], step: int) -> None:
        prompt = r["prompt"]
        if not isinstance(prompt, list):
            prompt = [sum(r["id"].encode()) % 1000 + 5] * prompt
        lora = None
        if r.get("lora"):
            lora = LoRARequest(r["lora"], self.loras.setdefault(r["lora"], len(self.loras) + 1))
        sampling = SamplingParams(max_tokens=r["max_tokens"], ignore_eos=True, temperature=0)
        request = Request(
            request_id=r["id"],
            prompt_token_ids=list(prompt),
            sampling=sampling,
            arrival_time=float(step),
            priority=r.get("priority", 0),
            lora=lora,
            cache_salt=r.get("salt"),
            kv_transfer_params={"do_remote_prefill": True} if "pull" in r else None,
        )
        request.plan = ConstantText(7).start(request)
        request.num_tokens = len(prompt)
        request.finish_at = min(len(prompt) + sampling.max_tokens, self.config.max_model_len)
        request.max_total_tokens = len(prompt) + sampling.max_tokens
        request.last_position = min(request.max_total_tokens, self.config.max_model_len) - 1
        self.requests[r["id"]] = request
        self.scheduler.add(request)

    def _schedule(self, step: int) -> dict[str, Any]:
        scheduler = self.scheduler
        self.has_ended = False
        scheduled = scheduler.schedule(float(step))
        scheduler.in_flight.append(scheduled)
        for r in self.reqs:
            request = self.requests.get(r["id"])
            if request is not None and request.status is REMOTE and r["id"] not in self.seen:
                self.seen.add(r["id"])
                self.pulls[r["id"]] = step + r["pull"]
        drafts = scheduled.drafts if isinstance(scheduled, SpecStep) else {}
        more = {"drafts": {r.request_id: n for r, n in drafts.items()}} if self.has_drafts else {}
        return {
            **more,
            "sched": {r.request_id: n for r, n in scheduled.scheduled.items()},
            "new": [r.request_id for r in scheduled.new],
            "resumed": [r.request_id for r in scheduled.resumed],
            "preempted": sorted(r.request_id for r in scheduled.preempted),
            "running": [r.request_id for r in scheduler.running],
            "waiting": [r.request_id for r in scheduler.waiting],
            "usage": round(self.kv.pool.usage, 6),
            "computed": {r.request_id: r.num_computed_tokens for r in scheduler.running},
        }

    def _update(self, step: int) -> dict[str, Any]:
        scheduler, stats = self.scheduler, self.stats
        if not scheduler.in_flight:
            return {}
        done: ScheduledStep = scheduler.in_flight.popleft()
        if self.config.spec is not None:
            stats.spec = SpecStats(self.config.spec.num_tokens)
        _emitted, ended = scheduler.update(done, float(step))
        self.has_ended = self.has_ended or bool(ended)
        for name in [name for name, end in self.pulls.items() if end <= step]:
            del self.pulls[name]
            self.requests[name].remote_ready_time = float(step)
            lease = self.leases.pop(name, None)
            if lease is not None:
                lease.end = float(step)
                self.has_ended = True
        self.transfers.release(float(step))
        queries, hits = self.counted
        self.counted = (stats.prefix_cache_queries, stats.prefix_cache_hits)
        scheduler.check_invariants()
        living = [r for r in self.requests.values() if r.status is not FINISHED]
        self.kv.check_invariants(living, [lease.blocks for lease in self.transfers.held])
        line: dict[str, Any] = {
            "stats": {
                "run": len(scheduler.running),
                "wait": scheduler.num_waiting - scheduler.num_deferred,
                "deferred": scheduler.num_deferred,
                "usage": round(self.kv.pool.usage, 6),
                "q": self.counted[0] - queries,
                "h": self.counted[1] - hits,
            }
        }
        spec = stats.spec
        if spec is not None and spec.drafts:
            told = [spec.drafts, spec.draft_tokens, spec.accepted, spec.accepted_per_position]
            line["stats"]["spec"] = told
        finished = {r.request_id: str(r.finish_reason) for r in ended}
        if finished:
            line["finished"] = finished
        return line


def run(scenario: dict[str, Any]) -> list[dict[str, Any]]:
    """All lines of a scenario."""
    return list(OracleRun(scenario).lines())
