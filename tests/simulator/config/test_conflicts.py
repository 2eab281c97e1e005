"""Flags that cannot go together, and values that only another flag makes wrong, with their whole messages."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from simulator.config.commandline.vllm_parser import options
from simulator.config.flags.flag import Flag, Kind
from simulator.config.flags.inert import INERT_FLAGS
from simulator.config.resolve import parse_args
from simulator.config.serve import ServeConfig
from simulator.errors import ConfigError

KEY = Path(__file__)  # any file: what is in it is read when the server starts


def config(*argv: str, env: dict[str, str] | None = None) -> ServeConfig:
    return parse_args(["--model", "m", *argv], env or {})


def refused(*argv: str, env: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        config(*argv, env=env)
    return str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"--ssl-certfile {KEY}", "--ssl-certfile and --ssl-keyfile must be given together"),
        (f"--ssl-keyfile {KEY}", "--ssl-certfile and --ssl-keyfile must be given together"),
        (f"--ssl-certfile {KEY} --ssl-keyfile {KEY} --self-signed-certs",
         "--self-signed-certs cannot go with --ssl-certfile and --ssl-keyfile"),
        (f"--ssl-certfile {KEY} --ssl-keyfile /no/key", "/no/key: no such file (TLS)"),
        (f"--ssl-certfile /no/cert --ssl-keyfile {KEY}", "/no/cert: no such file (TLS)"),
        ("--ssl-ca-certs /no/ca", "/no/ca: no such file (TLS)"),
        ("--port 65535 --data-parallel-size 2 -dpm", "--port: 2 ranks from port 65535 on pass 65535"),
        ("--port 65473 --data-parallel-size 64 -dpm", "--port: 64 ranks from port 65473 on pass 65535"),
        ("--mode echo --dataset-path d", "dataset cannot be defined in echo mode"),
        ("--mode dataset", "--mode dataset needs --dataset-path, a JSONL file of prompts and responses"),
        ("--tokenizer ./no.json", "--tokenizer: ./no.json does not exist"),
        ("--tokenizer ../no", "--tokenizer: ../no does not exist"),
        ("--tokenizer ~/no", "--tokenizer: ~/no does not exist"),
        ("--chat-template name", "--chat-template: name is neither a file nor a template"),
        ("--max-tool-call-integer-param -1",
         "--max-tool-call-integer-param cannot be less than --min-tool-call-integer-param"),
        ("--min-tool-call-number-param 100.5",
         "--max-tool-call-number-param cannot be less than --min-tool-call-number-param"),
        ("--min-tool-call-array-param-length 6",
         "--max-tool-call-array-param-length cannot be less than --min-tool-call-array-param-length"),
        ("--control-port 1 --control-host 0.0.0.0",
         "--control-host 0.0.0.0 is not loopback: it needs a --control-token"),
        ("--no-enable-lora --lora-modules a=/a",
         "--lora-modules with --no-enable-lora: take one of them away"),
        ("--max-loras 3 --max-cpu-loras 2", "max_cpu_loras (2) must be >= max_loras (3)"),
        ("--watermark 1", "watermark must be in [0, 1), not 1.0"),
        ("--tensor-parallel-size many", "--tensor-parallel-size: 'many' is not an integer"),
        ("-tp x", "--tensor-parallel-size: 'x' is not an integer"),
        (
            "--gpu-memory-utilization 7",
            "--gpu-memory-utilization: 7.0: Input should be less than or equal to 1",
        ),
        ("--gpu-memory-utilization 0", "--gpu-memory-utilization: 0.0: Input should be greater than 0"),
        (
            "--gpu-memory-utilization nan",
            "--gpu-memory-utilization: nan: Input should be less than or equal to 1",
        ),
        ("--gpu-memory-utilization most", "--gpu-memory-utilization: 'most' is not a number"),
        ("a b", "one model is expected, not 'm a b'"),
        ("--compat vllm-9",
         "--compat 'vllm-9' is unknown; there are "
         "vllm-0.33, vllm-0.11, llm-d-0.7, llm-d-0.8, llm-d-0.9, llm-d-0.10"),
        ("--metrics-compat x",
         "--metrics-compat: 'x' is unknown; there are "
         "vllm-0.33, vllm-0.11, llm-d-0.7, llm-d-0.8, llm-d-0.9, llm-d-0.10"),
        ('--custom-histogram-buckets {"f":5}',
         "--custom-histogram-buckets: f needs a list of numbers, not 5"),
        ('--custom-histogram-buckets {"f":["1"]}',
         "--custom-histogram-buckets: f needs a list of numbers, not ['1']"),
        ('--custom-histogram-buckets {"f":[2,1]}', "--custom-histogram-buckets: the bounds of f must rise"),
        ('--custom-histogram-buckets {"f":[1,1]}', "--custom-histogram-buckets: the bounds of f must rise"),
        ("--fake-metrics [1]", "--fake-metrics: a JSON object is expected, not [1]"),
        ("--override-generation-config 1", "--override-generation-config: a JSON object is expected, not 1"),
        ("--default-chat-template-kwargs 5",
         "--default-chat-template-kwargs: a JSON object is expected, not 5"),
        ("--kv-transfer-config null", "--kv-transfer-config: a JSON object is expected, not None"),
        ("--kv-transfer-config.kv_role boss",
         "--kv-transfer-config: kv_role must be kv_both, kv_consumer, kv_producer, not 'boss'"),
        ("--kv-transfer-config.kv_port x",
         "--kv-transfer-config: kv_port must be an integer, not 'x'"),
        ("--kv-transfer-config.kv_port 65536",
         "--kv-transfer-config: kv_port must be an integer from 1 to 65535, not 65536"),
        ("--kv-transfer-config.kv_port true",
         "--kv-transfer-config: kv_port must be an integer from 1 to 65535, not True"),
        ("--kv-events-config.enable_kv_cache_events yes",
         "--kv-events-config: enable_kv_cache_events must be true or false, not 'yes'"),
        ("--kv-events-config.publisher kafka",
         "--kv-events-config: publisher must be null or zmq, not 'kafka'"),
        ("--kv-events-config.encoding cbor", "--kv-events-config: encoding must be array or map, not 'cbor'"),
        ("--kv-events-config.hwm many", "--kv-events-config: hwm must be an integer, not 'many'"),
        ("--kv-events-config.hwm true", "--kv-events-config: hwm must be an integer, not True"),
        ("--kv-events-config.topic 5", "--kv-events-config: topic must be text, not 5"),
        ("--kv-events-config.replay_endpoint 5", "--kv-events-config: replay_endpoint must be text, not 5"),
        ("--kv-events-config.int_hashes 1", "--kv-events-config: int_hashes must be true or false, not 1"),
    ],
)  # fmt: skip
def test_a_contradiction_is_told(line: str, message: str) -> None:
    assert refused(*line.split()) == message


@pytest.mark.parametrize(
    "line",
    [
        f"--ssl-certfile {KEY} --ssl-keyfile {KEY} --ssl-ca-certs {KEY}",
        "--port 65534 --data-parallel-size 2",
        "--port 65535 --data-parallel-size 2 --data-parallel-rank 1",
        "--tokenizer org/name",
        "--chat-template {{x}}",
        "--control-port 1 --control-host 0.0.0.0 --control-token t",
        "--control-port 1 --control-host 127.0.0.9",
        "--control-port 1 --control-host localhost",
        "--control-port 1 --control-host ::1",
        "--control-host 0.0.0.0",
        "--no-enable-lora",
        "--max-loras 2 --max-cpu-loras 2",
        "--watermark 0.99",
        "--min-tool-call-integer-param 100",
        '--custom-histogram-buckets {"f":[-1,0,1.5]}',
        "--kv-events-config.replay_endpoint null",
        "--kv-transfer-config {}",
        "--kv-transfer-config.kv_port 65535",
        "--tensor-parallel-size 8 -pp 2",
    ],
)
def test_its_nearest_legal_neighbour_is_taken(line: str) -> None:
    assert config(*line.split()).model == "m"


def test_unknown_keys_of_kv_events_are_told_those_there_are() -> None:
    said = refused("--kv-events-config", '{"topik": "x", "hmw": 1}')
    assert said.startswith(
        "--kv-events-config: unknown keys ['hmw', 'topik']; there are enable_kv_cache_events, "
    )
    assert "topic" in said.partition("there are")[2]


def test_a_chat_template_may_be_a_file_or_long_or_unreadable(tmp_path: Path) -> None:
    file = tmp_path / "template.jinja"
    file.write_text("{{ messages }}")
    assert config("--chat-template", str(file)).text.chat_template == "{{ messages }}"
    inline = "{% for m in messages %}{{ m.content }}{% endfor %}" * 20
    assert config("--chat-template", inline).text.chat_template == inline
    file.write_bytes(b"\xff")
    assert refused("--chat-template", str(file)).startswith(f"--chat-template: {file} cannot be read: ")


# --- the environment -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("env", "field", "value"),
    [
        ({"POD_NAME": "p"}, "pod_name", "p"),
        ({"POD_NAME": ""}, "pod_name", None),
        ({"POD_NAMESPACE": "a"}, "pod_namespace", "a"),
        ({"NAMESPACE": "b"}, "pod_namespace", "b"),
        ({"POD_NAMESPACE": "", "NAMESPACE": "b"}, "pod_namespace", "b"),
        ({"VLLM_API_KEY": "k"}, "api_keys", ("k",)),
        ({"VLLM_API_KEY": '["k", "l"]'}, "api_keys", ("k", "l")),
        ({"VLLM_SERVER_DEV_MODE": "1"}, "server_dev_mode", True),
        ({"VLLM_SERVER_DEV_MODE": "True"}, "server_dev_mode", True),
        ({"VLLM_SERVER_DEV_MODE": "0"}, "server_dev_mode", False),
        ({"VLLM_SERVER_DEV_MODE": ""}, "server_dev_mode", False),
        ({"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "false"}, "allow_runtime_lora_updating", False),
        ({"VLLM_ALLOW_RUNTIME_LORA_UPDATING": " yes "}, "allow_runtime_lora_updating", True),
        ({"VLLM_LOG_STATS_INTERVAL": "0.5"}, "log_stats_interval", 0.5),
        ({"VLLM_LOG_STATS_INTERVAL": ""}, "log_stats_interval", 10.0),
        ({"VLLM_HTTP_TIMEOUT_KEEP_ALIVE": "0"}, "keep_alive_timeout", 0),
        ({"VLLM_HTTP_TIMEOUT_KEEP_ALIVE": "7"}, "keep_alive_timeout", 7),
        ({"PORT": "9", "VLLM_PORT": "9"}, "port", 8000),
    ],
)
def test_what_a_variable_sets(env: dict[str, str], field: str, value: object) -> None:
    assert getattr(config(env=env), field) == value


@pytest.mark.parametrize("name", ["VLLM_LOG_STATS_INTERVAL", "VLLM_HTTP_TIMEOUT_KEEP_ALIVE"])
@pytest.mark.parametrize("text", ["soon", "nan", "inf", "-1", "5s"])
def test_a_variable_that_is_no_number_of_seconds(name: str, text: str) -> None:
    assert refused(env={name: text}) == f"{name}: {text!r} is not a number of seconds"


def test_the_model_and_the_hash_seed_of_llmd_come_from_the_environment() -> None:
    made = parse_args([], {"SIM_MODEL": "env", "PYTHONHASHSEED": "3"})
    assert (made.model, made.engine.hash_seed) == ("env", "3")
    assert parse_args(["--hash-seed", "4"], {"PYTHONHASHSEED": "3"}).engine.hash_seed == "4"
    assert parse_args(["line"], {"SIM_MODEL": "env"}).model == "line"
    assert parse_args(["--compat", "llm-d-0.7"], {"SIM_MODEL": "env"}).model == "env"


@pytest.mark.parametrize(("text", "ints"), [("1", True), ("0", False), ("", True)])
def test_the_form_of_block_hashes_comes_from_the_environment(text: str, ints: bool) -> None:
    env = {"VLLM_KV_EVENTS_USE_INT_BLOCK_HASHES": text}
    on = ("--kv-events-config.enable_kv_cache_events", "true")
    assert config(*on, env=env).kv_events.int_hashes is ints
    assert config("--enable-kvcache", env=env).kv_events.int_hashes is ints
    assert config(*on, "--kv-events-config.int_hashes", "true", env=env).kv_events.int_hashes is True


# --- flags without effect ------------------------------------------------------------------------------

SHOWN = {"gpu-memory-utilization", "kv-cache-dtype", "tensor-parallel-size"}
USUAL = {
    "int": "2",
    "float": "0.5",
    "human": "4k",
    "json": "{}",
    "config": "{}",
    "object-or-str": "{}",
    "devices": "0",
}
GRPC = ("grpc", "grpc-port")  # refused
OPTIONS = {option.name: option for option in options()}


def effect_of(flag: Flag) -> ServeConfig:
    """The configuration of that flag alone, what is named in it taken away."""
    option = OPTIONS.get(flag.name)
    values = {Kind.BOOL: [], Kind.LIST: ["x", "y"]}.get(flag.kind, ["x"])
    if option is not None:
        usual = [] if option.kind in ("pair", "true") else [USUAL.get(option.kind.rstrip("?+~"), "x")]
        values = [option.choices[0] or "None"] if option.choices else usual
    server = ("--compat", "vllm-0.11") if flag.older else ()
    made = config(*server, f"--{flag.name}", *values)
    if "None" not in values:
        assert made.meaningless_flags == (flag.name,)
    if flag.kind is Kind.BOOL and (option is None or option.kind == "pair"):
        assert config(*server, f"--no-{flag.name}").meaningless_flags == (flag.name,)
    if server:
        return dataclasses.replace(config(), meaningless_flags=())
    return dataclasses.replace(made, meaningless_flags=())


def test_flags_without_effect_are_taken_and_named_and_do_nothing() -> None:
    plain = config()
    changed = {flag.name for flag in INERT_FLAGS if flag.name not in GRPC and effect_of(flag) != plain}
    assert changed == SHOWN


@pytest.mark.parametrize("argv", [["--grpc"], ["--grpc-port", "9000"]])
def test_grpc_is_refused(argv: list[str]) -> None:
    assert refused(*argv).startswith(f"{argv[0]}: vLLM's gRPC server is not simulated")


def test_what_flags_without_effect_still_show() -> None:
    made = config("-tp", "2", "--gpu-memory-utilization", "0.5", "--kv-cache-dtype", "fp8")
    assert (made.tensor_parallel_size, made.engine.kv_tp_size) == (2, 2)
    assert (made.gpu_memory_utilization, made.kv_cache_dtype) == (0.5, "fp8")


def test_flags_without_effect_stand_in_the_order_given_once_each() -> None:
    made = config("--dtype", "auto", "--enforce-eager", "--port", "1", "--dtype", "half")
    assert made.meaningless_flags == ("dtype", "enforce-eager")
    assert config().meaningless_flags == ()
