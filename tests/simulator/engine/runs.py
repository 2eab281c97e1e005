"""Random workloads on a whole Engine, in virtual time, and everything that can be seen of a run."""

from __future__ import annotations

from random import Random
from typing import Any

from simulator.engine.config import EngineConfig
from simulator.engine.core import Engine
from simulator.engine.outputs import StepOutput
from simulator.engine.pace.latency import (
    ConstantLatency,
    ConstantTimes,
    HostOverhead,
    LatencyModel,
    StepCoefficients,
    StepModel,
    TransferTimes,
    ZeroLatency,
)
from simulator.engine.request import LoRARequest, Request, SamplingParams
from simulator.engine.text.plans import TokenPlan
from tests.simulator.engine.build import scheduled_tokens
from tests.simulator.engine.scenarios import scenario


class SeededText:
    """Each request says its own random ids and stops by itself now and then."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def start(self, request: Request) -> TokenPlan:
        rng = Random(f"{self._seed}/{request.request_id}")
        ring = [rng.randint(10, 40) for _ in range(32)]
        length = None if request.sampling.ignore_eos else rng.randint(0, 60)
        return TokenPlan((), ring, rng.randint(0, 31), length, 2)


def step_model(rng: Random, jitter: float = 0.0) -> StepModel:
    """A model whose steps last about a millisecond, never the same time twice."""
    coefficients = StepCoefficients(
        c0=rng.uniform(100, 1000),
        c1=rng.uniform(1, 9),
        c2=rng.uniform(9, 20),
        k=rng.randint(16, 64),
        c3=rng.uniform(0, 5),
        c4=rng.uniform(0.01, 0.5),
        c5=rng.uniform(0.001, 0.01),
    )
    transfer = TransferTimes(kv_per_token=0.0001, lora_load=rng.choice([0.0, 0.004]))
    return StepModel(coefficients, HostOverhead(50, 1), transfer, jitter=jitter, seed=1)


def own_timelines(rng: Random) -> ConstantLatency:
    """llm-d-inference-sim's constants; sometimes all equal, so that many sequences are due at once."""
    spread = rng.choice([0.0, 0.0003])
    times = ConstantTimes(
        time_to_first_token=0.002, inter_token_latency=0.001, inter_token_latency_std_dev=spread
    )
    return ConstantLatency(times, seed=2)


def workload(
    seed: int,
) -> tuple[EngineConfig, LatencyModel, list[tuple[float, Request]], list[tuple[float, str]]]:
    """Configuration, latency model, arrivals and aborts, all from one seed."""
    made = scenario(seed)
    rng = Random(f"workload/{seed}")
    cfg = made["cfg"]
    config = EngineConfig(
        max_num_seqs=cfg["max_num_seqs"],
        max_num_batched_tokens=cfg["max_num_batched_tokens"],
        max_model_len=cfg["max_model_len"],
        block_size=cfg["block_size"],
        num_gpu_blocks=cfg["num_blocks"],
        enable_prefix_caching=cfg["enable_prefix_caching"],
        long_prefill_token_threshold=cfg["long_prefill_token_threshold"],
        scheduling_policy=cfg["policy"],
        async_scheduling=cfg["async"],
        watermark=cfg["watermark"],
        enable_lora=bool(cfg["max_loras"]),
        max_loras=cfg["max_loras"] or 1,
        kv_events=rng.random() < 0.3,
        check_invariants=True,
        stop_order=rng.choice(["stop-first", "length-first"]),
        free_list=rng.choice(["empty-first", "empty-first", "lru"]),
        admission=rng.choice(["whole-prompt", "whole-prompt", "chunk"]),
        prefix_queries=rng.choice(["admission", "admission", "lookup"]),
    )
    latency = rng.choice(
        [step_model(rng), step_model(rng), step_model(rng, jitter=0.2), ZeroLatency(), own_timelines(rng)]
    )
    pace = rng.choice([0.0005, 0.002])
    arrivals = [(r["at_step"] * pace, _request(rng, r)) for r in made["reqs"]]
    for i, (when, request) in enumerate(arrivals):
        request.arrival_time = when + (i + 1) * 1e-9  # equal ones can preempt each other for ever
    aborts = [(r["abort_at"] * pace, r["id"]) for r in made["reqs"] if "abort_at" in r]
    return config, latency, sorted(arrivals, key=lambda a: a[0]), sorted(aborts)


def _request(rng: Random, r: dict[str, Any]) -> Request:
    lora = LoRARequest(r["lora"], int(r["lora"][1:])) if "lora" in r else None
    sampling = SamplingParams(
        max_tokens=r["max_tokens"],
        ignore_eos=rng.random() < 0.6,
        stop_token_ids=(rng.randint(10, 40),) if rng.random() < 0.1 else (),
    )
    return Request(
        request_id=r["id"],
        prompt_token_ids=r["prompt"],
        sampling=sampling,
        priority=r.get("priority", 0),
        lora=lora,
        cache_salt=r.get("salt"),
        stream=rng.random() < 0.5,
    )


def play(seed: int, fast: bool) -> tuple[Engine, list[StepOutput]]:
    """The workload of `seed` to its end, by steps or by fast_forward in pieces."""
    config, latency, arrivals, aborts = workload(seed)
    engine = Engine(config, latency, SeededText(seed), None)
    for when, request in arrivals:
        engine.add_request(request, when)
    steps: list[StepOutput] = []
    inputs = list(aborts)
    while True:
        until = inputs[0][0] if inputs else float("inf")
        if fast:
            steps += engine.fast_forward(until)
        else:
            while (due := engine.peek()) is not None and due <= until:
                steps.append(engine.step(due))
        if not inputs:
            break
        when, request_id = inputs.pop(0)
        engine.abort([request_id], when)
    engine.check_invariants()
    return engine, steps


def observed(engine: Engine, steps: list[StepOutput]) -> dict[str, Any]:
    """Everything that two equal runs must agree on, bit for bit."""
    tokens: dict[str, list[Any]] = {}
    log: list[Any] = []
    events: list[Any] = []
    for step in steps:
        for output in step.outputs:
            name = output.request.request_id
            tokens.setdefault(name, []).append(
                (output.new_token_ids, output.text, output.time, output.finish_reason, output.stop_reason)
            )
        if step.kv_events:
            events.append((step.end, step.kv_events))
        if step.num_steps and engine.latency.lockstep:
            ends = step.times or [step.end]
            log += [
                (step.step + i, start, end, scheduled_tokens(step))
                for i, (start, end) in enumerate(zip([step.start, *ends[:-1]], ends, strict=True))
            ]
        elif step.num_steps:
            log += [(step.step + i, end) for i, end in enumerate(step.times or [step.end])]
    pool = engine._kv.pool
    stats = {name: value for name, value in vars(engine.stats).items() if not hasattr(value, "bounds")}
    stats.pop("histograms")
    return {
        "tokens": tokens,
        "steps": log,
        "events": events,
        "stats": stats,
        "histograms": {name: (h.counts, h.total) for name, h in engine.stats.histograms.items()},
        "free": pool.free_order(),
        "contents": list(pool.index.contents),
        "cached": pool.index.by_content(),
    }
