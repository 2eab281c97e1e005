"""Sampling fields to the engine's parameters: defaults, clamps, and each refusal in vLLM's words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from simulator.config.compat import Compat, compat
from simulator.config.resolve import parse_args
from simulator.config.serve import ServeConfig
from simulator.engine.request import SamplingParams
from simulator.server.errors import ApiError
from simulator.server.requests.lean import ChatRequest, CompletionRequest, GenerationRequest
from simulator.server.requests.sampling import (
    before_chat,
    before_completion,
    check_body_of_prompts,
    check_engine_limits,
    check_prompt_count,
    check_sequences,
    max_output,
    num_logprobs,
    requested_max_tokens,
    sampling_params,
)

V033, V011, LLMD = compat("vllm-0.33"), compat("vllm-0.11"), compat("llm-d-0.7")
VOCABULARY = 1000


def config(*flags: str, env: dict[str, str] | None = None) -> ServeConfig:
    return parse_args(["--model", "m", "--max-model-len", "100", *flags], env or {})


CONFIG = config()


def completion(**fields: Any) -> CompletionRequest:
    return CompletionRequest(prompt="x", **fields)


def chat(**fields: Any) -> ChatRequest:
    return ChatRequest(messages=[{"role": "user", "content": "x"}], **fields)


def params(request: GenerationRequest, prompt_len: int = 10, imitated: Compat = V033) -> SamplingParams:
    return sampling_params(request, prompt_len, CONFIG, imitated)


def refusal(call: Any, *arguments: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        call(*arguments)
    return caught.value


@pytest.mark.parametrize(
    ("request_", "imitated", "asked"),
    [
        (completion(), V033, 16),
        (completion(), V011, 16),
        (completion(), LLMD, None),
        (completion(max_tokens=3), V033, 3),
        (completion(max_tokens=0), V033, 0),
        (chat(), V033, None),
        (chat(max_tokens=3), V033, 3),
        (chat(max_tokens=3, max_completion_tokens=4), V033, 4),
        (chat(max_completion_tokens=0, max_tokens=3), V033, 0),
    ],
)
def test_what_the_client_asked_for(request_: GenerationRequest, imitated: Compat, asked: int | None) -> None:
    assert requested_max_tokens(request_, imitated) == asked


@pytest.mark.parametrize(
    ("request_", "prompt_len", "most"),
    [
        (completion(max_tokens=5), 10, 5),
        (completion(max_tokens=100), 10, 90),  # 0.33 clamps to what the context leaves
        (completion(max_tokens=95), 90, 10),
        (completion(max_tokens=5), 100, 0),
        (chat(), 10, 90),
        (chat(), 100, 0),
    ],
)
def test_output_is_clamped_to_the_context(request_: GenerationRequest, prompt_len: int, most: int) -> None:
    assert max_output(request_, prompt_len, CONFIG, V033) == most


def test_max_new_tokens_of_the_generation_config_is_a_default() -> None:
    capped = config("--override-generation-config", '{"max_new_tokens": 7, "temperature": 0.25}')
    assert max_output(chat(), 10, capped, V033) == 7
    assert max_output(chat(), 95, capped, V033) == 5
    assert max_output(chat(max_tokens=50), 10, capped, V033) == 50
    assert sampling_params(chat(), 10, capped, V033).temperature == 0.25
    assert sampling_params(chat(temperature=0.5), 10, capped, V033).temperature == 0.5


@pytest.mark.parametrize(
    ("imitated", "request_", "prompt_len", "words"),
    [
        (
            V033, completion(max_tokens=101), 10,
            "max_tokens=101 cannot be greater than max_model_len=100. Please request fewer output tokens. "
            "(parameter=max_tokens, value=101)",
        ),
        (
            V011, completion(max_tokens=91), 10,
            "'max_tokens' or 'max_completion_tokens' is too large: 91. This model's maximum context length is "
            "100 tokens and your request has 10 input tokens (91 > 100 - 10).",
        ),
        (
            V011, completion(max_tokens=1), 100,
            "This model's maximum context length is 100 tokens. However, your request has 100 input tokens. "
            "Please reduce the length of the input messages.",
        ),
        (
            LLMD, chat(max_tokens=91), 10,
            "This model's maximum context length is 100 tokens. However, you requested 101 tokens (10 in the "
            "messages, 91 in the completion). Please reduce the length of the messages or completion",
        ),
        (
            LLMD, chat(), 101,
            "This model's maximum context length is 100 tokens. However, you requested 101 tokens (101 in the "
            "messages, 0 in the completion). Please reduce the length of the messages or completion",
        ),
        (LLMD, chat(max_tokens=0), 10, "Max completion tokens and max tokens should be positive"),
        (LLMD, completion(max_tokens=-1), 10, "Max completion tokens and max tokens should be positive"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_each_versions_words(
    imitated: Compat, request_: GenerationRequest, prompt_len: int, words: str
) -> None:
    assert refusal(max_output, request_, prompt_len, CONFIG, imitated).message == words


@pytest.mark.parametrize(
    ("imitated", "request_", "prompt_len"),
    [(V011, completion(max_tokens=90), 10), (LLMD, chat(max_tokens=90), 10), (V033, completion(max_tokens=100), 10)],
)
def test_what_just_fits_is_taken(imitated: Compat, request_: GenerationRequest, prompt_len: int) -> None:
    assert max_output(request_, prompt_len, CONFIG, imitated) == 90


def test_every_field_reaches_the_engine() -> None:
    made = params(
        completion(
            max_tokens=9, min_tokens=2, ignore_eos=True, stop=["a", "b"], stop_token_ids=[5],
            include_stop_str_in_output=True, seed=3, temperature=0.5, logprobs=2, n=4,
        )
    )  # fmt: skip
    assert made == SamplingParams(
        max_tokens=9, min_tokens=2, ignore_eos=True, stop=("a", "b"), stop_token_ids=(5,),
        include_stop_str_in_output=True, seed=3, temperature=0.5, logprobs=2, n=4,
    )  # fmt: skip
    assert params(completion()) == SamplingParams(max_tokens=16, temperature=1.0)
    assert params(completion(stop="one")).stop == ("one",)
    assert params(completion(stop=[])).stop == ()


def test_an_echo_without_output_costs_one_token() -> None:
    assert params(completion(max_tokens=0, echo=True)).max_tokens == 1


@pytest.mark.parametrize(
    ("request_", "count"),
    [
        (completion(), None), (completion(logprobs=0), 0), (completion(logprobs=3), 3),
        (chat(), None), (chat(top_logprobs=3), None), (chat(logprobs=True), 0), (chat(logprobs=True, top_logprobs=3), 3),
    ],
)  # fmt: skip
def test_alternatives_asked_for(request_: GenerationRequest, count: int | None) -> None:
    assert num_logprobs(request_) == count


RANGES = [
    ({"n": 0}, "n must be at least 1, got 0."),
    ({"n": -3}, "n must be at least 1, got -3."),
    ({"presence_penalty": 2.5}, "presence_penalty must be in [-2, 2], got 2.5."),
    ({"frequency_penalty": -2.5}, "frequency_penalty must be in [-2, 2], got -2.5."),
    ({"presence_penalty": float("nan")}, "presence_penalty must be in [-2, 2], got nan."),
    ({"repetition_penalty": 0.0}, "repetition_penalty must be greater than zero, got 0.0."),
    ({"temperature": -0.1}, "temperature must be non-negative, got -0.1. (parameter=temperature, value=-0.1)"),
    ({"temperature": 2.1}, "temperature must be in [0, 2], got 2.1. (parameter=temperature, value=2.1)"),
    ({"temperature": float("nan")},
     "temperature must be non-negative, got nan. (parameter=temperature, value=nan)"),
    ({"top_p": 0.0}, "top_p must be in (0, 1], got 0.0. (parameter=top_p, value=0.0)"),
    ({"top_p": 1.1}, "top_p must be in (0, 1], got 1.1. (parameter=top_p, value=1.1)"),
    ({"top_k": -2}, "top_k must be 0 (disable), or at least 1, got -2."),
    ({"min_p": 1.5}, "min_p must be in [0, 1], got 1.5."),
    ({"min_p": -0.5}, "min_p must be in [0, 1], got -0.5."),
    ({"max_tokens": 0}, "max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)"),
    ({"min_tokens": -1}, "min_tokens must be greater than or equal to 0, got -1."),
    ({"min_tokens": 17}, "min_tokens must be less than or equal to max_tokens=16, got 17."),
    ({"stop": ""}, "stop cannot contain an empty string."),
    ({"stop": ["a", ""]}, "stop cannot contain an empty string."),
    ({"n": 2, "temperature": 0.0}, "n must be 1 when using greedy sampling, got 2."),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "words"), RANGES, ids=lambda value: str(value)[:40])
def test_ranges(fields: dict[str, Any], words: str) -> None:
    error = refusal(params, completion(**fields))
    assert (error.status, error.kind, error.message) == (400, "BadRequestError", words)
    bare = words.partition(" (parameter=")[0]
    if "in [0, 2]" in words:  # 0.11 has no greatest temperature
        assert params(completion(**fields), imitated=V011).temperature == 2.1
    else:
        assert refusal(params, completion(**fields), 10, V011).message == bare


@pytest.mark.parametrize("fields", [f for f, _ in RANGES if f not in ({"max_tokens": 0},)], ids=str)
def test_llmd_takes_values_as_they_come(fields: dict[str, Any]) -> None:
    assert params(completion(**fields), imitated=LLMD).n == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"presence_penalty": 2.0, "frequency_penalty": -2.0}, {"temperature": 0.0}, {"temperature": 2.0},
        {"top_p": 1.0}, {"top_k": 0}, {"top_k": -1}, {"min_p": 0.0}, {"min_p": 1.0}, {"min_tokens": 16},
        {"n": 2, "temperature": 0.001}, {"repetition_penalty": 0.01}, {"max_tokens": 1}, {"n": 16384},
    ],
    ids=str,
)  # fmt: skip
def test_the_ends_of_the_ranges_are_in(fields: dict[str, Any]) -> None:
    params(completion(**fields))


def test_n_has_a_limit_of_the_environment() -> None:
    small = config(env={"VLLM_MAX_N_SEQUENCES": "4"})
    assert sampling_params(completion(n=4), 1, small, V033).n == 4
    assert refusal(sampling_params, completion(n=5), 1, small, V033).message == (
        "n must be at most 4, got 5. To increase this limit, set the VLLM_MAX_N_SEQUENCES environment variable."
    )
    check_sequences(2, 2, small)
    assert "2 prompts with n=3 are 6 sequences, more than 4." in refusal(check_sequences, 2, 3, small).message


def test_combinations_that_llmd_refuses() -> None:
    eos = completion(ignore_eos=True)
    assert refusal(params, eos, 10, LLMD).message == (
        "Ignore_eos is true but max_completion_tokens (or max_tokens) is not set"
    )
    assert params(eos).ignore_eos
    assert params(completion(ignore_eos=True, max_tokens=2), imitated=LLMD).ignore_eos
    leg = {"stream": True, "kv_transfer_params": {"do_remote_decode": True}}
    assert refusal(params, completion(**leg), 10, LLMD).message == "Prefill does not support streaming"
    params(completion(**leg))
    params(completion(stream=True, kv_transfer_params={"do_remote_decode": False}), imitated=LLMD)


STREAM_OPTIONS = "Stream options can only be defined when `stream=True`."
TOP = "when using `top_logprobs`, `logprobs` must be set to true."
TOOLS = [{"type": "function", "function": {"name": "f"}}]
BEFORE_COMPLETION: list[tuple[dict[str, Any], str, str]] = [
    ({"prompt": "x", "stream_options": {"include_usage": True}}, STREAM_OPTIONS, "stream_options"),
    ({"prompt": "x", "logprobs": 1.5}, "`logprobs` must be an integer.", "logprobs"),
    ({"prompt": "x", "logprobs": -2}, "`logprobs` must be a positive value or -1.", "logprobs"),
    ({"prompt": "x", "prompt_logprobs": -2}, "`prompt_logprobs` must be a positive value or -1.", "prompt_logprobs"),
    ({"prompt": "x", "prompt_logprobs": 1, "stream": True},
     "`prompt_logprobs` are not available when `stream=True`.", "prompt_logprobs"),
    ({"prompt": "x", "prompt_logprobs": -1, "stream": True},
     "`prompt_logprobs` are not available when `stream=True`.", "prompt_logprobs"),
    ({}, "Either prompt or prompt_embeds must be provided and non-empty.", "prompt"),
    ({"prompt": ""}, "Either prompt or prompt_embeds must be provided and non-empty.", "prompt"),
]  # fmt: skip
BEFORE_CHAT: list[tuple[dict[str, Any], str, str]] = [
    ({"stream_options": {"x": 1}}, STREAM_OPTIONS, "stream_options"),
    ({"top_logprobs": -2}, "`top_logprobs` must be a positive value or -1.", "top_logprobs"),
    ({"top_logprobs": 2}, TOP, "top_logprobs"),
    ({"top_logprobs": -1, "logprobs": False}, TOP, "top_logprobs"),
    ({"tools": []}, "`tools` must not be an empty array. Either provide at least one tool or omit the field "
     "entirely.", "tools"),
    ({"tool_choice": "auto"}, "When using `tool_choice`, `tools` must be set.", "tool_choice"),
    ({"tools": TOOLS, "tool_choice": {"function": {"name": "g"}}},
     "The tool specified in `tool_choice` does not match any of the specified `tools`", "tool_choice"),
    ({"continue_final_message": True, "add_generation_prompt": True},
     "Cannot set both `continue_final_message` and `add_generation_prompt` to True.", "continue_final_message"),
]  # fmt: skip


def cases(check: Any, rows: list[tuple[dict[str, Any], str, str]]) -> list[Any]:
    return [pytest.param(check, *row, id=f"{check.__name__}-{row[0]}"[:70]) for row in rows]


@pytest.mark.parametrize(
    ("check", "raw", "words", "param"),
    [*cases(before_completion, BEFORE_COMPLETION), *cases(before_chat, BEFORE_CHAT)],
)
def test_raw_fields_are_refused_before_their_types(
    check: Any, raw: dict[str, Any], words: str, param: str
) -> None:
    error = refusal(check, raw, V033)
    assert error.param == param
    assert error.message.startswith(f"{words} (parameter={param}")
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


def test_a_million_prompts_are_refused_unread() -> None:
    few = config(env={"VLLM_MAX_COMPLETION_PROMPTS": "2"})
    for between in (b'","', b'", "', b"],[", b"], ["):
        check_body_of_prompts(between * 60, few, V033)  # a short body is decoded and looked at
        body = between * 100_000
        error = refusal(check_body_of_prompts, body, few, V033)
        assert error.message.startswith("prompt list length 100001 exceeds")
    check_body_of_prompts(b"x" * 400_000 + b'","' * 30, few, V033)


def limits(request: GenerationRequest, imitated: Compat = V033, *flags: str) -> None:
    made = replace(SamplingParams(), logprobs=num_logprobs(request))
    check_engine_limits(request, made, VOCABULARY, config(*flags), imitated)


@pytest.mark.parametrize(
    ("request_", "words", "param"),
    [
        (completion(logprobs=21), "Requested sample logprobs of 21, which is greater than max allowed: 20", "logprobs"),
        (completion(logprobs=-1), "Requested sample logprobs of 1000, which is greater than max allowed: 20", "logprobs"),
        (completion(prompt_logprobs=30), "Requested prompt logprobs of 30, which is greater than max allowed: 20",
         "prompt_logprobs"),
        (completion(logit_bias={"5": 1.0, "1000": 1.0, "-1": 0.5}),
         "token_id(s) [1000, -1] in logit_bias contain out-of-vocab token ids. Vocabulary size: 1000", "logit_bias"),
        (completion(allowed_token_ids=[]), "allowed_token_ids is not None and empty!", "allowed_token_ids"),
        (completion(allowed_token_ids=[5, 1000]), "allowed_token_ids contains out-of-vocab token id!",
         "allowed_token_ids"),
    ],
)  # fmt: skip
def test_what_vllm_finds_in_its_engine(request_: GenerationRequest, words: str, param: str) -> None:
    error = refusal(limits, request_)
    assert error.message.startswith(words)
    assert (error.param, error.streams) == (param, True)
    limits(request_, LLMD)


def test_bias_on_what_is_no_token_is_refused_at_once() -> None:
    error = refusal(limits, completion(logit_bias={"five": 1.0}))
    assert error.message == (
        "Found token_id=five in logit_bias but token_id must be an integer or string representing an integer"
    )
    assert not error.streams


def test_limits_that_are_met() -> None:
    limits(completion(logprobs=20, prompt_logprobs=20, allowed_token_ids=[0, 999], logit_bias={"999": 1.0}))
    limits(completion(logprobs=500), V033, "--max-logprobs", "-1")
    limits(completion(logprobs=30), V033, "--max-logprobs", "30")
