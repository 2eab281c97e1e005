"""KV offloaded to the host: what the GPU has lost is loaded back, for the time that it takes."""

from __future__ import annotations

from tests.simulator.engine.build import FixedSteps, engine, request, run, times

BLOCK = 16 * 131072  # bytes


def test_a_prompt_that_the_gpu_has_lost_comes_from_the_host() -> None:
    made = engine(num_gpu_blocks=9, kv_offload_bytes=100 * BLOCK, kv_offload_bandwidth=BLOCK, block_size=16)
    made.add_request(request("a", [5] * 64, 1), 0.0)
    made.add_request(request("b", [6] * 126, 1), 10.0)  # takes the whole of the GPU
    again = request("c", [5] * 64, 1)
    made.add_request(again, 20.0)
    steps = run(made)
    assert (again.num_cached_tokens, again.num_external_cached_tokens) == (0, 48)
    assert times(steps, "c") == [24.0]  # three blocks in three seconds, then a step
    stats = made.stats
    assert stats.kv_offload_load_bytes == 3 * BLOCK
    assert stats.kv_offload_load_time == 3.0
    assert stats.host_cache_hits == stats.external_prefix_cache_hits == 48
    assert stats.kv_offload_store_bytes == (4 + 7) * BLOCK


def test_what_the_gpu_has_is_not_loaded() -> None:
    made = engine(kv_offload_bytes=100 * BLOCK, block_size=16)
    for i, name in enumerate("ab"):
        made.add_request(request(name, [5] * 64, 1), 10.0 * i)
    run(made)
    assert made.stats.kv_offload_load_bytes == 0
    assert made.stats.prefix_cache_hits == 48


def test_the_least_recently_used_leave_the_host() -> None:
    made = engine(FixedSteps(), num_gpu_blocks=9, kv_offload_bytes=5 * BLOCK, block_size=16)
    for i, token in enumerate((5, 6, 5)):
        made.add_request(request(f"r{i}", [token] * 126, 1), 10.0 * i)
    run(made)
    assert made.stats.kv_offload_load_bytes == 0  # the second has pushed the first out
    assert made.stats.prompt_tokens_local_compute == 3 * 126
