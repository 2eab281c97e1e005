"""Typed reads of YAML values: what each takes, and what the error says of what it does not take."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.durations import parse_seconds
from loadgen.errors import ScenarioError
from loadgen.scenario.yamlnodes import COMMAND_LINE, Node, parse_yaml


def value(text: str) -> Node:
    """The node of `k: text`, with errors that begin with `f.yaml:1: k: `."""
    return parse_yaml(f"k: {text}", "f.yaml").need("k")


def message(read: Callable[[], object]) -> str:
    with pytest.raises(ScenarioError) as caught:
        read()
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("5", 5.0),
        ("-5", -5.0),
        ("0.25", 0.25),
        ("1.0e+3", 1000.0),
        ("0x10", 16.0),
        ("1_000", 1000.0),
        (".5", 0.5),
    ],
)
def test_numbers(text: str, number: float) -> None:
    assert value(text).number() == number


@pytest.mark.parametrize(
    ("text", "low", "high", "error"),
    [
        ("twenty", -math.inf, math.inf, "must be a number, not 'twenty'"),
        ("'5'", -math.inf, math.inf, "must be a number, not '5'"),
        ("true", -math.inf, math.inf, "must be a number, not 'true'"),
        ("[5]", -math.inf, math.inf, "must be a number, not a list"),
        ("{a: 5}", -math.inf, math.inf, "must be a number, not a mapping"),
        ("-1", 0, math.inf, "must be at least 0, not -1"),
        ("2", -math.inf, 1, "must be at most 1, not 2"),
        ("300", 1, 256, "must be between 1 and 256, not 300"),
        (".inf", 0, math.inf, "must be a finite number, not '.inf'"),
        (".nan", 0, math.inf, "must be a finite number, not '.nan'"),
        ("1" + "0" * 400, 0, math.inf, "must be a finite number, not '1" + "0" * 19 + "'"),
        ("2001-99-99", 0, 1, "must be a number, not '2001-99-99'"),
        ("!!int x", 0, 1, "'x' is no value of tag:yaml.org,2002:int"),
        ("!!timestamp x", 0, 1, "'x' is no value of tag:yaml.org,2002:timestamp"),
    ],
)
def test_what_is_no_number(text: str, low: float, high: float, error: str) -> None:
    assert message(lambda: value(text).number(low, high)).startswith(f"f.yaml:1: k: {error}")


@pytest.mark.parametrize(("text", "number"), [("5", 5), ("5.0", 5), ("-2", -2)])
def test_whole_numbers(text: str, number: int) -> None:
    found = value(text).integer()
    assert (found, type(found)) == (number, int)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("5.5", "must be a whole number, not 5.5"),
        ("0", "must be at least 1, not 0"),
        ("x", "must be a number"),
    ],
)
def test_what_is_no_whole_number(text: str, error: str) -> None:
    assert message(lambda: value(text).integer(1)).startswith(f"f.yaml:1: k: {error}")


@pytest.mark.parametrize(("text", "truth"), [("true", True), ("false", False), ("yes", True), ("off", False)])
def test_booleans(text: str, truth: bool) -> None:
    assert value(text).boolean() is truth


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("1", "must be true or false, not '1'"),
        ("'true'", "must be true or false, not 'true'"),
        ("[true]", "must be true or false, not a list"),
        ("!!bool x", "'x' is no value of tag:yaml.org,2002:bool"),
    ],
)
def test_what_is_no_boolean(text: str, error: str) -> None:
    assert message(lambda: value(text).boolean()).startswith(f"f.yaml:1: k: {error}")


@pytest.mark.parametrize(
    ("text", "share"),
    [("0", 0.0), ("1", 1.0), ("25%", 0.25), ("0.25", 0.25), ("100%", 1.0), ("12.5%", 0.125)],
)
def test_shares(text: str, share: float) -> None:
    assert value(text).share() == share


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("1.5", "must be between 0 and 1 (0% and 100%), not 1.5"),
        ("130%", "must be between 0 and 1 (0% and 100%), not 130%"),
        ("-1%", "must be between 0 and 1 (0% and 100%), not -1%"),
        (".nan", "must be a share such as 0.25 or 25%, not '.nan'"),
        ("nan", "must be between 0 and 1 (0% and 100%), not nan"),
        ("half", "must be a share such as 0.25 or 25%, not 'half'"),
        ("[1]", "must be a text, not a list"),
    ],
)
def test_what_is_no_share(text: str, error: str) -> None:
    assert message(lambda: value(text).share()) == f"f.yaml:1: k: {error}"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("soon", "must be a duration such as 30s, 250ms or 1h30m, not 'soon'"),
        ("-1s", "must be a duration such as 30s, 250ms or 1h30m, not '-1s'"),
        (".inf", "must be a duration such as 30s, 250ms or 1h30m, not '.inf'"),
        ("''", "must be a duration such as 30s, 250ms or 1h30m, not ''"),
        ("[1s]", "must be a text, not a list"),
        ("0", "must be at least 0.001 s, not 0"),
        ("1us", "must be at least 0.001 s, not 1e-06"),
    ],
)
def test_what_is_no_duration(text: str, error: str) -> None:
    assert message(lambda: value(text).duration(1e-3)) == f"f.yaml:1: k: {error}"


@given(
    hours=st.integers(0, 50),
    minutes=st.integers(0, 59),
    seconds=st.integers(0, 59),
    millis=st.integers(0, 999),
)
def test_durations_add_their_parts(hours: int, minutes: int, seconds: int, millis: int) -> None:
    wanted = 3600 * hours + 60 * minutes + seconds + millis / 1000
    for gap in ("", " "):
        text = gap.join((f"{hours}h", f"{minutes}m", f"{seconds}s", f"{millis}ms"))
        assert parse_seconds(text) == pytest.approx(wanted, rel=1e-12)
        assert parse_seconds(f"  {text} ") == parse_seconds(text)


@given(st.text("0123456789smhuin. -+e", max_size=8))
def test_a_duration_is_a_number_of_seconds_or_refused(text: str) -> None:
    try:
        seconds = parse_seconds(text)
    except ValueError:
        return
    assert seconds >= 0
    assert any(character.isdigit() for character in text)


def test_choices() -> None:
    assert value("poisson").choice(("constant", "poisson")) == "poisson"
    assert message(lambda: value("poison").choice(("constant", "poisson"))) == (
        "f.yaml:1: k: must be one of constant, poisson, not 'poison'; did you mean poisson?"
    )
    assert message(lambda: value("x").choice(("constant", "poisson"))) == (
        "f.yaml:1: k: must be one of constant, poisson, not 'x'"
    )


def test_texts_stand_as_they_are_written() -> None:
    assert [value(text).text() for text in ("abc", "'5'", "5.0", "true", "2001-01-01")] == [
        "abc",
        "5",
        "5.0",
        "true",
        "2001-01-01",
    ]
    assert value("{a: 1, b: x}").strings() == {"a": "1", "b": "x"}
    assert message(lambda: value("{a: [1]}").strings()) == "f.yaml:1: k.a: must be a text, not a list"


def test_mappings_and_lists() -> None:
    root = parse_yaml("a: 1\nb:\n- x\n- {c: 2}\n", "f.yaml")
    assert [(key, node.line) for key, node in root.items().items()] == [("a", 1), ("b", 2)]
    items = list(root.need("b").elements())
    assert [node.line for node in items] == [3, 4]
    assert message(lambda: items[1].need("c").boolean()) == (
        "f.yaml:4: b[1].c: must be true or false, not '2'"
    )
    assert message(lambda: root.need("a").items()) == ("f.yaml:1: a: must be a mapping (key: value), not '1'")
    assert message(lambda: list(root.need("a").elements())) == "f.yaml:1: a: must be a list, not '1'"
    assert message(lambda: value("")) == "f.yaml:1: k: is empty; give it a value"


def test_a_null_counts_as_absent() -> None:
    root = parse_yaml("a:\nb: ~\nc: null\nd: ''\n", "f.yaml")
    assert [root.get(key) is None for key in "abcd"] == [True, True, True, False]
    assert root.get("e") is None
    root.done()  # each was asked for


def test_a_key_twice_is_named_with_the_line_of_the_second() -> None:
    text = "a: 1\nb: {c: 1,\n  c: 2}\n"
    assert (
        message(lambda: parse_yaml(text, "f.yaml").need("b").items())
        == "f.yaml:3: b.c: stands twice; keep one"
    )


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("rate: 1\ndration: 5\n", "f.yaml:2: dration: unknown key; did you mean `duration`?"),
        ("rate: 1\nzzz: 5\n", "f.yaml:2: zzz: unknown key; known: duration, rate"),
    ],
)
def test_unknown_keys(text: str, error: str) -> None:
    root = parse_yaml(text, "f.yaml")
    root.get("rate"), root.get("duration")
    assert message(root.done) == error


def test_a_missing_key_is_sought_among_the_misspelt() -> None:
    root = parse_yaml("a: {ratte: 5}\nb: {x: 5}\n", "f.yaml")
    assert message(lambda: root.need("a").need("rate")) == (
        "f.yaml:1: a.ratte: unknown key; did you mean `rate`?"
    )
    assert message(lambda: root.need("b").need("rate")) == "f.yaml:2: b: needs `rate:`"


def test_an_overlay_lets_lists_and_mappings_grow_and_replaces_the_rest() -> None:
    root = parse_yaml("a: 1\nexpect: [x]\nslo: {ttft: 1s}\n", "f.yaml")
    root.overlay("a: 2\nexpect: [y]\nslo: {e2e: 2s}\nb: 3\n", COMMAND_LINE)
    assert [node.text() for node in root.need("expect").elements()] == ["x", "y"]
    assert (root.need("a").text(), root.need("b").text()) == ("2", "3")
    assert root.need("slo").strings() == {"ttft": "1s", "e2e": "2s"}
    assert message(lambda: root.need("b").boolean()) == "command line: b: must be true or false, not '3'"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "f.yaml: is empty"),
        ("# nothing\n", "f.yaml: is empty"),
        ("a: [\n", "f.yaml:2: not YAML: expected the node content, but found '<stream end>'"),
        ("a: 1\n b: 2\n", "f.yaml:2: not YAML: mapping values are not allowed here"),
        ("a: *b\n", "f.yaml:1: not YAML: found undefined alias 'b'"),
        ("a: 1\n---\nb: 2\n", "f.yaml:3: holds a second document; a scenario is one"),
        ("a: \x01\n", "f.yaml: not text: special characters are not allowed at character 3"),
        ("k: !ours 5\n", "f.yaml:1: not YAML: could not determine a constructor for the tag '!ours'"),
    ],
)
def test_what_is_no_yaml(text: str, error: str) -> None:
    assert message(lambda: parse_yaml(text, "f.yaml")).startswith(error)


def test_plain_values() -> None:
    assert value("{a: [1, 2.5, true, null, x]}").value == {"a": [1, 2.5, True, None, "x"]}


@given(st.integers(-(2**80), 2**80))
def test_whole_numbers_keep_all_their_digits(number: int) -> None:
    """A seed beyond 2**53 is the seed that was written, not the nearest float."""
    assert value(str(number)).integer() == number
