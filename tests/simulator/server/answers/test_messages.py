"""/v1/messages: Anthropic's message and its events, exactly; what conversations in its form come to."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from tests.simulator.server.answers.test_completion import echoing, masked
from tests.simulator.server.pods import Answer, Pod, pod

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
TOOLS = [{"name": name, "description": "d", "input_schema": SCHEMA} for name in ("f", "g")]
CALLING = ("--enable-auto-tool-choice", "--tool-call-parser", "hermes")


def say(one: Pod, content: Any = "a b", **fields: Any) -> Answer:
    messages = fields.pop("messages", [{"role": "user", "content": content}])
    return one.post("/v1/messages", {"model": "m", "max_tokens": 200, "messages": messages, **fields})


def counted(tokens: int) -> dict[str, Any]:
    return {"input_tokens": tokens, "context_management": {"original_input_tokens": tokens}}


def test_a_whole_message() -> None:
    with echoing() as one:
        assert masked(say(one)) == (
            '{"id":"ID","type":"message","role":"assistant","content":[{"type":"text","text":"a b"}],'
            '"model":"m","stop_reason":"end_turn","usage":{"input_tokens":10,"output_tokens":3}}'
        )


def test_a_stream_of_events() -> None:
    with echoing() as one:
        assert masked(say(one, stream=True)) == (
            'event: message_start\ndata: {"type":"message_start","message":{"id":"ID","type":"message",'
            '"role":"assistant","content":[],"model":"m","stop_reason":null,"stop_sequence":null,'
            '"usage":{"input_tokens":10,"output_tokens":0}}}\n\n'
            'event: content_block_start\ndata: {"type":"content_block_start","content_block":'
            '{"type":"text","text":""},"index":0}\n\n'
            'event: content_block_delta\ndata: {"type":"content_block_delta","delta":'
            '{"type":"text_delta","text":"a"},"index":0}\n\n'
            'event: content_block_delta\ndata: {"type":"content_block_delta","delta":'
            '{"type":"text_delta","text":" b"},"index":0}\n\n'
            'event: content_block_delta\ndata: {"type":"content_block_delta","delta":'
            '{"type":"text_delta","text":""},"index":0}\n\n'
            'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
            'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn",'
            '"stop_sequence":null},"usage":{"input_tokens":10,"output_tokens":3}}\n\n'
            'event: message_stop\ndata: {"type":"message_stop"}\n\n'
        )


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fields", "reason", "sequence"),
    [
        ({}, "end_turn", None),
        ({"max_tokens": 2}, "max_tokens", None),
        ({"stop_sequences": ["x", "b"]}, "stop_sequence", "b"),
    ],
)
def test_stop_reasons(stream: bool, fields: dict[str, Any], reason: str, sequence: str | None) -> None:
    with echoing() as one:
        answer = say(one, stream=stream, **fields)
        if stream:
            told = [c["delta"] for c in answer.chunks if c["type"] == "message_delta"]
            assert told == [{"stop_reason": reason, "stop_sequence": sequence}]
            assert "[DONE]" not in answer.text
        else:
            assert (answer.json()["stop_reason"], answer.json().get("stop_sequence")) == (reason, sequence)


def streamed_uses(answer: Answer) -> list[dict[str, Any]]:
    """The tool_use blocks of a stream, put together; checks that blocks open and close in turn."""
    uses: list[dict[str, Any]] = []
    texts: list[str] = []
    opened = False
    for event in answer.chunks:
        if event["type"] == "content_block_start":
            assert not opened
            assert event["index"] == len(uses)
            assert event["content_block"]["input"] == {}
            uses.append(event["content_block"])
            texts.append("")
            opened = True
        elif event["type"] == "content_block_delta":
            assert opened
            assert event["index"] == len(uses) - 1
            texts[-1] += event["delta"]["partial_json"]
        elif event["type"] == "content_block_stop":
            assert opened
            assert event["index"] == len(uses) - 1
            opened = False
    assert not opened
    return [{**use, "input": json.loads(text)} for use, text in zip(uses, texts, strict=True)]


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "g"}])
def test_tool_uses_whole_and_in_pieces(choice: dict[str, str]) -> None:
    counts = set()
    for seed in range(12):
        with pod(*CALLING, "--seed", str(seed)) as one, pod(*CALLING, "--seed", str(seed)) as twin:
            whole = say(one, tools=TOOLS, tool_choice=choice).json()
            assert whole["stop_reason"] == "tool_use"
            for use in whole["content"]:
                assert (use["type"], use["name"] in ("f", "g")) == ("tool_use", True)
                assert choice.get("name", use["name"]) == use["name"]
                jsonschema.validate(use["input"], SCHEMA)
            assert streamed_uses(say(twin, tools=TOOLS, tool_choice=choice, stream=True)) == whole["content"]
            counts.add(len(whole["content"]))
    assert counts == ({1, 2} if choice["type"] == "any" else {1})


def test_uses_that_are_cut_off_are_empty_objects() -> None:
    with pod(*CALLING) as one:
        whole = say(one, tools=TOOLS, tool_choice={"type": "tool", "name": "f"}, max_tokens=3).json()
        assert whole["stop_reason"] == "max_tokens"
        assert [use["input"] for use in whole["content"]] == [{}]


@pytest.mark.parametrize(
    ("choice", "calls"), [({"type": "none"}, False), ({"type": "auto"}, True), (None, True)]
)
def test_tools_are_a_choice(choice: Any, calls: bool) -> None:
    kinds = set()
    with pod(*CALLING) as one:
        for _ in range(20):
            body = say(one, tools=TOOLS, tool_choice=choice, max_tokens=50).json()
            kinds.add(body["content"][0]["type"])
    assert kinds == ({"text", "tool_use"} if calls else {"text"})


def test_a_tool_must_be_one_of_them() -> None:
    with pod(*CALLING) as one:
        answer = say(one, tools=TOOLS, tool_choice={"type": "tool", "name": "h"})
        assert answer.message == "tool with name 'h' requested in tool_choice but not found in the tools list"


@pytest.mark.parametrize(
    ("messages", "equal"),
    [
        ([{"role": "user", "content": [{"type": "text", "text": "a"}]}], [{"role": "user", "content": "a"}]),
        (
            [{"role": "user", "content": [{"type": "thinking"}, {"type": "text", "text": "a"}]}],
            [{"role": "user", "content": "a"}],
        ),
        (
            [{"role": "assistant", "content": [
                {"type": "tool_use", "id": "1", "name": "f", "input": {"a": 1}}]}],
            [{"role": "assistant", "content": "", "tool_calls": [{
                "id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}]}],
        ),
        (
            [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "ok"}]}],
            [{"role": "tool", "tool_call_id": "1", "content": "ok"}],
        ),
        (
            [{"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "ok"}]},
                {"type": "text", "text": "go on"}]}],
            [{"role": "tool", "tool_call_id": "1", "content": "ok"}, {"role": "user", "content": "go on"}],
        ),
        (
            [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1"}]}],
            [{"role": "tool", "tool_call_id": "1", "content": ""}],
        ),
        (
            [{"role": "user", "content": []}, {"role": "system", "content": [{"type": "text", "text": "s"}]}],
            [{"role": "system", "content": "s"}],
        ),
    ],
)  # fmt: skip
def test_conversations_come_to_those_of_a_chat(messages: list[Any], equal: list[Any]) -> None:
    with echoing() as one:
        asked = one.post("/v1/messages/count_tokens", {"model": "m", "messages": messages}).json()
        chat = one.post("/tokenize", {"model": "m", "messages": equal}).json()
        assert asked == counted(chat["count"])
        assert say(one, messages=messages).json()["usage"]["input_tokens"] == chat["count"]


def test_the_system_prompt_stands_first() -> None:
    with echoing() as one:
        count = one.post(
            "/tokenize",
            {"messages": [{"role": "system", "content": "be kind"}, {"role": "user", "content": "a"}]},
        ).json()["count"]
        blocks = [{"type": "text", "text": "be "}, {"type": "text", "text": "kind"}, {"type": "image"}]
        for system in ("be kind", blocks):
            body = {"model": "m", "system": system, "messages": [{"role": "user", "content": "a"}]}
            assert one.post("/v1/messages/count_tokens", body).json() == counted(count)


def test_tools_count_as_prompt() -> None:
    with pod(*CALLING) as one:
        body = {"model": "m", "messages": [{"role": "user", "content": "a"}]}
        bare = one.post("/v1/messages/count_tokens", body).json()["input_tokens"]
        assert (
            one.post("/v1/messages/count_tokens", {**body, "tools": TOOLS}).json()["input_tokens"] > bare + 20
        )


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fields", "status", "kind", "words"),
    [
        ({"model": "x"}, 404, "not_found_error", "The model `x` does not exist. Valid aliases: m."),
        ({"messages": []}, 400, "invalid_request_error", "Cannot apply chat template to an empty"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, 400, "invalid_request_error",
         "Cannot apply chat template to an empty"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {"data": "AAAA"}}]}]}, 400,
         "invalid_request_error", "m is not a multimodal model"),
        ({"top_p": 2}, 400, "invalid_request_error", "top_p must be in (0, 1], got 2.0."),
        ({"temperature": -1}, 400, "invalid_request_error", "temperature must be non-negative, got -1.0."),
    ],
)  # fmt: skip
def test_errors_have_anthropics_form(
    stream: bool, fields: dict[str, Any], status: int, kind: str, words: str
) -> None:
    with echoing() as one:
        answer = say(one, stream=stream, **fields)
        assert answer.status == status
        assert (answer.json()["type"], answer.error["type"]) == ("error", kind)
        assert answer.message.startswith(words)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"max_tokens": 0}, "max_tokens must be positive"),
        ({"model": ""}, "Model is required"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name is required when type is 'tool'"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "must be less than max_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": 5}}, "greater than or equal to 1024"),
        ({"thinking": {"type": "deep"}}, "'enabled', 'disabled', 'adaptive'"),
    ],
)
def test_what_pydantic_refuses_has_openais_form(fields: dict[str, Any], words: str) -> None:
    with echoing() as one:
        answer = say(one, **fields)
        assert (answer.status, answer.error["type"]) == (400, "Bad Request")
        assert words in answer.message


def test_a_prefill_leg_may_think_longer_than_it_speaks() -> None:
    with echoing("vllm-0.33", "--reasoning-parser", "qwen3") as one:
        thinking = {"type": "enabled", "budget_tokens": 4096}
        answer = say(one, max_tokens=1, thinking=thinking, kv_transfer_params={"do_remote_decode": True})
        assert answer.status == 200
    with echoing() as one:  # without a parser nobody knows where a thought ends
        answer = say(one, max_tokens=5000, thinking=thinking)
        assert answer.status == 400
        assert "reasoning_config is not configured" in answer.body.decode()


def test_what_a_cache_had_is_told_apart() -> None:
    with echoing("vllm-0.33", "--enable-prompt-tokens-details") as one:
        first, again = (say(one, "word " * 40).json()["usage"] for _ in range(2))
        assert first["cache_read_input_tokens"] == 0
        assert again["cache_read_input_tokens"] > 0
        whole = again["input_tokens"] + again["cache_read_input_tokens"]
        assert whole == first["input_tokens"]
