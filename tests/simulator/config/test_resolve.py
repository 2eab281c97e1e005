"""Given values become a configuration: defaults, precedence, and errors over more than one flag."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from simulator.config.resolve import parse_args
from simulator.config.serve import LoRAModule, ServeConfig
from simulator.errors import ConfigError


def config(*argv: str, env: dict[str, str] | None = None) -> ServeConfig:
    return parse_args(["--model", "m", *argv], env or {})


def refused(*argv: str, env: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        config(*argv, env=env)
    return str(caught.value)


def test_the_pages_arguments() -> None:
    made = parse_args(
        ["--model", "meta-llama/Llama-3.1-8B-Instruct", "--port", "8000", "--max-loras", "2",
         "--lora-modules", '{"name": "reviews-1"}'],
        {"POD_NAME": "pod-1", "NAMESPACE": "inference-model-server", "POD_IP": "10.0.0.7"},
    )  # fmt: skip
    assert made.served_model_names == ("meta-llama/Llama-3.1-8B-Instruct",)
    assert made.lora_modules == (LoRAModule("reviews-1", "reviews-1"),)
    assert made.engine.enable_lora
    assert made.engine.max_loras == 2
    assert (made.pod_name, made.pod_namespace) == ("pod-1", "inference-model-server")
    assert made.allow_runtime_lora_updating
    assert not made.strict_content_type


def test_defaults_are_vllms() -> None:
    made = config()
    engine = made.engine
    assert (engine.max_num_seqs, engine.max_num_batched_tokens, engine.block_size) == (256, 2048, 16)
    assert engine.async_scheduling
    assert made.max_waiting_queue_length is None
    assert made.latency.kind == "zero"
    assert parse_args([], {}).model == "Qwen/Qwen3-0.6B"
    assert (made.shutdown_mode, made.shutdown_timeout) == ("abort", 0.0)


def test_defaults_of_llmd() -> None:
    made = config("--compat", "llm-d-0.7")
    assert (made.engine.max_num_seqs, made.engine.max_model_len, made.engine.num_gpu_blocks) == (
        5,
        1024,
        1024,
    )
    assert made.max_waiting_queue_length == 1000
    with pytest.raises(ConfigError, match="--model is missing"):
        parse_args(["--compat", "llm-d-0.7"], {})


def test_a_profile_brings_its_machine() -> None:
    made = config("--profile", "llama-3.1-8b/h100")
    assert (made.engine.max_num_seqs, made.engine.max_num_batched_tokens) == (1024, 8192)
    assert made.engine.num_gpu_blocks > 20_000
    assert (made.latency.kind, made.latency.profile) == ("step", "llama-3.1-8b/h100")
    assert "no profile 'gpt/h100'; there are" in refused("--profile", "gpt/h100")


def test_one_model() -> None:
    """`vllm serve` takes --model for the positional model, so that there are two here."""
    with pytest.raises(ConfigError, match="one model is expected"):
        parse_args(["a/b", "--model", "c"], {})
    with pytest.raises(ConfigError, match="one model is expected"):
        parse_args(["a/b", "c"], {})


def test_flag_over_environment_over_file(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("model: of-file\nport: 9000\nmax_num_seqs: 3\npod-name: of-file\n")
    made = parse_args(
        ["--config", str(file), "--port", "9001"], {"SIM_MODEL": "of-env", "POD_NAME": "of-env"}
    )
    assert (made.model, made.port, made.engine.max_num_seqs, made.pod_name) == ("of-env", 9001, 3, "of-env")


def test_a_file_of_llmd_and_one_of_vllm(tmp_path: Path) -> None:
    llmd = tmp_path / "llmd.yaml"
    llmd.write_text(
        "model: m\nport: 8001\nserved-model-name: [a, b]\nmax-loras: 2\n"
        'lora-modules:\n- \'{"name":"l1","path":"/p"}\'\n- \'{"name":"l2"}\'\n'
        "time-to-first-token: 2000\ninter-token-latency: 1s\nfailure-types: [rate_limit]\n"
        "fake-metrics:\n  running-requests: 16\n"
        '  loras:\n  - \'{"running":"l1","waiting":"","timestamp":1}\'\n'
        "enable-kvcache: false\n"
    )
    made = parse_args(["--config", str(llmd)], {})
    assert made.served_model_names == ("a", "b")
    assert [module.name for module in made.lora_modules] == ["l1", "l2"]
    assert (made.latency.time_to_first_token, made.latency.inter_token_latency) == (2.0, 1.0)
    assert made.fake_metrics is not None
    assert made.fake_metrics["running-requests"] == 16
    vllm = tmp_path / "vllm.yaml"
    vllm.write_text(
        "model: m\ntensor_parallel_size: 2\nenable-prefix-caching: false\nno-enable-chunked-prefill: true\n"
        "kv-transfer-config: {kv_connector: NixlConnector, kv_role: kv_both}\n"
    )
    made = parse_args(["--config", str(vllm)], {})
    assert made.tensor_parallel_size == 2
    assert not made.engine.enable_prefix_caching
    assert not made.engine.enable_chunked_prefill
    assert (made.kv_connector, made.kv_role) == ("NixlConnector", "kv_both")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("port: 1\nprot: 2\n", "config.yaml:2 prot; did you mean --port"),
        ("port: [1, 2]\n", "config.yaml:1 port: .* is not an integer"),
        ("- a\n", "a mapping of flags to values is expected"),
        ("a: b: c\n", "config.yaml:1: not YAML"),
        ("config: other.yaml\n", "cannot name another"),
    ],
)
def test_mistakes_in_a_file_have_their_line(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=words):
        parse_args(["--config", str(file)], {})


def test_a_file_that_is_not_there() -> None:
    assert refused("--config", "/nowhere.yaml") == "--config /nowhere.yaml: No such file or directory"


@pytest.mark.parametrize(
    ("items", "modules"),
    [
        (['{"name":"a"}', '{"name":"b","path":"/b"}'], [LoRAModule("a", "a"), LoRAModule("b", "/b")]),
        (['[{"name":"a"},{"name":"b"}]'], [LoRAModule("a", "a"), LoRAModule("b", "b")]),
        (["a=/x", "b=/y"], [LoRAModule("a", "/x"), LoRAModule("b", "/y")]),
        (['{"name":"a","path":"/a","base_model_name":"m"}'], [LoRAModule("a", "/a", "m")]),
    ],
)
def test_lora_modules(items: list[str], modules: list[LoRAModule]) -> None:
    assert list(config("--lora-modules", *items).lora_modules) == modules


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ("reviews", "neither name=path nor JSON"),
        ('{"name": ', "not valid JSON"),
        ('{"path": "/a"}', 'has no name; write {"name": "reviews-1"'),
        ('{"name": ""}', "has no name"),
        ('{"name": "a", "rank": 8}', "unknown keys ['rank']"),
        ('{"name": "m"}', "is the name of the base model"),
        ('[{"name": "a"}, {"name": "a"}]', "is given twice"),
        ('{"name": "a", "base_model_name": "z"}', "unknown base model 'z' for LoRA 'a'; it must be 'm'"),
    ],
)
def test_lora_modules_refused(item: str, words: str) -> None:
    assert words in refused("--lora-modules", item)


def test_strict_is_the_imitated_server_alone() -> None:
    made = config("--strict")
    assert made.strict_content_type
    assert not made.allow_runtime_lora_updating
    assert not made.engine.enable_lora
    assert made.metrics_compat == "vllm-0.33"
    assert config("--strict", "--max-loras", "2").engine.enable_lora
    assert config("--strict", env={"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"}).allow_runtime_lora_updating
    assert not config(env={"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "0"}).allow_runtime_lora_updating


def test_versions_change_the_engine() -> None:
    engine = config("--compat", "vllm-0.11").engine
    assert (engine.admission, engine.free_list, engine.stop_order) == ("chunk", "lru", "length-first")
    assert not engine.async_scheduling
    assert (engine.lora_scope, engine.prefix_queries, engine.hash_keys) == ("scheduled", "lookup", "untagged")
    assert "--compat 'vllm-9' is unknown; there are vllm-0.33" in refused("--compat", "vllm-9")
    assert "is unknown" in refused("--metrics-compat", "x")


def test_kv_cache_sizes() -> None:
    assert config("--max-model-len", "131072").engine.num_gpu_blocks == 2 * 8192 + 1
    assert config("--num-gpu-blocks-override", "1000").engine.max_model_len == 999 * 16
    assert config("--kv-cache-memory-bytes", "1G", "--max-model-len", "1k").engine.num_gpu_blocks == 512
    words = refused("--num-gpu-blocks-override", "100", "--max-model-len", "4096")
    assert "4096 tokens do not fit into a KV cache of 1584 (99 usable blocks of 16)" in words
    made = config("--kv-cache-size", "1024", "--max-model-len", "32768")
    assert made.engine.max_model_len == 1023 * 16
    assert made.warnings


def test_model_length_of_a_local_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 4096}')
    assert parse_args(["--model", str(tmp_path)], {}).engine.max_model_len == 4096
    assert config("--tokenizer", str(tmp_path)).engine.max_model_len == 4096
    assert config("--tokenizer", "org/name").text.tokenizer is None
    assert "/no/such does not exist" in refused("--tokenizer", "/no/such")


def test_without_chunked_prefill_the_budget_holds_a_prompt() -> None:
    assert config("--no-enable-chunked-prefill").engine.max_num_batched_tokens == 32768
    assert "without chunked prefill" in refused(
        "--no-enable-chunked-prefill", "--max-num-batched-tokens", "100"
    )


def test_kv_events_of_vllm() -> None:
    events = config(
        "--kv-events-config",
        '{"enable_kv_cache_events": true, "topic": "kv@p@m", "endpoint": "tcp://*:6000"}',
    ).kv_events
    assert events.enabled
    assert (events.topic, events.endpoint, events.encoding) == ("kv@p@m", "tcp://*:6000", "map")
    assert (events.first_sequence, events.batch_size, events.int_hashes) == (0, 1, True)
    old = config("--compat", "vllm-0.11", "--kv-events-config.enable_kv_cache_events", "true").kv_events
    assert old.encoding == "array"
    assert config("--kv-events-config.enable_kv_cache_events", "true").engine.kv_events
    assert "unknown keys ['topik']" in refused("--kv-events-config.topik", "x")


def test_kv_events_of_llmd() -> None:
    env = {"POD_IP": "10.0.0.7"}
    events = config("--enable-kvcache", "--zmq-endpoint", "tcp://epp:5557", env=env).kv_events
    assert (events.topic, events.endpoint) == ("kv@10.0.0.7:8000@m", "tcp://epp:5557")
    assert (events.encoding, events.first_sequence, events.batch_size) == ("array", 1, 16)
    old = config("--enable-kvcache", "true", "--compat", "llm-d-0.7", env=env).kv_events
    assert old.topic == "kv@10.0.0.7@m"
    assert config("--enable-kvcache", "--use-vllm-map-event-format").kv_events.encoding == "map"


def test_latencies() -> None:
    latency = config("--time-to-first-token", "100ms", "--inter-token-latency", "900us").latency
    assert (latency.kind, latency.time_to_first_token) == ("constant", 0.1)
    assert latency.inter_token_latency == pytest.approx(900e-6)
    assert config("--time-to-first-token", "0").latency.kind == "zero"
    step = config("--profile", "llama-3.1-8b/h100", "--step-model.c0", "1", "--host-overhead-per-step", "2ms")
    assert step.latency.step_coefficients == {"c0": 1}
    assert step.latency.host_overhead_per_step == pytest.approx(0.002)
    assert "needs a --profile" in refused("--latency", "step")
    assert "no coefficient 'c9'" in refused("--step-model.c9", "1")
    assert "is not a number" in refused("--step-model.c0", "fast")


def test_shutdown() -> None:
    assert config("--shutdown-timeout", "30").shutdown_mode == "drain"
    kubernetes = config("--shutdown-mode", "kubernetes")
    assert kubernetes.shutdown_timeout == float("inf")
    assert config("--shutdown-mode", "kubernetes", "--shutdown-timeout", "25").shutdown_timeout == 25


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--ssl-certfile", "/c.pem"], "must be given together"),
        (["--ssl-certfile", "/c.pem", "--ssl-keyfile", "/k.pem"], "/c.pem: no such file"),
        (["--port", "65535", "--data-parallel-size", "2", "-dpm"], "2 ranks from port 65535 on pass 65535"),
        (["--mode", "echo", "--dataset-path", "x"], "dataset cannot be defined in echo mode"),
        (["--mode", "dataset"], "needs --dataset-path"),
        (["--dataset-url", "file:///d"], "dataset-path is required when dataset-url is set"),
        (["--dataset-url", "https://h/d", "--dataset-path", "no"], "nothing is downloaded here"),
        (["--min-tool-call-integer-param", "200"], "--max-tool-call-integer-param cannot be less than"),
        (["--control-port", "1", "--control-host", "0.0.0.0"], "needs a --control-token"),
        (["--custom-histogram-buckets", '{"vllm:x": [2, 1]}'], "must rise"),
        (["--custom-histogram-buckets", "[]"], "a JSON object is expected"),
        (["--no-enable-lora", "--lora-modules", "a=b"], "take one of them away"),
        (["--tensor-parallel-size", "many"], "is not an integer"),
        (["--max-cpu-loras", "1", "--max-loras", "2"], "must be >= max_loras"),
        (["--chat-template", "nofile"], "neither a file nor a template"),
    ],
)
def test_contradictions(argv: list[str], words: str) -> None:
    assert words in refused(*argv)


def test_environment() -> None:
    made = config(
        env={
            "VLLM_API_KEY": "secret",
            "VLLM_SERVER_DEV_MODE": "1",
            "VLLM_LOG_STATS_INTERVAL": "2.5",
            "PYTHONHASHSEED": "42",
            "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": "60",
            "POD_NAMESPACE": "a",
            "NAMESPACE": "b",
        }
    )
    assert made.api_keys == ("secret",)
    assert made.server_dev_mode
    assert made.log_stats_interval == 2.5
    assert made.keep_alive_timeout == 60
    assert made.engine.hash_seed == "42"
    assert made.pod_namespace == "a"
    assert config("--api-key", "x", "y", env={"VLLM_API_KEY": "secret"}).api_keys == ("x", "y")
    assert "not a number of seconds" in refused(env={"VLLM_LOG_STATS_INTERVAL": "soon"})


def test_meaningless_flags_are_named() -> None:
    argv = [
        "--dtype",
        "auto",
        "--gpu-memory-utilization",
        "0.8",
        "-tp",
        "2",
        "--enforce-eager",
        "--port",
        "1",
    ]
    made = config(*argv)
    assert set(made.meaningless_flags) == {
        "dtype", "gpu-memory-utilization", "tensor-parallel-size", "enforce-eager",
    }  # fmt: skip
    assert made.gpu_memory_utilization == 0.8


def test_every_plain_field_exists() -> None:
    from simulator.config.flags.table import FLAGS
    from simulator.config.resolve import _PLAIN

    fields: dict[str, Any] = ServeConfig.__dataclass_fields__
    for name in _PLAIN:
        assert name in fields
        assert name.replace("_", "-") in FLAGS


def test_a_data_set_of_this_machine_by_its_url(tmp_path: Path) -> None:
    there, later = tmp_path / "a b.jsonl", tmp_path / "later.jsonl"
    there.write_text("")
    line = ["--model", "m", "--dataset-url", there.as_uri(), "--dataset-path", str(later)]
    assert parse_args(line, {}).text.dataset_path == str(there)
    later.write_text("")  # as after a download
    assert parse_args(line, {}).text.dataset_path == str(later)
