"""vLLM's request models beside the lean ones: same fields, same defaults, and the same request either way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from simulator.config.compat import compat
from simulator.server.errors import ApiError
from simulator.server.requests import lean, other, schema
from simulator.server.requests.prompts import messages_are_plain
from simulator.server.requests.validation import as_it_stands, convert, validate

V033 = compat("vllm-0.33")
RECORDED = Path(__file__).parents[5] / "shared" / "data" / "vllm-0.33-golden" / "openapi.json"
OLDER = {"guided_json", "guided_regex", "guided_choice", "cache_hit_threshold"}  # 0.11's, llm-d's
PAIRS: list[tuple[Any, type[BaseModel]]] = [
    (lean.CompletionRequest, schema.CompletionRequest),
    (lean.ChatRequest, schema.ChatCompletionRequest),
]
MODELS: dict[str, type[BaseModel]] = {
    model.__name__: model
    for model in (
        schema.CompletionRequest,
        schema.ChatCompletionRequest,
        other.TokenizeCompletionRequest,
        other.TokenizeChatRequest,
        other.DetokenizeRequest,
        other.AnthropicMessagesRequest,
        other.AnthropicCountTokensRequest,
        other.ResponsesRequest,
        other.LoadLoRAAdapterRequest,
        other.UnloadLoRAAdapterRequest,
    )
}
# Schemas that the recorded document has under vLLM's name, field for field.
ORDERED = (
    "CompletionRequest",
    "ChatCompletionRequest",
    "TokenizeCompletionRequest",
    "TokenizeChatRequest",
    "DetokenizeRequest",
)


@pytest.mark.parametrize("name", ORDERED)
def test_fields_stand_in_vllms_order(name: str) -> None:
    """Validation errors come in the order of the fields."""
    if not RECORDED.exists():
        pytest.skip("../shared is not here: the recorded openapi.json is not copied, it has 300 kB")
    theirs = list(json.loads(RECORDED.read_text())["components"]["schemas"][name]["properties"])
    ours = [field.alias or key for key, field in MODELS[name].model_fields.items() if key not in OLDER]
    assert ours == [key for key in theirs if key in ours]


@pytest.mark.parametrize("name", ORDERED[:2])
def test_defaults_are_vllms(name: str) -> None:
    if not RECORDED.exists():
        pytest.skip("../shared is not here: the recorded openapi.json is not copied, it has 300 kB")
    theirs = json.loads(RECORDED.read_text())["components"]["schemas"][name]["properties"]
    ours = MODELS[name].model_json_schema()["properties"]
    shared = [key for key in ours if key not in OLDER]
    assert shared
    for key in shared:  # the document does not show a default that is made anew for each request
        assert ours[key].get("default") in (theirs[key].get("default"), []), key


@pytest.mark.parametrize(("thin", "model"), PAIRS)
def test_the_lean_fields_are_the_models(thin: Any, model: type[BaseModel]) -> None:
    known = {
        *model.model_fields,
        "mm_processor_kwargs",
        "media_io_kwargs",
    }  # vLLM looks for these among unknown
    assert [field.name for field in msgspec.structs.fields(thin) if field.name not in known] == []


numbers = st.integers(-3, 10**9)
sampling = {
    "model": st.none() | st.text(max_size=5),
    "stream": st.none() | st.booleans(),
    "max_tokens": st.none() | numbers,
    "min_tokens": numbers,
    "seed": st.none() | st.integers(-(2**63), 2**63 - 1),
    "stop": st.none() | st.text(max_size=5) | st.lists(st.text(max_size=5), max_size=4),
    "stop_token_ids": st.none() | st.lists(numbers, max_size=3),
    "ignore_eos": st.booleans(),
    "temperature": st.none() | st.floats(0, 2, allow_nan=False),
    "top_k": st.none() | numbers,
    "logit_bias": st.none() | st.dictionaries(st.text(max_size=4), st.floats(-5, 5), max_size=3),
    "bad_words": st.lists(st.text(max_size=4), max_size=2),
    "priority": numbers,
    "request_id": st.text(max_size=5),
    "kv_transfer_params": st.none() | st.dictionaries(st.text(max_size=4), numbers, max_size=2),
    "skip_special_tokens": st.none() | st.booleans(),
    "unheard_of": st.none() | numbers | st.text(max_size=4),
}
prompts = (
    st.text(max_size=8)
    | st.lists(st.text(max_size=5), min_size=1, max_size=3)
    | st.lists(st.integers(0, 999), min_size=1, max_size=4)
    | st.lists(st.lists(st.integers(0, 999), max_size=3), min_size=1, max_size=3)
)
messages = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "system", "tool"]), "content": st.text(max_size=8)},
        optional={"name": st.text(max_size=4), "tool_call_id": st.just("c")},
    ),
    max_size=3,
)


def both_ways(raw: dict[str, Any], plain: Any, thin: Any, model: type[BaseModel]) -> tuple[Any, Any]:
    """The fields of a request as msgspec reads them, and by way of pydantic."""
    direct = as_it_stands(raw, plain)
    assert direct is not None
    converted = convert(raw, thin, model, V033, keep=("messages", "tools"))
    names = thin.__struct_fields__
    return tuple({name: getattr(made, name) or None for name in names} for made in (direct, converted))  # type: ignore[return-value]


@given(st.fixed_dictionaries({"prompt": prompts}, optional={**sampling, "n": numbers, "echo": st.booleans()}))
@settings(max_examples=80, deadline=None)
def test_a_completion_is_the_same_by_either_way(raw: dict[str, Any]) -> None:
    direct, converted = both_ways(raw, lean.PlainCompletion, *PAIRS[0])
    assert direct == converted


@given(st.fixed_dictionaries({"messages": messages}, optional={**sampling, "n": st.none() | numbers}))
@settings(max_examples=80, deadline=None)
def test_a_chat_is_the_same_by_either_way(raw: dict[str, Any]) -> None:
    assert messages_are_plain(raw["messages"])
    direct, converted = both_ways(raw, lean.PlainChat, *PAIRS[1])
    assert direct == converted


@pytest.mark.parametrize(
    "odd",
    [
        {"request_id": None}, {"seed": 2**63}, {"stop": ["a"] * 5}, {"bad_words": None}, {"cache_salt": "x"},
        {"mm_payload": "none"}, {"length_penalty": None}, {"spaces_between_special_tokens": None},
        {"session_id": 5}, {"truncation_side": None}, {"response_format": None}, {"guided_json": {}},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize(
    ("plain", "raw"), [(lean.PlainCompletion, {"prompt": "x"}), (lean.PlainChat, {"messages": []})]
)
def test_what_vllm_might_refuse_is_not_plain(plain: Any, raw: dict[str, Any], odd: dict[str, Any]) -> None:
    assert as_it_stands(raw, plain) is not None
    assert as_it_stands({**raw, **odd}, plain) is None


@pytest.mark.parametrize(
    "message",
    [
        {"role": "developer", "content": "x"},
        {"role": "user", "content": [{"type": "text", "text": "x"}]},
        {"role": "assistant"},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "tool", "content": "x", "tool_call_id": "c"},
        {"role": "function", "name": "f", "content": None},
        {"role": "narrator", "content": ["x", {"anything": 1}]},
        {"author": {"role": "user"}, "content": [{"type": "text"}], "channel": "final"},
    ],
    ids=str,
)
def test_messages_of_every_kind(message: dict[str, Any]) -> None:
    made = validate({"messages": [message]}, schema.ChatCompletionRequest, V033)
    assert len(made.messages) == 1


@pytest.mark.parametrize(
    "message", [{}, {"content": "x"}, {"role": 5}, {"role": "user", "content": 5}, "x"], ids=str
)
def test_no_message_of_any_kind(message: Any) -> None:
    with pytest.raises(ApiError) as caught:
        validate({"messages": [message]}, schema.ChatCompletionRequest, V033)
    assert caught.value.param is not None
    assert caught.value.param.startswith("body.messages.0.ChatCompletionDeveloperMessageParam")
    kinds = ("System", "User", "Assistant", "Tool", "Function")
    places = [caught.value.message.find(f"messages.0.ChatCompletion{kind}MessageParam") for kind in kinds]
    told = [place for place in places if place >= 0]
    assert len(told) >= 3
    assert told == sorted(told)


@pytest.mark.parametrize(
    ("model", "body", "loc"),
    [
        (other.TokenizeCompletionRequest, {}, "body.prompt"),
        (other.DetokenizeRequest, {"tokens": [-1]}, "body.tokens.0"),
        (other.DetokenizeRequest, {"tokens": [2**63]}, "body.tokens.0"),
        (other.EmbeddingRequest, {"input": "x", "encoding_format": "hex"}, "body.encoding_format"),
        (other.LoadLoRAAdapterRequest, {"lora_name": "a"}, "body.lora_path"),
        (other.UnloadLoRAAdapterRequest, {}, "body.lora_name"),
        (other.AnthropicMessagesRequest, {"model": "m", "messages": []}, "body.max_tokens"),
        (
            other.AnthropicMessagesRequest,
            {"model": "m", "max_tokens": 1, "messages": [{"role": "tool", "content": "x"}]},
            "body.messages.0.role",
        ),
        (
            other.AnthropicMessagesRequest,
            {"model": "m", "max_tokens": 1, "messages": [], "tool_choice": {"type": "x"}},
            "body.tool_choice.type",
        ),
        (other.AnthropicCountTokensRequest, {"messages": []}, "body.model"),
        (other.ResponsesRequest, {}, "body.input"),
        (other.ResponsesRequest, {"input": "x", "presence_penalty": 3}, "body.presence_penalty"),
        (other.ResponsesRequest, {"input": "x", "service_tier": "best"}, "body.service_tier"),
        (other.ResponsesRequest, {"input": "x", "truncation": "middle"}, "body.truncation"),
    ],
)
def test_the_other_routes_name_the_field_at_fault(model: type[BaseModel], body: Any, loc: str) -> None:
    with pytest.raises(ApiError) as caught:
        validate(body, model, V033)
    assert (caught.value.status, caught.value.param) == (400, loc)
