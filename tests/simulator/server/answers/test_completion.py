"""/v1/completions byte by byte, in each imitated version: whole bodies, chunks, echoes, what is optional."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.simulator.server.pods import Answer, Pod, pod

VERSIONS = ("vllm-0.33", "vllm-0.11", "llm-d-0.7")
USAGE = {"stream": True, "stream_options": {"include_usage": True}}
CONTINUOUS = {"stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}}
_IDS = re.compile(r'"(cmpl|chatcmpl)-[0-9a-f-]{16,36}"')


def echoing(version: str = "vllm-0.33", *flags: str) -> Any:
    """A pod that says its prompt back: every answer is known beforehand."""
    return pod("--compat", version, "--mode", "echo", *flags)


def masked(answer: Answer) -> str:
    """The body with what differs from run to run made the same."""
    text = re.sub(r'"created":\d+', '"created":1', answer.text)
    text = re.sub(r'"vllm-0.33.0-[0-9a-f]{8}"', '"FP"', text)
    return _IDS.sub('"ID"', text)


def datas(answer: Answer) -> list[str]:
    blocks = masked(answer).split("\n\n")
    assert blocks.pop() == ""
    return [block.removeprefix("data: ") for block in blocks]


WHOLE = {
    "vllm-0.33": (
        '{"id":"ID","object":"text_completion","created":1,"model":"m","choices":[{"index":0,"text":"a <",'
        '"logprobs":null,"finish_reason":"length","stop_reason":null,"token_ids":null,"prompt_logprobs":null,'
        '"prompt_token_ids":null,"routed_experts":null,"weight_versions":null}],"service_tier":null,'
        '"system_fingerprint":"FP","usage":{"prompt_tokens":5,"total_tokens":8,"completion_tokens":3,'
        '"prompt_tokens_details":null,"completion_tokens_details":null},"kv_transfer_params":null,'
        '"ec_transfer_params":null,"metrics":null}'
    ),
    "vllm-0.11": (
        '{"id":"ID","object":"text_completion","created":1,"model":"m","choices":[{"index":0,"text":"a <",'
        '"logprobs":null,"finish_reason":"length","stop_reason":null,"token_ids":null,"prompt_logprobs":null,'
        '"prompt_token_ids":null}],"service_tier":null,"system_fingerprint":null,"usage":{"prompt_tokens":5,'
        '"total_tokens":8,"completion_tokens":3,"prompt_tokens_details":null},"kv_transfer_params":null}'
    ),
    "llm-d-0.7": (
        '{"id":"ID","created":1,"model":"m","usage":{"prompt_tokens":5,"completion_tokens":3,'
        '"total_tokens":8},"object":"text_completion","kv_transfer_params":null,"choices":[{"index":0,'
        '"finish_reason":"length","text":"a \\u003c"}]}'
    ),
}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_whole_answer(version: str) -> None:
    with echoing(version) as one:
        for _ in range(2):  # the second comes from the template that the first has laid out
            answer = one.complete("a <b>", max_tokens=3)
            assert masked(answer) == WHOLE[version]
            assert answer.headers["content-type"] == "application/json"
            assert answer.headers["content-length"] == str(len(answer.body))


def test_ids_have_the_form_of_the_version() -> None:
    forms = (
        r"cmpl-[89ab][0-9a-f]{15}",
        r"cmpl-[0-9a-f]{32}",
        r"cmpl-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    )
    for version, form in zip(VERSIONS, forms, strict=True):
        with echoing(version) as one:
            ids = {one.complete("a", max_tokens=1).json()["id"] for _ in range(5)}
            assert len(ids) == 5
            assert all(re.fullmatch(form, each) for each in ids)


def test_clients_may_name_their_request() -> None:
    with echoing() as one:
        body = {"model": "m", "prompt": "a", "max_tokens": 1}
        assert one.post("/v1/completions", body, x_request_id="h").json()["id"] == "cmpl-h"
        named = {**body, "request_id": "b"}
        assert one.post("/v1/completions", named, x_request_id="h").json()["id"] == "cmpl-b"


def chunk(text: str, reason: str = "null", more: str = "", end: str = "") -> str:
    """A chunk of 0.33."""
    return (
        '{"id":"ID","object":"text_completion","created":1,"model":"m","choices":[{"index":0,'
        f'"text":"{text}","logprobs":null,"finish_reason":{reason},"stop_reason":null,"prompt_token_ids":null,'
        f'"token_ids":null,"weight_versions":null}}]{more}{end},"kv_transfer_params":null}}'
    )


USAGE_CHUNK = (
    '{"id":"ID","object":"text_completion","created":1,"model":"m","choices":[],"usage":{"prompt_tokens":2,'
    '"total_tokens":5,"completion_tokens":3},"system_fingerprint":"FP"}'
)
FP = ',"system_fingerprint":"FP"'


def test_a_stream() -> None:
    with echoing() as one:
        answer = one.complete("a b", max_tokens=5, stream=True)
        assert datas(answer) == [chunk("a"), chunk(" b"), chunk("", '"stop"', end=FP), "[DONE]"]
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert "content-length" not in answer.headers


def test_a_stream_with_usage() -> None:
    with echoing() as one:
        stream = datas(one.complete("a b", max_tokens=5, **USAGE))
        assert stream == [chunk("a"), chunk(" b"), chunk("", '"stop"'), USAGE_CHUNK, "[DONE]"]


def test_a_stream_with_usage_in_every_chunk() -> None:
    with echoing() as one:
        counts = [
            f',"usage":{{"prompt_tokens":2,"total_tokens":{2 + n},"completion_tokens":{n}}}'
            for n in (1, 2, 3)
        ]
        assert datas(one.complete("a b", max_tokens=5, **CONTINUOUS)) == [
            chunk("a", more=counts[0]), chunk(" b", more=counts[1]), chunk("", '"stop"', more=counts[2]),
            USAGE_CHUNK, "[DONE]",
        ]  # fmt: skip


def test_continuous_usage_needs_usage() -> None:
    """continuous_usage_stats alone asks for nothing; the server may insist on a last usage chunk."""
    with echoing() as one:
        alone = one.complete(
            "a b", max_tokens=5, stream=True, stream_options={"continuous_usage_stats": True}
        )
        assert all("usage" not in each for each in alone.chunks)
    with echoing("vllm-0.33", "--enable-force-include-usage") as one:
        forced = one.complete("a b", max_tokens=5, stream=True)
        assert ["usage" in each for each in forced.chunks] == [False, False, False, True]


def go_chunk(choices: str, usage: str = "null") -> str:
    return (
        f'{{"id":"ID","created":1,"model":"m","usage":{usage},"object":"text_completion",'
        f'"kv_transfer_params":null,"choices":[{choices}]}}'
    )


def go_choice(text: str, reason: str = "null") -> str:
    return f'{{"index":0,"finish_reason":{reason},"text":"{text}"}}'


def test_llmd_streams_its_stop_in_a_chunk_of_its_own() -> None:
    counts = '{"prompt_tokens":2,"completion_tokens":3,"total_tokens":5}'
    with echoing("llm-d-0.7") as one:
        assert datas(one.complete("a &b", max_tokens=9, **USAGE))[:2] == [
            go_chunk(go_choice("a")), go_chunk(go_choice(" \\u0026")),
        ]  # fmt: skip
        assert datas(one.complete("a b", max_tokens=5, **USAGE)) == [
            go_chunk(go_choice("a")), go_chunk(go_choice(" b")), go_chunk(go_choice("")),
            go_chunk(go_choice("", '"stop"')), go_chunk("", counts), "[DONE]",
        ]  # fmt: skip
        cut = datas(one.complete("a b", max_tokens=1, stream=True))
        assert cut == [go_chunk(go_choice("a", '"length"')), "[DONE]"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fields", "text", "reason", "stop_reason"),
    [
        ({"stop": "b"}, "a ", "stop", "b"),
        ({"stop": ["x", "b c"]}, "a ", "stop", "b c"),
        ({"stop": ["b"], "include_stop_str_in_output": True}, "a b", "stop", "b"),
        ({"stop": "b", "min_tokens": 3}, "a b c", "stop", None),
        ({"max_tokens": 2}, "a b", "length", None),
        ({"stop": ["never"]}, "a b c", "stop", None),
    ],
)
def test_how_an_answer_ends(
    stream: bool, fields: dict[str, Any], text: str, reason: str, stop_reason: Any
) -> None:
    with echoing() as one:
        answer = one.complete("a b c", **{"max_tokens": 9, **fields}, stream=stream)
        choices = [each["choices"][0] for each in (answer.chunks if stream else [answer.json()])]
        assert "".join(choice["text"] for choice in choices) == text
        assert (choices[-1]["finish_reason"], choices[-1]["stop_reason"]) == (reason, stop_reason)
        assert all(choice["finish_reason"] is None for choice in choices[:-1])


def test_a_stop_token_is_the_reason() -> None:
    with echoing() as one:
        token = one.replica.tokenizer.encode(" b")[0]
        choice = one.complete("a b c", max_tokens=9, stop_token_ids=[token]).json()["choices"][0]
        assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", token)


def test_choices_are_numbered_prompt_by_prompt() -> None:
    with echoing() as one:
        whole = one.complete(["a", "b c"], max_tokens=3, n=2).json()
        assert [(c["index"], c["text"]) for c in whole["choices"]] == [
            (0, "a"),
            (1, "a"),
            (2, "b c"),
            (3, "b c"),
        ]
        assert whole["usage"]["prompt_tokens"] == 3
        assert whole["usage"]["completion_tokens"] == 2 + 2 + 3 + 3
        chunks = one.complete(["a", "b c"], max_tokens=3, n=2, **USAGE).chunks
        said = dict.fromkeys(range(4), "")
        for each in chunks[:-1]:
            said[each["choices"][0]["index"]] += each["choices"][0]["text"]
        assert said == {0: "a", 1: "a", 2: "b c", 3: "b c"}
        assert chunks[-1]["usage"]["completion_tokens"] == 10


ECHOES: list[tuple[dict[str, Any], str]] = [
    ({"max_tokens": 1}, "a b" + "a"),
    ({"max_tokens": 0}, "a b"),
    ({"max_tokens": 3}, "a b" + "a b"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("fields", "text"), ECHOES)
def test_an_echo_stands_before_the_answer(stream: bool, fields: dict[str, Any], text: str) -> None:
    with echoing() as one:
        ids = one.replica.tokenizer.encode("a b")
        for prompt in ("a b", ids):
            answer = one.complete(prompt, echo=True, stream=stream, **fields)
            choices = [c["choices"][0] for c in answer.chunks] if stream else answer.json()["choices"]
            if prompt == "a b":
                assert "".join(choice["text"] for choice in choices) == text
            assert choices[0]["text"].startswith("a b")
            if stream:
                assert choices[0]["prompt_token_ids"] == ids
                assert all(choice["prompt_token_ids"] is None for choice in choices[1:])


def test_token_ids_on_request() -> None:
    with echoing() as one:
        ids = one.replica.tokenizer.encode("a b")
        whole = one.complete("a b", max_tokens=2, return_token_ids=True).json()["choices"][0]
        assert (whole["token_ids"], whole["prompt_token_ids"]) == (ids, ids)
        chunks = one.complete("a b", max_tokens=2, return_token_ids=True, stream=True).chunks
        choices = [each["choices"][0] for each in chunks]
        assert [choice["token_ids"] for choice in choices] == [ids[:1], ids[1:]]
        assert [choice["prompt_token_ids"] for choice in choices] == [ids, None]


@pytest.mark.parametrize(
    ("version", "cold", "warm"),
    [
        (
            "vllm-0.33",
            {"cached_tokens": 0, "created_cache_tokens": None, "multimodal_tokens": None},
            {"cached_tokens": 16, "created_cache_tokens": None, "multimodal_tokens": None},
        ),
        ("vllm-0.11", None, {"cached_tokens": 16}),
    ],
)
def test_cached_tokens_are_told_where_that_is_switched_on(version: str, cold: Any, warm: Any) -> None:
    with echoing(version, "--enable-prompt-tokens-details", "--block-size", "16") as one:
        seen = [
            one.complete([300] * 20, max_tokens=1).json()["usage"]["prompt_tokens_details"] for _ in range(2)
        ]
        assert seen == [cold, warm]
        usage = one.complete([300] * 20, max_tokens=1, **USAGE).chunks[-1]["usage"]
        assert usage["prompt_tokens_details"] == warm
        every = one.complete([300] * 20, max_tokens=1, **CONTINUOUS).chunks[0]["usage"]
        assert every["prompt_tokens_details"] == warm
        several = one.complete([[300] * 20, [300] * 20], max_tokens=1, n=2).json()["usage"]
        assert several["prompt_tokens_details"]["cached_tokens"] == 32  # by prompt, not by choice


def test_times_of_a_request_where_that_is_switched_on() -> None:
    with echoing("vllm-0.33", "--enable-per-request-metrics") as one:
        metrics = one.complete("a b c", max_tokens=3).json()["metrics"]
        assert list(metrics)[:3] == ["time_to_first_token_ms", "generation_time_ms", "queue_time_ms"]
        assert list(metrics)[3:] == ["mean_itl_ms", "tokens_per_second", "speculative_decoding"]
        assert metrics["time_to_first_token_ms"] >= metrics["queue_time_ms"] >= 0
        assert metrics["mean_itl_ms"] == pytest.approx(metrics["generation_time_ms"] / 2)
        assert metrics["tokens_per_second"] > 0
        assert one.complete("a", max_tokens=1).json()["metrics"]["mean_itl_ms"] is None


CONNECTOR = '{"kv_connector":"NixlConnector","kv_role":"kv_both"}'


def legs(one: Pod, **fields: Any) -> Any:
    given = {"do_remote_decode": True}
    return one.complete([300] * 40, max_tokens=1, kv_transfer_params=given, **fields)


def test_a_prefill_leg_says_where_its_blocks_are() -> None:
    with echoing() as one:
        assert legs(one).json()["kv_transfer_params"] is None, "without a connector nobody looks at them"
    with echoing("vllm-0.33", "--kv-transfer-config", CONNECTOR) as one:
        whole = legs(one).json()
        params = whole["kv_transfer_params"]
        assert params["do_remote_prefill"] is True
        last = legs(one, stream=True).chunks[-1]["kv_transfer_params"]
        assert set(last) == set(params)
        assert whole["choices"][0]["finish_reason"] == "length"
    with echoing("llm-d-0.7") as one:
        assert legs(one).json()["choices"][0]["finish_reason"] == "remote_decode"


def test_texts_are_the_same_on_equal_seeds_and_differ_by_choice() -> None:
    def said(*fields: dict[str, Any]) -> list[str]:
        with pod() as one:
            whole = one.complete("x", max_tokens=40, ignore_eos=True, **fields[0]).json()
            return [choice["text"] for choice in whole["choices"]]

    first = said({"seed": 7, "n": 3})
    assert first == said({"seed": 7, "n": 3})
    assert len(set(first)) == 3
    assert said({"seed": 8, "n": 1})[0] not in first


@pytest.mark.parametrize(
    ("fields", "streams"),
    [
        ({"logprobs": 21}, True),
        ({"allowed_token_ids": []}, True),
        ({"prompt": [10**7]}, True),
        ({"temperature": -1}, False),
        ({"suffix": "x"}, False),
        ({"model": "nobody"}, False),
    ],
)
def test_what_the_engine_refuses_is_told_inside_the_stream(fields: dict[str, Any], streams: bool) -> None:
    """vLLM has sent its 200 by the time that its engine looks at a request."""
    with echoing() as one:
        body = {"model": "m", "prompt": "a", **fields}
        whole = one.post("/v1/completions", body)
        assert whole.status in (400, 404)
        stream = one.post("/v1/completions", {**body, "stream": True})
        if not streams:
            assert (stream.status, stream.json()) == (whole.status, whole.json())
            return
        assert stream.status == 200
        assert stream.chunks == [whole.json()]
        assert stream.text.endswith("}\n\ndata: [DONE]\n\n")


@pytest.mark.parametrize("more", [{}, {"max_tokens": 0}, {"n": 2, "temperature": 1}])
@pytest.mark.parametrize("words", [3, 400])
def test_a_streamed_echo_has_the_logprobs_of_the_prompt(more: dict[str, Any], words: int) -> None:
    """Those of the whole answer, whether or not they take more than one slice of the loop's time."""
    body = {"model": "m", "prompt": "one " * words, "max_tokens": 4, "echo": True, "logprobs": 2, "seed": 5}
    body |= {"temperature": 0, "ignore_eos": True, **more}
    with pod() as one:
        whole = one.post("/v1/completions", body).json()
        events = one.post("/v1/completions", {**body, "stream": True}).body.decode().split("\n\n")
        chunks = [json.loads(event[6:]) for event in events if event.startswith("data: {")]
        for choice in whole["choices"]:
            told = [c["choices"][0] for c in chunks if c["choices"][0]["index"] == choice["index"]]
            parts = [part["logprobs"] for part in told if part["logprobs"]]
            for key, values in choice["logprobs"].items():
                assert [value for part in parts for value in part[key]] == values, key
            assert "".join(part["text"] for part in told) == choice["text"]
