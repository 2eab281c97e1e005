"""The official client, as users have it: completes, chats, streams, calls tools."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import openai
import pytest

from tests.simulator.server.serving import serving

WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
        "days": {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 7}, "minItems": 1},
    },
    "required": ["city", "unit", "days"],
    "additionalProperties": False,
}
TOOLS: Any = [
    {"type": "function", "function": {"name": "get_weather", "description": "weather", "parameters": WEATHER}}
]
SAID: Any = [{"role": "user", "content": "What is the weather in Boston?"}]


@pytest.fixture(scope="module")
def client() -> Iterator[openai.OpenAI]:
    flags = (
        *("--model", "meta-llama/Llama-3.1-8B-Instruct", "--latency", "zero", "--seed", "7"),
        *("--enable-auto-tool-choice", "--tool-call-parser", "hermes", "--enable-prompt-tokens-details"),
    )
    with serving(*flags) as server, openai.OpenAI(base_url=f"{server.base}/v1", api_key="none") as made:
        yield made


MODEL = "meta-llama/Llama-3.1-8B-Instruct"


def test_lists_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]


def test_completes(client: openai.OpenAI) -> None:
    answer = client.completions.create(
        model=MODEL, prompt="Hello", max_tokens=7, extra_body={"ignore_eos": True}
    )
    assert answer.choices[0].text
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 7
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 7


def test_streams_a_completion(client: openai.OpenAI) -> None:
    body = {"ignore_eos": True}
    chunks = list(
        client.completions.create(
            model=MODEL,
            prompt="Hello",
            max_tokens=9,
            stream=True,
            stream_options={"include_usage": True},
            extra_body=body,
        )
    )
    *tokens, last = chunks
    assert len(tokens) == 9
    assert tokens[-1].choices[0].finish_reason == "length"
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens == 9


def test_chats(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=SAID, max_completion_tokens=20)
    message = answer.choices[0].message
    assert message.role == "assistant"
    assert message.content
    assert message.tool_calls is None


def test_streams_a_chat(client: openai.OpenAI) -> None:
    whole = ""
    roles = []
    for chunk in client.chat.completions.create(
        model=MODEL, messages=SAID, max_tokens=12, stream=True, extra_body={"ignore_eos": True}
    ):
        delta = chunk.choices[0].delta
        whole += delta.content or ""
        roles.append(delta.role)
    assert roles[0] == "assistant"
    assert roles[1:] == [None] * 12
    assert whole


def test_same_seed_same_answer(client: openai.OpenAI) -> None:
    answers = {
        client.chat.completions.create(model=MODEL, messages=SAID, seed=3, max_tokens=30)
        .choices[0]
        .message.content
        for _ in range(3)
    }
    assert len(answers) == 1


@pytest.mark.parametrize(
    "choice",
    ["required", {"type": "function", "function": {"name": "get_weather"}}],
    ids=["required", "named"],
)
def test_calls_a_tool(client: openai.OpenAI, choice: Any) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=SAID, tools=TOOLS, tool_choice=choice)
    calls = answer.choices[0].message.tool_calls
    assert calls
    call: Any = calls[0]
    assert call.function.name == "get_weather"
    jsonschema.validate(json.loads(call.function.arguments), WEATHER)
    assert answer.choices[0].finish_reason == ("tool_calls" if choice == "required" else "stop")


def test_auto_sometimes_calls_and_sometimes_talks(client: openai.OpenAI) -> None:
    called = set()
    for seed in range(20):
        answer = client.chat.completions.create(model=MODEL, messages=SAID, tools=TOOLS, seed=seed)
        choice = answer.choices[0]
        called.add(bool(choice.message.tool_calls))
        if choice.message.tool_calls:
            assert choice.finish_reason == "tool_calls"
            assert choice.message.content is None
    assert called == {True, False}


def test_streams_a_tool_call(client: openai.OpenAI) -> None:
    name, arguments, ids, reasons = "", "", [], []
    for chunk in client.chat.completions.create(
        model=MODEL, messages=SAID, tools=TOOLS, tool_choice="required", stream=True
    ):
        choice = chunk.choices[0]
        reasons.append(choice.finish_reason)
        for call in choice.delta.tool_calls or []:
            assert call.function is not None
            if call.index == 0:
                name += call.function.name or ""
                arguments += call.function.arguments or ""
                ids += [call.id] if call.id else []
    assert name == "get_weather"
    assert len(ids) == 1
    assert reasons[-1] == "tool_calls"
    jsonschema.validate(json.loads(arguments), WEATHER)


def test_json_schema_is_met(client: openai.OpenAI) -> None:
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "weather", "schema": WEATHER}}
    answer = client.chat.completions.create(model=MODEL, messages=SAID, response_format=wanted)
    content = answer.choices[0].message.content
    assert content is not None
    jsonschema.validate(json.loads(content), WEATHER)
    assert answer.choices[0].finish_reason == "stop"


def test_logprobs(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=MODEL,
        messages=SAID,
        max_tokens=4,
        logprobs=True,
        top_logprobs=3,
        extra_body={"ignore_eos": True},
    )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert len(logprobs.content) == 4
    for token in logprobs.content:
        assert token.logprob <= 0
        assert len(token.top_logprobs) == 3
        assert token.top_logprobs[0].token == token.token


def test_cached_tokens_are_the_block_pools(client: openai.OpenAI) -> None:
    prompt = "one two three four five six seven " * 20
    seen = []
    for _ in range(2):
        usage = client.completions.create(model=MODEL, prompt=prompt, max_tokens=1).usage
        assert usage is not None
        assert usage.prompt_tokens_details is not None
        seen.append(usage.prompt_tokens_details.cached_tokens)
    assert seen[0] == 0
    assert seen[1] == (usage.prompt_tokens - 1) // 16 * 16


def test_errors_are_the_clients_own(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        client.completions.create(model="nope", prompt="x")
    with pytest.raises(openai.BadRequestError, match="maximum context length"):
        client.completions.create(model=MODEL, prompt="a " * 40000)


def test_responses(client: openai.OpenAI) -> None:
    answer = client.responses.create(
        model=MODEL, input="hello", max_output_tokens=16, instructions="be brief"
    )
    assert answer.output_text
    assert answer.usage is not None
    assert answer.usage.output_tokens <= 16
    kinds = [event.type for event in client.responses.create(model=MODEL, input="hello", stream=True)]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] == "response.completed"


def test_responses_call_a_tool(client: openai.OpenAI) -> None:
    tool: Any = {"type": "function", "name": "get_weather", "parameters": WEATHER, "strict": True}
    answer = client.responses.create(model=MODEL, input="weather?", tools=[tool], tool_choice="required")
    call = answer.output[0]
    assert call.type == "function_call"
    jsonschema.validate(json.loads(call.arguments), WEATHER)
    with client.responses.stream(
        model=MODEL, input="weather?", tools=[tool], tool_choice="required"
    ) as stream:
        final = stream.get_final_response()
    assert final.output[0].type == "function_call"
    jsonschema.validate(json.loads(final.output[0].arguments), WEATHER)
