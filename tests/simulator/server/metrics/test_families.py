"""The catalogue of families and the small tables beside it: HTTP, process, cache, against the recording."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from simulator.config.compat import compat
from simulator.config.resolve import parse_args
from simulator.engine.stats import EngineStats
from simulator.server.metrics.cache_info import cache_config_labels
from simulator.server.metrics.families import ENGINE_FAMILIES, describe, families
from simulator.server.metrics.family import LLMD, V011, V033, Family
from simulator.server.metrics.http_metrics import EXCLUDED, HTTPMetrics
from simulator.server.metrics.process_metrics import ProcessMetrics
from tests.simulator.server.pods import pod

RECORDED = (Path(__file__).parents[3] / "conformance" / "data" / "metrics_idle.txt").read_text()


def numbers(family: Family, stats: EngineStats) -> list[float]:
    """What a family shows, a number for each child."""
    if isinstance(family.source, str):
        return [0.0] if family.source in stats.histograms else []
    value = family.source(stats)
    return list(value) if isinstance(value, tuple | list) else [value]  # type: ignore[list-item]


@pytest.mark.parametrize(
    "family", ENGINE_FAMILIES, ids=lambda family: f"{family.name}-{family.in_versions[0]}"
)
def test_every_family_can_be_read(family: Family) -> None:
    found = numbers(family, EngineStats(1000))
    assert len(found) == max(1, len(family.children))
    assert bool(family.label) == bool(family.children)
    assert not family.name.endswith("_total") or family.kind == "histogram"  # vLLM's iteration_tokens_total
    assert family.exposed_name == family.name + ("_total" if family.kind == "counter" else "")


@pytest.mark.parametrize("version", [V033, V011, LLMD])
def test_a_version_has_each_family_once(version: str) -> None:
    names = Counter(family.name for family in families(version, frozenset({"hidden", "kv-consumer"}), False))
    assert names.most_common(1)[0][1] == 1


def test_types_and_helps_are_the_recorded_ones() -> None:
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", RECORDED, re.MULTILINE))
    helps = dict(re.findall(r"^# HELP (\S+) (.*)$", RECORDED, re.MULTILINE))
    compared = 0
    for family in families(V033, frozenset(), False):
        assert (kinds[family.exposed_name], helps[family.exposed_name]) == (family.kind, family.help)
        compared += 1
    assert compared > 30


def test_conditions_and_the_older_name() -> None:
    def names(version: str, *with_: str, both: bool = False) -> set[str]:
        return {family.name for family in families(version, frozenset(with_), both)}

    fetch, gpu = "vllm:num_requests_kv_fetch_by_stage", "vllm:gpu_cache_usage_perc"
    assert names(V033, "kv-consumer") - names(V033) == {fetch}
    assert names(V011, "hidden") - names(V011) == {gpu}
    assert names(V033, both=True) - names(V033) == {gpu}
    assert names(V033, "hidden") == names(V033)


def test_the_docs_rows() -> None:
    rows = {(row["name"], row["versions"]): row for row in describe()}
    assert len(rows) == len(ENGINE_FAMILIES) + 13  # tool calls, four of speculation, eight of NIXL
    rejected = rows["vllm:admission_rejections_total", (V033,)]
    assert rejected["labels"] == ["model_name", "reason"]
    assert rows["vllm:num_requests_running", (V033, V011, LLMD)]["labels"] == ["engine", "model_name"]


def series(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {name: value for name, _, value in (line.rpartition(" ") for line in lines)}


def test_http_families_count_and_sum() -> None:
    made = HTTPMetrics()
    for seconds, status, method in (
        (0.02, 200, "POST"),
        (0.3, 204, "POST"),
        (20.0, 503, "POST"),
        (0.1, 200, "GET"),
    ):
        made.record("/v1/models", method, status, seconds, 10, 100)
    found = series(made.render(False))
    handler = 'handler="/v1/models"'
    assert found[f'http_requests_total{{{handler},method="POST",status="2xx"}}'] == "2.0"
    assert found[f'http_requests_total{{{handler},method="POST",status="5xx"}}'] == "1.0"
    assert found[f"http_request_size_bytes_sum{{{handler}}}"] == "40.0"
    assert found[f"http_response_size_bytes_count{{{handler}}}"] == "4.0"
    buckets = {
        b: found[f'http_request_duration_highr_seconds_bucket{{le="{b}"}}']
        for b in ("0.025", "0.1", "10.0", "30.0", "+Inf")
    }
    assert buckets == {"0.025": "1.0", "0.1": "2.0", "10.0": "3.0", "30.0": "4.0", "+Inf": "4.0"}
    low = f'http_request_duration_seconds_bucket{{{handler},le="0.1",method="POST"}}'
    assert found[low] == "1.0"
    assert float(found["http_request_duration_highr_seconds_sum"]) == pytest.approx(20.42)


def test_http_text_is_made_again_only_after_a_request() -> None:
    made = HTTPMetrics()
    before = made.render(True)
    assert made.render(True) is before
    for handler in EXCLUDED:
        made.record(handler, "GET", 200, 0.1, 0, 0)
    assert made.render(True) is before
    made.record('/a"b', "GET", 200, 0.1, 0, 0)
    assert 'handler="/a\\"b"' in made.render(True)
    assert "_created" in made.render(True)


def test_http_families_follow_the_wire() -> None:
    with pod() as one:
        one.complete(max_tokens=1)
        one.complete(max_tokens=1, stream=True)
        one.complete(temperature=-1)
        one.get("/nowhere")
        one.request("PUT", "/v1/models")
        one.get("/health")
        found = series(one.get("/metrics").text)
        wanted = {
            ("/v1/completions", "POST", "2xx"): "2.0", ("/v1/completions", "POST", "4xx"): "1.0",
            ("none", "GET", "4xx"): "1.0", ("none", "PUT", "4xx"): "1.0",
        }  # fmt: skip
        for (handler, method, status), count in wanted.items():
            labels = f'handler="{handler}",method="{method}",status="{status}"'
            assert found[f"http_requests_total{{{labels}}}"] == count
        assert sum(name.startswith("http_requests_total") for name in found) == len(wanted)


def test_process_families_are_kept_for_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("simulator.server.metrics.process_metrics.time.monotonic", lambda: now[0])
    made = ProcessMetrics()
    text = made.render()
    assert re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE) == [
        name
        for name in re.findall(r"^# TYPE (\w+) ", RECORDED, re.MULTILINE)
        if name.startswith(("process_", "python_"))
    ]
    now[0] += 0.9
    assert made.render() is text
    now[0] += 0.2
    assert made.render() is not text


def labels(version: str, *flags: str, rank: int = 0) -> dict[str, str]:
    config = parse_args(["--model", "m", *flags], {})
    return dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', cache_config_labels(config, compat(version), rank)))


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--block-size", "32"), {"block_size": "32", "user_specified_block_size": "True"}),
        ((), {"user_specified_block_size": "False", "num_gpu_blocks_override": "None"}),
        (("--num-gpu-blocks-override", "3000", "--max-model-len", "16000"),
         {"num_gpu_blocks": "3000", "num_gpu_blocks_override": "3000", "kv_cache_size_tokens": "48000",
          "kv_cache_max_concurrency": "3.0", "kv_cache_memory_bytes": str(48000 * 131072)}),
        (("--no-enable-prefix-caching",), {"enable_prefix_caching": "False"}),
        (("--gpu-memory-utilization", "0.5"), {"gpu_memory_utilization": "0.5"}),
    ],
)  # fmt: skip
def test_cache_labels_follow_the_flags(flags: tuple[str, ...], told: dict[str, str]) -> None:
    found = labels("vllm-0.33", *flags)
    assert {name: found[name] for name in told} == told


def test_cache_labels_of_each_version_in_alphabetical_order() -> None:
    for version in ("vllm-0.33", "vllm-0.11", "llm-d-0.7"):
        found = list(labels(version))
        assert found == sorted(found)
    assert list(labels("llm-d-0.7")) == ["block_size", "num_gpu_blocks"]
    older, newer = labels("vllm-0.11", rank=2), labels("vllm-0.33")
    assert older["engine"] == "2"
    assert "swap_space" in older
    assert "swap_space" not in newer


@pytest.mark.parametrize(
    ("faults", "status", "holds"),
    [
        ({}, 200, 'vllm:num_requests_running{engine="0",model_name="m"} 0.0'),
        ({"metrics_override": {"vllm:num_requests_running": 7.0}}, 200,
         'vllm:num_requests_running{engine="0",model_name="m"} 7.0'),
        ({"metrics_status": 500}, 500, ""),
    ],
)  # fmt: skip
def test_the_route(faults: dict[str, Any], status: int, holds: str) -> None:
    with pod() as one:
        for name, value in faults.items():
            setattr(one.replica.prepared.faults, name, value)
        for path in ("/metrics", "/metrics/"):
            answer = one.get(path)
            assert (answer.status, holds in answer.text) == (status, True)
        head = one.request("HEAD", "/metrics")
        assert (head.status, head.body) == (status, b"")
        assert int(head.headers["content-length"]) > 0 or status == 500
        wrong = one.post("/metrics")
        assert (wrong.status, wrong.headers["allow"], wrong.json()) == (
            405,
            "GET",
            {"detail": "Method Not Allowed"},
        )
