"""What completions and chats share: reasons, templates of whole answers, frames of streams, ends."""

from __future__ import annotations

import json
from typing import Any

import pytest

from simulator.server.answers.openai import WholeAnswer
from tests.simulator.server.answers.test_completion import CONTINUOUS, USAGE, VERSIONS
from tests.simulator.server.pods import Answer, Pod, pod

STREAM = {"stream": True}
KINDS = ("complete", "chat")
OBJECTS = {
    "complete": ("text_completion", "text_completion"),
    "chat": ("chat.completion", "chat.completion.chunk"),
}
PREFIXES = {"complete": "cmpl-", "chat": "chatcmpl-"}


def asked(one: Pod, kind: str, **fields: Any) -> Answer:
    answer: Answer = getattr(one, kind)("a b c", max_tokens=4, ignore_eos=True, **fields)
    assert answer.status == 200, answer.text
    return answer


def shape(value: Any) -> Any:
    """Keys in their order, and kinds of values; what a stream or a body says is left out."""
    if isinstance(value, dict):
        return [(key, shape(item)) for key, item in value.items()]
    if isinstance(value, list):
        return [shape(item) for item in value]
    return type(value).__name__


def without_identity(body: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key not in {"id", "created"}}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_head_is_the_same_on_every_chunk_and_of_its_kind(version: str, kind: str) -> None:
    with pod("--compat", version) as one:
        whole = asked(one, kind).json()
        chunks = asked(one, kind, **USAGE).chunks
    assert (whole["object"], chunks[0]["object"]) == OBJECTS[kind]
    assert whole["id"].startswith(PREFIXES[kind])
    heads = {(c["id"], c["object"], c["created"], c["model"]) for c in chunks}
    assert len(heads) == 1
    assert whole["id"] != chunks[0]["id"]
    assert {whole["model"], chunks[0]["model"]} == {"m"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "more", [{"n": 2}, {"logprobs": True, "top_logprobs": 1}, {"return_token_ids": True}]
)
def test_an_answer_from_a_template_has_the_shape_of_one_that_is_put_together(
    kind: str, more: dict[str, Any]
) -> None:
    if kind == "complete" and "logprobs" in more:
        more = {"logprobs": 1}
    with pod() as one:
        plain = asked(one, kind, seed=5).json()
        long = asked(one, kind, seed=5, **more).json()
        again = asked(one, kind, seed=5).json()
    assert list(plain) == list(long)
    assert list(plain["choices"][0]) == list(long["choices"][0])
    assert plain["usage"].keys() == long["usage"].keys()
    assert without_identity(plain) == without_identity(again)


@pytest.mark.parametrize("kind", KINDS)
def test_each_model_has_a_template_of_its_own(kind: str) -> None:
    with pod("--enable-lora", "--lora-modules", '{"name":"a","path":"/a"}') as one:
        assert [asked(one, kind, **more).json()["model"] for more in ({}, {}, {"model": "a"}, {})] == [
            "m", "m", "a", "m"
        ]  # fmt: skip
        assert set(one.replica.prepared.templates) == {(OBJECTS[kind][0], "m"), (OBJECTS[kind][0], "a")}


def test_the_two_kinds_share_no_template() -> None:
    with pod() as one:
        made = [asked(one, kind).json()["object"] for kind in (*KINDS, *KINDS)]
        assert made == ["text_completion", "chat.completion"] * 2
        assert len(one.replica.prepared.templates) == 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "text", ['"quoted"', "back\\slash", "\u00e4\u4e2d\U0001f600", "\x01\x1f\x7f", "</s>{}%s"]
)
def test_any_text_fits_into_a_template(kind: str, text: str) -> None:
    with pod("--mode", "echo") as one:
        answer: Answer = getattr(one, kind)(text, max_tokens=60)
        streamed: Answer = getattr(one, kind)(text, max_tokens=60, **STREAM)
    choice = answer.json()["choices"][0]
    assert (choice["text"] if kind == "complete" else choice["message"]["content"]) == text
    pieces = [c["choices"][0] for c in streamed.chunks]
    said = [p["text"] if kind == "complete" else p["delta"].get("content") or "" for p in pieces]
    assert "".join(said) == text


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", VERSIONS)
def test_chunks_from_a_frame_are_those_that_are_encoded_whole(version: str, kind: str) -> None:
    """Continuous usage takes the long way; without the usage on them its chunks are the framed ones."""
    with pod("--compat", version) as one:
        framed = asked(one, kind, seed=3, **USAGE).chunks
        encoded = asked(one, kind, seed=3, **CONTINUOUS).chunks
    assert len(framed) == len(encoded)
    for short, long in zip(framed[:-1], encoded[:-1], strict=True):
        assert without_identity(short).keys() <= without_identity(long).keys()
        for key in ("object", "model", "choices"):
            assert short[key] == long[key]
    assert framed[-1]["usage"] == encoded[-1]["usage"]


@pytest.mark.parametrize("kind", KINDS)
def test_continuous_usage_counts_up_to_the_last(kind: str) -> None:
    with pod() as one:
        chunks = asked(one, kind, **CONTINUOUS).chunks
    counts = [chunk["usage"]["completion_tokens"] for chunk in chunks]
    assert counts == sorted(counts)
    assert counts[-2:] == [4, 4]
    assert len({chunk["usage"]["prompt_tokens"] for chunk in chunks}) == 1
    for chunk in chunks:
        usage = chunk["usage"]
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("options", "flags", "usage_events"),
    [
        (None, (), 0),
        ({"include_usage": False}, (), 0),
        ({"include_usage": True}, (), 1),
        ({"continuous_usage_stats": True}, (), 0),  # only beside include_usage
        (None, ("--enable-force-include-usage",), 1),
        ({"include_usage": False}, ("--enable-force-include-usage",), 1),
    ],
)
def test_who_gets_a_usage_event(
    kind: str, options: dict[str, bool] | None, flags: tuple[str, ...], usage_events: int
) -> None:
    with pod(*flags) as one:
        answer = asked(one, kind, **STREAM, **({"stream_options": options} if options else {}))
    with_usage = [chunk for chunk in answer.chunks if chunk.get("usage")]
    assert len(with_usage) == usage_events
    assert all(chunk["choices"] == [] for chunk in with_usage)
    assert answer.events[-1] == ("", "[DONE]")
    assert [data for _, data in answer.events].count("[DONE]") == 1


@pytest.mark.parametrize("kind", KINDS)
def test_last_chunk_usage_and_end_mark_leave_in_one_write(kind: str) -> None:
    with pod() as one:
        answer = asked(one, kind, **USAGE)
    last = answer.pieces[-1]
    assert last.endswith(b"data: [DONE]\n\n")
    events = [json.loads(block[6:]) for block in last.split(b"\n\n")[:-2]]
    assert events[-1]["usage"]["completion_tokens"] == 4
    assert events[-2]["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("kind", KINDS)
def test_the_end_waits_for_the_last_choice(kind: str) -> None:
    with pod() as one:
        answer = asked(one, kind, n=3, **USAGE)
    reasons = [c["finish_reason"] for chunk in answer.chunks for c in chunk["choices"]]
    assert [reason for reason in reasons if reason] == ["length"] * 3
    assert answer.chunks[-1]["usage"]["completion_tokens"] == 12


@pytest.mark.parametrize("kind", KINDS)
def test_a_prefill_leg_ends_as_the_imitated_server_says(kind: str) -> None:
    leg = {"kv_transfer_params": {"do_remote_decode": True}}
    found = {}
    for version in VERSIONS:
        with pod("--compat", version, "--kv-transfer-config", '{"kv_connector":"NixlConnector",'
                 '"kv_role":"kv_both"}') as one:  # fmt: skip
            answer = getattr(one, kind)("a b c", max_tokens=1, **leg)
        found[version] = [choice["finish_reason"] for choice in answer.json()["choices"]]
    assert found == {
        "vllm-0.33": ["length"], "vllm-0.11": ["length"], "llm-d-0.7": ["remote_decode"]
    }  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("by", ["request", "flag"])
def test_tokens_as_ids_where_the_request_or_the_server_says_so(kind: str, by: str) -> None:
    logprobs = {"logprobs": 1} if kind == "complete" else {"logprobs": True, "top_logprobs": 1}
    flags = ("--return-tokens-as-token-ids",) if by == "flag" else ()
    more = {"return_tokens_as_token_ids": True} if by == "request" else {}
    with pod(*flags) as one:
        choice = asked(one, kind, return_token_ids=True, **logprobs, **more).json()["choices"][0]
    found = choice["logprobs"]
    names = found["tokens"] if kind == "complete" else [each["token"] for each in found["content"]]
    assert names == [f"token_id:{number}" for number in choice["token_ids"]]


@pytest.mark.parametrize("kind", KINDS)
def test_the_fingerprint_stands_on_whole_answers_and_on_the_end_of_streams(kind: str) -> None:
    with pod() as one:
        fingerprint = one.replica.prepared.fingerprint
        assert fingerprint
        assert asked(one, kind).json()["system_fingerprint"] == fingerprint
        plain, counted = asked(one, kind, **STREAM).chunks, asked(one, kind, **USAGE).chunks
    assert [chunk.get("system_fingerprint") for chunk in plain] == [None] * (len(plain) - 1) + [fingerprint]
    assert [chunk.get("system_fingerprint") for chunk in counted] == [None] * (len(counted) - 1) + [
        fingerprint
    ]


def test_whole_answers_say_what_they_are() -> None:
    kinds = {kind.OBJECT for kind in WholeAnswer.__subclasses__()}
    assert kinds == {"text_completion", "chat.completion"}
