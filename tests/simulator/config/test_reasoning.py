"""--reasoning-parser, --reasoning-config and --thinking-tokens."""

from __future__ import annotations

from random import Random
from statistics import mean

import pytest

from simulator.config.reasoning import DIALECTS, for_request, thinking_length
from simulator.config.resolve import parse_args
from simulator.engine.text.output_length import ThinkingLength
from simulator.engine.text.phrases import PhraseBook
from simulator.engine.text.plans import Thought
from simulator.engine.text.random_text import RandomText
from simulator.engine.text.regex_tokenizer import RegexTokenizer
from simulator.errors import ConfigError
from tests.simulator.engine.build import request


def test_all_parsers_of_vllm_are_known() -> None:
    for name in DIALECTS:
        assert parse_args(["--reasoning-parser", name], {}).reasoning.parser == name
    assert len(DIALECTS) == 42


def test_unknown_parsers_are_named() -> None:
    with pytest.raises(ConfigError, match=r"invalid reasoning parser: qwen4 .*qwen3"):
        parse_args(["--reasoning-parser", "qwen4"], {})


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("400", ThinkingLength(400)),
        ("mean:400,share:0.9", ThinkingLength(400, 0, 0.9)),
        ("mean:4,std-dev:2,max:9", ThinkingLength(4, 2, 1, 9)),
    ],
)
def test_thinking_tokens(text: str, length: ThinkingLength) -> None:
    assert thinking_length(text, "--thinking-tokens") == length
    assert parse_args(["--thinking-tokens", text], {}).reasoning.thinking == length


@pytest.mark.parametrize("text", ["x", "mean:x", "share:0.5", "mean:1,share:2", "mean:1,mean:2", "a:1"])
def test_what_cannot_be_read_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match="--thinking-tokens"):
        parse_args(["--thinking-tokens", text], {})


def test_lengths_and_share_are_those_asked_for() -> None:
    rng, length = Random(5), ThinkingLength(400, 200, 0.75)
    drawn = [length.draw(rng) for _ in range(20_000)]
    thoughts = [count for count in drawn if count]
    assert len(thoughts) / len(drawn) == pytest.approx(0.75, abs=0.01)
    assert mean(thoughts) == pytest.approx(400, rel=0.02)
    spread = mean((count - 400) ** 2 for count in thoughts) ** 0.5
    assert spread == pytest.approx(200, rel=0.06)


def test_who_thinks_by_its_template() -> None:
    cases = {
        ("qwen3", True): {},
        ("qwen3", False): {"enable_thinking": False},
        ("deepseek_r1", True): {"enable_thinking": False},
        ("deepseek_v3", False): {},
        ("deepseek_v3", True): {"thinking": True},
        ("holo2", True): {},
        ("gemma4", False): {},
        ("hy_v3", False): {},
        ("hy_v3", True): {"reasoning_effort": "high"},
    }
    for (name, thinks), kwargs in cases.items():
        assert for_request(name, kwargs)[1] is thinks, (name, kwargs)
    assert for_request("k2_horizon", {"reasoning_effort": "low"})[0].start == "<ifm|think_faster>"


def test_a_thought_changes_no_answer() -> None:
    """Answers are drawn apart from thoughts: the same words follow, with and without one."""
    book = PhraseBook(RegexTokenizer())
    plain, thinking = (RandomText(book, max_model_len=4096, seed=3) for _ in range(2))
    thought = Thought(("<think>", "\n"), ("\n", "</think>"), ThinkingLength(7), ("\n\n",))
    for i in range(20):
        one, two = request(f"r{i}", max_tokens=200), request(f"r{i}", max_tokens=200, thought=thought)
        answer, whole = plain.start(one), thinking.start(two)
        assert answer.length is None or whole.length == answer.length + 12
        assert whole.tokens(12, 30) == answer.tokens(0, 18)
        assert whole.tokens(0, 30) == [whole.token(k) for k in range(30)]
