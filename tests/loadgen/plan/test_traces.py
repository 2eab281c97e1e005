"""Trace files: the public formats, and what the plan makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from loadgen.errors import ScenarioError, TraceError
from loadgen.plan.build import build_plan
from loadgen.plan.plan import Plan, load_plan, write_plan
from loadgen.plan.tracerow import Reading, TraceRow, count_words
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


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (b'{"timestamp": "1", "input_length": 1, "output_length": 1}', "Expected `float | null`, got `str`"),
        (b'{"timestamp": 1, "input_length": 1.5, "output_length": 1}', "Expected `int | null`, got `float`"),
        (b'{"timestamp": 1, "input_length": 1}', "Object missing required field `output_length`"),
        (b'{"timestamp": 1, "input_length": 1, "output_length": 1', "Input data was truncated"),
        (b"\xff\xfe", ""),
        (
            b'{"timestamp": 1, "input_length": 1, "output_length": 1, "hash_ids": "\xff"}',
            "Expected `array`",
        ),
        (b'{"\xff": 1}', ""),
        (b"[1, 2, 3]", "Expected `object`, got `array`"),
        (b"timestamp,input_length", "JSON is malformed"),
    ],
)
@pytest.mark.parametrize("kind", ["mooncake", "timed_trace"])
def test_rows_of_json_that_are_none(tmp_path: Path, kind: str, row: bytes, message: str) -> None:
    good = b'{"timestamp": 0, "input_length": 1, "output_length": 1}\n'
    (tmp_path / "x").write_bytes(good + b"\n" + row + b"\n")
    with pytest.raises(TraceError) as caught:
        read_trace(Trace(tmp_path / "x", kind))  # type: ignore[arg-type]
    assert str(caught.value).startswith(f"{tmp_path / 'x'}:3: no {kind} row: {message}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", ":1: needs the columns TIMESTAMP,ContextTokens,GeneratedTokens, has "),
        (
            b"TIMESTAMP,ContextTokens\n",
            ":1: needs the columns TIMESTAMP,ContextTokens,GeneratedTokens, has TIMESTAMP,",
        ),
        (AZURE.encode() + b"2023-11-16 18:15:52,1\n", ":5: no Azure row: int() argument must be"),
        (AZURE.encode() + b"2023-11-16 18:15:52,many,1\n", ":5: no Azure row: invalid literal for int()"),
        (AZURE.encode() + b"2023-13-16 18:15:52,1,1\n", ":5: no Azure row: month must be in 1..12"),
        (AZURE.encode() + b"\xff\xff,1,1\n", ": no CSV file: 'utf-8' codec can't decode byte 0xff"),
        (AZURE.encode() + b'"' + b"x" * 200_000 + b"\n", "no CSV file: field larger than field limit"),
    ],
)
def test_csv_that_is_none(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(TraceError) as caught:
        read_trace(Trace(tmp_path / "a.csv", "azure"))
    assert str(caught.value).startswith(str(tmp_path / "a.csv"))
    assert message in str(caught.value)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_azure_as_spreadsheets_write_it(tmp_path: Path, newline: str, mark: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(mark + AZURE.replace("\n", newline).encode())
    rows = read_trace(Trace(tmp_path / "a.csv", "azure"))
    assert [row.input_tokens for row in rows] == [374, 396, 879]


@pytest.mark.parametrize(
    ("moment", "seconds"),
    [
        ("2023-11-16 18:15:47.1805900", 0.5),
        ("2023-11-16T18:15:47.68059", 1.0),
        ("2023-11-16 18:15:47.6805900+00:00", 1.0),
        ("2023-11-16 18:15:48.68059Z", 2.0),
        ("2023-11-17 18:15:46.6805900", 86400.0),
        (" 2023-11-16 18:16:46.6805900 ", 60.0),
        ("2023-11-16 18:15:46.6805901", 1e-7),
    ],
)
def test_moments_of_azure(tmp_path: Path, moment: str, seconds: float) -> None:
    lines = AZURE.splitlines()[:2]
    (tmp_path / "a.csv").write_text("\n".join([*lines, f"{moment},1,1"]) + "\n")
    rows = read_trace(Trace(tmp_path / "a.csv", "azure"))
    assert [row.at for row in rows] == [0.0, pytest.approx(seconds, abs=2.1e-7)]


def test_rows_come_in_order_of_time_whatever_their_order_in_the_file(tmp_path: Path) -> None:
    rows = [{"timestamp": t, "input_length": t, "output_length": 1} for t in (3000, 1000, 2000)]
    jsonl(tmp_path / "m.jsonl", rows)  # type: ignore[arg-type]
    found = read_trace(Trace(tmp_path / "m.jsonl", "mooncake"))
    assert [(row.at, row.input_tokens) for row in found] == [(0.0, 1000), (1.0, 2000), (2.0, 3000)]
    assert len(read_trace(Trace(tmp_path / "m.jsonl", "mooncake", limit=2))) == 2


def test_rows_without_tokens_have_one(tmp_path: Path) -> None:
    jsonl(tmp_path / "m.jsonl", [{"timestamp": 0, "input_length": 0, "output_length": 0}])
    (row,) = read_trace(Trace(tmp_path / "m.jsonl", "mooncake"))
    assert (row.input_tokens, row.output_tokens, row.blocks) == (1, 1, ())


@pytest.mark.parametrize(
    ("messages", "turns"),
    [
        ([("human", "a b"), ("gpt", "c")], [("a b", "c")]),
        ([("user", "a"), ("assistant", "b"), ("user", "c"), ("chatgpt", "d")], [("a", "b"), ("c", "d")]),
        ([("system", "s"), ("human", "a"), ("gpt", "b")], [("a", "b")]),
        ([("human", "a"), ("human", "b"), ("gpt", "c")], [("b", "c")]),
        ([("human", "a"), ("gpt", "b"), ("human", "c")], [("a", "b")]),
    ],
)
def test_turns_of_sharegpt(
    tmp_path: Path, messages: list[tuple[str, str]], turns: list[tuple[str, str]]
) -> None:
    talk = {"conversations": [{"from": who, "value": said} for who, said in messages]}
    (tmp_path / "s.json").write_text(json.dumps([talk]))
    (row,) = read_trace(Trace(tmp_path / "s.json", "sharegpt"))
    assert list(row.turns) == turns
    assert (row.at, row.input_tokens, row.output_tokens) == (None, len(turns[0][0].split()), 1)


@pytest.mark.parametrize(
    "talk",
    [
        [],
        [{"from": "human", "value": "a"}],
        [{"from": "human", "value": " "}, {"from": "gpt", "value": "b"}],
    ],
)
def test_conversations_of_nobody_are_no_requests(tmp_path: Path, talk: list[dict[str, str]]) -> None:
    (tmp_path / "s.json").write_text(json.dumps([{"conversations": talk}]))
    with pytest.raises(TraceError, match=r"s\.json: holds no request"):
        read_trace(Trace(tmp_path / "s.json", "sharegpt"))


def test_a_trace_without_times_needs_a_rate_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text(json.dumps(SHAREGPT))
    text = "model: m\nclasses: {a: {trace: {file: s.json, format: sharegpt}, arrival: {}}}"
    with pytest.raises(ScenarioError) as caught:
        planned(tmp_path, text)
    message = "class a: a sharegpt trace has no times; give the class `arrival:` with a rate"
    assert str(caught.value) == f"{tmp_path / 's.json'}: {message}"


def test_a_trace_at_a_rate_of_its_own_begins_again_at_its_end(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(AZURE)
    text = (
        "model: m\nclasses: {a: {trace: {file: a.csv, format: azure}, max_tokens: 3, "
        "arrival: {process: constant, rate: 10, requests: 5}}}"
    )
    plan = planned(tmp_path, text)
    assert [r.prompt_tokens for r in plan.requests] == [374, 396, 879, 374, 396]
    assert [r.at for r in plan.requests] == [0.0, 0.1, 0.2, 0.3, 0.4]
    assert {r.max_tokens for r in plan.requests} == {3}
    bodies = {plan.body(r) for r in plan.requests}
    assert len(bodies) == 5  # lengths come again, words do not


@pytest.mark.parametrize("form", ["text", "tokens"])
def test_a_last_block_is_cut_to_the_length_and_is_the_beginning_of_the_whole(
    tmp_path: Path, form: str
) -> None:
    rows = [
        {"timestamp": 0, "input_length": 20, "output_length": 1, "hash_ids": [7, 8]},
        {"timestamp": 1, "input_length": 32, "output_length": 1, "hash_ids": [7, 8]},
        {"timestamp": 2, "input_length": 16, "output_length": 1, "hash_ids": [8, 9]},
    ]
    jsonl(tmp_path / "t.jsonl", rows)  # type: ignore[arg-type]
    fields = f"trace: {{file: t.jsonl, format: timed_trace}}, arrival: {{}}, form: {form}"
    plan = planned(tmp_path, f"model: m\nclasses: {{a: {{{fields}}}}}")
    made = [json.loads(plan.body(r))["prompt"] for r in plan.requests]
    cut, whole, other = made if form == "tokens" else [text.split() for text in made]
    assert [len(cut), len(whole), len(other)] == [20, 32, 16]
    assert cut == whole[:20]
    assert other == whole[16:]


@pytest.mark.parametrize(
    ("moment", "seconds"),
    [
        ("2023-11-16 18:15:47.6805900-00:00", 1.0),
        ("2023-11-16 19:15:47.6805900+01:00", 1.0),
        ("2023-11-16 19:15:47.6805900+0100", 1.0),
        ("2023-11-16 13:15:47.6805900-05:00", 1.0),
        ("2023-11-17T00:00:46.68059+05:45", 0.0),
        ("2023-11-16 18:15:47.", 0.31941),
        ("2023-11-17", 86400 - 65746.68059),
    ],
)
def test_moments_are_those_of_their_zone(tmp_path: Path, moment: str, seconds: float) -> None:
    lines = AZURE.splitlines()[:2]
    (tmp_path / "a.csv").write_text("\n".join([*lines, f"{moment},1,1"]) + "\n")
    rows = read_trace(Trace(tmp_path / "a.csv", "azure"))
    assert [row.at for row in rows] == [0.0, pytest.approx(seconds, abs=2.1e-7)]


@pytest.mark.parametrize(
    "moment", ["2023-11-16 18:15:46.nan", "2023-11-16 18:15:46.1e9", ".5", "+01:00", "Z"]
)
def test_what_is_no_moment_is_named(tmp_path: Path, moment: str) -> None:
    (tmp_path / "a.csv").write_text(AZURE + f"{moment},1,1\n")
    with pytest.raises(TraceError, match=r"a\.csv:5: no Azure row: ") as caught:
        read_trace(Trace(tmp_path / "a.csv", "azure"))
    assert repr(moment) in str(caught.value)


def test_a_sharegpt_file_that_is_no_utf_8(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_bytes(b'[{"conversations":[{"from":"human","value":"\xff"}]}]')
    with pytest.raises(TraceError, match=r"s\.json: no ShareGPT file: 'utf-8' codec can't decode byte 0xff"):
        read_trace(Trace(tmp_path / "s.json", "sharegpt"))


def rows_of(tmp_path: Path, kind: str, text: str, **options: Any) -> list[TraceRow]:
    path = tmp_path / "trace"
    path.write_text(text, encoding="utf-8")
    return read_trace(Trace(path, kind, **options))  # type: ignore[arg-type]


def test_burstgpt_leaves_out_what_failed_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "b.csv"
    path.write_text(
        "\ufeffTimestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
        "5,ChatGPT,472,18,490,Conversation log\n"
        "45,ChatGPT,1087,0,1087,Conversation log\n"
        "118.5,GPT-4,417,276,693,API log\n"
    )
    reading = Reading()
    rows = read_trace(Trace(path, "burstgpt"), reading)
    assert [(row.at, row.input_tokens, row.output_tokens) for row in rows] == [
        (0, 472, 18),
        (113.5, 417, 276),
    ]
    assert reading.words == ("1 rows left out: failed where they were recorded (no response tokens)",)


def test_bailian_has_conversations_and_blocks_of_16(tmp_path: Path) -> None:
    first = '{"chat_id": 1, "parent_chat_id": -1, "timestamp": 61.5, "input_length": 17, "output_length": 4, '
    later = '{"chat_id": 9, "parent_chat_id": 1, "timestamp": 70.0, "input_length": 40, "output_length": 5, '
    text = (
        f'{first}"type": "text", "turn": 1, "hash_ids": [3, 4]}}\n{later}"turn": 2, "hash_ids": [3, 4, 5]}}\n'
    )
    rows = rows_of(tmp_path, "bailian", text, block_size=16)
    assert [(row.at, row.group, row.blocks) for row in rows] == [
        (0.0, "chat1", (3, 4)),
        (8.5, "chat1", (3, 4, 5)),
    ]


def test_mooncake_sessions_wait_for_their_answers(tmp_path: Path) -> None:
    text = (
        '{"timestamp": 1000, "session_id": "s", "text_input": "how are you", "output_length": 7}\n'
        '{"timestamp": 1500, "input_length": 3, "output_length": 1}\n'
        '{"session_id": "s", "delay": 250, "text_input": "and now", "output_length": 8}\n'
    )
    session, other = rows_of(tmp_path, "mooncake", text)
    assert (session.at, session.input_tokens, session.group) == (0.0, 3, "s")
    assert [(row.delay, row.text, row.output_tokens) for row in session.later] == [(0.25, "and now", 8)]
    assert other.at == 0.5


def test_requests_in_openai_fields(tmp_path: Path) -> None:
    text = (
        '{"messages": [{"role": "user", "content": "say hi"}], "temperature": 0, "max_tokens": 5}\n'
        '{"prompt": "one two three", "output_tokens": 9}\n'
        '{"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": {"input": ["x y", "z"]}}\n'
    )
    rows = rows_of(tmp_path, "openai", text)
    assert [(row.at, row.input_tokens, row.output_tokens) for row in rows] == [
        (None, 2, 5),
        (None, 3, 9),
        (None, 3, 0),
    ]
    assert rows[0].body == {
        "messages": [{"role": "user", "content": "say hi"}],
        "temperature": 0,
        "max_tokens": 5,
    }


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"model": "m"}', "no request: needs `messages`, `prompt` or `input`"),
        ('{"prompt": "x", "timestamp": "now"}', "`timestamp` is a number of seconds"),
        ("[1]", "no OpenAI row"),
    ],
)
def test_requests_that_are_none(tmp_path: Path, line: str, words: str) -> None:
    with pytest.raises(TraceError, match="trace:2: " + words):
        rows_of(tmp_path, "openai", '{"prompt": "x"}\n' + line)


def test_some_rows_with_times_are_not_enough(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="1 of 2 rows have no time"):
        rows_of(tmp_path, "openai", '{"prompt": "x", "timestamp": 1}\n{"prompt": "x"}\n')


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("one two", 2), ("你好, 世界", 4 + 1), ("日本語 text テスト", 3 + 1 + 3), ("안녕 하세요", 5), ("", 0)],
)
def test_writing_without_blanks_counts_by_characters(text: str, tokens: int) -> None:
    assert count_words(text) == tokens
