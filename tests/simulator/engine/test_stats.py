"""Metrics: exact values at exact moments (vLLM's own identities and a recorded disconnect among them)."""

from __future__ import annotations

import pytest

from simulator.engine.request import LoRARequest, SamplingParams
from simulator.engine.stats import EngineStats, Histogram, buckets_1_2_5
from tests.simulator.engine.build import FixedSteps, engine, request, run


def test_1_2_5_buckets() -> None:
    assert buckets_1_2_5(1024) == (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
    assert buckets_1_2_5(8192)[-2:] == (2000, 5000)
    assert buckets_1_2_5(1) == (1,)


def test_a_bound_belongs_to_its_bucket() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 3.0):
        histogram.observe(value)
    assert histogram.counts == [2, 2, 1]
    assert (histogram.count, histogram.total) == (5, 8.0)


def test_custom_buckets_with_and_without_prefix() -> None:
    stats = EngineStats(100, {"vllm:time_to_first_token_seconds": (1, 2), "request_params_n": (3,)})
    assert stats.time_to_first_token_seconds.bounds == (1, 2)
    assert stats.request_params_n.bounds == (3,)


@pytest.mark.parametrize("async_scheduling", [False, True])
@pytest.mark.parametrize("fast", [False, True])
def test_counts_after_identical_requests_one_after_the_other(async_scheduling: bool, fast: bool) -> None:
    n, max_tokens, num_prompt = 7, 12, 10
    made = engine(async_scheduling=async_scheduling)
    for i in range(n):
        made.add_request(request(f"r{i}", [5] * num_prompt, max_tokens), i * 100.0)
        if fast:
            made.fast_forward(i * 100.0 + 99)
        else:
            run(made)
    stats = made.stats
    assert stats.inter_token_latency_seconds.count == n * (max_tokens - 1)
    assert stats.iteration_tokens_total.count == n * max_tokens
    assert stats.iteration_tokens_total.total == n * (num_prompt + max_tokens)
    assert stats.generation_tokens == n * max_tokens
    assert stats.prompt_tokens == n * num_prompt
    assert stats.request_success["length"] == n
    for name in ("e2e_request_latency_seconds", "request_queue_time_seconds", "request_params_n"):
        assert stats.histograms[name].count == n
    assert stats.request_generation_tokens.total == n * max_tokens
    assert stats.request_max_num_generation_tokens.total == n * max_tokens
    assert stats.request_params_max_tokens.total == n * max_tokens


def test_the_recorded_disconnect() -> None:
    """preempt_exp.txt: 50 prompt tokens, 101 tokens until the client left."""
    made = engine(max_model_len=1024)
    made.add_request(request("a", 50, 900), 0.0)
    run(made, until=101.0)
    made.abort(["a"], 101.5)
    run(made)
    stats = made.stats
    assert stats.generation_tokens == 101
    assert stats.inter_token_latency_seconds.count == 100
    assert (stats.iteration_tokens_total.count, stats.iteration_tokens_total.total) == (101, 151.0)
    assert stats.prefix_cache_queries == 50
    assert stats.prompt_tokens_local_compute == 50
    assert stats.time_to_first_token_seconds.count == 1
    assert sum(stats.request_success.values()) == 0
    assert stats.e2e_request_latency_seconds.count == 0
    assert stats.request_params_n.count == 0


def test_times_of_a_request() -> None:
    made = engine(max_num_seqs=1)
    made.add_request(request("a", 10, 4), 0.0)
    waiting = request("b", 10, 3, arrival_time=0.25)
    made.add_request(waiting, 0.5)
    run(made)
    stats = made.stats
    # a runs from 0 to 4; b arrived at 0.25, was queued at 0.5, starts at 4 and has tokens at 5, 6, 7
    assert stats.request_queue_time_seconds.total == 0.0 + 3.5
    assert stats.time_to_first_token_seconds.total == 1.0 + 4.75
    assert stats.request_prefill_time_seconds.total == 1.0 + 1.0
    assert stats.request_decode_time_seconds.total == 3.0 + 2.0
    assert stats.request_inference_time_seconds.total == 4.0 + 3.0
    assert stats.e2e_request_latency_seconds.total == 4.0 + 6.75
    assert stats.request_time_per_output_token_seconds.total == 1.0 + 1.0


def test_gauges_are_those_of_the_last_step() -> None:
    made = engine(max_num_seqs=1, block_size=16, num_gpu_blocks=11)
    made.add_request(request("a", 10, 2), 0.0)
    made.add_request(request("b", 30, 2), 0.0)
    run(made, until=0.0)
    assert made.stats.num_requests_running == 0  # no step is done yet
    run(made, until=1.0)
    assert (made.stats.num_requests_running, made.stats.num_requests_waiting) == (1, 1)
    assert made.stats.num_requests_waiting_capacity == 1
    assert made.stats.kv_cache_usage == pytest.approx(0.1)
    run(made, until=2.0)
    assert (made.stats.num_requests_running, made.stats.num_requests_waiting) == (0, 1)
    assert made.stats.kv_cache_usage == 0.0
    run(made)
    assert made.stats.num_requests_waiting == 0


def test_prefix_cache_counts_tokens_at_admission() -> None:
    made = engine(block_size=16)
    for i in range(3):
        made.add_request(request(f"r{i}", [5] * 40, 1), i * 10.0)
        run(made)
    stats = made.stats
    assert (stats.prefix_cache_queries, stats.prefix_cache_hits) == (120, 64)
    assert stats.prompt_tokens_local_cache_hit == stats.prompt_tokens_cached == 64
    assert stats.prompt_tokens_local_compute == 56
    assert stats.request_prefill_kv_computed_tokens.total == 56
    assert stats.iteration_tokens_total.total == 56 + 3


def test_iteration_tokens_in_the_way_of_0_11() -> None:
    made = engine(block_size=16, iteration_tokens="prompt")
    for i in range(2):
        made.add_request(request(f"r{i}", [5] * 40, 1), i * 10.0)
        run(made)
    assert made.stats.iteration_tokens_total.total == 2 * 41


def test_prefix_cache_counts_every_lookup_in_the_way_of_0_11() -> None:
    made = engine(block_size=16, num_gpu_blocks=6, admission="chunk", prefix_queries="lookup")
    made.add_request(request("a", 64, 5), 0.0)
    made.add_request(request("b", 40, 1), 0.0)
    run(made)
    assert made.stats.prefix_cache_queries > 64 + 40 * 3


def test_preemptions_are_counted_with_the_next_output() -> None:
    made = engine(block_size=4, num_gpu_blocks=8, max_model_len=64)
    made.add_request(request("a", 10, 16), 0.0)
    made.add_request(request("b", 10, 16), 0.0)
    steps = run(made)
    preempted = [step.end for step in steps if step.preempted]
    assert len(preempted) >= 1
    assert made.stats.num_preemptions == sum(len(step.preempted) for step in steps)
    assert made.stats.request_num_preemptions.count == 2
    assert made.stats.request_num_preemptions.total == made.stats.num_preemptions
    assert made.stats.prompt_tokens == 20  # not repeated


def test_samples_of_one_prompt_are_observed_once() -> None:
    made = engine()
    for index in range(4):  # two prompts, n=2
        sampling = SamplingParams(max_tokens=2 + index, n=2)
        made.add_request(request(f"r{index}", sampling=sampling, parent_id="p", index=index), 0.0)
    run(made)
    stats = made.stats
    assert (stats.request_params_n.count, stats.request_params_n.total) == (2, 4.0)
    assert stats.request_max_num_generation_tokens.total == 3 + 5
    assert stats.request_generation_tokens.count == 4


def test_an_aborted_sample_leaves_nothing_behind() -> None:
    made = engine()
    for index in range(2):
        sampling = SamplingParams(max_tokens=5, n=2)
        made.add_request(request(f"r{index}", sampling=sampling, parent_id="p", index=index), 0.0)
    run(made, until=1.0)
    made.abort(["r0"], 1.5)
    run(made)
    assert made.stats.request_params_n.count == 0
    assert made._frontend._parents == {}


def test_adapters_running_and_waiting_apart_and_merged() -> None:
    made = engine(FixedSteps(load=0.5), enable_lora=True, max_loras=1)
    made.add_request(request("a", 10, 3, lora=LoRARequest("one", 1)), 0.0)
    made.add_request(request("b", 10, 2, lora=LoRARequest("two", 2)), 0.0)
    run(made, until=0.0)
    assert made.stats.lora_time is None
    run(made, until=1.5)
    stats = made.stats
    assert (stats.lora_running, stats.lora_waiting, stats.lora_active) == (("one",), ("two",), ("one",))
    assert stats.num_requests_waiting_deferred == 1
    assert stats.lora_time == 1.5
    run(made)
    assert (stats.lora_running, stats.lora_waiting, stats.lora_active) == ((), (), ())
