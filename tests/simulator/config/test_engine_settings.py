"""The engine's numbers: what flags, profile and imitated version make of each other. Sizes are in blocks."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.config.compat import COMPATS
from simulator.config.resolve import parse_args
from simulator.config.serve import ServeConfig
from simulator.engine.config import EngineConfig, EngineRules
from simulator.engine.pace.profiles import PROFILES
from simulator.errors import ConfigError


def config(line: str = "") -> ServeConfig:
    return parse_args(["--model", "m", *line.split()], {})


def engine(line: str = "") -> EngineConfig:
    return config(line).engine


def refused(line: str) -> str:
    with pytest.raises(ConfigError) as caught:
        config(line)
    return str(caught.value)


@pytest.mark.parametrize(
    ("line", "blocks"),
    [
        ("", 8192),  # twice 32768 tokens would be 4097: the least is more
        ("--max-model-len 65536", 8193),  # two prompts of that length and the null block
        ("--max-model-len 65537", 8195),  # 4097 blocks each
        ("--max-model-len 1", 8192),
        ("--block-size 32", 8192),
        ("--block-size 1 --max-model-len 8192", 16385),
        ("--num-gpu-blocks-override 5000", 5000),
        ("--kv-cache-size 5000", 5000),
        ("--kv-cache-size 0", 8192),  # llm-d's zero: not given
        ("--kv-cache-size 1", 2),  # one block would be the null block alone
        ("--num-gpu-blocks-override 4096 --kv-cache-size 5000", 4096),
        ("--num-gpu-blocks-override 4096 --kv-cache-memory-bytes 1G", 4096),
        ("--kv-cache-memory-bytes 8G", 4096),  # 2^33 bytes at 128 KiB a token, 16 tokens a block
        ("--kv-cache-memory-bytes 8G --block-size 32", 2048),
        ("--kv-cache-memory-bytes 1 --max-num-seqs 1", 2),
        ("--kv-cache-memory-bytes 8G --profile qwen2.5-7b/h100", 9362),  # 56 KiB a token
        ("--profile llama-3.1-8b/h100", 28410),
        ("--profile llama-3.1-8b/h100 --block-size 32", 14205),
        ("--profile llama-3.1-8b/h100 --num-gpu-blocks-override 3000", 3000),
        ("--compat llm-d-0.7", 1024),
        ("--compat llm-d-0.7 --max-model-len 16384", 2049),
        ("--compat llm-d-0.7 --kv-cache-size 70", 70),
    ],
)
def test_blocks_of_the_cache(line: str, blocks: int) -> None:
    assert engine(line).num_gpu_blocks == blocks


@pytest.mark.parametrize(
    ("line", "length", "warned"),
    [
        ("", 32768, False),
        ("--max-model-len auto", 32768, False),
        ("--max-model-len=-1", 32768, False),
        ("--max-model-len 1k", 1000, False),
        ("--max-model-len 1K", 1024, False),
        ("--num-gpu-blocks-override 2049", 32768, False),
        ("--num-gpu-blocks-override 2048", 2047 * 16, True),
        ("--kv-cache-size 1024 --max-model-len 32768", 1023 * 16, True),
        ("--compat llm-d-0.7", 1024, False),
        ("--compat llm-d-0.7 --kv-cache-size 2", 1024, False),
        ("--kv-cache-memory-bytes 32M", 15 * 16, True),
    ],
)
def test_the_longest_prompt_fits_the_cache(line: str, length: int, warned: bool) -> None:
    made = config(line)
    assert made.engine.max_model_len == length
    said = f"to {length}, what the KV cache holds"
    assert [warning.endswith(said) for warning in made.warnings] == ([True] if warned else [])


def test_a_length_that_was_asked_for_is_never_lowered() -> None:
    assert refused("--num-gpu-blocks-override 2048 --max-model-len 32768") == (
        "--max-model-len: 32768 tokens do not fit into a KV cache of 32752 (2047 usable blocks of 16); "
        "lower --max-model-len or raise --num-gpu-blocks-override"
    )
    assert "do not fit into a KV cache of 4080" in refused(
        "--kv-cache-memory-bytes 512M --max-model-len 4081"
    )
    assert engine("--kv-cache-memory-bytes 512M --max-model-len 4080").max_model_len == 4080
    assert refused("--max-model-len 0") == "--max-model-len: 0 is too small, the least is 1"


@pytest.mark.parametrize(
    ("line", "sequences", "budget"),
    [
        ("", 256, 2048),
        ("--max-num-seqs 4096", 2048, 2048),  # a step holds no more sequences than tokens
        ("--max-num-batched-tokens 100", 100, 100),
        ("--max-num-seqs 4096 --max-num-batched-tokens 8K", 4096, 8192),
        ("--profile llama-3.1-8b/h100", 1024, 8192),
        ("--profile llama-3.1-8b/b200", 1024, 16384),
        ("--profile llama-3.1-8b/rtx-4090", 256, 2048),
        ("--profile LLAMA-3.1-8B/H100 --max-num-seqs 3", 3, 8192),
        ("--compat llm-d-0.7", 5, 2048),
        ("--compat llm-d-0.7 --profile llama-3.1-8b/h100", 5, 8192),
        ("--no-enable-chunked-prefill", 256, 32768),
        ("--no-enable-chunked-prefill --max-model-len 100", 256, 2048),
        ("--no-enable-chunked-prefill --max-model-len 4096 --max-num-batched-tokens 4096", 256, 4096),
    ],
)
def test_sequences_and_tokens_of_a_step(line: str, sequences: int, budget: int) -> None:
    made = engine(line)
    assert (made.max_num_seqs, made.max_num_batched_tokens) == (sequences, budget)


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_every_profile_makes_a_server(name: str) -> None:
    made = config(f"--profile {name}")
    gpu = PROFILES[name].gpu
    assert (made.latency.kind, made.latency.profile, made.latency.step_coefficients) == ("step", name, {})
    assert made.engine.max_num_seqs == gpu.max_num_seqs
    assert made.engine.max_num_batched_tokens == gpu.max_num_batched_tokens
    assert made.engine.num_gpu_blocks == PROFILES[name].num_gpu_blocks
    assert made.engine.max_model_len == 32768


VERSIONS: dict[str, dict[str, Any]] = {
    "vllm-0.33": {
        "admission": "whole-prompt", "free_list": "empty-first", "stop_order": "stop-first",
        "async_scheduling": True, "lora_scope": "running", "prefix_queries": "admission",
        "iteration_tokens": "computed", "hash_keys": "tagged", "lone_prefill_is_capped": False,
        "self_preemption_ends_pass": False, "long_prompt_is_overtaken": False, "deferred_order": "kept",
        "detects_repetition": True,
        "kv_hand_off": "groups",
    },
    "vllm-0.11": {
        "admission": "chunk", "free_list": "lru", "stop_order": "length-first",
        "async_scheduling": False, "lora_scope": "scheduled", "prefix_queries": "lookup",
        "iteration_tokens": "prompt", "hash_keys": "untagged", "lone_prefill_is_capped": True,
        "self_preemption_ends_pass": True, "long_prompt_is_overtaken": True, "deferred_order": "reversed",
        "detects_repetition": False,
        "kv_hand_off": "flat",
    },
}  # fmt: skip
VERSIONS |= {f"llm-d-{release}": VERSIONS["vllm-0.11"] for release in ("0.7", "0.8", "0.9", "0.10")}


@pytest.mark.parametrize("name", sorted(COMPATS))
def test_a_version_sets_the_engines_rules(name: str) -> None:
    made = engine(f"--compat {name}")
    assert {key: getattr(made, key) for key in VERSIONS[name]} == VERSIONS[name]
    assert engine(f"--compat {name} --async-scheduling").async_scheduling
    assert not engine(f"--compat {name} --no-async-scheduling").async_scheduling


def test_every_rule_of_the_engine_stands_in_the_versions() -> None:
    rules = {field.name for field in dataclasses.fields(EngineRules)}
    assert all(rules <= set(row) for row in VERSIONS.values())


def test_the_default_engine_is_that_of_the_default_flags() -> None:
    made = engine()
    for key, value in VERSIONS["vllm-0.33"].items():
        assert getattr(EngineConfig(), key) == value == getattr(made, key)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("", "zero"),
        ("--time-to-first-token 0 --inter-token-latency 0ms", "zero"),
        ("--inter-token-latency 1ms", "constant"),
        ("--kv-cache-transfer-time-per-token 1us", "constant"),
        ("--profile llama-3.1-8b/h100", "step"),
        ("--profile llama-3.1-8b/h100 --inter-token-latency 1ms", "step"),
        ("--profile llama-3.1-8b/h100 --latency zero", "zero"),
        ("--profile llama-3.1-8b/h100 --latency constant", "constant"),
        ("--profile llama-3.1-8b/h100 --step-model.c0 1", "step"),
        ("--latency zero --time-to-first-token 1s", "zero"),
        ('--latency step --step-model {"c0":1,"c1":1,"c2":1,"k":1,"c3":1,"c4":1,"c5":1}', "step"),
    ],
)
def test_which_latency_model_the_flags_ask_for(line: str, kind: str) -> None:
    assert config(line).latency.kind == kind


STEP = "--latency step needs a --profile, or all of --step-model c0, c1, c2, k, c3, c4, c5"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--latency step", STEP),
        ("--step-model.c0 1", STEP),
        ('--latency step --step-model {"c0":1,"c1":1,"c2":1,"k":1,"c3":1,"c4":1}', STEP),
        ("--step-model.c6 1", "--step-model: no coefficient 'c6'; there are c0, c1, c2, k, c3, c4, c5"),
        ("--step-model.c0 true", "--step-model.c0: True is not a number (microseconds)"),
        ("--step-model.c0 1ms", "--step-model.c0: '1ms' is not a number (microseconds)"),
        ("--step-model.c0 NaN", "--step-model.c0: nan is not a number (microseconds)"),
        ("--step-model.c0 Infinity", "--step-model.c0: inf is not a number (microseconds)"),
        ("--step-model 5", "--step-model: a JSON object is expected, not 5"),
        (
            "--profile llama",
            f"--profile: no profile 'llama'; there are {', '.join(PROFILES)}, "
            "and files of simfleet calibrate",
        ),
    ],
)
def test_step_models_that_are_none(line: str, message: str) -> None:
    assert refused(line) == message


def model_at(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(text)
    (folder / "tokenizer.json").write_text("{}")
    return folder


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ('{"max_position_embeddings": 4096}', 4096),
        ('{"max_position_embeddings": "4096"}', 32768),
        ('{"hidden_size": 1}', 32768),
        ("[4096]", 32768),
        ("{", 32768),
        ("", 32768),
    ],
)
def test_the_length_that_a_local_model_says(tmp_path: Path, text: str, length: int) -> None:
    folder = model_at(tmp_path / "model", text)
    assert parse_args(["--model", str(folder)], {}).engine.max_model_len == length
    assert parse_args(["--model", "m", "--tokenizer", str(folder)], {}).engine.max_model_len == length
    tokenizer = str(folder / "tokenizer.json")
    assert parse_args(["--model", "m", "--tokenizer", tokenizer], {}).engine.max_model_len == length
    assert parse_args(["--model", str(folder), "--max-model-len", "2048"], {}).engine.max_model_len == 2048


def test_the_model_says_before_the_tokenizer(tmp_path: Path) -> None:
    model = model_at(tmp_path / "model", '{"max_position_embeddings": 1000}')
    other = model_at(tmp_path / "other", '{"max_position_embeddings": 2000}')
    assert parse_args(["--model", str(model), "--tokenizer", str(other)], {}).engine.max_model_len == 1000


def test_a_models_name_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`m` is not `.` and `org/m` is not `org`, whatever config.json lies there."""
    model_at(tmp_path, '{"max_position_embeddings": 77}')
    model_at(tmp_path / "org", '{"max_position_embeddings": 78}')
    monkeypatch.chdir(tmp_path)
    for name in ("m", "org/m", "m" * 300):
        assert parse_args(["--model", name], {}).engine.max_model_len == 32768
    assert parse_args(["--model", "org"], {}).engine.max_model_len == 78


@settings(max_examples=80)
@given(st.integers(1, 10**6), st.sampled_from([1, 8, 16, 64]), st.booleans())
def test_two_prompts_of_any_length_fit(length: int, block: int, chunked: bool) -> None:
    made = engine(
        f"--max-model-len {length} --block-size {block} {'--' if chunked else '--no-'}enable-chunked-prefill"
    )
    assert made.max_model_len == length
    needed = 2 * -(-length // block) + 1
    assert made.num_gpu_blocks == max(8192, needed)
    assert made.max_num_batched_tokens == (2048 if chunked else max(2048, length))
