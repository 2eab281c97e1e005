"""Log-probabilities: the formula, the forms, and that slices and streams add up to the whole."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.engine.text.regex_tokenizer import RegexTokenizer
from simulator.server.answers.logprobs import TokenLogprobs
from tests.simulator.server.answers.test_completion import echoing

TOKENIZER = RegexTokenizer()
NAMES = TokenLogprobs(TOKENIZER, False)
AS_IDS = TokenLogprobs(TOKENIZER, True)
R = TypeVar("R")
ids_ = st.lists(st.integers(0, TOKENIZER.vocab_size - 1), max_size=80)


def finished(work: Generator[Any, None, R]) -> R:
    """What a generator returns at its end."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: R = end.value
            return result


def plain(value: Any) -> Any:
    """With what was encoded ahead as values."""
    return json.loads(msgspec.json.encode(value))


@pytest.mark.parametrize(("position", "value"), [(0, -1.0), (1, -1.1), (2, -1.2), (3, -1.0), (301, -1.1)])
def test_the_formula(position: int, value: float) -> None:
    assert NAMES.value(position) == value


def test_alternatives_descend_from_the_sampled_token() -> None:
    found = NAMES.alternatives(5, 0, 4)
    assert [value for _, value in found] == [-1.0, -1.5, -2.0, -2.5]
    assert found[0][0] == 5
    assert len({token for token, _ in found}) == 4
    assert all(
        0 <= token < TOKENIZER.vocab_size for token, _ in NAMES.alternatives(TOKENIZER.vocab_size - 1, 0, 20)
    )
    assert NAMES.alternatives(5, 0, 0) == []


def test_names_are_texts_or_ids() -> None:
    token = TOKENIZER.encode("word")[0]
    assert (NAMES.name(token), AS_IDS.name(token)) == ("word", f"token_id:{token}")
    entry = AS_IDS.chat([token], 0, 0)["content"][0]
    assert bytes(entry["bytes"]).decode() == entry["token"] == f"token_id:{token}"
    assert bytes(NAMES.chat([token], 0, 0)["content"][0]["bytes"]) == b"word"


def test_a_completions_logprobs() -> None:
    ids = TOKENIZER.encode("ab cd ef")
    made, offset = NAMES.completion(ids, 2, 0, 10)
    assert made["tokens"] == ["ab", " cd", " ef"]
    assert made["text_offset"] == [10, 12, 15]
    assert offset == 18
    assert made["token_logprobs"] == [-1.0, -1.1, -1.2]
    assert [list(top.values()) for top in made["top_logprobs"]] == [[-1.0, -1.5], [-1.1, -1.6], [-1.2, -1.7]]
    assert [next(iter(top)) for top in made["top_logprobs"]] == made["tokens"]
    zero, _ = NAMES.completion(ids, 0, 0, 0)
    assert zero["top_logprobs"] == [{"ab": -1.0}, {" cd": -1.1}, {" ef": -1.2}]  # the sampled token alone


@given(ids_, st.integers(0, 5), st.integers(0, 50), st.lists(st.integers(1, 40), max_size=6))
@settings(max_examples=40, deadline=None)
def test_pieces_are_the_whole(ids: list[int], count: int, offset: int, sizes: list[int]) -> None:
    """The slices of a long answer and the chunks of a stream say what one piece would."""
    whole, _ = NAMES.completion(ids, count, 0, offset)
    assert plain(finished(NAMES.completion_slowly(ids, count, offset))) == plain(whole)
    chat = NAMES.chat(ids, count, 0)
    assert plain(finished(NAMES.chat_slowly(ids, count))) == plain(chat)
    pieces: list[Any] = []
    position = 0
    for size in [*sizes, len(ids)]:
        piece, offset = NAMES.completion(ids[position : position + size], count, position, offset)
        pieces.append(piece)
        position += size
    for key, values in whole.items():
        assert [value for piece in pieces for value in piece[key]] == values


def test_a_prompts_tokens_are_never_the_likeliest() -> None:
    ids = TOKENIZER.encode("ab cd ef")
    entries = plain(finished(NAMES.prompt(ids, 2)))
    assert entries[0] is None
    for i, entry in enumerate(entries[1:], 1):
        own, *best = entry.values()
        assert own == {
            "logprob": pytest.approx(NAMES.value(i) - 1.0),
            "rank": 3,
            "decoded_token": NAMES.name(ids[i]),
        }
        assert [one["rank"] for one in best] == [1, 2]
        assert best[0]["logprob"] == NAMES.value(i) > own["logprob"]
    alone = plain(finished(NAMES.prompt(ids, 0)))
    assert [next(iter(entry.values()))["rank"] for entry in alone[1:]] == [1, 1]
    assert finished(NAMES.prompt([], 2)) == [None]


def test_an_echoed_prompt() -> None:
    ids = TOKENIZER.encode("ab cd")
    made, offset = finished(NAMES.echoed(ids, 1))
    assert offset == 5
    assert (
        plain(made)
        == {
            "text_offset": [0, 2],
            "token_logprobs": [None, pytest.approx(-1.6)],
            "tokens": ["ab", " cd"],
            "top_logprobs": [None, {" cd": pytest.approx(-1.6), NAMES.name((ids[1] + 7919) % 128_000): -1.1}],
        }
        or TOKENIZER.vocab_size != 128_000
    )


@pytest.mark.parametrize("as_ids", [False, True])
def test_an_echo_with_logprobs(as_ids: bool) -> None:
    with echoing() as one:
        body = one.complete(
            "ab cd", max_tokens=2, echo=True, logprobs=1, return_tokens_as_token_ids=as_ids
        ).json()
        choice = body["choices"][0]
        logprobs = choice["logprobs"]
        ids = one.replica.tokenizer.encode("ab cd")
        names = [f"token_id:{i}" for i in ids] if as_ids else ["ab", " cd"]
        assert logprobs["tokens"] == names * 2
        assert logprobs["token_logprobs"] == [None, pytest.approx(-1.6), -1.0, -1.1]
        assert [len(values) for values in logprobs.values()] == [4, 4, 4, 4]
        assert choice["prompt_logprobs"][0] is None
        only = one.complete("ab cd", max_tokens=0, echo=True, logprobs=1).json()["choices"][0]["logprobs"]
        assert only["tokens"] == ["ab", " cd"]


def test_a_flag_names_tokens_by_id() -> None:
    with echoing("vllm-0.33", "--return-tokens-as-token-ids") as one:
        names = one.complete("ab", max_tokens=1, logprobs=0).json()["choices"][0]["logprobs"]["tokens"]
        assert names == [f"token_id:{one.replica.tokenizer.encode('ab')[0]}"]


@pytest.mark.parametrize(
    ("version", "there"), [("vllm-0.33", True), ("vllm-0.11", True), ("llm-d-0.7", False)]
)
def test_zero_logprobs_of_a_completion(version: str, there: bool) -> None:
    with echoing(version) as one:
        choice = one.complete("ab", max_tokens=1, logprobs=0).json()["choices"][0]
        assert (choice.get("logprobs") is not None) == there


def test_prompt_logprobs_of_a_chat_stand_beside_its_choices() -> None:
    with echoing() as one:
        body = one.chat("ab", max_tokens=1, prompt_logprobs=1).json()
        assert len(body["prompt_logprobs"]) == body["usage"]["prompt_tokens"]
        assert body["prompt_logprobs"][0] is None
        assert all(len(entry) == 2 for entry in body["prompt_logprobs"][1:])
