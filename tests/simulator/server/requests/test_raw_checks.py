"""How a refusal is told, its form and its field: rows of the table, each without the others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import pytest

from simulator.config.compat import COMPATS
from simulator.server.errors import ApiError
from simulator.server.requests.raw_checks import before_chat, before_completion, before_response
from simulator.server.requests.validation import from_errors

WORDS = "Stream options can only be defined when `stream=True`."
RAW: dict[str, Any] = {"prompt": "a", "messages": [], "stream_options": {"include_usage": True}}
MSG, CTX = f"'msg': 'Value error, {WORDS}'", f"'ctx': {{'error': ValueError('{WORDS}')}}"
Form = Literal["compact", "verbose", "go"]
FORMS: list[Form] = ["compact", "verbose", "go"]


def refusal(check: Any, form: Form, listed: bool) -> ApiError:
    compat = replace(COMPATS["vllm-0.33"], validation_errors=form, listed_refusals=listed)
    with pytest.raises(ApiError) as caught:
        check(RAW, compat)
    return caught.value


@pytest.mark.parametrize("check", [before_completion, before_chat])
@pytest.mark.parametrize("form", FORMS)
def test_a_refusal_of_its_own_has_no_form(check: Any, form: Form) -> None:
    error = refusal(check, form, listed=False)
    assert error.message == f"{WORDS} (parameter=stream_options)"
    assert (error.param, error.plain) == ("stream_options", False)


@pytest.mark.parametrize("check", [before_completion, before_chat])
@pytest.mark.parametrize(
    ("form", "message"),
    [
        ("compact", f"1 validation error:\n  {{'type': 'value_error', 'loc': 'body', {MSG}, "
         f"'input': '<dict of 3 items>', {CTX}}}"),
        ("verbose", f"[{{'type': 'value_error', 'loc': ('body',), {MSG}, 'input': {RAW}, {CTX}}}]"),
        ("go", f"Failed to read and parse request body, json: Value error, {WORDS} at body"),
    ],
)  # fmt: skip
def test_a_listed_refusal_has_that_of_all_validation_errors(check: Any, form: Form, message: str) -> None:
    error = refusal(check, form, listed=True)
    assert (error.message, error.plain) == (message, form == "go")


@pytest.mark.parametrize("form", ["compact", "verbose"])
@pytest.mark.parametrize(("told", "param"), [(True, "body.n"), (False, None)])
def test_the_field_at_fault_is_told_in_either_form(form: Form, told: bool, param: str | None) -> None:
    compat = replace(COMPATS["vllm-0.33"], validation_errors=form, error_param=told)
    found = {"type": "int_type", "loc": ("body", "n"), "msg": "no", "input": "x"}
    assert from_errors([found], compat).param == param


@pytest.mark.parametrize(
    ("raw", "words", "param"),
    [
        (
            {"logprob_token_ids": [5]},
            "when using `logprob_token_ids`, `logprobs` must be set.",
            "logprob_token_ids",
        ),
        (
            {"logprob_token_ids": [5], "use_beam_search": True},
            "`logprob_token_ids` is not",
            "logprob_token_ids",
        ),
        (
            {"logprob_token_ids": [5], "logprobs": 1, "echo": True, "max_tokens": 0},
            "`logprob_token_ids` is not supported when `echo=True`",
            "logprob_token_ids",
        ),
        ({"prompt_logprobs": "x"}, "`prompt_logprobs` must be an integer.", "prompt_logprobs"),
        (
            {"structured_outputs": {"json": {}, "regex": "a"}},
            "You can only use one kind of constraints",
            "structured_outputs",
        ),
        ({"response_format": {"type": "json_schema"}}, "When response_format type is", "response_format"),
        ({"response_format": {"type": "structural_tag"}}, "Invalid response_format", "response_format"),
        (
            {"response_format": {"type": "structural_tag", "structures": [], "triggers": []}},
            "Invalid response_format structural_tag specification.",
            "response_format",
        ),
        ({"cache_salt": ""}, "Parameter 'cache_salt' must be a non-empty string", "cache_salt"),
        ({"cache_salt": 5}, "Parameter 'cache_salt' must be a non-empty string", "cache_salt"),
        ({"cache_salt": "a@b"}, "Parameter 'cache_salt' must be at most 128", "cache_salt"),
        ({"cache_salt": "a" * 129}, "Parameter 'cache_salt' must be at most 128", "cache_salt"),
    ],
)
def test_what_0_33_looks_at_besides(raw: dict[str, Any], words: str, param: str) -> None:
    with pytest.raises(ApiError) as found:
        before_completion({"prompt": "x", **raw}, COMPATS["vllm-0.33"])
    assert found.value.message.startswith(words)
    assert found.value.param == param


@pytest.mark.parametrize(
    ("choice", "words", "param"),
    [
        ("maybe", "Invalid value for `tool_choice`: maybe!", "tool_choice"),
        ({"type": "function"}, "Invalid value for `function`: `None`", "tool_choice.function"),
        ({"function": {}}, "Expected field `name` in `function`", "tool_choice.function.name"),
        ({"function": {"name": ""}}, "Invalid `name` in `function`: ``", "tool_choice.function.name"),
        ({"function": {"name": "g"}}, "The tool specified in `tool_choice` does not match", "tool_choice"),
    ],
)
def test_a_tool_is_named_as_it_should_be(choice: Any, words: str, param: str) -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    with pytest.raises(ApiError) as found:
        before_chat({"tools": tools, "tool_choice": choice}, COMPATS["vllm-0.33"])
    assert found.value.message.startswith(words)
    assert found.value.param == param


@pytest.mark.parametrize("name", [["f"], {"f": 1}, 5, None])
def test_names_of_any_type_are_looked_for(name: Any) -> None:
    """What is no name is left to the check of types, or is simply not there."""
    raw = {"tools": [{"type": "function", "name": name}], "tool_choice": {"type": "function", "name": ["g"]}}
    with pytest.raises(ApiError, match="not found in 'tools'"):
        before_response(raw, COMPATS["vllm-0.33"])


def test_constraints_and_a_named_tool_exclude_each_other() -> None:
    raw = {
        "structured_outputs": {"regex": "a"},
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
    }
    with pytest.raises(ApiError, match="either use constraints for structured outputs or tools"):
        before_chat(raw, COMPATS["vllm-0.33"])
