"""Prompts to token ids: their types, truncation, the context's end, and conversations as one text."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.config.compat import compat
from simulator.config.resolve import parse_args
from simulator.engine.text.chatml import END, START
from simulator.engine.text.regex_tokenizer import RegexTokenizer
from simulator.server.errors import ApiError
from simulator.server.requests.lean import ChatRequest, CompletionRequest
from simulator.server.requests.prompts import (
    Prompt,
    PromptRules,
    chat_prompt,
    completion_prompts,
    encoded,
    fit,
    is_prompt,
    messages_are_plain,
)

TOKENIZER = RegexTokenizer()
LIMIT = 20
RULES = PromptRules(
    parse_args(["--model", "m", "--max-model-len", str(LIMIT)], {}), compat("vllm-0.33"), TOKENIZER
)
LLMD = replace(RULES, compat=compat("llm-d-0.7"))
LONG = replace(RULES, config=parse_args(["--model", "m"], {}))


def refusal(call: Any, *arguments: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        call(*arguments)
    return caught.value


@pytest.mark.parametrize(
    "prompt", [None, "", "x", [], ["x", ""], [0, 5], [[1], [2, 3]], [[]], [[0]], [[], [1]]], ids=repr
)
def test_the_five_types_of_a_prompt(prompt: Any) -> None:
    assert is_prompt(prompt)


@pytest.mark.parametrize(
    "prompt",
    [
        5,
        1.5,
        True,
        {},
        ["x", 1],
        [1, "x"],
        [-1],
        [1.0],
        [True],
        [[-1]],
        [["x"]],
        [[1], 2],
        [[1.5]],
        [[True]],
        [None],
        ("x",),
    ],
    ids=repr,
)
def test_what_is_no_prompt(prompt: Any) -> None:
    assert not is_prompt(prompt)


def prompts(prompt: Any, rules: PromptRules = RULES, **fields: Any) -> list[Prompt]:
    return completion_prompts(CompletionRequest(prompt=prompt, **fields), rules)


@pytest.mark.parametrize(
    ("prompt", "texts"),
    [
        ("a b", ["a b"]),
        (["a", "b c"], ["a", "b c"]),
        ([5, 6], [None]),
        ([[5], [6, 7]], [None, None]),
    ],
)
def test_prompts_of_a_completion(prompt: Any, texts: list[str | None]) -> None:
    made = prompts(prompt)
    assert [one.text for one in made] == texts
    for one, text in zip(made, texts, strict=True):
        if text is not None:
            assert one.token_ids == TOKENIZER.encode(text)
    if texts == [None]:
        assert made[0].token_ids == prompt


def test_no_prompt_and_empty_prompts() -> None:
    for empty in (None, "", [""], [[]], ["a", ""]):  # refused where vLLM's engine finds it out
        assert prompts(empty)[-1].token_ids == prompts(empty, LLMD)[-1].token_ids == []
    none = refusal(prompts, [])
    assert (none.param, none.message) == ("prompt", "You must pass at least one prompt (parameter=prompt)")
    embeds = refusal(lambda: prompts("x", prompt_embeds="e"))
    assert embeds.message.startswith("You must set `--enable-prompt-embeds` to input `prompt_embeds`.")
    assert embeds.param == "prompt_embeds"


def cut(count: int, keep: int | None, side: str | None = None, rules: PromptRules = RULES) -> list[int]:
    request = CompletionRequest(truncate_prompt_tokens=keep, truncation_side=side)
    return fit(Prompt(list(range(count))), request, rules).token_ids


@pytest.mark.parametrize(
    ("count", "keep", "side", "ids"),
    [
        (5, None, None, [0, 1, 2, 3, 4]),
        (5, 2, None, [3, 4]),
        (5, 2, "left", [3, 4]),
        (5, 2, "right", [0, 1]),
        (5, 0, "left", []),
        (5, 0, "right", []),
        (5, 5, "left", [0, 1, 2, 3, 4]),
        (5, 9, "right", [0, 1, 2, 3, 4]),
        (25, -1, "left", list(range(5, 25))),
        (25, -1, "right", list(range(20))),
        (25, LIMIT, None, list(range(5, 25))),
    ],
)
def test_truncation(count: int, keep: int | None, side: str | None, ids: list[int]) -> None:
    assert cut(count, keep, side) == ids


@given(st.integers(0, 60), st.none() | st.integers(-1, LIMIT), st.sampled_from([None, "left", "right"]))
@settings(max_examples=60, deadline=None)
def test_truncation_keeps_one_end(count: int, keep: int | None, side: str | None) -> None:
    if keep is None and count > LIMIT:
        refusal(cut, count, keep, side)
        return
    ids = cut(count, keep, side)
    most = LIMIT if keep in (None, -1) else keep
    assert len(ids) == min(count, most or 0)
    every = list(range(count))
    assert ids == (every[: len(ids)] if side == "right" else every[count - len(ids) :])


def test_truncation_beyond_the_context_is_refused() -> None:
    refused = refusal(cut, 5, LIMIT + 1)
    assert refused.message == (
        "truncate_prompt_tokens=21 cannot be greater than max_model_len = 20. Please request a smaller "
        "truncation size. (parameter=truncate_prompt_tokens, value=21)"
    )
    assert refused.param == "truncate_prompt_tokens"


WORDS = (
    "This model's maximum context length is 20 tokens. However, your prompt contains {} input tokens, which "
    "exceeds this limit even without any output tokens. Please reduce the length of the input prompt. "
    "(parameter=input_tokens, value={})"
)


@pytest.mark.parametrize(
    ("prompt", "is_text", "message"),
    [
        (Prompt([1] * 30), None, WORDS.format("30", 30)),
        (Prompt([1] * 21), None, WORDS.format("at least 21", 21)),
        (Prompt([1] * 30, "text"), None, WORDS.format("at least 21", 21)),
        (Prompt([1] * 30, "last words"), True, WORDS.format("at least 21", 21)),
        (Prompt([1] * 30, "text"), False, WORDS.format("30", 30)),
    ],
)
def test_a_prompt_beyond_the_context_is_counted_as_far_as_vllm_does(
    prompt: Prompt, is_text: bool | None, message: str
) -> None:
    def call() -> None:
        fit(prompt, CompletionRequest(), RULES, is_text=is_text)

    error = refusal(call)
    assert (error.message, error.param) == (message, "input_tokens")


def test_length_is_not_everybodys_business() -> None:
    free = replace(RULES, checks_length=False)
    assert len(fit(Prompt([1] * 30), CompletionRequest(), free).token_ids) == 30
    assert len(fit(Prompt([1] * 30), CompletionRequest(), LLMD).token_ids) == 30  # max_output refuses it
    assert len(fit(Prompt([1] * LIMIT), CompletionRequest(), RULES).token_ids) == LIMIT


CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": [1]}'}}


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": "x"},
        {"role": "user", "content": None},
        {"role": "user"},
        {"role": "user", "content": ["x", {"type": "text", "text": "y"}], "name": "n"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "assistant", "content": "x", "tool_calls": None},
    ],
    ids=str,
)
def test_plain_messages(message: dict[str, Any]) -> None:
    assert messages_are_plain([message])


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"role": 1, "content": "x"},
        {"role": "user", "content": 5},
        {"role": "user", "content": {"a": 1}},
        {"role": "user", "content": [5]},
        {"role": "user", "content": "x", "name": 5},
        {"role": "assistant", "tool_calls": {}},
        {"role": "assistant", "tool_calls": [5]},
    ],
    ids=str,
)
def test_messages_that_need_a_closer_look(message: dict[str, Any]) -> None:
    assert not messages_are_plain([{"role": "user", "content": "fine"}, message])


def said(messages: list[dict[str, Any]], rules: PromptRules = LONG, **fields: Any) -> str:
    """The prompt's text, as the tokens spell it."""
    prompt = chat_prompt(ChatRequest(messages=messages, **fields), rules)
    return TOKENIZER.decode(prompt.token_ids)


def turn(role: str, text: str) -> str:
    return f"{START}{role}\n{text}{END}\n"


OPENING = f"{START}assistant\n"


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"role": "user", "content": "hi there"}, turn("user", "hi there")),
        ({"role": "user", "content": None}, turn("user", "")),
        ({"role": "user"}, turn("user", "")),
        ({"role": "user", "content": ["a", {"type": "text", "text": "b"}]}, turn("user", "a\nb")),
        ({"role": "user", "content": [{"type": "input_text", "text": "a"}]}, turn("user", "a")),
        ({"role": "assistant", "content": [{"type": "output_text", "text": "a"}]}, turn("assistant", "a")),
        ({"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}, turn("assistant", "no")),
        ({"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}]}, turn("assistant", "hm")),
        (
            {"role": "assistant", "content": "x", "tool_calls": [CALL]},
            turn("assistant", 'x\n{"name": "f", "arguments": {"a": [1]}}'),
        ),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": ""}}]},
            turn("assistant", '{"name": "f", "arguments": {}}'),
        ),
        (
            {
                "role": "assistant",
                "content": "x",
                "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}],
            },
            turn("assistant", 'x\n{"name": "f", "arguments": {"a": 1}}'),
        ),
        ({"role": "user", "content": "x", "tool_calls": [CALL]}, turn("user", "x")),
    ],
    ids=str,
)
def test_a_message_as_text(message: dict[str, Any], text: str) -> None:
    assert said([message]) == text + OPENING


def test_how_a_conversation_ends() -> None:
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b c"}]
    whole = turn("user", "a") + turn("assistant", "b c")
    assert said(talk) == whole + OPENING
    assert said(talk, add_generation_prompt=False) == whole
    continued = said(talk, add_generation_prompt=False, continue_final_message=True)
    assert continued == whole.removesuffix(END + "\n")


def test_tools_stand_before_the_conversation_unless_none_are_wanted() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    talk = [{"role": "user", "content": "a"}]
    shown = turn("system", '{"type": "function", "function": {"name": "f"}}') + turn("user", "a") + OPENING
    assert said(talk, tools=tools) == said(talk, tools=tools, tool_choice="auto") == shown
    assert said(talk, tools=tools, tool_choice="none") == said(talk, tools=[]) == turn("user", "a") + OPENING


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([{"type": "image_url", "image_url": {"url": "x"}}], "m is not a multimodal model"),
        ([{"type": "input_audio"}], "m is not a multimodal model"),
        ([{"type": "video_url"}], "m is not a multimodal model"),
        ([{}], "m is not a multimodal model"),
        ([{"type": "hologram"}], "Unknown part type: hologram"),
        ([{"type": 5}], "Unknown part type: 5"),
        ([{"type": "text"}], "A content part of type 'text' must have a string 'text'."),
        ([{"type": "text", "text": 5}], "A content part of type 'text' must have a string 'text'."),
        (
            [{"type": "refusal", "text": "x"}],
            "A content part of type 'refusal' must have a string 'refusal'.",
        ),
    ],
    ids=str,
)
def test_parts_that_are_no_text(content: list[Any], words: str) -> None:
    assert refusal(said, [{"role": "user", "content": content}]).message == words


def test_llmd_passes_over_media() -> None:
    content = [{"type": "image_url"}, {"type": "text", "text": "a"}]
    lenient = replace(LONG, compat=compat("llm-d-0.7"))
    assert said([{"role": "user", "content": content}], lenient) == turn("user", "a") + OPENING


def test_conversations_that_cannot_be_had() -> None:
    assert refusal(said, []).message == (
        "Cannot apply chat template to an empty conversation. Provide at least one message."
    )
    broken = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}
    assert refusal(said, [broken]).message.startswith("The arguments of a tool call is not valid JSON")
    own = refusal(lambda: said([{"role": "user", "content": "x"}], chat_template="{{ x }}"))
    assert own.message == (
        "Chat template is passed with request, but --trust-request-chat-template is not set. "
        "Refused request with untrusted chat template."
    )
    long = [{"role": "user", "content": "word " * 50}]
    assert "at least 21 input tokens" in refusal(said, long, RULES).message


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([("user", "a")], "a"),
        ([("user", "a"), ("assistant", "b")], "a"),
        ([("user", "a"), ("assistant", "b"), ("user", "c")], "c"),
        ([("system", "a"), ("assistant", "b")], "b"),
    ],
)
def test_the_last_words_are_the_users(messages: list[tuple[str, str]], words: str) -> None:
    talk = [{"role": role, "content": text} for role, text in messages]
    assert chat_prompt(ChatRequest(messages=talk), LONG).text == words


class Counting(RegexTokenizer):
    """Remembers how many characters it was given."""

    seen = 0

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        self.seen += len(text)
        return super().encode(text, add_special_tokens)


@pytest.mark.parametrize("text", ["a b " * 50_000, "€" * 200_000, " " * 200_000, "a" * 200_000])
def test_what_cannot_fit_is_not_encoded_to_its_end(text: str) -> None:
    tokenizer = Counting()
    rules = replace(RULES, tokenizer=tokenizer)
    error = refusal(encoded, text, rules, CompletionRequest())
    assert f"your prompt contains at least {LIMIT + 1} input tokens" in error.message
    assert error.param == "input_tokens"
    assert tokenizer.seen <= 8 * LIMIT


def test_long_words_may_fit_all_the_same() -> None:
    """Whatever has more than eight characters a token is encoded whole."""
    text = "information " * (LIMIT - 1)
    assert len(text) > 8 * LIMIT
    assert encoded(text, RULES, CompletionRequest()) == TOKENIZER.encode(text)


@pytest.mark.parametrize("length", [159, 160, 161, 162, 200])
def test_the_edge_of_the_beginning(length: int) -> None:
    text = ("information " * 40)[:length]
    assert encoded(text, RULES, CompletionRequest()) == TOKENIZER.encode(text)


def test_a_text_that_need_not_fit_has_a_bound_too() -> None:
    text = " word" * 100_000
    free = replace(RULES, checks_length=False)
    whole = TOKENIZER.encode(text)
    assert encoded(text, free) == whole
    assert encoded(text, RULES, CompletionRequest(truncate_prompt_tokens=5)) == whole
    for rules, request in ((free, None), (RULES, CompletionRequest(truncate_prompt_tokens=5))):
        error = refusal(encoded, text * 2, rules, request)
        assert "A text of 1000000 characters is too long" in error.message
