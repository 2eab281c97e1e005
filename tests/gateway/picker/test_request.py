"""Bodies that the picker reads, and those it refuses in the EPP's words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.picker.compat import (
    GIE_V12,
    GIE_V13,
    GIE_V14,
    GIE_V15,
    LLMD_HEAD,
    LLMD_V010,
    LLMD_V09,
    Compat,
)
from gateway.picker.errors import RequestError
from gateway.picker.request import RequestBody, decode_body

CHAT = {":path": "/v1/chat/completions"}


def decode(
    payload: Any, compat: Compat = GIE_V12, headers: dict[str, str] | None = None, v: int = 2
) -> RequestBody:
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return decode_body(raw, headers or {}, compat, v)


def refusal(payload: Any, compat: Compat = GIE_V12, headers: dict[str, str] | None = None, v: int = 2) -> str:
    with pytest.raises(RequestError) as caught:
        decode(payload, compat, headers, v)
    assert caught.value.status == 400
    return compat.error_format.format(code=caught.value.code, message=caught.value.message)


def test_v12_tells_the_api_by_the_fields() -> None:
    assert decode({"model": "m", "prompt": "x"}).api == "completions"
    assert decode({"model": "m", "messages": [{"role": "user", "content": "x"}]}).api == "chat"
    # A prompt that is no string does not count; the messages do, whatever the path.
    both = {"model": "m", "prompt": ["x"], "messages": [{"role": "user"}]}
    assert decode(both, headers={":path": "/v1/completions"}).api == "chat"


def test_v12_words() -> None:
    assert refusal(b"{bad") == "inference gateway: BadRequest - Error unmarshaling request body"
    assert refusal(b"{bad", v=4) == "inference gateway: BadRequest - Error unmarshaling request body: {bad"
    assert refusal(b"[1]") == "inference gateway: BadRequest - Error unmarshaling request body"
    assert refusal({"prompt": "x"}) == "inference gateway: BadRequest - model not found in request body"
    assert refusal(b"null") == "inference gateway: BadRequest - model not found in request body"
    assert refusal({"model": "m", "prompt": ["x"]}) == (
        "inference gateway: BadRequest - failed to extract request data: inference gateway: BadRequest - "
        "invalid chat-completions request: inference gateway: BadRequest - "
        "chat-completions request must have at least one message"
    )
    assert refusal({"model": "m", "messages": "x"}) == (
        "inference gateway: BadRequest - failed to extract request data: "
        "inference gateway: BadRequest - invalid request format"
    )


@pytest.mark.parametrize(
    "chat",
    [
        {"messages": ["x"]},
        {"messages": [{"role": 1}]},
        {"messages": [{"content": 5}]},
        {"messages": [{"content": ["x"]}]},
        {"messages": [{"content": [{"type": "image_url", "image_url": "u"}]}]},
        {"messages": [{}], "tools": {}},
        {"messages": [{}], "cache_salt": 1},
        {"messages": [{}], "add_generation_prompt": "yes"},
        {"messages": [{}], "chat_template_kwargs": []},
    ],
)
def test_types_that_gos_structs_refuse(chat: dict[str, Any]) -> None:
    assert refusal({"model": "m", **chat}).endswith("invalid request format")


@pytest.mark.parametrize("content", ["x", None, [{"type": "text", "text": "x"}], [None], []])
def test_contents_that_gos_structs_take(content: Any) -> None:
    assert decode({"model": "m", "messages": [{"role": "user", "content": content}, None]}).api == "chat"


def test_v13_does_not_quote_the_body() -> None:
    assert refusal(b"{bad", GIE_V13, v=5).endswith("Error unmarshaling request body")


def test_v14_tells_the_api_by_the_path() -> None:
    assert refusal({"model": "m", "prompt": "x"}, GIE_V14, CHAT) == (
        "inference gateway: BadRequest - failed to extract request data: inference gateway: BadRequest - "
        "invalid chat completions request: must have valid messages field"
    )
    assert decode({"model": "m", "prompt": "x"}, GIE_V14).api == "completions"


def test_v15_words_and_lists() -> None:
    assert decode({"model": "m", "prompt": ["a", "b"]}, GIE_V15).api == "completions"
    assert refusal({"model": "m", "prompt": [1, 2]}, GIE_V15) == (
        "inference error: BadRequest - invalid completions request: must have prompt field"
    )
    assert refusal(b"{", GIE_V15).startswith(
        "inference error: BadRequest - error unmarshaling request bodyMap: "
    )
    assert decode({"model": "m", "input": "x"}, GIE_V15, {":path": "/v1/embeddings"}).api == "embeddings"
    assert "must have input field" in refusal({"model": "m"}, GIE_V15, {":path": "/v1/responses"})
    # From v1.5 on the prompt is looked at before the model.
    assert "must have prompt field" in refusal({}, GIE_V15)


@pytest.mark.parametrize("compat", [LLMD_V09, LLMD_V010, LLMD_HEAD], ids=lambda c: c.name)
def test_llm_d_takes_tokens_and_strings_but_no_lists_of_tokens(compat: Compat) -> None:
    for prompt in ("x", ["x", "y"], [1, 2.0]):
        assert decode({"model": "m", "prompt": prompt}, compat).api == "completions"
    for prompt in ([[1], [2]], [1, "x"], [-1], [1.5], [1 << 32], [True], []):
        assert "must have prompt field" in refusal({"model": "m", "prompt": prompt}, compat)


PATHS = {
    "/v1/completions?x=1": "completions",
    "/v1/completions/": "completions",
    "/v1/completions/render": "completions",
    "/v1/chat/completions/render": "chat",
    "/v1/messages": "messages",
    "/v1/messages/count_tokens": "raw",
    "/v1/images/generations": "images",
    "/inference/v1/generate": "generate",
}


@pytest.mark.parametrize("compat", [LLMD_V09, LLMD_V010, LLMD_HEAD], ids=lambda c: c.name)
@pytest.mark.parametrize("path", PATHS)
def test_llm_d_tells_the_api_by_the_end_of_the_path(path: str, compat: Compat) -> None:
    body = {"model": "m", "prompt": "x", "messages": [{}], "token_ids": [1]}
    assert decode(body, compat, {":path": path}).api == PATHS[path]


def test_unknown_paths_are_refused_up_to_v010_and_forwarded_by_the_head() -> None:
    speech = {":path": "/v1/audio/speech?a=b"}
    for compat in (LLMD_V09, LLMD_V010):
        assert refusal(b"anything", compat, speech) == (
            "inference error: BadRequest - no parser registered matching path suffix for: /v1/audio/speech"
        )
    assert decode(b"anything", LLMD_HEAD, speech).api == "raw"


def test_parsers_that_are_configured_take_the_place_of_the_release_s() -> None:
    def api(path: str, *parsers: str) -> str:
        raw = b'{"model": "m", "prompt": "x", "messages": [{}]}'
        return decode_body(raw, {":path": path}, LLMD_V010, parsers=parsers).api

    assert api("/v1/messages", "anthropic-parser") == "messages"
    assert api("/v1/messages", "openai-parser", "passthrough-parser") == "raw"
    assert api("/v1/completions", "passthrough-parser", "openai-parser") == "raw"
    with pytest.raises(RequestError, match="no parser registered"):
        api("/v1/messages", "openai-parser")


def test_stream_and_salt() -> None:
    body = decode({"model": "m", "prompt": "x", "stream": True, "cache_salt": "s"})
    assert (body.stream, body.cache_salt) == (True, "s")
    assert not decode({"model": "m", "prompt": "x", "stream": "true"}).stream
