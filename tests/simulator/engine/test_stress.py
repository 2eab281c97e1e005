"""Everything at once on the virtual clock: whatever clients and operators do, every request ends.

A run mixes arrivals (LoRA, P/D, n > 1, stop ids), aborts by clients and by the server, pause, sleep, stalls,
cache resets and adapters that come and go, on every latency model, by steps and by `fast_forward`.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest

from simulator.engine.config import EngineConfig
from simulator.engine.core import Engine
from simulator.engine.outputs import StepOutput
from simulator.engine.pace.latency import LatencyModel, ZeroLatency
from simulator.engine.request import FinishReason, LoRARequest, Request, RequestStatus, SamplingParams
from simulator.engine.stats import KV_FETCH_STAGES
from tests.simulator.engine.build import FixedSteps
from tests.simulator.engine.runs import SeededText, own_timelines, step_model

SEEDS = 40
EVENTS = 60  # per run
OLD_RULES: dict[str, Any] = {
    "lone_prefill_is_capped": True,
    "self_preemption_ends_pass": True,
    "long_prompt_is_overtaken": True,
    "deferred_order": "reversed",
    "detects_repetition": False,
}
ADAPTERS = [LoRARequest(f"l{i}", i) for i in range(1, 5)]


def _latency(kind: str, rng: Random) -> LatencyModel:
    if kind == "zero":
        return ZeroLatency()
    if kind == "timelines":
        return own_timelines(rng)
    if kind == "model":
        return step_model(rng, jitter=rng.choice([0.0, 0.2]))
    return FixedSteps(step=0.001, transfer=rng.choice([0.0, 0.001, 0.005]), load=rng.choice([0.0, 0.002]))


def _config(rng: Random, is_async: bool) -> EngineConfig:
    return EngineConfig(
        max_num_seqs=rng.randint(1, 6),
        max_num_batched_tokens=rng.choice([8, 32, 128]),
        max_model_len=128,
        block_size=rng.choice([1, 4, 16]),
        num_gpu_blocks=129 + rng.randint(0, 20),  # any one request fits, whatever the block size
        enable_prefix_caching=rng.random() < 0.7,
        scheduling_policy=rng.choice(["fcfs", "priority"]),
        async_scheduling=is_async,
        long_prefill_token_threshold=rng.choice([0, 5]),
        enable_lora=True,
        max_loras=rng.randint(1, 2),
        kv_events=rng.random() < 0.3,
        check_invariants=True,
        admission=rng.choice(["whole-prompt", "chunk"]),
        prefix_queries=rng.choice(["admission", "lookup"]),
        lora_scope=rng.choice(["running", "scheduled"]),
        **rng.choice([{}, OLD_RULES]),
    )


class World:
    """An engine, and what the outside knows of it."""

    def __init__(self, seed: int, kind: str, is_async: bool) -> None:
        self.rng = rng = Random(f"{seed}/{kind}/{is_async}")
        self.engine = Engine(_config(rng, is_async), _latency(kind, rng), SeededText(seed), None)
        self.fast = rng.random() < 0.5
        self.now = 0.0
        self.added: dict[str, Request] = {}
        self.left: set[str] = set()  # whose clients have gone
        self.ends: Counter[str] = Counter()
        self.tokens: Counter[str] = Counter()

    def play(self) -> None:
        for _ in range(EVENTS):
            self.now += self.rng.choice([0.0, 0.0, 0.0005, 0.002, 0.01])
            self.run_to(self.now)
            self.act()
        self.engine.wake_up(self.now)
        self.run_to(self.now + 1000.0)

    def run_to(self, until: float) -> None:
        engine, rounds = self.engine, 0
        while (due := engine.peek()) is not None and due <= until:
            rounds += 1
            assert rounds < 3_000, "the engine turns without coming to an end"
            for step in engine.fast_forward(until, 500) if self.fast else [engine.step(due)]:
                self.take(step)
            engine.check_invariants()
        if engine.peek() is None and not engine.is_paused:
            assert engine.num_unfinished == 0, engine.snapshot()

    def take(self, step: StepOutput) -> None:
        for output in step.outputs:
            name = output.request.request_id
            assert not self.ends[name], f"{name} goes on after its end"
            self.tokens[name] += len(output.new_token_ids)
            self.ends[name] += output.finish_reason is not None

    def act(self) -> None:
        engine, rng, now = self.engine, self.rng, self.now
        kind = rng.random()
        if kind < 0.6:
            self.arrive()
        elif kind < 0.8:
            names = [name for name in self.added if not self.ends[name]]
            gone = rng.sample(names, min(len(names), rng.randint(1, 2)))
            by_server = rng.random() < 0.3
            engine.abort(gone, now, by="server" if by_server else "client")
            if not by_server:
                self.left.update(gone)
        elif kind < 0.84:
            engine.pause(rng.choice(["new", "all"]))
        elif kind < 0.88:
            engine.sleep(rng.randint(0, 2), now)
        elif kind < 0.93:
            engine.wake_up(now)
        elif kind < 0.96:
            engine.reset_prefix_cache(now, reset_running_requests=rng.random() < 0.7)
        elif kind < 0.98:
            engine.stall(rng.choice([0.0, 0.003]), now)
        else:
            engine.remove_lora(rng.randint(1, 4))
            engine.add_lora(rng.choice(ADAPTERS), now)

    def arrive(self) -> None:
        rng = self.rng
        prompt = [rng.randint(10, 12) for _ in range(rng.choice([1, 1, 2, 16, 17, rng.randint(1, 90)]))]
        sampling = SamplingParams(
            max_tokens=rng.choice([1, 1, 2, 30]),
            ignore_eos=rng.random() < 0.5,
            stop_token_ids=(20, 21) if rng.random() < 0.2 else (),
            n=rng.choice([1, 1, 3]),
        )
        params = rng.choice([None, None, {"do_remote_prefill": True}, {"do_remote_decode": True}])
        lora = rng.choice([None, *ADAPTERS])
        priority, parent = rng.randint(0, 2), f"p{len(self.added)}"
        for index in range(sampling.n):
            name = f"r{len(self.added)}"
            request = Request(
                name,
                prompt,
                sampling,
                arrival_time=self.now + len(self.added) * 1e-9,  # equal ones can preempt each other for ever
                priority=priority,
                lora=lora,
                kv_transfer_params=params,
                parent_id=parent,
                index=index,
                stream=rng.random() < 0.5,
            )
            self.added[name] = request
            self.engine.add_request(request, self.now)


@pytest.mark.parametrize("kind", ["zero", "fixed", "model", "timelines"])
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_every_request_ends(kind: str, is_async: bool) -> None:
    for seed in range(SEEDS):
        world = World(seed, kind, is_async)
        try:
            world.play()
            _check(world)
        except BaseException:
            print(f"seed {seed}")
            raise


def _check(world: World) -> None:
    engine, stats = world.engine, world.engine.stats
    assert engine.peek() is None
    assert engine.num_unfinished == 0
    engine.check_invariants()
    assert (stats.num_requests_running, stats.num_requests_waiting, stats.kv_cache_usage) == (0, 0, 0.0)
    assert (stats.lora_running, stats.lora_waiting, stats.lora_active) == ((), (), ())
    assert stats.kv_fetch_by_stage in ({}, dict.fromkeys(KV_FETCH_STAGES, 0))
    for name, request in world.added.items():
        assert request.status is RequestStatus.FINISHED, name
        assert not request.block_ids, name
        if world.ends[name]:
            assert world.tokens[name] == request.num_output_tokens, name
        else:
            assert name in world.left, name
    _check_counters(world)
    assert not engine._frontend._parents


def _check_counters(world: World) -> None:
    stats = world.engine.stats
    ended = [request for name, request in world.added.items() if world.ends[name]]
    reasons = Counter(str(request.finish_reason) for request in ended)
    assert {reason: count for reason, count in stats.request_success.items() if count} == reasons
    assert stats.e2e_request_latency_seconds.count == len(ended)
    assert stats.request_generation_tokens.total == sum(request.num_output_tokens for request in ended)
    assert stats.generation_tokens == sum(request.num_output_tokens for request in world.added.values())
    begun = [request for request in world.added.values() if request.first_token_time is not None]
    assert stats.time_to_first_token_seconds.count == len(begun)
    assert stats.inter_token_latency_seconds.count == stats.generation_tokens - len(begun)
    assert all(r.num_output_tokens <= r.sampling.max_tokens for r in world.added.values())
    assert FinishReason.ERROR not in reasons
