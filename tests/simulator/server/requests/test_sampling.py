"""Sampling fields to the engine's parameters: defaults, clamps, and each refusal in vLLM's words."""

from __future__ import annotations

from typing import Any

import pytest

from simulator.config.compat import Compat, compat
from simulator.config.resolve import parse_args
from simulator.config.serve import ServeConfig
from simulator.engine.request import SamplingParams
from simulator.server.errors import ApiError
from simulator.server.requests.lean import ChatRequest, CompletionRequest, GenerationRequest
from simulator.server.requests.sampling import (
    check_sequences,
    max_output,
    num_logprobs,
    requested_max_tokens,
    sampling_params,
)

V033, V011, LLMD = compat("vllm-0.33"), compat("vllm-0.11"), compat("llm-d-0.7")


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
            V033,
            completion(max_tokens=101),
            10,
            "max_tokens=101 cannot be greater than max_model_len=100. Please request fewer output tokens. "
            "(parameter=max_tokens, value=101)",
        ),
        (
            V011,
            completion(max_tokens=91),
            10,
            "'max_tokens' or 'max_completion_tokens' is too large: 91. This model's maximum context length "
            "is 100 tokens and your request has 10 input tokens (91 > 100 - 10).",
        ),
        (
            V011,
            completion(max_tokens=1),
            100,
            "This model's maximum context length is 100 tokens. However, your request has 100 input tokens. "
            "Please reduce the length of the input messages.",
        ),
        (
            LLMD,
            chat(max_tokens=91),
            10,
            "This model's maximum context length is 100 tokens. However, you requested 101 tokens (10 in the "
            "messages, 91 in the completion). Please reduce the length of the messages or completion",
        ),
        (
            LLMD,
            chat(),
            101,
            "This model's maximum context length is 100 tokens. However, you requested 101 tokens (101 in "
            "the messages, 0 in the completion). Please reduce the length of the messages or completion",
        ),
        (LLMD, chat(max_tokens=0), 10, "Max completion tokens and max tokens should be positive"),
        (LLMD, completion(max_tokens=-1), 10, "Max completion tokens and max tokens should be positive"),
    ],
)
def test_what_does_not_fit_is_refused_in_each_versions_words(
    imitated: Compat, request_: GenerationRequest, prompt_len: int, words: str
) -> None:
    assert refusal(max_output, request_, prompt_len, CONFIG, imitated).message == words


@pytest.mark.parametrize(
    ("imitated", "request_", "prompt_len"),
    [
        (V011, completion(max_tokens=90), 10),
        (LLMD, chat(max_tokens=90), 10),
        (V033, completion(max_tokens=100), 10),
    ],
)
def test_what_just_fits_is_taken(imitated: Compat, request_: GenerationRequest, prompt_len: int) -> None:
    assert max_output(request_, prompt_len, CONFIG, imitated) == 90


def test_every_field_reaches_the_engine() -> None:
    made = params(
        completion(
            max_tokens=9,
            min_tokens=2,
            ignore_eos=True,
            stop=["a", "b"],
            stop_token_ids=[5],
            include_stop_str_in_output=True,
            seed=3,
            temperature=0.5,
            logprobs=2,
            n=4,
        )
    )
    assert made == SamplingParams(
        max_tokens=9,
        min_tokens=2,
        ignore_eos=True,
        stop=("a", "b"),
        stop_token_ids=(5,),
        include_stop_str_in_output=True,
        seed=3,
        temperature=0.5,
        logprobs=2,
        n=4,
    )
    assert params(completion()) == SamplingParams(max_tokens=16, temperature=1.0)
    assert params(completion(stop="one")).stop == ("one",)
    assert params(completion(stop=[])).stop == ()


def test_an_echo_without_output_costs_one_token() -> None:
    assert params(completion(max_tokens=0, echo=True)).max_tokens == 1


@pytest.mark.parametrize(
    ("request_", "count"),
    [
        (completion(), None),
        (completion(logprobs=0), 0),
        (completion(logprobs=3), 3),
        (chat(), None),
        (chat(top_logprobs=3), None),
        (chat(logprobs=True), 0),
        (chat(logprobs=True, top_logprobs=3), 3),
    ],
)
def test_alternatives_asked_for(request_: GenerationRequest, count: int | None) -> None:
    assert num_logprobs(request_) == count


RANGES = [
    ({"n": 0}, "n must be at least 1, got 0."),
    ({"n": -3}, "n must be at least 1, got -3."),
    ({"presence_penalty": 2.5}, "presence_penalty must be in [-2, 2], got 2.5."),
    ({"frequency_penalty": -2.5}, "frequency_penalty must be in [-2, 2], got -2.5."),
    ({"presence_penalty": float("nan")}, "presence_penalty must be in [-2, 2], got nan."),
    ({"repetition_penalty": 0.0}, "repetition_penalty must be greater than zero, got 0.0."),
    (
        {"temperature": -0.1},
        "temperature must be non-negative, got -0.1. (parameter=temperature, value=-0.1)",
    ),
    ({"temperature": 2.1}, "temperature must be in [0, 2], got 2.1. (parameter=temperature, value=2.1)"),
    (
        {"temperature": float("nan")},
        "temperature must be non-negative, got nan. (parameter=temperature, value=nan)",
    ),
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
]


@pytest.mark.parametrize(("fields", "words"), RANGES, ids=lambda value: str(value)[:40])
def test_ranges(fields: dict[str, Any], words: str) -> None:
    error = refusal(params, completion(**fields))
    assert (error.status, error.kind, error.message) == (400, "BadRequestError", words)
    bare = words.partition(" (parameter=")[0]
    if "in [0, 2]" in words:  # 0.11 has no greatest temperature
        assert params(completion(**fields), imitated=V011).temperature == 2.1
    else:
        assert refusal(params, completion(**fields), 10, V011).message == bare


@pytest.mark.parametrize("fields", [f for f, _ in RANGES if f != {"max_tokens": 0}], ids=str)
def test_llmd_takes_values_as_they_come(fields: dict[str, Any]) -> None:
    assert params(completion(**fields), imitated=LLMD).n == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"presence_penalty": 2.0, "frequency_penalty": -2.0},
        {"temperature": 0.0},
        {"temperature": 2.0},
        {"top_p": 1.0},
        {"top_k": 0},
        {"top_k": -1},
        {"min_p": 0.0},
        {"min_p": 1.0},
        {"min_tokens": 16},
        {"n": 2, "temperature": 0.001},
        {"repetition_penalty": 0.01},
        {"max_tokens": 1},
        {"n": 16384},
    ],
    ids=str,
)
def test_the_ends_of_the_ranges_are_in(fields: dict[str, Any]) -> None:
    params(completion(**fields))


def test_n_has_a_limit_of_the_environment() -> None:
    small = config(env={"VLLM_MAX_N_SEQUENCES": "4"})
    assert sampling_params(completion(n=4), 1, small, V033).n == 4
    assert refusal(sampling_params, completion(n=5), 1, small, V033).message == (
        "n must be at most 4, got 5. "
        "To increase this limit, set the VLLM_MAX_N_SEQUENCES environment variable."
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
