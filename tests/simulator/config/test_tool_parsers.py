"""--enable-auto-tool-choice and --tool-call-parser, as vLLM checks them at start."""

from __future__ import annotations

import pytest

from simulator.config.resolve import parse_args
from simulator.config.tool_parsers import ON_ENGINE, OTHERS, parses_without_tools
from simulator.errors import ConfigError


def test_all_parsers_of_vllm_are_known() -> None:
    assert len(ON_ENGINE | OTHERS) == 58
    for name in ON_ENGINE | OTHERS:
        made = parse_args(["--enable-auto-tool-choice", "--tool-call-parser", name], {})
        assert made.tool_call_parser == name


def test_a_parser_is_needed_and_must_be_known() -> None:
    with pytest.raises(ConfigError, match="requires --tool-call-parser"):
        parse_args(["--enable-auto-tool-choice"], {})
    with pytest.raises(ConfigError, match=r"invalid tool call parser: herms .*hermes"):
        parse_args(["--enable-auto-tool-choice", "--tool-call-parser", "herms"], {})
    parse_args(["--compat", "llm-d-0.7", "--model", "m", "--enable-auto-tool-choice"], {})


def test_who_parses_answers_without_tools() -> None:
    assert parses_without_tools("qwen3_coder", None)
    assert parses_without_tools("qwen3_coder", "qwen3")
    assert not parses_without_tools("qwen3_coder", "deepseek_r1")
    assert not parses_without_tools("hermes", None)
