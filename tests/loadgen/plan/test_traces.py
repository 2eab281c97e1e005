"""Trace files: the public formats, and what the plan makes of them."""

import json
from pathlib import Path

import pytest

from loadgen.errors import TraceError
from loadgen.plan.build import build_plan
from loadgen.plan.plan import Plan, load_plan, write_plan
from loadgen.plan.traces import read_trace
from loadgen.scenario.read import read_scenario
from loadgen.scenario.scenario import Trace

MOONCAKE = [
    {"timestamp": 1000, "input_length": 1200, "output_length": 5, "hash_ids": [0, 1, 2]},
    {"timestamp": 1500, "input_length": 1030, "output_length": 7, "hash_ids": [0, 1, 9]},
    {"timestamp": 4000, "input_length": 512, "output_length": 2, "hash_ids": [0]},
]
AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
2023-11-16 18:15:51.2224670,879,55
"""
SHAREGPT = [
    {
        "id": "1",
        "conversations": [
            {"from": "human", "value": "How are you today?"},
            {"from": "gpt", "value": "Fine thank you very much."},
            {"from": "human", "value": "Good to hear."},
            {"from": "gpt", "value": "And you?"},
        ],
    },
    {"id": "2", "conversations": [{"from": "gpt", "value": "orphan"}]},
]


def jsonl(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def planned(tmp_path: Path, text: str) -> Plan:
    write_plan(tmp_path / "plan.jsonl", build_plan(read_scenario(text, "t.yaml", tmp_path)))
    return load_plan(tmp_path / "plan.jsonl")


def test_mooncake_times_are_milliseconds_and_blocks_are_text(tmp_path: Path) -> None:
    jsonl(tmp_path / "m.jsonl", MOONCAKE)
    plan = planned(
        tmp_path, "model: m\nclasses: {a: {trace: {file: m.jsonl, format: mooncake}, arrival: {}}}"
    )
    assert [r.at for r in plan.requests] == [0.0, 0.5, 3.0]
    assert [r.max_tokens for r in plan.requests] == [5, 7, 2]
    prompts = [json.loads(plan.body(r))["prompt"].split() for r in plan.requests]
    assert [len(words) for words in prompts] == [1200, 1030, 512]
    assert prompts[0][:1024] == prompts[1][:1024]
    assert prompts[0][:512] == prompts[2]
    assert prompts[0][1024:1030] != prompts[1][1024:]


def test_mooncake_as_token_ids(tmp_path: Path) -> None:
    jsonl(tmp_path / "m.jsonl", MOONCAKE)
    text = "model: m\nclasses: {a: {trace: {file: m.jsonl, format: mooncake}, arrival: {}, form: tokens}}"
    plan = planned(tmp_path, text)
    prompts = [json.loads(plan.body(r))["prompt"] for r in plan.requests]
    assert [len(ids) for ids in prompts] == [1200, 1030, 512]
    assert prompts[0][:1024] == prompts[1][:1024]


def test_vllms_timed_trace_counts_seconds_and_small_blocks(tmp_path: Path) -> None:
    rows = [{"timestamp": 0.5, "input_length": 20, "output_length": 3, "hash_ids": [4, 5]}]
    jsonl(tmp_path / "t.jsonl", [*rows, {**rows[0], "timestamp": 2.0}])
    text = "model: m\nclasses: {a: {trace: {file: t.jsonl, format: timed_trace}, arrival: {time_scale: 2}}}"
    assert [r.at for r in planned(tmp_path, text).requests] == [0.0, 3.0]


def test_blocks_that_do_not_cover_the_prompt_are_refused(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "m.jsonl", MOONCAKE)
    with pytest.raises(TraceError, match=r"m.jsonl:1: 3 blocks of 16 tokens do not cover input_length 1200"):
        read_trace(Trace(path, "mooncake", block_size=16))


def test_azure(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(AZURE)
    rows = read_trace(Trace(tmp_path / "a.csv", "azure", limit=2))
    assert [(row.at, row.input_tokens, row.output_tokens) for row in rows] == [
        (0.0, 374, 44),
        (4.314579, 396, 109),
    ]
    text = "model: m\nclasses: {a: {trace: {file: a.csv, format: azure}, arrival: {}}}"
    assert [r.prompt_tokens for r in planned(tmp_path, text).requests] == [374, 396, 879]


def test_sharegpt_needs_a_rate_and_can_be_a_conversation(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text(json.dumps(SHAREGPT))
    arrival = "arrival: {process: constant, rate: 1, requests: 2}"
    single = f"model: m\nclasses: {{a: {{trace: {{file: s.json, format: sharegpt}}, {arrival}}}}}"
    plan = planned(tmp_path, single)
    assert [json.loads(plan.body(r))["prompt"] for r in plan.requests] == ["How are you today?"] * 2
    assert [r.max_tokens for r in plan.requests] == [5, 5]
    talk = single.replace("format: sharegpt}", "format: sharegpt}, api: chat, sessions: {turns: 9}")
    plan = planned(tmp_path, talk)
    assert [r.turn for r in plan.requests] == [0, 1, 0, 1]
    messages = json.loads(plan.body(plan.requests[1], {0: "real"}))["messages"]
    assert [m["content"] for m in messages] == ["How are you today?", "real", "Good to hear."]
    with pytest.raises(Exception, match="has no times"):
        planned(tmp_path, single.replace("process: constant, rate: 1, requests: 2", "process: trace"))


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        ("mooncake", '{"timestamp": 1}\n', r"x:1: no mooncake row"),
        ("mooncake", "\n\n", "holds no request"),
        ("azure", "a,b\n1,2\n", "needs the columns"),
        ("azure", AZURE + "yesterday,1,2\n", r"x:5: no Azure row"),
        ("sharegpt", "{}", "no ShareGPT file"),
    ],
)
def test_broken_traces_are_named_with_their_line(
    tmp_path: Path, kind: str, content: str, message: str
) -> None:
    (tmp_path / "x").write_text(content)
    with pytest.raises(TraceError, match=message):
        read_trace(Trace(tmp_path / "x", kind))  # type: ignore[arg-type]
