"""Long names of pods, as tables show them."""

from __future__ import annotations

import pytest

from loadgen.numbers.shortnames import common_beginning, short_names

REPLICAS = "vllm-llama3-8b-instruct-7d9f8c6b5-"


@pytest.mark.parametrize(
    ("names", "beginning"),
    [
        ([f"{REPLICAS}{end}" for end in ("abcde", "abxyz")], REPLICAS),
        ([f"{REPLICAS}abcde"], ""),
        (["sim-0", "sim-1"], ""),
        (["127.0.0.11:8000", "127.0.0.12:8000"], "127.0.0."),
        (["prefill-vllm-llama-x", "decode-vllm-llama-x"], ""),
        (["a-very-long-name", "a-very-long-name-2"], "a-very-long-"),
        (["one-very-long-", "one-very-long-name"], ""),
        ([], ""),
    ],
)
def test_what_all_begin_with(names: list[str], beginning: str) -> None:
    assert common_beginning(names) == beginning
    shown = short_names(names)
    assert len(set(shown.values())) == len(set(names))
    for name, short in shown.items():
        assert name == short or beginning + short[1:] == name
