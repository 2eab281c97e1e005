"""What a look shows is what the picker would read in a page, whichever way it is found out."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import pytest

from gateway.picker.app import Picker
from gateway.picker.options import Options
from gateway.picker.pool.endpoints import NEVER_SCRAPED, Endpoint, EndpointMetrics
from gateway.simulate.replicas.scraping import Eye, Ticks, probe, read_page
from simulator.config.resolve import parse_args
from simulator.engine.stats import EngineStats
from simulator.server.metrics.exposition import Exposition, Templates
from tests.gateway.simulate.world import PAGE

LLMD = "apiVersion: llm-d.ai/v1alpha1\n" + PAGE.partition("\n")[2]
LORA = ("--enable-lora", "--lora-modules", '{"name": "a"}', '{"name": "b"}')


def endpoint() -> Endpoint:
    return Endpoint("p-rank-0", "default", "127.0.0.2", 8000, "127.0.0.2:8000", {}, "p")


def seen(metrics: EndpointMetrics) -> tuple[Any, ...]:
    """All but the time."""
    return (
        *(metrics.waiting, metrics.running, metrics.kv_usage, metrics.active_models, metrics.waiting_models),
        *(metrics.max_active_models, metrics.block_size, metrics.num_blocks, dict(metrics.custom)),
    )


@pytest.mark.parametrize("config", [PAGE, LLMD], ids=["gie", "llm-d"])
@pytest.mark.parametrize(
    "flags",
    [
        (),
        LORA,
        ("--compat", "vllm-0.11"),
        ("--compat", "llm-d-0.7"),
        (*LORA, "--metrics-compat", "vllm-0.33"),
    ],
    ids=["plain", "adapters", "vllm-0.11", "llm-d", "adapters that stay"],
)
def test_a_look_shows_what_the_page_says(config: str, flags: tuple[str, ...]) -> None:
    picker = Picker(Options(pool_name="pool", config_text=config, endpoints_file="none"))
    served = parse_args(("--model", "m", *flags), {})
    stats = EngineStats(served.engine.max_model_len)
    exposition = Exposition(served, stats, Templates())
    eye = Eye(
        picker, endpoint(), exposition, probe(picker, endpoint(), exposition), Ticks(0.0, 0.05), lambda: 1.0
    )
    last = NEVER_SCRAPED
    rng = random.Random(4)
    for _ in range(50):
        stats.num_requests_running = rng.randrange(20)
        stats.num_requests_waiting_capacity = rng.randrange(3)
        stats.num_requests_waiting_deferred = rng.randrange(2)
        stats.kv_cache_usage = rng.choice((0.0, rng.random(), 1e-7, 1.0))
        if rng.random() < 0.3:
            stats.lora_running, stats.lora_time = rng.choice(((), ("a",), ("a", "b"))), rng.random()
        eye.look()
        last = read_page(picker, endpoint(), exposition, last)
        assert seen(eye.endpoint.metrics) == seen(last)


def test_a_probe_leaves_the_numbers_as_they_were() -> None:
    picker = Picker(Options(pool_name="pool", config_text=PAGE, endpoints_file="none"))
    served = parse_args(("--model", "m"), {})
    stats = EngineStats(served.engine.max_model_len)
    stats.num_requests_running, stats.kv_cache_usage = 4, 0.5
    sight = probe(picker, endpoint(), Exposition(served, stats, Templates()))
    assert (stats.num_requests_running, stats.kv_cache_usage) == (4, 0.5)
    assert sight.plain is not None


def test_metrics_are_as_old_as_their_tick() -> None:
    now = [0.0]
    picker = Picker(Options(pool_name="pool", config_text=PAGE, endpoints_file="none"))
    served = parse_args(("--model", "m"), {})
    exposition = Exposition(served, EngineStats(1024), Templates())
    sight = probe(picker, endpoint(), exposition)
    eye = Eye(picker, endpoint(), exposition, sight, Ticks(0.02, 0.05), lambda: now[0])
    eye.look()
    metrics = eye.endpoint.metrics
    for moment, age in ((0.02, 0.0), (0.03, 0.01), (0.0699, 0.0499), (0.07, 0.0), (10.0, 0.03)):
        now[0] = moment
        assert metrics.age(moment) == pytest.approx(age, abs=1e-9)
    eye.ticks.last = 0.1  # the pod is gone
    now[0] = 5.0
    assert metrics.age(5.0) == pytest.approx(4.93)


@pytest.mark.parametrize("interval", [0.05, 0.1, 1 / 3])
def test_a_tick_is_never_ahead_and_never_skipped(interval: float) -> None:
    ticks = Ticks(1000.0309, interval)
    assert ticks.before(1000.03) == -math.inf
    for number in range(2000):
        moment = 1000.0309 + number * interval
        assert ticks.before(moment) == moment
        assert ticks.before(moment + interval * 0.999) == moment
        assert ticks.before(moment - 1e-9) < moment
    assert replace(ticks, last=1001.0).before(2000.0) <= 1001.0
