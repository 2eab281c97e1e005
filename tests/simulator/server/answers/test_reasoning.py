"""Thoughts: taken apart from the content whatever the pieces, counted, and told on every route."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from simulator.config.reasoning import DIALECTS
from simulator.engine.text.regex_tokenizer import RegexTokenizer
from simulator.server.answers.reasoning import Reasoning, Splitter, ThoughtCounter, split_whole
from tests.simulator.server.serving import Server, serving

TOKENIZER = RegexTokenizer()
THOUGHT = "\nwe < count </ thi\n"
ANSWER = "The answer < 42."


def reasoning(name: str, thinks: bool = True, begins_inside: bool = False) -> Reasoning:
    return Reasoning(DIALECTS[name], thinks, True, "reasoning", begins_inside)


def told(name: str) -> str:
    dialect = DIALECTS[name]
    return dialect.start + THOUGHT + dialect.end + dialect.gap + ANSWER + dialect.ending


@pytest.mark.parametrize("name", sorted(set(DIALECTS) - {"minimax_m2_append_think"}))
def test_every_dialect_is_taken_apart_in_any_pieces(name: str) -> None:
    text = told(name)
    gap = "" if DIALECTS[name].strips_content else DIALECTS[name].gap
    assert split_whole(reasoning(name), text) == (THOUGHT, gap + ANSWER)
    for seed in range(20):
        rng, splitter, at = Random(seed), Splitter(reasoning(name)), 0
        thought = content = ""
        while at < len(text):
            end = min(at + rng.randint(1, 7), len(text))
            more = splitter.feed(text[at:end], finished=end == len(text))
            thought, content, at = thought + more[0], content + more[1], end
        assert (thought, content) == (THOUGHT, gap + ANSWER)


@pytest.mark.parametrize("name", sorted(set(DIALECTS) - {"minimax_m2_append_think"}))
def test_tokens_between_the_markers_are_counted(name: str) -> None:
    dialect = DIALECTS[name]
    pieces = (dialect.start, THOUGHT, dialect.end, dialect.gap, ANSWER, dialect.ending)
    ids = [token_id for piece in pieces for token_id in TOKENIZER.encode(piece)]
    counter = ThoughtCounter(reasoning(name), TOKENIZER)
    for token_id in ids:
        counter.feed([token_id])
    assert counter.count == len(TOKENIZER.encode(THOUGHT))


def test_a_prompt_that_opens_the_thought() -> None:
    """DeepSeek's own parser counts nothing behind a marker that it has not seen; the engine parsers do."""
    text = f"so it is</think>{ANSWER}"
    for name, count in (("deepseek_r1", 0), ("qwen3", 3)):
        inside = reasoning(name, begins_inside=True)
        assert split_whole(inside, text) == ("so it is", ANSWER)
        counter = ThoughtCounter(inside, TOKENIZER)
        counter.feed(TOKENIZER.encode("so it is") + TOKENIZER.encode("</think>"))
        assert counter.count == count


def test_answers_without_markers() -> None:
    assert split_whole(reasoning("deepseek_r1"), ANSWER) == (ANSWER, None)
    assert split_whole(reasoning("gemma4"), ANSWER) == (None, ANSWER)
    assert split_whole(reasoning("qwen3", thinks=False), ANSWER) == (None, ANSWER)
    shown = split_whole(reasoning("minimax_m2_append_think"), "a</think>b")
    assert shown == (None, "<think>a</think>b")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    flags = ("--reasoning-parser", "qwen3", "--thinking-tokens", "12", "--seed", "1", "--model", "m")
    tools = ("--enable-auto-tool-choice", "--tool-call-parser", "hermes")
    with serving(*flags, *tools) as started:
        yield started


def ask(server: Server, path: str = "/v1/chat/completions", **fields: Any) -> Any:
    body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 60, "temperature": 0, **fields}
    reply = server.request("POST", path, body)
    assert reply.status == 200, reply.body
    return reply


def chunks(reply: Any) -> list[dict[str, Any]]:
    lines = reply.body.decode().splitlines()
    return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]


def test_chat_whole_and_streamed_agree(server: Server) -> None:
    whole = ask(server).json()
    message = whole["choices"][0]["message"]
    assert message["reasoning"].startswith("\n")
    assert message["content"].startswith("\n\n")
    assert whole["usage"]["completion_tokens_details"] == {"reasoning_tokens": 14}  # 12 and two newlines
    options = {"include_usage": True, "continuous_usage_stats": True}
    got = chunks(ask(server, stream=True, stream_options=options))
    deltas = [chunk["choices"][0]["delta"] for chunk in got if chunk["choices"]]
    assert "".join(delta.get("reasoning") or "" for delta in deltas) == message["reasoning"]
    assert "".join(delta.get("content") or "" for delta in deltas) == message["content"]
    assert got[-1]["usage"]["completion_tokens_details"] == {"reasoning_tokens": 14}
    counts = [chunk["usage"]["completion_tokens_details"]["reasoning_tokens"] for chunk in got]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (0, 14)
    plain = chunks(ask(server, stream=True))
    assert "".join(c["choices"][0]["delta"].get("content") or "" for c in plain) == message["content"]


def test_a_cut_inside_the_thought_has_no_content(server: Server) -> None:
    choice = ask(server, max_tokens=8).json()["choices"][0]
    assert choice["finish_reason"] == "length"
    assert choice["message"]["content"] is None
    assert choice["message"]["reasoning"]


def test_who_does_not_want_thoughts(server: Server) -> None:
    asked = {"include_reasoning": False, "logprobs": True, "return_token_ids": True}
    hidden = ask(server, **asked).json()["choices"][0]
    assert hidden["message"]["reasoning"] is None
    assert hidden["message"]["content"]
    assert (hidden["logprobs"], hidden["token_ids"]) == (None, None)
    streamed = chunks(ask(server, stream=True, **asked))
    assert not any("reasoning" in chunk["choices"][0]["delta"] for chunk in streamed)
    for off in ({"chat_template_kwargs": {"enable_thinking": False}}, {"reasoning_effort": "none"}):
        answer = ask(server, **off).json()
        assert answer["choices"][0]["message"]["reasoning"] is None
        assert answer["usage"]["completion_tokens_details"] == {"reasoning_tokens": 0}


def test_a_budget_ends_the_thought(server: Server) -> None:
    answer = ask(server, thinking_token_budget=3).json()
    assert answer["usage"]["completion_tokens_details"] == {"reasoning_tokens": 5}
    assert answer["choices"][0]["message"]["content"]


def test_tools_are_called_after_the_thought(server: Server) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tool = {"type": "function", "function": {"name": "weather", "parameters": schema}}
    asked = {"tools": [tool], "tool_choice": "required", "max_tokens": 400, "seed": 3}
    message = ask(server, **asked).json()["choices"][0]["message"]
    arguments = message["tool_calls"][0]["function"]["arguments"]
    assert message["reasoning"]
    assert "city" in json.loads(arguments)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks(ask(server, stream=True, **asked))]
    calls = [call for delta in deltas for call in delta.get("tool_calls", ())]
    assert "".join(call["function"]["arguments"] for call in calls if call["index"] == 0) == arguments


def test_responses_tell_a_reasoning_item(server: Server) -> None:
    body = {"input": "hi", "max_output_tokens": 60, "temperature": 0}
    whole = server.request("POST", "/v1/responses", body).json()
    assert [item["type"] for item in whole["output"]] == ["reasoning", "message"]
    assert whole["usage"]["output_tokens_details"]["reasoning_tokens"] == 14
    events = chunks(server.request("POST", "/v1/responses", {**body, "stream": True}))
    thought = "".join(e["delta"] for e in events if e["type"] == "response.reasoning_text.delta")
    assert thought == whole["output"][0]["content"][0]["text"]
    last = events[-1]["response"]
    assert [item["type"] for item in last["output"]] == ["reasoning", "message"]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))


def test_messages_tell_a_thinking_block(server: Server) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 60, "temperature": 0}
    whole = server.request("POST", "/v1/messages", body).json()
    assert [block["type"] for block in whole["content"]] == ["thinking", "text"]
    events = chunks(server.request("POST", "/v1/messages", {**body, "stream": True}))
    kinds = [event["delta"]["type"] for event in events if event["type"] == "content_block_delta"]
    assert list(dict.fromkeys(kinds)) == ["thinking_delta", "signature_delta", "text_delta"]
    off = server.request("POST", "/v1/messages", {**body, "thinking": {"type": "disabled"}}).json()
    assert [block["type"] for block in off["content"]] == ["text"]
