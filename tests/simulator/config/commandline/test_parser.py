"""Command lines as people and controllers write them."""

from __future__ import annotations

from typing import Any

import pytest

from simulator.config.commandline.parser import Arguments, parse
from simulator.config.flags.flag import Kind
from simulator.config.flags.table import FLAGS
from simulator.errors import ConfigError


def given(*argv: str) -> dict[str, Any]:
    return {name: value.value for name, value in parse(argv).given.items()}


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--port", "9"], {"port": 9}),
        (["--port=9"], {"port": 9}),
        (["--max_num_seqs", "4"], {"max-num-seqs": 4}),
        (["--max-num_seqs=4"], {"max-num-seqs": 4}),
        (["--enable-lora"], {"enable-lora": True}),
        (["--no-enable-prefix-caching"], {"enable-prefix-caching": False}),
        (["--no_enable_prefix_caching"], {"enable-prefix-caching": False}),
        (["--enable-kvcache", "true"], {"enable-kvcache": True}),
        (["--enable-kvcache=false"], {"enable-kvcache": False}),
        (["--served-model-name", "a", "b", "--port", "1"], {"served-model-name": ("a", "b"), "port": 1}),
        (["-tp", "8"], {"tensor-parallel-size": "8"}),
        (["-tp=8"], {"tensor-parallel-size": "8"}),
        (["-dp", "2"], {"data-parallel-size": 2}),
        (["-O3"], {"compilation-config": "3"}),
        (["-O.level=3"], {"compilation-config": "3"}),
        (["-cc.mode", "2"], {"compilation-config": "2"}),
        (["-v", "2"], {"v": "2"}),
        (["--v=5"], {"v": "5"}),
        (["--dtype", "auto"], {"dtype": "auto"}),
        (["--enforce-eager", "--port", "1"], {"enforce-eager": True, "port": 1}),
        (["--data-parallel-rank", "-1"], {"data-parallel-rank": -1}),
        (["--kv-events-config.topic", "x", "--kv-events-config.hwm", "7"],
         {"kv-events-config": {"topic": "x", "hwm": 7}}),
        (["--kv-events-config", '{"topic": "a", "hwm": 1}', "--kv-events-config.topic=b"],
         {"kv-events-config": {"topic": "b", "hwm": 1}}),
        (["--step-model.c0", "5", "--step-model.k=2"], {"step-model": {"c0": 5, "k": 2}}),
        (["--override-generation-config.a.b", "true"], {"override-generation-config": {"a": {"b": True}}}),
        (["--allowed-origins", '["*"]'], {"allowed-origins": ["*"]}),
        (["--hf-token", "--port", "1"], {"hf-token": (), "port": 1}),
    ],
)  # fmt: skip
def test_spellings(argv: list[str], expected: dict[str, Any]) -> None:
    assert given(*argv) == expected


def test_lora_modules_end_at_the_next_flag_and_add_up() -> None:
    found = given("--lora-modules", '{"name":"a"}', "b=/b", "-v", "2", "--lora-modules", '[{"name":"c"}]')
    assert found["lora-modules"] == ('{"name":"a"}', "b=/b", '[{"name":"c"}]')
    assert found["v"] == "2"


def test_other_lists_are_replaced_when_repeated() -> None:
    assert given("--api-key", "a", "--api-key", "b", "c")["api-key"] == ("b", "c")


def test_positional_and_help() -> None:
    assert parse(["org/model", "--port", "1"]).positional == ["org/model"]
    assert parse(["--", "org/model"]).positional == ["org/model"]
    assert parse(["-h"]).wants_help
    assert parse(["--help"]).wants_help
    assert parse([]) == Arguments()


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--max-num-sequences", "4"], "unknown flag --max-num-sequences; did you mean --max-num-seqs\\?"),
        (["--zzzz"], "unknown flag --zzzz \\("),
        (["-z"], "unknown flag -z"),
        (["--no-port"], "unknown flag --no-port"),
        (["--port"], "--port needs a value: integer"),
        (["--port", "--model", "x"], "--port needs a value"),
        (["--no-enable-lora=true"], "--no-enable-lora takes no value"),
        (["--port.x", "1"], "--port has no keys"),
        (["--port", "http"], "--port: 'http' is not an integer"),
    ],
)
def test_mistakes_are_named(argv: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse(argv)


_SAMPLES = {
    Kind.BOOL: [], Kind.INT: ["1"], Kind.HUMAN_INT: ["4k"], Kind.FLOAT: ["1"], Kind.TEXT: ["x"],
    Kind.DURATION: ["5ms"], Kind.LIST: ["x"], Kind.JSON: ["{}"], Kind.LORA: ["a=b"],
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(FLAGS))
def test_every_flag_parses_with_dashes_and_underscores(name: str) -> None:
    flag = FLAGS[name]
    values = [flag.choices[-1]] if flag.choices else _SAMPLES[flag.kind]
    if flag.minimum is not None and flag.kind is not Kind.DURATION:
        values = [f"{flag.minimum:g}"]
    for spelling in (name, name.replace("-", "_")):
        assert set(given(f"--{spelling}", *values)) == {name}
    if flag.kind is Kind.BOOL:
        assert given(f"--no-{name}") == {name: False}


# `vllm serve --help` of 0.33 and llm-d-inference-sim v0.7.1 and main: whatever a manifest may carry.
LLMD = """
block-size config data-parallel-rank data-parallel-size dataset-in-memory dataset-path dataset-table-name
dataset-url default-embedding-dimensions ec-transfer-config enable-kvcache enable-prefix-caching
enable-request-id-headers enable-sleep-mode enforce-eager event-batch-size failure-injection-rate
failure-types fake-metrics fake-metrics-refresh-interval force-dummy-tokenizer global-cache-hit-threshold
hash-seed image-emission-rate inter-token-latency inter-token-latency-std-dev kv-cache-size
kv-cache-transfer-latency kv-cache-transfer-latency-std-dev kv-cache-transfer-time-per-token
kv-cache-transfer-time-std-dev kv-events-replay-endpoint kv-events-replay-queue-size latency-calculator
log-http logtostderr lora-modules max-cpu-loras max-loras max-model-len max-num-seqs
max-request-body-size-mb max-tool-call-array-param-length max-tool-call-integer-param
max-tool-call-number-param max-waiting-queue-length min-tool-call-array-param-length
min-tool-call-integer-param min-tool-call-number-param mm-encoder-only mm-processor-kwargs
mm-render-timeout mode model object-tool-call-not-required-field-probability omni port prefill-overhead
prefill-time-per-token prefill-time-std-dev render-timeout render-url seed self-signed-certs
served-model-name skip-tool-validation ssl-certfile ssl-keyfile startup-duration tensor-parallel-size
time-factor-under-load time-to-first-token time-to-first-token-std-dev time-to-generate-image
time-to-generate-image-std-dev tokenizers-cache-dir tool-call-extra-call-probability
tool-call-not-required-param-probability use-vllm-map-event-format v vmodule zmq-endpoint
zmq-max-connect-attempts
"""


@pytest.mark.parametrize("name", LLMD.split())
def test_every_flag_of_llmd_is_known(name: str) -> None:
    assert name in FLAGS
