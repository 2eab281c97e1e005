"""/metrics against the recordings of vLLM 0.33, and what the flags change in it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from simulator.config.resolve import parse_args
from simulator.config.serve import ServeConfig
from simulator.engine.stats import EngineStats
from simulator.server.metrics.exposition import Exposition, Templates
from simulator.server.metrics.process_metrics import ProcessMetrics

DATA = Path(__file__).parents[3] / "conformance" / "data"
RECORDED_SERVER = [
    "--served-model-name", "tiny", "--max-model-len", "1024", "--block-size", "128",
    "--num-gpu-blocks-override", "8192",
]  # fmt: skip


def recording(name: str) -> str:
    return (DATA / name).read_text()


def config(*flags: str) -> ServeConfig:
    return parse_args(["--model", "m", *flags], {})


def exposition(*flags: str, process: bool = False) -> Exposition:
    made = config(*flags)
    stats = EngineStats(made.engine.max_model_len, made.custom_histogram_buckets or None)
    return Exposition(made, stats, Templates(), process=ProcessMetrics() if process else None)


def text(*flags: str) -> str:
    return exposition(*flags).render().decode()


def samples(body: str) -> dict[str, str]:
    """Series with its labels -> value."""
    lines = (line for line in body.splitlines() if line and not line.startswith("#"))
    return {series: value for series, _, value in (line.rpartition(" ") for line in lines)}


def families(body: str) -> list[tuple[str, ...]]:
    """(HELP or TYPE, name, rest) in order of output."""
    return [tuple(line.split(" ", 3)[1:]) for line in body.split("\n") if line.startswith("#")]


def masked(body: str) -> list[str]:
    """Every line without its value, the Python version, and the cache configuration."""
    lines = []
    for line in body.split("\n"):
        shown = line if line.startswith("#") else re.sub(r" [-+0-9.e]+$", " V", line)
        shown = re.sub(r'(version|patchlevel|minor)="[\d.]+"', r"\1", shown)
        lines.append(re.sub(r"cache_config_info\{.*\}", "cache_config_info", shown))
    return lines


def test_an_idle_server_line_by_line() -> None:
    body = exposition("--strict", *RECORDED_SERVER, process=True).render().decode()
    assert masked(body) == masked(recording("metrics_idle.txt"))


def test_every_value_of_an_idle_engine_is_the_recorded_one() -> None:
    ours = samples(text("--strict", *RECORDED_SERVER))
    theirs = samples(recording("metrics_idle.txt"))
    compared = 0
    for series, value in ours.items():
        if series.startswith("vllm:") and "_created" not in series and "cache_config_info" not in series:
            assert theirs[series] == value, series
            compared += 1
    assert compared > 300


def test_cache_config_labels_are_the_recorded_ones() -> None:
    def labels(body: str) -> dict[str, str]:
        line = next(line for line in body.splitlines() if line.startswith("vllm:cache_config_info{"))
        return dict(re.findall(r'(\w+)="([^"]*)"', line))

    ours, theirs = labels(text("--strict", *RECORDED_SERVER)), labels(recording("metrics_idle.txt"))
    assert list(ours) == list(theirs)
    given = {"num_gpu_blocks_override", "user_specified_block_size", "kv_cache_memory_bytes"}
    assert {k: v for k, v in ours.items() if k not in given} == {
        k: v for k, v in theirs.items() if k not in given
    }


def test_after_traffic_the_families_are_the_recorded_ones() -> None:
    made = exposition("--strict", *RECORDED_SERVER, process=True)
    for handler, method, status in (
        ("/v1/models", "GET", 200), ("none", "GET", 404), ("/docs", "GET", 200),
        ("/v1/completions", "POST", 200), ("/v1/completions", "POST", 400), ("none", "PUT", 405),
        ("/v1/chat/completions", "POST", 200), ("/v1/chat/completions", "POST", 400),
        ("/tokenize", "POST", 200), ("/tokenize", "POST", 404), ("/detokenize", "POST", 200),
        ("/detokenize", "POST", 400), ("none", "POST", 404), ("/v1/responses", "POST", 200),
        ("/v1/messages", "POST", 200), ("/health", "GET", 200), ("/metrics", "GET", 200),
    ):  # fmt: skip
        made.http.record(handler, method, status, 0.02, 10, 20)
    assert masked(made.render().decode()) == masked(recording("metrics_after_base.txt"))


def test_both_names_of_the_kv_gauge_unless_narrowed() -> None:
    made = exposition()
    made.stats.kv_cache_usage = 0.25
    found = samples(made.render().decode())
    assert found['vllm:kv_cache_usage_perc{engine="0",model_name="m"}'] == "0.25"
    assert found['vllm:gpu_cache_usage_perc{engine="0",model_name="m"}'] == "0.25"
    assert "gpu_cache_usage_perc" not in text("--metrics-compat", "vllm-0.33")
    old = text("--metrics-compat", "vllm-0.11")
    assert "gpu_cache_usage_perc" not in old
    assert "vllm:gpu_cache_usage_perc" in text(
        "--metrics-compat", "vllm-0.11", "--show-hidden-metrics-for-version", "0.10"
    )


def test_metrics_of_011() -> None:
    names = {parts[1] for parts in families(text("--metrics-compat", "vllm-0.11"))}
    assert "vllm:time_per_output_token_seconds" in names
    assert "vllm:inter_token_latency_seconds" in names
    added_later = {
        "vllm:num_requests_waiting_by_reason",
        "vllm:engine_sleep_state",
        "vllm:prompt_tokens_by_source_total",
        "vllm:request_num_preemptions",
        "vllm:admission_rejections_total",
        "simfleet_step_lag_seconds",
    }
    assert not names & added_later
    reasons = re.findall(
        r'request_success_total\{engine="0",finished_reason="(\w+)"', text("--metrics-compat", "vllm-0.11")
    )
    assert reasons == ["stop", "length", "abort"]


def test_metrics_of_llmd_show_what_was_touched() -> None:
    made = exposition("--compat", "llm-d-0.7", "--metrics-compat", "llm-d-0.7")
    idle = made.render().decode()
    assert {parts[1] for parts in families(idle)} == {
        "vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc",
        "vllm:lora_requests_info", "vllm:cache_config_info",
    }  # fmt: skip
    assert 'vllm:num_requests_running{model_name="m"} 0\n' in idle
    assert 'vllm:cache_config_info{block_size="16",num_gpu_blocks="1024"} 1\n' in idle
    made.stats.time_to_first_token_seconds.observe(0.2)
    made.stats.request_success["stop"] = 1
    busy = samples(made.render().decode())
    assert busy['vllm:time_to_first_token_seconds_bucket{le="0.1",model_name="m"}'] == "0"
    assert busy['vllm:time_to_first_token_seconds_bucket{le="0.25",model_name="m"}'] == "1"
    assert busy['vllm:request_success_total{finish_reason="stop",model_name="m"}'] == "1"
    assert not any("created" in series for series in busy)


def test_values_follow_the_statistics() -> None:
    made = exposition("--strict", "--max-model-len", "1024")
    stats = made.stats
    stats.num_requests_running, stats.num_requests_waiting_capacity = 3, 4
    stats.num_requests_waiting_deferred = 1
    stats.generation_tokens = 1_234_567
    for value in (0.0005, 0.3, 9999.0):
        stats.time_to_first_token_seconds.observe(value)
    made.rejections["max_num_queued_reqs"] = 2
    found = samples(made.render().decode())
    both = 'engine="0",model_name="m"'
    assert found[f"vllm:num_requests_waiting{{{both}}}"] == "5.0"
    assert found[f'vllm:num_requests_waiting_by_reason{{{both},reason="deferred"}}'] == "1.0"
    assert found[f"vllm:generation_tokens_total{{{both}}}"] == "1.234567e+06"
    buckets = [
        value
        for series, value in found.items()
        if series.startswith("vllm:time_to_first_token_seconds_bucket")
    ]
    assert buckets[0] == "1.0"
    assert buckets[-2:] == ["2.0", "3.0"]
    assert found[f"vllm:time_to_first_token_seconds_count{{{both}}}"] == "3.0"
    assert found[f"vllm:time_to_first_token_seconds_sum{{{both}}}"] == "9999.3005"
    assert found['vllm:admission_rejections_total{model_name="m",reason="max_num_queued_reqs"}'] == "2.0"
    stats.sleep_level = 1
    found = samples(made.render().decode())
    assert found[f'vllm:engine_sleep_state{{{both},sleep_state="weights_offloaded"}}'] == "1.0"
    assert found[f'vllm:engine_sleep_state{{{both},sleep_state="awake"}}'] == "0.0"


def test_flags_that_change_families() -> None:
    assert "vllm:" not in text("--disable-log-stats")
    assert "http_requests_total" in text("--disable-log-stats")
    consumer = text("--kv-transfer-config", '{"kv_connector":"NixlConnector","kv_role":"kv_both"}')
    assert 'num_requests_kv_fetch_by_stage{engine="0",model_name="m",stage="in_progress"} 0.0' in consumer
    custom = text("--custom-histogram-buckets", '{"vllm:time_to_first_token_seconds": [1, 2]}')
    bounds = re.findall(r'time_to_first_token_seconds_bucket\{engine="0",le="([^"]+)"', custom)
    assert bounds == ["1.0", "2.0", "+Inf"]
    assert 'model_name="a\\"b"' in text("--served-model-name", 'a"b')
    assert 'engine="3"' in text("--data-parallel-rank", "3")
    assert "lora_requests_info" not in text("--no-enable-lora")


def test_overrides_falsify_one_family() -> None:
    made = exposition()
    honest, false = made.render().decode(), made.render({"vllm:num_requests_waiting": 99}).decode()
    changed = [(a, b) for a, b in zip(honest.split("\n"), false.split("\n"), strict=True) if a != b]
    assert changed == [
        (
            'vllm:num_requests_waiting{engine="0",model_name="m"} 0.0',
            'vllm:num_requests_waiting{engine="0",model_name="m"} 99.0',
        )
    ]


def test_replicas_of_one_kind_share_a_template() -> None:
    templates = Templates()
    made = config()
    for rank in (0, 0, 1):
        Exposition(made, EngineStats(made.engine.max_model_len), templates, rank=rank).render()
    assert len(templates._known) == 2


def test_content_types() -> None:
    assert exposition().content_type == b"text/plain; version=1.0.0; charset=utf-8"
    assert exposition("--compat", "llm-d-0.7").content_type == b"text/plain; version=0.0.4; charset=utf-8"


@pytest.mark.parametrize("flags", [[], ["--strict"], ["--compat", "vllm-0.11"], ["--compat", "llm-d-0.7"]])
def test_promtool_accepts_it(flags: list[str]) -> None:
    """promtool's parser takes every line, and its linter finds nothing that real vLLM does not have too."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian package prometheus)")

    def lint(body: str) -> set[str]:
        done = subprocess.run(
            [promtool, "check", "metrics"],
            input=body,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode in (0, 3), done.stderr  # 1: it does not parse
        return set(done.stderr.splitlines())

    made = exposition(*flags, "--max-loras", "2", process=True)
    for histogram in made.stats.histograms.values():
        histogram.observe(1.0)
    made.http.record("/v1/models", "GET", 200, 0.01, 0, 3)
    found = lint(made.render().decode())
    house_style = "metric names should not contain ':'"  # vLLM's prefix
    rest = {line for line in found if not line.endswith(house_style)}
    assert rest <= lint(recording("metrics_idle.txt")) | lint(recording("metrics_after_base.txt"))
