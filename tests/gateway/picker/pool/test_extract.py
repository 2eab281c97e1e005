"""The EPP's rules for reading a metrics page."""

from __future__ import annotations

import pytest

from gateway.picker.compat import GIE_V12, GIE_V13, GIE_V15, LLMD_V010, Compat
from gateway.picker.errors import PickerConfigError, ScrapeError
from gateway.picker.pool.endpoints import NEVER_SCRAPED, EndpointMetrics
from gateway.picker.pool.extract import extract, validate
from gateway.picker.pool.metric_specs import (
    EngineConfig,
    ExtractorParameters,
    build_engines,
    parse_spec,
    vllm_mapping,
)

VLLM = b"""\
# HELP vllm:num_requests_running Number of requests.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 4.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="m"} 3.9
# TYPE vllm:num_requests_waiting_by_reason gauge
vllm:num_requests_waiting_by_reason{reason="x"} 99
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0"} 0.25
# TYPE vllm:gpu_cache_usage_perc gauge
vllm:gpu_cache_usage_perc{engine="0"} 0.5
# TYPE vllm:lora_requests_info gauge
vllm:lora_requests_info{max_lora="4",running_lora_adapters="a,b",waiting_lora_adapters="c"} 1.7e+09
# TYPE vllm:cache_config_info gauge
vllm:cache_config_info{block_size="16",num_gpu_blocks="1024",cache_dtype="auto"} 1.0
"""


def read(
    page: bytes | str, compat: Compat = GIE_V12, last: EndpointMetrics = NEVER_SCRAPED, **specs: str
) -> EndpointMetrics:
    raw = page.encode() if isinstance(page, str) else page
    return extract(raw, vllm_mapping(compat, specs), last, compat, 5.0)[0]


def test_a_page_of_vllm() -> None:
    metrics = read(VLLM, GIE_V13)
    assert metrics == EndpointMetrics(
        waiting=3,
        running=4,
        kv_usage=0.25,
        active_models=frozenset({"a", "b"}),
        waiting_models=frozenset({"c"}),
        max_active_models=4,
        block_size=16,
        num_blocks=1024,
        updated_at=5.0,
    )


def test_v12_reads_the_old_kv_metric_and_no_running() -> None:
    metrics = read(VLLM)
    assert (metrics.kv_usage, metrics.running) == (0.5, 0)
    named = read(VLLM, kv_usage="vllm:kv_cache_usage_perc", queued="")
    assert (named.kv_usage, named.waiting) == (0.25, 0)


def test_real_vllm_leaves_v12_blind_for_kv() -> None:
    page = VLLM.replace(b"vllm:gpu_cache_usage_perc", b"vllm:other")
    mapping = vllm_mapping(GIE_V12, {})
    metrics, missing = extract(page, mapping, EndpointMetrics(kv_usage=0.4), GIE_V12, 1.0)
    assert metrics.kv_usage == 0.4  # as it was
    assert missing == ["vllm:gpu_cache_usage_perc"]


@pytest.mark.parametrize(
    ("kind", "v12", "v15"), [("gauge", 7, 7), ("counter", 0, 7), ("untyped", 0, 0), ("", 0, 0)]
)
def test_only_gauges_count(kind: str, v12: int, v15: int) -> None:
    page = (f"# TYPE vllm:num_requests_waiting {kind}\n" if kind else "") + "vllm:num_requests_waiting 7\n"
    assert read(page).waiting == v12
    assert read(page, GIE_V15).waiting == v15


def test_first_series_wins_unless_timestamps_say_otherwise() -> None:
    head = "# TYPE vllm:num_requests_waiting gauge\n"
    plain = head + 'vllm:num_requests_waiting{engine="0"} 1\nvllm:num_requests_waiting{engine="1"} 2\n'
    assert read(plain).waiting == 1
    stamped = (
        head + 'vllm:num_requests_waiting{engine="0"} 1 10\nvllm:num_requests_waiting{engine="1"} 2 11\n'
    )
    assert read(stamped).waiting == 2
    negative = head + "vllm:num_requests_waiting 1 -5\n"
    assert read(negative, last=EndpointMetrics(waiting=9)).waiting == 9


def test_specs_choose_by_label() -> None:
    page = '# TYPE q gauge\nq{kind="a",model="x"} 1\nq{model="x",kind="b"} 2\n'
    assert read(page, queued="q{kind=b}").waiting == 2
    assert read(page, queued="q{kind=c}", last=EndpointMetrics(waiting=8)).waiting == 8


@pytest.mark.parametrize(
    ("text", "name", "labels"),
    [
        (" name ", b"name", {}),
        ("name{a=b}", b"name", {"a": "b"}),
        ("name{ a = b , c=d }", b"name", {"a": "b", "c": "d"}),
    ],
)
def test_spec_strings(text: str, name: bytes, labels: dict[str, str]) -> None:
    spec = parse_spec(text)
    assert spec is not None
    assert (spec.name, spec.labels) == (name, labels)


@pytest.mark.parametrize(
    "text", ["a{", "a}", "a{}", "a{b}", "a{=c}", "a{b=}", "a{b=c}d", "{b=c}", "a{b=c=d}"]
)
def test_bad_spec_strings(text: str) -> None:
    with pytest.raises(PickerConfigError):
        parse_spec(text)
    assert parse_spec("") is None


LORA = "# TYPE vllm:lora_requests_info gauge\n"


def lora(running: str, waiting: str, value: str, limit: str = "2") -> str:
    return (
        f'vllm:lora_requests_info{{max_lora="{limit}",running_lora_adapters="{running}",'
        f'waiting_lora_adapters="{waiting}"}} {value}\n'
    )


def test_lora_takes_the_newest_series_that_names_an_adapter() -> None:
    page = LORA + lora("a", "", "1") + lora("b", "c", "3") + lora("d", "", "2") + lora("", "", "9")
    metrics = read(page)
    assert (metrics.active_models, metrics.waiting_models) == ({"b"}, {"c"})
    newest = read(page, GIE_V15)
    assert (newest.active_models, newest.waiting_models) == (frozenset(), frozenset())


def test_idle_lora_keeps_the_last_adapters_up_to_v14() -> None:
    last = EndpointMetrics(active_models=frozenset({"a"}), max_active_models=4)
    page = LORA + lora("", "", "5")
    assert read(page, last=last).active_models == {"a"}
    cleared = read(page, GIE_V15, last)
    assert (cleared.active_models, cleared.max_active_models) == (frozenset(), 2)


def test_adapter_names_are_trimmed_from_v15_on() -> None:
    page = LORA + lora("a, b", "", "5")
    assert read(page).active_models == {"a", " b"}
    assert read(page, GIE_V15).active_models == {"a", "b"}


def test_lora_value_must_be_positive_in_v12() -> None:
    assert read(LORA + lora("a", "", "0")).active_models == frozenset()
    assert read(LORA + lora("a", "", "0"), LLMD_V010).active_models == {"a"}


def test_unreadable_numbers_of_blocks() -> None:
    head = "# TYPE vllm:cache_config_info gauge\n"
    page = head + 'vllm:cache_config_info{block_size="16",num_gpu_blocks="None"} 1\n'
    last = EndpointMetrics(block_size=8, num_blocks=99)
    assert (read(page, last=last).block_size, read(page, last=last).num_blocks) == (16, 0)
    assert read(page, GIE_V15, last).num_blocks == 99


def test_label_values_may_hold_anything() -> None:
    page = LORA + lora('x}\\"y\\\\,z\\n', "", "5")
    assert read(page).active_models == {'x}"y\\', "z\n"}


def test_numbers_as_go_reads_them() -> None:
    head = "# TYPE vllm:num_requests_waiting gauge\nvllm:num_requests_waiting "
    assert read(head + "-2.7\n").waiting == -2
    assert read(head + "1e3\n").waiting == 1000
    assert read(head + "NaN\n").waiting == -(2**63)
    with pytest.raises(ScrapeError, match="expected float"):
        read(head + "many\n")


def test_empty_page_counts_as_fresh_up_to_v14() -> None:
    assert read("# nothing\n").updated_at == 5.0
    assert read("# nothing\n", GIE_V15).updated_at == float("-inf")


def test_hints_follow_a_family_that_moves() -> None:
    hints: dict[bytes, int] = {}
    mapping = vllm_mapping(GIE_V13, {})
    for padding in (0, 10, 5000, 100_000, 0):
        page = b"# " + b"x" * padding + b"\n" + VLLM
        metrics, missing = extract(page, mapping, NEVER_SCRAPED, GIE_V13, 1.0, hints=hints)
        assert (metrics.waiting, metrics.num_blocks, missing) == (3, 1024, [])
    metrics, missing = extract(b"# gone\n", mapping, metrics, GIE_V13, 2.0, hints=hints)
    assert metrics.waiting == 3
    assert len(missing) == 5


@pytest.mark.parametrize(
    "page",
    [
        b"",
        VLLM,
        b'\n  \n# comment\na 1\na{} 2\na{b="c",} 3\na{b="c" , d="}\\n\\\\"} +Inf 123\nb\tNaN\n',
    ],
)
def test_valid_pages(page: bytes) -> None:
    validate(page)


@pytest.mark.parametrize(
    ("line", "number"),
    [
        (b"a", 1),
        (b"a b c", 1),
        (b"a{b=c} 1", 1),
        (b'a{b="c} 1', 1),
        (b"1a 2", 1),
        (b"a 1 2 3", 1),
        (b"a 1\n{} 2", 2),
    ],
)
def test_one_broken_line_spoils_a_page(line: bytes, number: int) -> None:
    with pytest.raises(ScrapeError, match=f"in line {number}:"):
        validate(line + b"\n")


def test_a_page_must_end_with_a_newline() -> None:
    with pytest.raises(ScrapeError):
        validate(b"a 1")


def test_engines_are_chosen_by_label() -> None:
    engines = build_engines(LLMD_V010, {}, None)
    sglang = engines.mapping_for({"llm-d.ai/engine-type": "sglang"})
    assert sglang.queued == parse_spec("sglang:num_queue_reqs")
    assert engines.mapping_for({}) is engines.default
    assert engines.mapping_for({"inference.networking.k8s.io/engine-type": "sglang"}) is sglang
    assert engines.mapping_for({"llm-d.ai/engine-type": "unheard-of"}) is engines.default


def test_engine_configs_replace_and_add() -> None:
    parameters = ExtractorParameters(
        default_engine="mine",
        engine_configs=[EngineConfig(name="mine", queued_requests_spec="my_queue")],
    )
    engines = build_engines(LLMD_V010, {}, parameters)
    assert engines.default.queued == parse_spec("my_queue")
    assert engines.default.kv_usage is None
    with pytest.raises(PickerConfigError, match="not found in engineConfigs"):
        build_engines(LLMD_V010, {}, ExtractorParameters(default_engine="none"))


def test_sglang_labels() -> None:
    page = (
        b'# TYPE sglang:cache_config_info gauge\nsglang:cache_config_info{page_size="64",num_pages="500"} 1\n'
    )
    mapping = build_engines(LLMD_V010, {}, None).mapping_for({"llm-d.ai/engine-type": "sglang"})
    metrics, _ = extract(page, mapping, NEVER_SCRAPED, LLMD_V010, 1.0)
    assert (metrics.block_size, metrics.num_blocks) == (64, 500)
