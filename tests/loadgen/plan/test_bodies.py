"""Bodies to the byte: the three APIs, escapes, shared texts, answers, and what a class adds."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.plan.bodies import Said, Text, body_pieces, merged, tail, token_body_pieces
from loadgen.plan.plan import Answer, Piece, escape, join_body
from loadgen.scenario.scenario import PATHS, Arrival, ClassSpec, ModelShare, Workload

TEXTS = {7: "shared \\n text"}
ANSWERS = {0: 'said "so"'}
TALK = [
    Said("system", (Text(7, 2),)),
    Said("user", (Text('ask "me"', 2),)),
    Said("assistant", answer=0),
    Said("user", (Text("more", 1), Text(7, 2))),
]


def spec(api: str = "completions", **options: object) -> ClassSpec:
    arrival = Arrival("closed")
    return ClassSpec("a", arrival, Workload(), (ModelShare("m"),), api=api, path=PATHS[api], **options)  # type: ignore[arg-type]


def body(api: str, messages: list[Said], model: str = "m", **options: object) -> bytes:
    return join_body(body_pieces(spec(api, **options), model, messages, 5), TEXTS, ANSWERS)


@pytest.mark.parametrize(
    ("api", "wanted"),
    [
        (
            "completions",
            r'{"model":"m","prompt":"shared \n textask \"me\"\nsaid \"so\"\nmoreshared \n text",'
            r'"max_tokens":5,"stream":true,"stream_options":{"include_usage":true}}',
        ),
        (
            "chat",
            r'{"model":"m","messages":[{"role":"system","content":"shared \n text"},'
            r'{"role":"user","content":"ask \"me\""},{"role":"assistant","content":"said \"so\""},'
            r'{"role":"user","content":"moreshared \n text"}],'
            r'"max_tokens":5,"stream":true,"stream_options":{"include_usage":true}}',
        ),
        (
            "responses",
            r'{"model":"m","input":[{"role":"system","content":"shared \n text"},'
            r'{"role":"user","content":"ask \"me\""},{"role":"assistant","content":"said \"so\""},'
            r'{"role":"user","content":"moreshared \n text"}],'
            r'"max_output_tokens":5,"stream":true}',
        ),
    ],
)
def test_a_conversation_in_each_api(api: str, wanted: str) -> None:
    assert body(api, TALK) == wanted.encode()


def test_token_ids() -> None:
    pieces = token_body_pieces(spec(stream=False), 'a "model"', [3, "1001,1002"], 5)
    assert pieces == ['{"model":"a \\"model\\"","prompt":[', 3, '1001,1002],"max_tokens":5}']
    assert json.loads(join_body(pieces, {3: "1000,"}, {}))["prompt"] == [1000, 1001, 1002]


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ({}, {"max_tokens": 5, "stream": True, "stream_options": {"include_usage": True}}),
        ({"stream": False}, {"max_tokens": 5}),
        ({"stream": False, "ignore_eos": True}, {"max_tokens": 5, "ignore_eos": True}),
        ({"stream": False, "priority": 0}, {"max_tokens": 5, "priority": 0}),
        ({"stream": False, "body": {"max_tokens": 9, "n": 2}}, {"max_tokens": 9, "n": 2}),
        ({"body": {"stream_options": {}}}, {"max_tokens": 5, "stream": True, "stream_options": {}}),
        ({"api": "responses"}, {"max_output_tokens": 5, "stream": True}),
        ({"api": "chat", "stream": False}, {"max_tokens": 5}),
    ],
)
def test_what_stands_behind_the_prompt(options: dict[str, object], fields: dict[str, object]) -> None:
    text = tail(spec(**options), 5)  # type: ignore[arg-type]
    assert text.startswith(",")
    assert json.loads("{" + text[1:]) == fields


@given(st.lists(st.one_of(st.text(max_size=5), st.integers(0, 3), st.builds(Answer, st.integers(0, 3)))))
def test_merging_changes_no_byte_and_leaves_no_neighbours(pieces: list[Piece]) -> None:
    texts = {number: f"<{number}>" for number in range(4)}
    answers = {number: f"({number})" for number in range(4)}
    found = merged(pieces)
    assert join_body(found, texts, answers) == join_body(pieces, texts, answers)
    kinds = [isinstance(piece, str) for piece in found]
    assert not any(a and b for a, b in itertools.pairwise(kinds))


@given(st.text())
def test_any_text_and_any_model_come_back_from_every_api(text: str) -> None:
    for api, read in (
        ("completions", lambda made: made["prompt"]),
        ("chat", lambda made: made["messages"][0]["content"]),
        ("responses", lambda made: made["input"][0]["content"]),
    ):
        made = json.loads(body(api, [Said("user", (Text(text, 1),))], model=text))
        assert (made["model"], read(made)) == (text, text)


@given(st.text())
def test_escaped_text_is_the_inside_of_a_json_string(text: str) -> None:
    assert json.loads(f'"{escape(text)}"') == text


def test_an_answer_that_never_came_leaves_its_place_empty() -> None:
    assert join_body(["a", Answer(3), "b"], {}, {}) == b"ab"
