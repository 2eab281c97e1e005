"""/v1/chat/completions byte by byte: bodies, role chunks, tool calls whole and in pieces, finish reasons."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from tests.simulator.server.answers.test_completion import CONTINUOUS, USAGE, VERSIONS, datas, echoing, masked
from tests.simulator.server.pods import Answer, pod

WHOLE = {
    "vllm-0.33": (
        '{"id":"ID","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":'
        '{"role":"assistant","content":"a <","refusal":null,"annotations":null,"audio":null,'
        '"function_call":null,"reasoning":null},"logprobs":null,"finish_reason":"length","stop_reason":null,'
        '"token_ids":null,"routed_experts":null,"weight_versions":null}],"service_tier":null,'
        '"system_fingerprint":"FP","usage":{"prompt_tokens":13,"total_tokens":16,"completion_tokens":3,'
        '"prompt_tokens_details":null,"completion_tokens_details":null},"prompt_logprobs":null,'
        '"prompt_token_ids":null,"prompt_text":null,"kv_transfer_params":null,"ec_transfer_params":null,'
        '"metrics":null}'
    ),
    "vllm-0.11": (
        '{"id":"ID","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":'
        '{"role":"assistant","content":"a <","refusal":null,"annotations":null,"audio":null,'
        '"function_call":null,"tool_calls":[],"reasoning_content":null},"logprobs":null,'
        '"finish_reason":"length","stop_reason":null,"token_ids":null}],"service_tier":null,'
        '"system_fingerprint":null,"usage":{"prompt_tokens":13,"total_tokens":16,"completion_tokens":3,'
        '"prompt_tokens_details":null},"prompt_logprobs":null,"prompt_token_ids":null,'
        '"kv_transfer_params":null}'
    ),
    "llm-d-0.7": (
        '{"id":"ID","created":1,"model":"m","usage":{"prompt_tokens":13,"completion_tokens":3,'
        '"total_tokens":16},"object":"chat.completion","kv_transfer_params":null,"choices":[{"index":0,'
        '"finish_reason":"length","message":{"role":"assistant","content":"a \\u003c"}}]}'
    ),
}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_whole_answer(version: str) -> None:
    with echoing(version) as one:
        for _ in range(2):  # the second comes from a template
            assert masked(one.chat("a <b>", max_tokens=3)) == WHOLE[version]


def event(choice: str, more: str = ',"kv_transfer_params":null', before: str = "") -> str:
    """A chunk of 0.33."""
    return (
        '{"id":"ID","object":"chat.completion.chunk","created":1,"model":"m","choices":['
        f"{{{choice}}}]{before}{more}}}"
    )


ROLE = event(
    '"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null',
    ',"prompt_token_ids":null,"prompt_text":null',
)


def text(said: str) -> str:
    return f'"index":0,"delta":{{"content":"{said}"}},"logprobs":null,"finish_reason":null,"token_ids":null'


LAST = (
    '"index":0,"delta":{"content":""},"logprobs":null,"finish_reason":"stop","stop_reason":null,'
    '"token_ids":null,"weight_versions":null'
)
FP = ',"system_fingerprint":"FP"'
USAGE_CHUNK = (
    '{"id":"ID","object":"chat.completion.chunk","created":1,"model":"m","choices":[],"usage":'
    '{"prompt_tokens":10,"total_tokens":13,"completion_tokens":3},"system_fingerprint":"FP"}'
)


def test_a_stream() -> None:
    with echoing() as one:
        stream = datas(one.chat("a b", stream=True))
        assert stream == [ROLE, event(text("a")), event(text(" b")), event(LAST, before=FP), "[DONE]"]


def test_a_stream_with_usage() -> None:
    with echoing() as one:
        stream = datas(one.chat("a b", **USAGE))
        assert stream == [ROLE, event(text("a")), event(text(" b")), event(LAST), USAGE_CHUNK, "[DONE]"]


def test_a_stream_with_usage_in_every_chunk() -> None:
    with echoing() as one:
        chunks = one.chat("a b", **CONTINUOUS).chunks
        counts = [(0, 10), (1, 11), (2, 12), (3, 13)]
        assert [c["usage"] for c in chunks[:-1]] == [
            {
                "prompt_tokens": 10,
                "total_tokens": total,
                "completion_tokens": n,
                "completion_tokens_details": None,
            }
            for n, total in counts
        ]


def test_llmd_says_the_role_at_once_and_stops_in_a_chunk_of_its_own() -> None:
    with echoing("llm-d-0.7") as one:
        deltas = [
            (c["choices"][0]["delta"], c["choices"][0]["finish_reason"])
            for c in one.chat("a", stream=True).chunks
        ]
        assert deltas == [
            ({"role": "assistant", "content": ""}, None),
            ({"content": "a"}, None),
            ({"content": ""}, None),
            ({"content": ""}, "stop"),
        ]


def test_roles() -> None:
    with echoing("vllm-0.33", "--response-role", "narrator") as one:
        assert one.chat("a", max_tokens=1).json()["choices"][0]["message"]["role"] == "narrator"
        assert one.chat("a", max_tokens=1, stream=True).chunks[0]["choices"][0]["delta"]["role"] == "narrator"


@pytest.mark.parametrize("stream", [False, True])
def test_an_echo_is_the_assistants_own_last_message(stream: bool) -> None:
    talk = [{"role": "user", "content": "a b"}, {"role": "assistant", "content": "so: "}]

    def said(answer: Answer) -> str:
        if not stream:
            return str(answer.json()["choices"][0]["message"]["content"])
        return "".join(c["choices"][0]["delta"].get("content", "") for c in answer.chunks)

    with echoing() as one:
        for messages, echo, words in ((talk, True, "so: a b"), (talk, False, "a b"), (talk[:1], True, "a b")):
            body = {"model": "m", "messages": messages, "echo": echo, "stream": stream}
            assert said(one.post("/v1/chat/completions", body)) == words


def test_choices_come_with_a_role_each() -> None:
    with echoing() as one:
        chunks = one.chat("a", n=2, stream=True).chunks
        roles = [c["choices"][0]["index"] for c in chunks if "role" in c["choices"][0]["delta"]]
        assert roles == [0, 1]
        ends = [c["choices"][0]["index"] for c in chunks if c["choices"][0]["finish_reason"]]
        assert sorted(ends) == [0, 1]
        whole = one.chat("a", n=2).json()
        assert [c["index"] for c in whole["choices"]] == [0, 1]
        assert whole["usage"]["completion_tokens"] == 4


def test_token_ids_on_request() -> None:
    with echoing() as one:
        ids = one.replica.tokenizer.encode("a b")
        whole = one.chat("a b", max_tokens=2, return_token_ids=True).json()
        assert whole["choices"][0]["token_ids"] == ids
        assert len(whole["prompt_token_ids"]) == whole["usage"]["prompt_tokens"]
        chunks = one.chat("a b", max_tokens=2, return_token_ids=True, stream=True).chunks
        assert chunks[0]["prompt_token_ids"] == whole["prompt_token_ids"]
        assert [c["choices"][0]["token_ids"] for c in chunks[1:]] == [ids[:1], ids[1:]]


def test_logprobs_whole_and_streamed_are_the_same() -> None:
    with echoing() as one:
        fields = {"max_tokens": 3, "logprobs": True, "top_logprobs": 2}
        whole = one.chat("a b c d", **fields).json()["choices"][0]["logprobs"]["content"]
        streamed = [
            c["choices"][0]["logprobs"] for c in one.chat("a b c d", **fields, stream=True).chunks[1:]
        ]
        assert [entry for each in streamed for entry in each["content"]] == whole
        assert [entry["token"] for entry in whole] == ["a", " b", " c"]
        assert [entry["logprob"] for entry in whole] == [-1.0, -1.1, -1.2]
        assert whole[0]["bytes"] == [97]
        assert [len(entry["top_logprobs"]) for entry in whole] == [2, 2, 2]
        assert one.chat("a", logprobs=False).json()["choices"][0]["logprobs"] is None


PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
TOOLS = [
    {"type": "function", "function": {"name": name, "description": "d", "parameters": PARAMETERS}}
    for name in ("weather", "traffic")
]
NAMED = {"type": "function", "function": {"name": "traffic"}}
CALLING = ("--enable-auto-tool-choice", "--tool-call-parser", "hermes")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("choice", "names"), [("required", {"weather", "traffic"}), (NAMED, {"traffic"})])
def test_tool_calls_whole_and_in_pieces(version: str, choice: Any, names: set[str]) -> None:
    with pod("--compat", version, *CALLING) as one:
        for seed in range(8):
            fields = {"tools": TOOLS, "tool_choice": choice, "seed": seed, "max_tokens": 200}
            whole = one.chat("x", **fields).json()["choices"][0]
            calls = whole["message"]["tool_calls"]
            named_finish = "tool_calls" if version == "llm-d-0.7" or choice == "required" else "stop"
            assert whole["finish_reason"] == named_finish
            for call in calls:
                assert call["function"]["name"] in names
                assert call["type"] == "function"
                assert call["id"].startswith("chatcmpl-tool-")
                jsonschema.validate(json.loads(call["function"]["arguments"]), PARAMETERS)
            streamed = joined_calls(one.chat("x", **fields, stream=True))
            assert streamed == [
                {"id": c["id"], "type": c["type"], **c["function"]} for c in calls
            ]  # equal seeds, equal calls


def joined_calls(answer: Answer) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = []
    for chunk in answer.chunks:
        for piece in chunk["choices"][0]["delta"].get("tool_calls", ()):
            if "id" in piece:
                assert piece["index"] == len(calls)
                calls.append({"id": piece["id"], "type": piece["type"], **piece["function"]})
            else:
                calls[piece["index"]]["arguments"] += piece["function"]["arguments"]
    return calls


@pytest.mark.parametrize(
    ("version", "keys", "content"),
    [
        ("vllm-0.33", ["id", "type", "function"], None),
        ("vllm-0.11", ["id", "type", "function"], None),
        ("llm-d-0.7", ["function", "id", "type", "index"], ""),
    ],
)
def test_calls_that_the_model_chose_to_make(version: str, keys: list[str], content: Any) -> None:
    with pod("--compat", version, *CALLING) as one:
        finishes = set()
        for seed in range(20):
            choice = one.chat("x", tools=TOOLS, tool_choice="auto", seed=seed, max_tokens=300).json()[
                "choices"
            ][0]
            finishes.add(choice["finish_reason"])
            calls = choice["message"].get("tool_calls")
            if calls:
                assert list(calls[0]) == keys
                assert choice["message"]["content"] == content
            else:
                assert choice["message"]["content"]
        assert finishes >= {"tool_calls", "stop"}  # at times it answers in words


def test_calls_that_are_cut_off_say_length() -> None:
    with pod(*CALLING) as one:
        choice = one.chat("x", tools=TOOLS, tool_choice=NAMED, max_tokens=3).json()["choices"][0]
        assert choice["finish_reason"] == "length"
        with pytest.raises(json.JSONDecodeError):
            json.loads(choice["message"]["tool_calls"][0]["function"]["arguments"])
        streamed = one.chat("x", tools=TOOLS, tool_choice=NAMED, max_tokens=3, stream=True).chunks
        assert streamed[-1]["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("flags", "choice", "words"),
    [
        (
            (),
            "auto",
            '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set',
        ),
        ((), "required", 'tool_choice="required" requires --tool-call-parser to be set'),
        (("--tool-call-parser", "hermes"), "auto", '"auto" tool choice requires --enable-auto-tool-choice'),
        (("--tool-call-parser", "hermes"), "required", ""),
        ((), NAMED, 'tool_choice=function "'),
        (("--tool-call-parser", "hermes"), NAMED, ""),
        ((), "none", ""),
    ],
)
def test_tools_need_vllms_flags(flags: tuple[str, ...], choice: Any, words: str) -> None:
    with pod(*flags) as one:
        answer = one.chat("x", tools=TOOLS, tool_choice=choice, max_tokens=9)
        assert answer.status == (400 if words else 200)
        if words:
            assert answer.message.startswith(words)
    with pod(*flags, "--compat", "llm-d-0.7") as one:
        assert one.chat("x", tools=TOOLS, tool_choice=choice, max_tokens=9).status == 200


FORMAT = {"type": "json_schema", "json_schema": {"name": "n", "schema": PARAMETERS}}


@pytest.mark.parametrize(
    "fields",
    [{"response_format": FORMAT}, {"structured_outputs": {"json": PARAMETERS}},
     {"structured_outputs": {"json": json.dumps(PARAMETERS)}}, {"guided_json": PARAMETERS}],
    ids=lambda fields: next(iter(fields)),
)  # fmt: skip
def test_constrained_answers_fit_their_schema(fields: dict[str, Any]) -> None:
    with pod(*(("--compat", "vllm-0.11") if "guided_json" in fields else ())) as one:
        for seed in range(10):
            whole = one.chat("x", **fields, seed=seed, n=2, max_tokens=200).json()
            for choice in whole["choices"]:
                assert choice["finish_reason"] == "stop"
                jsonschema.validate(json.loads(choice["message"]["content"]), PARAMETERS)


def test_a_prefill_leg_has_a_finish_of_its_own_with_llmd() -> None:
    params = {"do_remote_decode": True}
    with echoing("llm-d-0.7") as one:
        choice = one.chat("a b", max_tokens=1, kv_transfer_params=params).json()["choices"][0]
        assert choice["finish_reason"] == "remote_decode"
        assert (
            one.chat("a b", max_tokens=1, kv_transfer_params={"x": 1}).json()["choices"][0]["finish_reason"]
            == "length"
        )
