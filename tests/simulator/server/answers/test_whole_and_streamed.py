"""A stream says what the whole answer says: texts, ids, logprobs, reasons and counts, for any options."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.simulator.server.answers.test_completion import CONTINUOUS, VERSIONS
from tests.simulator.server.pods import Pod, pod

options = st.fixed_dictionaries(
    {"seed": st.integers(0, 10**6), "max_tokens": st.integers(1, 40)},
    optional={
        "n": st.integers(1, 3),
        "stop": st.sampled_from([".", [" the", "e "], "no such text"]),
        "ignore_eos": st.booleans(),
        "include_stop_str_in_output": st.booleans(),
        "return_token_ids": st.just(True),
        "min_tokens": st.just(1),
        "temperature": st.just(0.7),
    },
)
constraints = st.sampled_from(
    [
        {},
        {"structured_outputs": {"choice": ["yes", "no", "maybe so"]}},
        {"structured_outputs": {"regex": "[a-f]{3,9}-(x|yz)+"}},
        {"response_format": {"type": "json_object"}},
    ]
)
words = st.sampled_from(["x", "a longer prompt, with some words", "\u00e4\u4e2d\U0001f600"])


@pytest.fixture(scope="module", params=VERSIONS)
def one(request: pytest.FixtureRequest) -> Iterator[Pod]:
    with pod("--compat", request.param, "--max-model-len", "2000") as running:
        yield running


def gathered(chunks: list[Any], count: int) -> tuple[list[dict[str, Any]], Any]:
    """The choices that the chunks add up to, and the last usage."""
    choices: list[dict[str, Any]] = [
        {"text": "", "ids": [], "logprobs": [], "reason": None} for _ in range(count)
    ]
    usage = None
    for chunk in chunks:
        usage = chunk.get("usage") or usage
        for piece in chunk["choices"]:
            choice = choices[piece["index"]]
            assert choice["reason"] is None
            choice["text"] += piece["text"] if "text" in piece else piece["delta"].get("content") or ""
            choice["ids"] += piece.get("token_ids") or []
            choice["logprobs"] += logprobs_of(piece)
            choice["reason"] = piece["finish_reason"]
    return choices, usage


def logprobs_of(choice: dict[str, Any]) -> list[Any]:
    found = choice.get("logprobs")
    if not found:
        return []
    if "content" in found:
        content: list[Any] = found["content"]
        return content
    return list(
        zip(*(found[key] for key in ("tokens", "token_logprobs", "text_offset", "top_logprobs")), strict=True)
    )


def told(body: Any) -> tuple[list[dict[str, Any]], Any]:
    """The same of a whole answer."""
    choices = [
        {
            "text": choice["text"] if "text" in choice else choice["message"]["content"],
            "ids": choice.get("token_ids") or [],
            "logprobs": logprobs_of(choice),
            "reason": choice["finish_reason"],
        }
        for choice in body["choices"]
    ]
    return choices, body["usage"]


def counts(usage: Any) -> list[int]:
    return [usage[key] for key in ("prompt_tokens", "completion_tokens", "total_tokens")]


def check(one: Pod, path: str, body: dict[str, Any]) -> None:
    whole = one.post(path, body)
    assert whole.status == 200, whole.text
    choices, usage = told(whole.json())
    stream = one.post(path, {**body, **CONTINUOUS})
    assert stream.text.endswith("data: [DONE]\n\n")
    streamed, last = gathered(stream.chunks, len(choices))
    assert streamed == choices
    assert counts(last) == counts(usage)
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert one.replica.prepared.active == set()
    assert one.replica.driver.num_unfinished == 0


@given(options, constraints, words, st.none() | st.integers(0, 3))
@settings(max_examples=20, deadline=None)
def test_completions(one: Pod, fields: dict[str, Any], constraint: Any, prompt: str, logprobs: Any) -> None:
    if logprobs == 0 and not one.replica.prepared.compat.zero_logprobs:
        logprobs = None  # llm-d: none whole
    more = {} if logprobs is None else {"logprobs": logprobs}
    check(one, "/v1/completions", {"model": "m", "prompt": prompt, **fields, **constraint, **more})


@given(options, constraints, words, st.none() | st.integers(0, 3))
@settings(max_examples=20, deadline=None)
def test_chats(one: Pod, fields: dict[str, Any], constraint: Any, prompt: str, top: Any) -> None:
    more = {} if top is None else {"logprobs": True, "top_logprobs": top}
    messages = [{"role": "user", "content": prompt}]
    check(one, "/v1/chat/completions", {"model": "m", "messages": messages, **fields, **constraint, **more})


@given(options, words, st.integers(2, 7))
@settings(max_examples=10, deadline=None)
def test_streams_in_intervals(fields: dict[str, Any], prompt: str, interval: int) -> None:
    """--stream-interval: one token, then so many at a time, then what is left."""
    fields = {**fields, "n": 1, "ignore_eos": True, "stop": None, "return_token_ids": True}
    with pod("--stream-interval", str(interval)) as sparse:
        body = {"model": "m", "prompt": prompt, **fields}
        chunks = sparse.post("/v1/completions", {**body, "stream": True}).chunks
        assert gathered(chunks, 1)[0] == told(sparse.post("/v1/completions", body).json())[0]
        sizes = [len(chunk["choices"][0]["token_ids"]) for chunk in chunks]
        assert sizes[0] == 1
        assert all(size == interval for size in sizes[1:-1])
        assert sum(sizes) == fields["max_tokens"]
