"""How a refusal is told, its form and its field: rows of the table, each without the others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import pytest

from simulator.config.compat import COMPATS
from simulator.server.errors import ApiError
from simulator.server.requests.sampling import before_chat, before_completion
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
