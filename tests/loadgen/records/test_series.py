"""Scrapes as series: text to samples, samples to a pod's state, state over time, and its evenness."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import to_builtins

from loadgen.records.pod_metrics import COLUMNS, parse_samples, pod_state, split_series
from loadgen.records.rundata import pod_series
from loadgen.records.rundir import ScrapeLine
from loadgen.records.series import PodSeries, evenness, grid, scrape_cost

PAGE = """
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_waiting{engine="0",model_name="m"} 2.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:request_success_total{engine="0",finished_reason="stop",model_name="m"} 5.0
vllm:request_success_total{engine="0",finished_reason="length",model_name="m"} 7.0
vllm:request_success_created{finished_reason="stop"} 1.7e+09
vllm:time_to_first_token_seconds_bucket{le="0.1"} 4.0
vllm:time_to_first_token_seconds_sum{model_name="m"} 1.5
vllm:prefix_cache_hits_total{model_name="m"} 64.0
vllm:prefix_cache_queries_total{model_name="m"} 128.0
vllm:cache_config_info{block_size="16",num_gpu_blocks="1000"} 1.0
vllm:lora_requests_info{max_lora="2",running_lora_adapters="a, b",waiting_lora_adapters=""} 1.5
vllm:lora_requests_info{max_lora="2",running_lora_adapters="old",waiting_lora_adapters="x"} 1.0
process_cpu_seconds_total 12.5
python_gc_objects_collected_total{generation="0"} 9.0
vllm:broken{ 1
vllm:not_a_number{} x
"""


def test_a_page_of_metrics() -> None:
    samples = parse_samples(PAGE)
    assert samples['vllm:num_requests_running{engine="0",model_name="m"}'] == 3.0
    assert samples["process_cpu_seconds_total"] == 12.5
    assert not any("bucket" in name or "created" in name or "python" in name for name in samples)
    assert not any("broken" in name or "not_a_number" in name for name in samples)
    state = pod_state(samples)
    assert state.values == {
        "running": 3.0, "waiting": 2.0, "kv": 0.25, "succeeded": 12.0, "hits": 64.0, "queries": 128.0,
    }  # fmt: skip
    assert state.running_adapters == frozenset("ab")
    assert (state.max_lora, state.block_size, state.num_gpu_blocks) == (2, 16, 1000)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("vllm:x 1", 1.0),
        ("vllm:x 1 1700000000", 1.0),
        ("vllm:x +Inf", math.inf),
        ("vllm:x 1e3", 1000.0),
        ('vllm:x{a="b"}  2', 2.0),
    ],
)
def test_values_of_samples(line: str, value: float) -> None:
    assert list(parse_samples(line).values()) == [value]


@pytest.mark.parametrize(
    ("series", "name", "labels"),
    [
        ("a", "a", {}),
        ("a{}", "a", {}),
        ('a{b="c"}', "a", {"b": "c"}),
        ('a{b="c",d="e,f"}', "a", {"b": "c", "d": "e,f"}),
        ('a{b="x\\"y"}', "a", {"b": 'x\\"y'}),
        ('a{b="}"}', "a", {"b": "}"}),
    ],
)
def test_series_have_a_name_and_labels(series: str, name: str, labels: dict[str, str]) -> None:
    assert split_series(series) == (name, labels)


@pytest.mark.parametrize("name", [name for name, column in COLUMNS.items() if column != "kv"])
def test_series_of_one_name_add_up(name: str) -> None:
    samples = {f'{name}{{engine="0"}}': 2.0, f'{name}{{engine="1"}}': 3.0}
    assert pod_state(samples).values == {COLUMNS[name]: 5.0}


def test_the_fullest_cache_counts() -> None:
    samples = {'vllm:kv_cache_usage_perc{engine="0"}': 0.5, 'vllm:kv_cache_usage_perc{engine="1"}': 0.25}
    assert pod_state(samples).values == {"kv": 0.5}
    assert pod_state({"vllm:gpu_cache_usage_perc": 0.125}).values == {"kv": 0.125}


@pytest.mark.parametrize("text", ["", "None", "-1", "1.5", "²", "٣"])
def test_labels_that_are_no_number(text: str) -> None:
    state = pod_state({f'vllm:cache_config_info{{block_size="{text}",num_gpu_blocks="{text}"}}': 1.0})
    assert (state.block_size, state.num_gpu_blocks) == (None, None)


def line(t: float, name: str = "p", **samples: float) -> ScrapeLine:
    metrics = {"waiting": "vllm:num_requests_waiting", "hits": "vllm:prefix_cache_hits_total"}
    return ScrapeLine(
        t=t, took=0.002, name=name, url=f"http://10.0.0.1:8000/{name}",
        samples={metrics[key]: value for key, value in samples.items()},
    )  # fmt: skip


def test_scrapes_by_pod() -> None:
    lines = [line(0.0, "p-10", waiting=1.0), line(0.0, "p-2", hits=5.0), line(1.0, "p-10", hits=3.0)]
    lines[2].samples['vllm:cache_config_info{block_size="32",num_gpu_blocks="10"}'] = 1.0
    found = pod_series(lines)
    assert sorted(found) == ["p-10", "p-2"]
    pod = found["p-10"]
    assert (pod.times, pod.took, pod.address) == ([0.0, 1.0], [0.002, 0.002], "10.0.0.1:8000")
    assert (pod.block_size, pod.num_gpu_blocks, pod.cache_tokens) == (32, 10, 320)
    assert pod.columns["waiting"][0] == 1.0
    assert math.isnan(pod.columns["waiting"][1])
    assert math.isnan(pod.columns["hits"][0])
    assert pod.columns["hits"][1] == 3.0
    assert found["p-2"].cache_tokens is None


def series(values: list[float | None], column: str = "waiting", step: float = 1.0) -> PodSeries:
    pod = PodSeries("p")
    for index, value in enumerate(values):
        pod.add(index * step, {} if value is None else {column: value}, frozenset(), 0.001)
    return pod


@pytest.mark.parametrize(
    ("values", "growth"),
    [
        ([0, 5, 9], 9),
        ([5, 5], 0),
        ([5, 9, 2, 4], 8),  # 4 before the restart; 2, and 2 more, after it
        ([5, None, 9], 4),
        ([5], None),
        ([], None),
        ([None, 5, None], None),
    ],
)
def test_growth_of_a_counter(values: list[float | None], growth: float | None) -> None:
    assert series(values, "hits").grew("hits") == growth


@given(st.lists(st.lists(st.integers(0, 100), min_size=1, max_size=6), min_size=1, max_size=5))
def test_growth_is_that_of_every_life_of_a_pod(lives: list[list[int]]) -> None:
    """Counters that begin at 0 after each restart, seen at each of their steps."""
    values: list[float | None] = []
    grown = 0
    for steps in lives:
        at = 0
        for step in steps:
            at += step + 1
            values.append(float(at))
        grown += at
    first = values[0] or 0
    # a restart is seen where the counter is lower than before
    seen = series(values, "hits").grew("hits")
    assert seen is None if len(values) < 2 else seen is not None and seen <= grown - first


@pytest.mark.parametrize(("t", "index"), [(-0.1, None), (0.0, 0), (0.5, 0), (1.0, 1), (99.0, 2)])
def test_the_last_scrape_before_a_moment(t: float, index: int | None) -> None:
    assert series([1, 2, 3]).at(t) == index


@pytest.mark.parametrize(
    ("values", "step", "row"),
    [
        ([1, 2, 3, 4], 1.0, [1, 2, 3, 4]),
        ([1, 2, 3, 4, 5, 6, 7, 8], 0.5, [1.5, 3.5, 5.5, 7.5]),
        ([1, None, 3, 4], 1.0, [1, 1, 3, 4]),
        ([1, None, None, None], 1.0, [1, 1, 1, None]),  # two bins without a scrape, then a gap
        ([None, 2, 3, 4], 1.0, [None, 2, 3, 4]),
        ([1, 2], 2.0, [1, 1, 2, 2]),
    ],
)
def test_bins_of_a_gauge(values: list[float | None], step: float, row: list[float | None]) -> None:
    found = grid([series(values, step=step)], "waiting", [0.0, 1.0, 2.0, 3.0, 4.0])["p"]
    assert [None if math.isnan(value) else value for value in found] == row


def test_rare_scrapes_last_to_the_next_one() -> None:
    found = grid([series([1, 2, 3], step=4.0)], "waiting", [float(edge) for edge in range(13)])["p"]
    assert found.tolist() == [1] * 4 + [2] * 4 + [3] * 4


def two(a: list[float | None], b: list[float | None]) -> list[PodSeries]:
    pods = [series(a), series(b)]
    pods[0].name, pods[1].name = "a", "b"
    return pods


def test_evenness_by_hand() -> None:
    # bins: (4, 0) and (2, 2): means 2 and 2, peaks 4 and 2, floors 0 and 2, deviations 2 and 0
    found = evenness(two([4, 2], [0, 2]), "waiting", [0.0, 1.0, 2.0])
    assert to_builtins(found) == {
        "mean": 2.0, "peak": 4.0, "max_minus_mean": 1.0, "max_minus_min": 2.0, "stddev": 1.0,
        "pods": {"a": 3.0, "b": 1.0},
    }  # fmt: skip


def test_evenness_counts_only_bins_that_two_pods_fill() -> None:
    found = evenness(two([9, 4], [None, 2]), "waiting", [0.0, 1.0, 2.0])
    assert found is not None
    assert (found.mean, found.max_minus_min) == (3.0, 2.0)
    alone = evenness([series([3, 5])], "waiting", [0.0, 1.0, 2.0])
    assert alone is not None
    assert (alone.mean, alone.max_minus_min) == (4.0, 0.0)
    assert evenness([], "waiting", [0.0, 1.0]) is None
    assert evenness([series([None])], "waiting", [0.0, 1.0]) is None


@given(st.lists(st.lists(st.floats(0, 100), min_size=4, max_size=4), min_size=2, max_size=5))
def test_evenness_keeps_its_order(rows: list[list[float]]) -> None:
    pods = []
    for index, row in enumerate(rows):
        pod = series(list(row))
        pod.name = f"p{index}"
        pods.append(pod)
    found = evenness(pods, "waiting", [0.0, 1.0, 2.0, 3.0, 4.0])
    assert found is not None
    assert found.peak == max(map(max, rows))
    assert found.mean == pytest.approx(float(np.mean(rows)), abs=1e-9)
    assert -1e-9 <= found.max_minus_mean <= found.max_minus_min + 1e-9
    assert found.stddev <= found.max_minus_min + 1e-9


def test_the_cost_of_scraping() -> None:
    pod = PodSeries("p")
    for took in (0.001, 0.003, math.nan):
        pod.add(0.0, {}, frozenset(), took)
    found = scrape_cost([pod])
    assert found is not None
    assert (found.scrapes, found.max) == (2, 0.003)
    assert (found.mean, found.total) == pytest.approx((0.002, 0.004))
    assert scrape_cost([PodSeries("q")]) is None
