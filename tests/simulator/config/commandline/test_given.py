"""Layers of given values: who wins, and where each came from."""

from __future__ import annotations

import pytest

from simulator.config.commandline.given import Values
from simulator.config.commandline.parser import Given, parse
from simulator.errors import ConfigError

LINE = {"port": Given(1, "--port"), "step-model": Given({"c0": 5}, "--step-model")}
ENV = {"port": Given(2, "PORT"), "model": Given("of-env", "SIM_MODEL")}
FILE = {"port": Given(3, "f.yaml:1 port"), "model": Given("of-file", "f.yaml:2 model"),
        "seed": Given(0, "f.yaml:3 seed")}  # fmt: skip


def test_the_first_layer_wins_value_by_value() -> None:
    values = Values(LINE, ENV, FILE)
    assert (values.get("port"), values.get("model"), values.get("seed")) == (1, "of-env", 0)
    assert [values.where(name) for name in ("port", "model", "seed")] == [
        "--port",
        "SIM_MODEL",
        "f.yaml:3 seed",
    ]
    assert Values(FILE, LINE).get("port") == 3


def test_what_was_not_given() -> None:
    values = Values(LINE)
    assert "port" in values
    assert "model" not in values
    assert values.get("model") is None
    assert values.get("model", "default") == "default"
    assert values.where("model") == "--model"
    assert values.text("model") is None
    assert values.mapping("kv-events-config") == {}
    assert list(Values()) == []


def test_a_value_of_zero_or_false_is_given() -> None:
    values = Values({"seed": Given(0, "--seed"), "enable-lora": Given(False, "--no-enable-lora")})
    assert values.get("seed", 7) == 0
    assert values.get("enable-lora", True) is False


def test_an_empty_text_is_not_given() -> None:
    values = Values({"model": Given("", "--model"), "pod-name": Given("p", "--pod-name")})
    assert values.text("model") is None
    assert values.text("pod-name") == "p"


def test_a_mapping_must_be_one() -> None:
    assert Values(LINE).mapping("step-model") == {"c0": 5}
    for wrong in ([1], "x", 3, None, True):
        values = Values({"step-model": Given(wrong, "f.yaml:9 step-model")})
        with pytest.raises(ConfigError) as caught:
            values.mapping("step-model")
        assert str(caught.value) == f"f.yaml:9 step-model: a JSON object is expected, not {wrong!r}"


def test_iteration_goes_over_all_that_was_given() -> None:
    assert set(Values(LINE, ENV, FILE)) == {"port", "model", "seed", "step-model"}


@pytest.mark.parametrize(
    ("argv", "where"),
    [
        (["--port", "1"], "--port"),
        (["--port=1"], "--port"),
        (["--max_num_seqs", "1"], "--max_num_seqs"),
        (["--no-enable-lora"], "--no-enable-lora"),
        (["-tp", "1"], "-tp"),
        (["-tp=1"], "-tp"),
        (["--device-memory-utilization", "0.5"], "--device-memory-utilization"),
        (["--step-model.c0", "1"], "--step-model"),
        (["--lora-modules", "a=/a"], "--lora-modules"),
    ],
)
def test_a_place_on_the_command_line_is_the_flag_as_typed(argv: list[str], where: str) -> None:
    ((_, value),) = parse(argv).given.items()
    assert value.where == where


@pytest.mark.parametrize(
    ("argv", "value"),
    [
        (["--step-model.c0", "1", "--step-model.c1", "2"], {"c0": 1, "c1": 2}),
        (["--step-model", '{"c0":1,"k":9}', "--step-model.c0", "2"], {"c0": 2, "k": 9}),
        (["--step-model.c0", "2", "--step-model", '{"k":9}'], {"k": 9}),
        (["--step-model.a.b.c", "1", "--step-model.a.b.d", "x"], {"a": {"b": {"c": 1, "d": "x"}}}),
        (["--step-model.a", "1", "--step-model.a.b", "2"], {"a": {"b": 2}}),
        (["--step-model.a=[1,2]"], {"a": [1, 2]}),
        (["--step-model.a", "null"], {"a": None}),
        (["--step-model.a="], {"a": ""}),
        (["--step-model.a", "tcp://*:1"], {"a": "tcp://*:1"}),
        (["--step-model.a_b-c", "1"], {"a_b-c": 1}),
    ],
)
def test_dotted_keys_build_one_object(argv: list[str], value: dict[str, object]) -> None:
    assert parse(argv).given["step-model"].value == value


def test_a_dotted_key_does_not_change_the_object_it_starts_from() -> None:
    first = parse(["--step-model", '{"a":{"b":1}}']).given["step-model"].value
    both = parse(["--step-model", '{"a":{"b":1}}', "--step-model.a.c", "2"]).given["step-model"].value
    assert first == {"a": {"b": 1}}
    assert both == {"a": {"b": 1, "c": 2}}


@pytest.mark.parametrize(
    ("argv", "positional"),
    [
        (["m"], ["m"]),
        (["m", "--port", "1"], ["m"]),
        (["--enforce-eager", "m"], ["m"]),
        (["--enforce-eager", "true", "m"], ["m"]),
        (["--", "--port", "1"], ["--port", "1"]),
        (["-", "m"], ["-", "m"]),
        (["-1"], ["-1"]),
        ([], []),
    ],
)
def test_what_is_no_flag_is_positional(argv: list[str], positional: list[str]) -> None:
    assert parse(argv).positional == positional


def test_the_last_of_a_repeated_flag_counts() -> None:
    made = parse(["--port", "1", "--port", "2", "--enable-lora", "--no-enable-lora"]).given
    assert (made["port"].value, made["enable-lora"].value) == (2, False)
    assert made["enable-lora"].where == "--no-enable-lora"
