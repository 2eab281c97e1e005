"""Lengths by the model's own tokenizer: what is planned is what a server counts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loadgen.errors import ScenarioError
from loadgen.plan.build import build_plan
from loadgen.plan.plan import load_plan, write_plan
from loadgen.scenario.read import read_scenario

tokenizers = pytest.importorskip("tokenizers", reason="needs the extra tokenizers")

from loadgen.plan.tokenizer import Tokenizer  # noqa: E402
from loadgen.plan.words import WORDS  # noqa: E402


def write(path: Path, known: int, *, begin: bool = True) -> Path:
    """A tokenizer that has the first `known` common words whole and all else by the letter."""
    letters = [chr(number) for number in range(32, 127)]
    names = ["<s>", *letters, *(f" {word}" for word in WORDS[:known])]
    vocabulary = {name: number for number, name in enumerate(dict.fromkeys(names))}
    model = tokenizers.models.WordLevel(vocabulary, unk_token="?")
    made = tokenizers.Tokenizer(model)
    spaced = "|".join(sorted((f" {word}(?![a-z])" for word in WORDS[:known]), key=len, reverse=True))
    pattern = tokenizers.Regex(f"{spaced}|.")
    made.pre_tokenizer = tokenizers.pre_tokenizers.Split(pattern, "isolated")
    if begin:
        made.post_processor = tokenizers.processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", 0)]
        )
    made.save(str(path / "tokenizer.json"))
    return path


def planned(tmp_path: Path, fields: str) -> list[tuple[str, int]]:
    text = (
        f"model: m\ntokenizer: {tmp_path}\nclasses: {{a: {{arrival: {{process: burst, size: 9}}, {fields}}}}}"
    )
    write_plan(tmp_path / "p.jsonl", build_plan(read_scenario(text, "s.yaml")))
    plan = load_plan(tmp_path / "p.jsonl")
    return [(json.loads(plan.body(each))["prompt"], each.prompt_tokens) for each in plan.requests]


def test_words_are_those_that_are_one_token_everywhere(tmp_path: Path) -> None:
    found = Tokenizer(write(tmp_path, 100))
    assert found.words == WORDS[:100]
    assert (found.specials, found.count(" time year"), found.count(" nowhere")) == (1, 2, 8)


@pytest.mark.parametrize("begin", [True, False])
@pytest.mark.parametrize("fields", ["input_tokens: 40", "input_tokens: 40, prefix: {groups: 2, tokens: 30}"])
def test_prompts_have_the_tokens_that_were_asked_for(tmp_path: Path, begin: bool, fields: str) -> None:
    whole = tokenizers.Tokenizer.from_file(str(write(tmp_path, 60, begin=begin) / "tokenizer.json"))
    for prompt, tokens in planned(tmp_path, fields):
        assert len(whole.encode(prompt).ids) == tokens == (70 if "prefix" in fields else 40)


def test_a_text_is_counted_by_it(tmp_path: Path) -> None:
    write(tmp_path, 100)
    assert planned(tmp_path, "prompt: ' time nowhere'")[0] == (" time nowhere", 1 + 1 + 8)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no tokenizer: give a tokenizer.json or a directory with one"),
        ("{", "no tokenizer: "),
    ],
)
def test_no_tokenizer(tmp_path: Path, content: str | None, words: str) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ScenarioError, match=words):
        Tokenizer(tmp_path)


def test_a_tokenizer_without_whole_words_is_of_no_use(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="only 5 common words are one token each"):
        Tokenizer(write(tmp_path, 5))
