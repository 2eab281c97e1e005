"""`--config FILE`: what YAML a flag may be written as, and what each mistake in it is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.config.commandline.configfile import read_file
from simulator.config.commandline.parser import parse
from simulator.config.flags.flag import Flag, Kind
from simulator.config.flags.table import FLAGS
from simulator.config.resolve import parse_args
from simulator.config.serve import ServeConfig
from simulator.errors import ConfigError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


def values(file: Path, text: str) -> dict[str, Any]:
    file.write_text(text, encoding="utf-8")
    return {name: value.value for name, value in read_file(str(file)).items()}


def refused(file: Path, text: str) -> str:
    """The message about `text`, without the folder of the file."""
    with pytest.raises(ConfigError) as caught:
        values(file, text)
    return str(caught.value).replace(str(file), "F")


def config(file: Path, text: str, *argv: str, env: dict[str, str] | None = None) -> ServeConfig:
    file.write_text(text, encoding="utf-8")
    return parse_args(["--config", str(file), *argv], env or {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("port: 9000", {"port": 9000}),
        ("port: '9000'", {"port": 9000}),
        ("max_num_seqs: 3", {"max-num-seqs": 3}),
        ("max-num_seqs: 3", {"max-num-seqs": 3}),
        ("max-model-len: 1K", {"max-model-len": 1024}),
        ("max-model-len: 1.5k", {"max-model-len": 1500}),
        ("max-model-len: 4096", {"max-model-len": 4096}),
        ("max-model-len: -1", {"max-model-len": -1}),
        ("watermark: 0.25", {"watermark": 0.25}),
        ("watermark: 1", {"watermark": 1.0}),
        ("enable-lora: true", {"enable-lora": True}),
        ("enable-lora: no", {"enable-lora": False}),
        ("enable-lora: 'on'", {"enable-lora": True}),
        ("enable-lora: 0", {"enable-lora": False}),
        ("no-enable-lora: true", {"enable-lora": False}),
        ("no_enable_lora: false", {"enable-lora": True}),
        ("time-to-first-token: 100", {"time-to-first-token": 0.1}),
        ("time-to-first-token: 1.5s", {"time-to-first-token": 1.5}),
        ("time-to-first-token: 750us", {"time-to-first-token": 0.00075}),
        ("served-model-name: a", {"served-model-name": ("a",)}),
        ("served-model-name: [a, b]", {"served-model-name": ("a", "b")}),
        ("served-model-name:\n- a\n- b", {"served-model-name": ("a", "b")}),
        ("allowed-origins: '[\"*\"]'", {"allowed-origins": ["*"]}),
        ("step-model: {c0: 5, k: 2.5}", {"step-model": {"c0": 5, "k": 2.5}}),
        ("step-model: '{\"c0\": 5}'", {"step-model": {"c0": 5}}),
        ("lora-modules: [{name: a}, b=/b]", {"lora-modules": ('{"name": "a"}', "b=/b")}),
        ("lora-modules: a=/a", {"lora-modules": ("a=/a",)}),
        ("model: 3.1", {"model": "3.1"}),
        ("pod-name: &x p\npod-namespace: *x", {"pod-name": "p", "pod-namespace": "p"}),
        ("device_memory_utilization: 0.5", {"gpu-memory-utilization": "0.5"}),
        ("tensor_parallel_size: 2", {"tensor-parallel-size": "2"}),
        ("pod-name: 2026-13-45", {"pod-name": "2026-13-45"}),
        ("pod-name: 2026-11-24", {"pod-name": "2026-11-24"}),
        ("seed:", {}),
        ("seed: ~\nport: 1", {"port": 1}),
        ("", {}),
        ("# only a comment\n", {}),
        ("---\nport: 1\n", {"port": 1}),
    ],
)  # fmt: skip
def test_what_yaml_a_flag_may_be(file: Path, text: str, expected: dict[str, Any]) -> None:
    assert values(file, text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prot: 2", "unknown flag F:1 prot; did you mean --port? (`simfleet serve --help` lists all)"),
        ("model: m\n\nqqqqqq: 2", "unknown flag F:3 qqqqqq (`simfleet serve --help` lists all)"),
        ("no-port: 2", "unknown flag F:1 no-port; did you mean --port? (`simfleet serve --help` lists all)"),
        ("port: http", "F:1 port: 'http' is not an integer"),
        ("port: true", "F:1 port: True is not an integer"),
        ("port: 80.5", "F:1 port: 80.5 is not an integer"),
        ("port: [1, 2]", "F:1 port: [1, 2] is not an integer"),
        ("port: 70000", "F:1 port: 70000 is too large, the most is 65535"),
        ("port: 0", "F:1 port: 0 is too small, the least is 1"),
        ("watermark: true", "F:1 watermark: True is not a number"),
        ("watermark: .nan", "F:1 watermark: nan is not a number"),
        ("watermark: [0.1]", "F:1 watermark: [0.1] is not a number"),
        ("model: [a]", "F:1 model: one value is expected here, not ['a']"),
        ("model: {a: b}", "F:1 model: one value is expected here, not {'a': 'b'}"),
        ("enable-lora: 2", "F:1 enable-lora: 2 is neither true nor false"),
        ("no-enable-lora: maybe", "F:1 no-enable-lora: 'maybe' is neither true nor false"),
        ("mode: shout", "F:1 mode: 'shout' is not one of random, echo, dataset"),
        ("time-to-first-token: -5ms", "F:1 time-to-first-token: -5ms is too small, the least is 0s"),
        ("max-model-len: 8q",
         "F:1 max-model-len: '8q' is not an integer; 8192, 8k (8000) and 8K (8192) are"),
        ("model: m\nconfig: other.yaml", "F:2 config: a configuration file cannot name another"),
        ("- port", "--config F: a mapping of flags to values is expected, such as `port: 8000`"),
        ("port", "--config F: a mapping of flags to values is expected, such as `port: 8000`"),
        ("seed: !secret x",
         "--config F:1: not YAML: could not determine a constructor for the tag '!secret'"),
        ("port: 1\nport: 2", "--config F:2: port: stands twice; keep one"),
        ("max-num-seqs: 1\nmax_num_seqs: 2",
         "F:2 max_num_seqs: --max-num-seqs has its value at F:1 max-num-seqs already; keep one"),
        ("enable-lora: true\nno-enable-lora: true",
         "F:2 no-enable-lora: --enable-lora has its value at F:1 enable-lora already; keep one"),
        ("port: 1\n---\nport: 2", "--config F:3: a second document; one is expected"),
        ('"a\\nb": 2', "unknown flag F:1 a\\nb (`simfleet serve --help` lists all)"),
    ],
)  # fmt: skip
def test_a_mistake_has_its_line_and_key(file: Path, text: str, message: str) -> None:
    assert refused(file, text) == message


def test_what_is_no_yaml(file: Path) -> None:
    said = refused(file, "port: 1\na: b: c\n")
    assert said == "--config F:2: not YAML: mapping values are not allowed here"


def test_a_small_file_does_not_spell_billions(file: Path) -> None:
    lines = ["a0: &a0 [x, x]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 40))]
    assert "aliases stand for nearly everything" in refused(file, "\n".join(lines))
    assert "a document of more than 3 MiB" in refused(file, "model: " + "x" * 3 * 1024 * 1024)


def test_what_is_no_text(file: Path) -> None:
    file.write_bytes(b"port: \xff\xfe\n")
    with pytest.raises(ConfigError, match=r"config.yaml is not text in UTF-8: .* position 6"):
        read_file(str(file))


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--config /nowhere\.yaml: No such file or directory$"):
        read_file("/nowhere.yaml")
    with pytest.raises(ConfigError, match=r": Is a directory$"):
        read_file(str(tmp_path))


def test_where_a_value_was_given(file: Path) -> None:
    file.write_text("# head\nmodel: m\n\nmax_num_seqs: 3\n")
    given_at = {name: value.where for name, value in read_file(str(file)).items()}
    assert given_at == {"model": f"{file}:2 model", "max-num-seqs": f"{file}:4 max_num_seqs"}


def test_errors_over_several_flags_name_the_line_in_the_file(file: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        config(
            file, "model: m\nport: 65535\ndata-parallel-size: 2\ndata-parallel-multi-port-external-lb: true\n"
        )
    assert str(caught.value) == f"{file}:2 port: 2 ranks from port 65535 on pass 65535"
    with pytest.raises(ConfigError) as caught:
        config(file, "model: m\nmetrics-compat: vllm-9\n")
    assert str(caught.value).startswith(f"{file}:2 metrics-compat: 'vllm-9' is unknown")


def test_the_line_wins_over_the_file_flag_by_flag(file: Path) -> None:
    text = "model: of-file\nport: 9000\nenable-lora: false\nlora-modules: []\napi-key: [f]\n"
    made = config(file, text, "--port", "9001", "--enable-lora", "--lora-modules", "a=/a", "--api-key", "l")
    assert (made.model, made.port, made.engine.enable_lora) == ("of-file", 9001, True)
    assert [module.name for module in made.lora_modules] == ["a"]
    assert made.api_keys == ("l",), "lists are replaced, not joined"


def test_a_json_flag_of_the_line_replaces_that_of_the_file(file: Path) -> None:
    text = "model: m\nkv-events-config: {enable_kv_cache_events: true, topic: of-file}\n"
    assert config(file, text).kv_events.topic == "of-file"
    made = config(file, text, "--kv-events-config.enable_kv_cache_events", "true")
    assert (made.kv_events.enabled, made.kv_events.topic) == (True, "")


def test_flags_without_effect_are_named_from_the_file_too(file: Path) -> None:
    made = config(file, "model: m\ndtype: auto\ntensor_parallel_size: 4\nenforce-eager: true\n")
    assert set(made.meaningless_flags) == {"dtype", "tensor-parallel-size", "enforce-eager"}
    assert made.tensor_parallel_size == 4


# --- a file says what the command line says -----------------------------------------------------------

TEXTS = st.text("abcxyz0189/._-", min_size=1, max_size=8).filter(lambda text: text[0].isalpha())


def plain_value(flag: Flag) -> st.SearchStrategy[Any]:
    """A value that both ways can carry, as YAML has it."""
    low = int(flag.minimum if flag.minimum is not None else 0)
    high = int(flag.maximum if flag.maximum is not None else low + 1000)
    if flag.choices:
        return st.sampled_from([choice for choice in flag.choices if choice])
    return {
        Kind.BOOL: st.booleans(),
        Kind.INT: st.integers(low, high),
        Kind.HUMAN_INT: st.integers(max(low, 1), 10**15) | st.sampled_from(["1k", "1K", "2.5M"]),
        Kind.FLOAT: st.floats(flag.minimum or low, high, allow_nan=False)
        if flag.maximum != 0.3
        else st.floats(0, 0.3),
        Kind.DURATION: st.integers(0, 10**6) | st.sampled_from(["20ms", "1m30s", "750us"]),
        Kind.LIST: st.lists(TEXTS, min_size=1, max_size=3),
        Kind.JSON: st.dictionaries(TEXTS, st.integers() | TEXTS | st.booleans(), max_size=3),
        Kind.LORA: st.lists(TEXTS.map(lambda name: f"{name}=/{name}"), min_size=1, max_size=3),
        Kind.TEXT: TEXTS,
    }[flag.kind]


def as_arguments(name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no-{name}"]
    if isinstance(value, list):
        return [f"--{name}", *value]
    return [f"--{name}", json.dumps(value) if isinstance(value, dict) else str(value)]


LIVE = sorted(name for name, flag in FLAGS.items() if not flag.inert and name != "config")
FLAG_SETS = st.lists(st.sampled_from(LIVE), min_size=1, max_size=5, unique=True).flatmap(
    lambda names: st.fixed_dictionaries({name: plain_value(FLAGS[name]) for name in names})
)


@settings(max_examples=40)
@given(FLAG_SETS)
def test_a_file_and_a_command_line_give_the_same(
    tmp_path_factory: pytest.TempPathFactory, flags: dict[str, Any]
) -> None:
    file = tmp_path_factory.getbasetemp() / "same.yaml"
    of_line = parse([part for name, value in flags.items() for part in as_arguments(name, value)]).given
    assert values(file, yaml.safe_dump(flags)) == {name: value.value for name, value in of_line.items()}
