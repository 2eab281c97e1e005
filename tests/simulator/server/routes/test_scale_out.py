"""A chat by way of render, generate and derender says what the chat's own route would."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.simulator.server.pods import Pod, pod

ON = "--enable-scale-out"
THINKS = (ON, "--reasoning-parser", "qwen3", "--thinking-tokens", "12")
TOOL = {
    "type": "function",
    "function": {"name": "look", "parameters": {"type": "object", "properties": {"q": {"type": "integer"}}}},
}
CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 60, "seed": 3}


def rendered(one: Pod, chat: dict[str, Any]) -> dict[str, Any]:
    reply = one.post("/v1/chat/completions/render", chat)
    assert reply.status == 200, reply.body
    made: dict[str, Any] = reply.json()
    return made


def test_a_thought_is_taken_out_of_ids() -> None:
    with pod(*THINKS) as one:
        request = rendered(one, CHAT)
        assert request["reasoning_parser_kwargs"] is not None
        answer = one.post("/inference/v1/generate", request).json()
        ids = answer["choices"][0]["token_ids"]
        asked = {"generate_response": answer, "chat_request": CHAT, "prompt_token_ids": request["token_ids"]}
        message = one.post("/v1/chat/completions/derender", asked).json()["choices"][0]["message"]
        assert message["reasoning"].strip()
        assert "think>" not in message["reasoning"] + message["content"]
        parsed = one.post("/inference/v1/generate", {**request, "output_mode": "derender"}).json()
        assert parsed["choices"][0]["message"]["reasoning"]
        assert _streamed(one, ids, request["token_ids"]) == (message["reasoning"], message["content"])
        del asked["chat_request"]
        assert one.post("/v1/chat/completions/derender", asked).status == 400


def _streamed(one: Pod, ids: list[int], prompt: list[int]) -> tuple[str, str]:
    """The same ids a few at a time: the client carries the state, the server keeps none."""
    state, thought, content = None, "", ""
    for start in range(0, len(ids), 3):
        last = start + 3 >= len(ids)
        choice = {
            "index": 0,
            "token_ids": ids[start : start + 3],
            "finish_reason": "length" if last else None,
        }
        chunk = {"request_id": "r", "choices": [choice]}
        body = {"stream": True, "generate_chunk": chunk, "stream_state": state, "chat_request": CHAT}
        reply = one.post("/v1/chat/completions/derender", {**body, "prompt_token_ids": prompt})
        assert reply.status == 200, reply.body
        state = reply.json()["stream_state"]
        delta = reply.json()["chunk"]["choices"][0]["delta"]
        thought += delta["reasoning"] or ""
        content += delta["content"] or ""
    return thought, content


def test_calls_are_found_in_ids() -> None:
    flags = (ON, "--enable-auto-tool-choice", "--tool-call-parser", "hermes")
    chat = {**CHAT, "tools": [TOOL], "tool_choice": "required"}
    with pod(*flags) as one:
        request = rendered(one, chat)
        assert request["parse_context"]["tool_choice"] == "required"
        answer = one.post("/inference/v1/generate", request).json()
        asked = {"generate_response": answer, "chat_request": chat, "prompt_token_ids": request["token_ids"]}
        choice = one.post("/v1/chat/completions/derender", asked).json()["choices"][0]
        call = choice["message"]["tool_calls"][0]
        assert (choice["finish_reason"], call["function"]["name"]) == ("tool_calls", "look")
        assert isinstance(json.loads(call["function"]["arguments"]), dict)


def test_characters_may_be_cut_by_chunks() -> None:
    """The state of a stream holds the bytes of a character whose end is to come."""
    with pod(ON) as one:
        ids = one.post("/tokenize", {"prompt": "aé€😀b"}).json()["tokens"]
        state, text = None, ""
        for token in ids:
            chunk = {"choices": [{"index": 0, "token_ids": [token]}]}
            body = {"stream": True, "generate_chunk": chunk, "stream_state": state}
            reply = one.post("/v1/completions/derender", body).json()
            state = reply["stream_state"]
            text += reply["chunk"]["choices"][0]["text"]
        assert text == "aé€😀b"
        body["stream_state"] = {"prev_tokens": ["\u4e00"]}
        assert one.post("/v1/completions/derender", body).status == 400


def test_stop_strings_and_tokens_are_no_text() -> None:
    with pod(ON) as one:
        ids = one.post("/tokenize", {"prompt": "one two three"}).json()["tokens"]

        def text(choice: dict[str, Any], **request: Any) -> Any:
            answer = {"choices": [{"index": 0, "token_ids": ids, "finish_reason": "stop", **choice}]}
            body = {"generate_responses": [answer], "completion_request": {"prompt": "x", **request}}
            made = one.post("/v1/completions/derender", body).json()["choices"][0]
            return made["text"], made["stop_reason"]

        assert text({}, stop=["two"]) == ("one ", "two")
        assert text({}, stop=["two"], include_stop_str_in_output=True) == ("one two", "two")
        assert text({"stop_reason": ids[-1]}) == (
            one.post("/detokenize", {"tokens": ids[:-1]}).json()["prompt"],
            ids[-1],
        )
        assert text({"finish_reason": "length"}, stop=["two"]) == ("one two three", None)


@pytest.mark.parametrize(
    ("sampling", "more", "said"),
    [
        ({"stop": ["x"]}, {}, "--tokens-only"),
        ({}, {"output_mode": "text"}, "requires a tokenizer"),
        ({"prompt_logprob_token_ids": [[1]]}, {}, "a simulator does not have"),
    ],
)
def test_tokens_only_has_no_text(sampling: dict[str, Any], more: dict[str, Any], said: str) -> None:
    with pod("--tokens-only") as one:
        reply = one.post("/inference/v1/generate", {"token_ids": [9], "sampling_params": sampling, **more})
        assert reply.status in (400, 501)
        assert said in reply.json()["error"]["message"]


def test_too_much_is_refused() -> None:
    with pod(ON, "--max-model-len", "64") as one:
        answer = {"choices": [{"index": 0, "token_ids": [9] * 65}]}
        for path, body in (
            ("/v1/completions/derender", {"generate_responses": [answer]}),
            ("/v1/chat/completions/derender", {"generate_response": answer}),
        ):
            assert "exceeds max_model_len (64)" in one.post(path, body).json()["error"]["message"]
        reply = one.post("/inference/v1/generate", {"token_ids": [9] * 65, "sampling_params": {}})
        assert reply.status == 400
