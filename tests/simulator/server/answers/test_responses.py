"""/v1/responses: the response object, the order and numbers of its events, items in and items out."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from simulator.server.answers.responses import arguments_object
from tests.simulator.server.answers.test_completion import CONNECTOR, echoing
from tests.simulator.server.pods import Answer, Pod, pod

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
TOOLS = [{"type": "function", "name": name, "parameters": SCHEMA} for name in ("f", "g")]
CALLING = ("--enable-auto-tool-choice", "--tool-call-parser", "hermes")


def respond(one: Pod, content: Any = "a b", **fields: Any) -> Answer:
    return one.post("/v1/responses", {"model": "m", "input": content, **fields})


def test_a_whole_response() -> None:
    with echoing() as one:
        body = respond(one, instructions="be kind", metadata={"k": "v"}, max_output_tokens=9, user="u").json()
        item = body["output"][0]
        assert item.pop("id").startswith("msg_")
        assert item == {
            "content": [{"annotations": [], "text": "a b", "type": "output_text", "logprobs": None}],
            "role": "assistant", "status": "completed", "type": "message", "phase": None,
        }  # fmt: skip
        assert body["id"].startswith("resp_")
        told = [
            body[key] for key in ("instructions", "metadata", "max_output_tokens", "user", "status", "model")
        ]
        assert told == ["be kind", {"k": "v"}, 9, "u", "completed", "m"]
        assert (body["object"], body["incomplete_details"], body["tool_choice"]) == ("response", None, "none")
        assert body["usage"]["output_tokens"] == 3
        assert body["usage"]["total_tokens"] == body["usage"]["input_tokens"] + 3


def test_defaults_are_told() -> None:
    with echoing("vllm-0.33", "--max-model-len", "100") as one:
        body = respond(one).json()
        assert body["max_output_tokens"] == 100 - body["usage"]["input_tokens"]
        told = [body[key] for key in ("temperature", "top_p", "truncation", "service_tier")]
        assert told == [1.0, 1.0, "disabled", "auto"]
        assert body["parallel_tool_calls"] is True
        given = respond(one, temperature=0.5, top_p=0.25, truncation="auto", parallel_tool_calls=False).json()
        assert (given["temperature"], given["top_p"], given["truncation"]) == (0.5, 0.25, "auto")
        assert given["parallel_tool_calls"] is False


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_cut_off_is_incomplete(stream: bool) -> None:
    with echoing() as one:
        answer = respond(one, max_output_tokens=1, stream=stream)
        body = answer.chunks[-1]["response"] if stream else answer.json()
        assert body["status"] == "incomplete"
        assert body["incomplete_details"] == {"reason": "max_output_tokens"}
        assert body["output"][0]["status"] == "incomplete"
        if stream:
            assert answer.events[-1][0] == "response.incomplete"


TEXT_EVENTS = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.delta",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
]


def test_the_events_of_a_text() -> None:
    with echoing() as one:
        answer = respond(one, stream=True)
        chunks = answer.chunks
        assert [kind for kind, _ in answer.events] == [c["type"] for c in chunks] == TEXT_EVENTS
        assert [c["sequence_number"] for c in chunks] == list(range(len(chunks)))
        assert [c["delta"] for c in chunks if c["type"].endswith("text.delta")] == ["a", " b", ""]
        assert {c["item_id"] for c in chunks if "item_id" in c} == {chunks[2]["item"]["id"]}
        assert chunks[7]["text"] == "a b"
        assert chunks[-1]["response"]["output"] == [chunks[-2]["item"]]
        assert "[DONE]" not in answer.text
        begun = chunks[0]["response"]
        assert (begun["status"], begun["usage"], begun["output"]) == ("in_progress", None, [])
        assert chunks[-1]["response"] == {
            **begun, "status": "completed", "output": [chunks[-2]["item"]],
            "usage": chunks[-1]["response"]["usage"],
        }  # fmt: skip


def test_cached_tokens_are_told() -> None:
    with echoing("vllm-0.33", "--block-size", "16") as one:
        counts = []
        for _ in range(2):
            usage = respond(one, "word " * 40, max_output_tokens=1).json()["usage"]
            counts.append(usage["input_tokens_details"]["cached_tokens"])
        assert counts[0] == 0
        assert counts[1] % 16 == 0
        assert counts[1] >= 32


@pytest.mark.parametrize("choice", ["required", {"type": "function", "name": "g"}])
def test_calls_whole_and_in_events(choice: Any) -> None:
    counts = set()
    with pod(*CALLING) as one:
        for seed in range(12):
            whole = respond(one, tools=TOOLS, tool_choice=choice, seed=seed).json()
            assert [{key: tool[key] for key in TOOLS[0]} for tool in whole["tools"]] == TOOLS
            assert whole["tool_choice"] == choice
            for item in whole["output"]:
                assert (item["type"], item["status"]) == ("function_call", "completed")
                jsonschema.validate(json.loads(item["arguments"]), SCHEMA)
            chunks = respond(one, tools=TOOLS, tool_choice=choice, seed=seed, stream=True).chunks
            items = chunks[-1]["response"]["output"]
            assert without_ids(items) == without_ids(whole["output"])
            check_call_events(chunks, items)
            counts.add(len(items))
    assert counts == ({1, 2} if choice == "required" else {1})


def without_ids(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in item.items() if key != "id"} for item in items]


def check_call_events(chunks: list[Any], items: list[Any]) -> None:
    """Each call opens, says its arguments and closes before the next begins."""
    kinds = [(c["type"].removeprefix("response."), c.get("output_index")) for c in chunks[2:-1]]
    expected: list[tuple[str, int]] = []
    for i, item in enumerate(items):
        mine = [c for c in chunks if c.get("item_id") == item["id"]]
        deltas = [c["delta"] for c in mine if c["type"].endswith(".delta")]
        assert "".join(deltas) == item["arguments"]
        expected += [("output_item.added", i)] + [("function_call_arguments.delta", i)] * len(deltas)
        expected += [("function_call_arguments.done", i), ("output_item.done", i)]
    assert kinds == expected
    assert [c["sequence_number"] for c in chunks] == list(range(len(chunks)))


def test_a_call_that_is_cut_off() -> None:
    with pod(*CALLING) as one:
        fields = {
            "tools": TOOLS,
            "tool_choice": {"type": "function", "name": "f"},
            "max_output_tokens": 3,
            "seed": 1,
        }
        whole = respond(one, **fields).json()
        assert (whole["status"], whole["output"][0]["status"]) == ("incomplete", "incomplete")
        streamed = respond(one, **fields, stream=True).chunks[-1]["response"]
        assert without_ids(streamed["output"]) == without_ids(whole["output"])
        none = respond(one, tools=TOOLS, tool_choice="required", max_output_tokens=1, seed=1)
        assert none.json()["output"] == []  # its text had not yet come to the arguments
        assert (
            respond(one, tools=TOOLS, tool_choice="required", max_output_tokens=1, stream=True).chunks[-1][
                "response"
            ]["output"]
            == []
        )


@pytest.mark.parametrize(
    ("items", "equal"),
    [
        ([{"role": "user", "content": "a"}], [{"role": "user", "content": "a"}]),
        ([{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}]}],
         [{"role": "user", "content": "a"}]),
        ([{"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a": 1}'}],
         [{"role": "assistant", "content": "", "tool_calls": [{
             "id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}]}]),
        ([{"type": "function_call_output", "call_id": "c", "output": "ok"}],
         [{"role": "tool", "tool_call_id": "c", "content": "ok"}]),
        ([{"type": "reasoning", "summary": []}, {"role": "user", "content": "a"}],
         [{"role": "assistant", "content": ""}, {"role": "user", "content": "a"}]),
    ],
)  # fmt: skip
def test_items_come_to_a_conversation(items: list[Any], equal: list[Any]) -> None:
    with echoing() as one:
        count = one.post("/tokenize", {"messages": equal}).json()["count"]
        assert respond(one, items, max_output_tokens=1).json()["usage"]["input_tokens"] == count


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        (
            {"input": [{"type": "function_call_output", "output": 5}]},
            "input",
            "function_call_output.output must be a string or a list",
        ),
        (
            {"input": [{"type": "function_call_output", "output": ["a", True]}]},
            "input",
            "The parts of an input item's content must be objects",
        ),
        (
            {"input": [{"type": "message"}]},
            "input",
            "An input item of type 'message' must have a role and content",
        ),
        ({"input": [{"type": "web_search"}]}, "input", "Unsupported input item type: web_search"),
        (
            {"input": [{"role": "user", "content": [5]}]},
            "input",
            "The parts of an input item's content must be objects",
        ),
        ({"tools": [{"type": "function"}]}, "body.tools.0.FunctionTool.name", "26 validation errors"),
        ({"tools": [{"type": "zzz"}]}, "body.tools.0.FunctionTool.name", "27 validation errors"),
        (
            {"tools": [{"type": "function", "name": "f", "parameters": 5}]},
            "body.tools.0.FunctionTool.parameters",
            "24 validation errors",
        ),
        ({"tools": TOOLS, "tool_choice": "maybe"}, "body.tool_choice", "9 validation errors"),
        (
            {"tools": TOOLS, "tool_choice": {"type": "function"}},
            "tool_choice",
            "Tool choice 'function' not found in 'tools' parameter.",
        ),
        ({"tool_choice": "required"}, "tool_choice", "Tool choice 'required' must be specified with"),
        ({"prompt": {"id": "p"}}, "prompt", "prompt template is not supported"),
        ({"cache_salt": ""}, "cache_salt", "Parameter 'cache_salt' must be a non-empty string"),
        ({"cache_salt": "a/b"}, "cache_salt", "Parameter 'cache_salt' must be at most 128 characters"),
        (
            {"tools": [{"type": "custom", "name": "c", "format": {"type": "grammar"}}]},
            "tools",
            "Custom tools with a grammar format are not supported",
        ),
        ({"background": True}, "background", "This vLLM engine does not support `store=True`"),
        (
            {"previous_input_messages": [{}], "previous_response_id": "resp_1"},
            "previous_response_id",
            "Only one of `previous_input_messages`",
        ),
        (
            {"structured_outputs": {"choice": ["a"]}, "text": {"format": {"type": "json_object"}}},
            "structured_outputs",
            "Cannot specify both structured_outputs and text.format",
        ),
        ({"max_output_tokens": 10**6}, "max_output_tokens", "max_output_tokens=1000000 cannot be greater"),
        ({"include": ["zzz"]}, "body.include.0", "1 validation error"),
        (
            {"background": True, "store": False},
            "background",
            "background can only be used when `store` is true",
        ),
    ],
    ids=str,
)
def test_refusals_name_the_field(fields: dict[str, Any], param: str, words: str) -> None:
    with pod(*CALLING) as one:
        answer = respond(one, **{"content": fields.pop("input", "x"), **fields})
        assert (answer.status, answer.error["param"]) == (400, param)
        assert answer.message.startswith(words)


def test_nothing_is_stored() -> None:
    with pod() as one:
        for answer in (
            respond(one, previous_response_id="resp_1"),
            one.get("/v1/responses/resp_1"),
            one.post("/v1/responses/resp_1/cancel"),
        ):
            assert (answer.status, answer.error["type"]) == (404, "invalid_request_error")
            assert answer.message == "Response with id 'resp_1' not found."


@pytest.mark.parametrize(
    ("text", "check"),
    [
        (None, lambda said: said == "a b"),
        ({"format": {"type": "text"}}, lambda said: said == "a b"),
        ({"format": {"type": "json_object"}}, lambda said: isinstance(json.loads(said), dict)),
        ({"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}},
         lambda said: isinstance(json.loads(said)["a"], int)),
    ],
)  # fmt: skip
def test_text_formats(text: Any, check: Any) -> None:
    with echoing() as one:
        body = respond(one, text=text).json()
        assert check(body["output"][0]["content"][0]["text"])
        assert (body["text"] or {}).get("verbosity") is None
        if text is not None:
            assert body["text"]["format"].items() >= text["format"].items()


@pytest.mark.parametrize(
    ("text", "value"),
    [('{"a": 1}', {"a": 1}), ("", {}), ('{"a": ', {}), ("5", 5)],
)
def test_arguments_as_a_value(text: str, value: Any) -> None:
    assert arguments_object(text) == value


def test_logprobs_where_they_are_included() -> None:
    with echoing() as one:
        include = ["message.output_text.logprobs"]
        told = respond(one, include=include, top_logprobs=2, temperature=0).json()
        entries = told["output"][0]["content"][0]["logprobs"]
        assert told["top_logprobs"] == 2
        assert len(entries) == told["usage"]["output_tokens"]
        assert [list(entry) for entry in entries] == [["token", "bytes", "logprob", "top_logprobs"]] * len(
            entries
        )
        assert {len(entry["top_logprobs"]) for entry in entries} == {2}
        without = respond(one, top_logprobs=2).json()
        assert (without["top_logprobs"], without["output"][0]["content"][0]["logprobs"]) == (None, None)


@pytest.mark.parametrize("stream", [False, True])
def test_raw_messages_on_request(stream: bool) -> None:
    with echoing() as one:
        answer = respond(one, enable_response_messages=True, stream=stream)
        body = answer.chunks[-1]["response"] if stream else answer.json()
        [asked], [said] = body["input_messages"], body["output_messages"]
        assert (said["message"], len(said["tokens"])) == ("a b", body["usage"]["output_tokens"])
        assert len(asked["tokens"]) == body["usage"]["input_tokens"]
        assert asked["message"].endswith("assistant\n")


def test_ids_and_choices_of_the_client() -> None:
    with echoing() as one:
        assert respond(one, request_id="mine").json()["id"] == "mine"
        assert (
            respond(one, structured_outputs={"choice": ["q"]}).json()["output"][0]["content"][0]["text"]
            == "q"
        )
        greedy = respond(one, top_p=0.5, temperature=0).json()
        assert greedy["top_p"] == 1.0, "without a temperature there is nothing to choose among"


def test_tools_that_nobody_may_call() -> None:
    """Without vLLM's flags the choice "auto" is no choice; tools of OpenAI's own are told again."""
    with echoing() as one:
        body = respond(one, tools=[*TOOLS, {"type": "web_search"}]).json()
        assert (body["output"][0]["type"], body["tool_choice"]) == ("message", "auto")
        assert body["tools"][2]["search_context_size"] is None
        assert body["tools"][0]["async"] is None
        reasoning = respond(one, reasoning={"effort": "low"}).json()["reasoning"]
        assert (reasoning["effort"], reasoning["summary"]) == ("low", None)


def test_a_stream_ends_with_the_kv_transfer_of_a_whole_answer() -> None:
    leg = {"kv_transfer_params": {"do_remote_decode": True}, "max_output_tokens": 1}
    with echoing("vllm-0.33", "--kv-transfer-config", CONNECTOR) as one:
        whole = respond(one, "x " * 40, **leg).json()["kv_transfer_params"]
        stream = respond(one, "x " * 40, stream=True, **leg)
    told = [event["response"]["kv_transfer_params"] for event in stream.chunks if "response" in event]
    assert whole["do_remote_prefill"] is True
    assert told[0] is None  # as it begins
    assert told[-1].keys() == whole.keys()
