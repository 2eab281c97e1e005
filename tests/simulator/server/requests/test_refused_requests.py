"""Refusals around the sampling fields: raw ones before their types, prompts by count, engine limits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from simulator.config.compat import Compat, compat
from simulator.config.resolve import parse_args
from simulator.config.serve import ServeConfig
from simulator.engine.request import SamplingParams
from simulator.server.errors import ApiError
from simulator.server.requests.lean import CompletionRequest, GenerationRequest
from simulator.server.requests.raw_checks import before_chat, before_completion
from simulator.server.requests.sampling import (
    check_engine_limits,
    check_prompt_count,
    num_logprobs,
    sampling_params,
)

V033, V011, LLMD = compat("vllm-0.33"), compat("vllm-0.11"), compat("llm-d-0.7")
VOCABULARY = 1000


def config(*flags: str, env: dict[str, str] | None = None) -> ServeConfig:
    return parse_args(["--model", "m", *flags], env or {})


def completion(**fields: Any) -> CompletionRequest:
    return CompletionRequest(prompt="x", **fields)


def refusal(call: Any, *arguments: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        call(*arguments)
    return caught.value


STREAM_OPTIONS = "Stream options can only be defined when `stream=True`."
TOP = "when using `top_logprobs`, `logprobs` must be set to true."
TOOLS = [{"type": "function", "function": {"name": "f"}}]
BEFORE_COMPLETION: list[tuple[dict[str, Any], str, str]] = [
    ({"prompt": "x", "stream_options": {"include_usage": True}}, STREAM_OPTIONS, "stream_options"),
    ({"prompt": "x", "logprobs": "2"}, "`logprobs` must be an integer.", "logprobs"),
    ({"prompt": "x", "logprobs": -2}, "`logprobs` must be a positive value or -1.", "logprobs"),
    (
        {"prompt": "x", "prompt_logprobs": -2},
        "`prompt_logprobs` must be a positive value or -1.",
        "prompt_logprobs",
    ),
    (
        {"prompt": "x", "prompt_logprobs": 1, "stream": True},
        "`prompt_logprobs` are not available when `stream=True`.",
        "prompt_logprobs",
    ),
    (
        {"prompt": "x", "prompt_logprobs": -1, "stream": True},
        "`prompt_logprobs` are not available when `stream=True`.",
        "prompt_logprobs",
    ),
    ({}, "Either prompt or prompt_embeds must be provided and non-empty.", "prompt"),
    ({"prompt": ""}, "Either prompt or prompt_embeds must be provided and non-empty.", "prompt"),
]
BEFORE_CHAT: list[tuple[dict[str, Any], str, str]] = [
    ({"stream_options": {"x": 1}}, STREAM_OPTIONS, "stream_options"),
    ({"top_logprobs": -2}, "`top_logprobs` must be a positive value or -1.", "top_logprobs"),
    ({"top_logprobs": 2}, TOP, "top_logprobs"),
    ({"top_logprobs": -1, "logprobs": False}, TOP, "top_logprobs"),
    (
        {"tools": []},
        "`tools` must not be an empty array. Either provide at least one tool or omit the field entirely.",
        "tools",
    ),
    ({"tool_choice": "auto"}, "When using `tool_choice`, `tools` must be set.", "tool_choice"),
    (
        {"tools": TOOLS, "tool_choice": {"function": {"name": "g"}}},
        "The tool specified in `tool_choice` does not match any of the specified `tools`",
        "tool_choice",
    ),
    (
        {"continue_final_message": True, "add_generation_prompt": True},
        "Cannot set both `continue_final_message` and `add_generation_prompt` to True.",
        None,
    ),
]


def cases(check: Any, rows: list[tuple[dict[str, Any], str, str]]) -> list[Any]:
    return [pytest.param(check, *row, id=f"{check.__name__}-{row[0]}"[:70]) for row in rows]


@pytest.mark.parametrize(
    ("check", "raw", "words", "param"),
    [*cases(before_completion, BEFORE_COMPLETION), *cases(before_chat, BEFORE_CHAT)],
)
def test_raw_fields_are_refused_before_their_types(
    check: Any, raw: dict[str, Any], words: str, param: str | None
) -> None:
    error = refusal(check, raw, V033)
    assert error.param == param
    assert error.message.startswith(f"{words} (parameter={param}" if param else words)
    verbose = refusal(check, raw, V011)
    assert verbose.message.startswith("[{'type': 'value_error', 'loc': ('body',), 'msg': 'Value error, ")
    assert f"ValueError({words!r})" in verbose.message
    check(raw, LLMD)


@pytest.mark.parametrize(
    ("check", "raw"),
    [
        (before_completion, {"prompt": "x", "stream": True, "stream_options": {"include_usage": True}}),
        (before_completion, {"prompt": "x", "stream_options": {}}),
        (before_completion, {"prompt": "x", "logprobs": -1, "prompt_logprobs": -1}),
        (before_completion, {"prompt": "x", "prompt_logprobs": 0, "stream": True}),
        (before_completion, {"prompt": [1]}),
        (before_completion, {"prompt_embeds": "e"}),
        (before_chat, {"logprobs": True, "top_logprobs": 3}),
        (before_chat, {"top_logprobs": 0}),
        (before_chat, {"tools": TOOLS, "tool_choice": {"function": {"name": "f"}}}),
        (before_chat, {"tools": [1, {"function": 2}], "tool_choice": "auto"}),
        (before_chat, {"tool_choice": "none"}),
        (before_chat, {"continue_final_message": True, "add_generation_prompt": False}),
    ],
)
def test_raw_fields_that_are_good(check: Any, raw: dict[str, Any]) -> None:
    check(raw, V033)


def test_prompts_are_counted() -> None:
    few = config(env={"VLLM_MAX_COMPLETION_PROMPTS": "2"})
    for prompt in ("text", ["a", "b"], [[1], [2]], [1, 2, 3, 4], None):
        check_prompt_count(prompt, few, V033)
    for prompt in (["a", "b", "c"], [[1], [2], [3]], [1, 2, "c"], [True, True, True]):
        error = refusal(check_prompt_count, prompt, few, V033)
        assert error.message.startswith("prompt list length 3 exceeds the maximum allowed count of 2.")
        assert error.param == "prompt"


def limits(request: GenerationRequest, imitated: Compat = V033, *flags: str) -> None:
    made = replace(SamplingParams(), logprobs=num_logprobs(request))
    check_engine_limits(request, made, VOCABULARY, config(*flags), imitated)


@pytest.mark.parametrize(
    ("request_", "words", "param"),
    [
        (
            completion(logprobs=21),
            "Requested sample logprobs of 21, which is greater than max allowed: 20",
            "logprobs",
        ),
        (
            completion(logprobs=-1),
            "Requested sample logprobs of 1000, which is greater than max allowed: 20",
            "logprobs",
        ),
        (
            completion(prompt_logprobs=30),
            "Requested prompt logprobs of 30, which is greater than max allowed: 20",
            "prompt_logprobs",
        ),
        (
            completion(logit_bias={"5": 1.0, "1000": 1.0, "-1": 0.5}),
            "token_id(s) [1000, -1] in logit_bias contain out-of-vocab token ids. Vocabulary size: 1000",
            "logit_bias",
        ),
        (completion(allowed_token_ids=[]), "allowed_token_ids is not None and empty!", "allowed_token_ids"),
        (
            completion(allowed_token_ids=[5, 1000]),
            "allowed_token_ids contains out-of-vocab token id!",
            "allowed_token_ids",
        ),
    ],
)
def test_what_vllm_finds_in_its_engine(request_: GenerationRequest, words: str, param: str) -> None:
    error = refusal(limits, request_)
    assert error.message.startswith(words)
    assert (error.param, error.streams) == (param, True)
    limits(request_, LLMD)


def test_bias_on_what_is_no_token_is_refused_at_once() -> None:
    asked = completion(logit_bias={"five": 1.0, "6": 1.0, "x": 0.5})
    error = refusal(sampling_params, asked, 1, config(), V033)
    assert error.message == (
        "logit_bias contains key(s) that cannot be converted to integer token IDs: ['five', 'x'] "
        "(parameter=logit_bias, value=['five', 'x'])"
    )
    assert (error.param, error.streams) == ("logit_bias", False)
    long = refusal(sampling_params, completion(logit_bias={"9" * 5000: 1.0}), 1, config(), V033)
    assert long.message.startswith("logit_bias contains key(s) that cannot be converted to integer")
    older = refusal(sampling_params, asked, 1, config(), V011)
    assert older.message == (
        "Found token_id=five in logit_bias but token_id must be an integer or string representing an integer"
    )


@pytest.mark.parametrize(
    ("fields", "words", "param"),
    [
        ({"stop_token_ids": [5, 1000, 5]}, "token_id(s) [1000] in stop_token_ids contain", "stop_token_ids"),
        ({"logprob_token_ids": [1000], "logprobs": 1}, "token_id(s) [1000] in", "logprob_token_ids"),
        (
            {"logprob_token_ids": [1] * 129, "logprobs": 1},
            "Requested logprob_token_ids of",
            "logprob_token_ids",
        ),
        ({"structured_outputs": {"choice": []}}, "Choice '[]' cannot be an empty list", None),
        ({"structured_outputs": {"grammar": " "}}, "structured_outputs.grammar cannot be", None),
        ({"structured_outputs": {"json": ""}}, "structured_outputs.json cannot be an empty", None),
        ({"structured_outputs": {"json_object": False}}, "structured_outputs.json_object must be", None),
        ({"structured_outputs": {"regex": "a\0"}}, "structured_outputs.regex must not contain", None),
        ({"structured_outputs": {"structural_tag": " "}}, "structured_outputs.structural_tag", None),
        ({"thinking_token_budget": 5}, "thinking_token_budget is set but reasoning_config", None),
    ],
)
def test_what_0_33_finds_besides(fields: dict[str, Any], words: str, param: str | None) -> None:
    error = refusal(limits, completion(**fields))
    assert error.message.startswith(words)
    assert (error.param, error.streams) == (param, True)
    limits(completion(**fields), V011)


def test_words_that_nobody_may_say_are_not_empty() -> None:
    asked = completion(bad_words=["a", "", ""])
    error = refusal(sampling_params, asked, 1, config(), V033)
    assert error.message == "bad_words cannot contain an empty string. Got bad_words=['a', '']"
    sampling_params(asked, 1, config(), V011)


def test_only_temperature_zero_is_greedy() -> None:
    for temperature in (1e-9, 0.005):  # vLLM makes 0.01 of them
        sampling_params(completion(n=2, temperature=temperature), 1, config(), V033)
    assert refusal(sampling_params, completion(n=2, temperature=0.0), 1, config(), V033)


def test_limits_that_are_met() -> None:
    limits(completion(logprobs=20, prompt_logprobs=20, allowed_token_ids=[0, 999], logit_bias={"999": 1.0}))
    limits(completion(logprobs=500), V033, "--max-logprobs", "-1")
    limits(completion(logprobs=30), V033, "--max-logprobs", "30")
