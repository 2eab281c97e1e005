"""Texts of grammars, each looked at by something that knows the language and not the grammar."""

from __future__ import annotations

import json
import random
import re
from collections import Counter

import pytest

from simulator.server.answers.values import grammar_values
from simulator.server.answers.values.budget import Budget
from simulator.server.answers.values.grammar_values import grammar_text
from simulator.server.errors import ApiError

JSON = r"""
root   ::= object  # xgrammar's own example
value  ::= object | array | string | number | ("true" | "false" | "null") ws
object ::= "{" ws ( string ":" ws value ("," ws string ":" ws value)* )? "}" ws
array  ::= "[" ws ( value ("," ws value)* )? "]" ws
string ::= "\"" ( [^"\\\x7F\x00-\x1F] | "\\" (["\\/bfnrt]) )* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ws
ws     ::= [ ]?
"""
SQL = r"""
start: select
select: "SELECT " columns " FROM " CNAME [where]
columns: CNAME ("," CNAME)*
where: " WHERE " CNAME OP NUMBER -> condition
OP.2: "=" | "<" | ">"
%import common.CNAME
%import common.NUMBER
%ignore " "
"""
REGULAR = [
    ('root ::= "a" | "b"', "a|b"),
    ('root ::= "yes" suffix?\nsuffix ::= " " [0-9]{2,3} | "!"+', r"yes( \d{2,3}|!+)?"),
    ('root ::= [a-c]* "x\\n" .', r"[a-c]*x\n[^\n]"),
    ('root ::= ("ab" | "cd"){2}', "(ab|cd){2}"),
    ('start: WORD " is " COLOUR\nCOLOUR: /red|blue/\nWORD: "a".."f"~3', "[a-f]{3} is (red|blue)"),
    ('start: "hi"i [" there"] ("." | "!")~1..2', r"[hH][iI]( there)?[.!]{1,2}"),
    ('?start: a | b  // comment\n!a: "x"\nb: "y"', "[xy]"),
    ("%import common (INT, WORD)\nstart: INT WORD", r"\d+[a-zA-Z]+"),
]


@pytest.mark.parametrize(("grammar", "pattern"), REGULAR)
def test_regular_languages(grammar: str, pattern: str) -> None:
    for seed in range(40):
        text = grammar_text(grammar, random.Random(seed), Budget())
        assert re.fullmatch(pattern, text), text


def test_recursion_ends() -> None:
    texts = {grammar_text(JSON, random.Random(seed), Budget()) for seed in range(60)}
    assert len(texts) > 20
    for text in texts:
        assert isinstance(json.loads(text), dict), text
    brackets = 'root ::= "(" root ")" root | "[" root "]" | ""'
    for seed in range(40):
        text = grammar_text(brackets, random.Random(seed), Budget())
        while "()" in text or "[]" in text:
            text = text.replace("()", "").replace("[]", "")
        assert not text


def test_larks_way() -> None:
    for seed in range(40):
        text = grammar_text(SQL, random.Random(seed), Budget())
        pattern = r"SELECT \w+(,\w+)* FROM \w+( WHERE \w+[=<>]\d+(\.\d+)?)?"
        assert re.fullmatch(pattern, text), text


@pytest.mark.parametrize(
    "grammar",
    ["root ::= x", 'other ::= "a"', "root ::= (", 'root ::= "a', "root ::= root", 'root ::= "a" root',
     "root ::= \"a\"{3,1}", "start: missing", "%import common.NOPE\nstart: NOPE", "root ::= @", "start:: x",
     "root ::= 'a'", "root ::= /a/"],
)  # fmt: skip
def test_no_grammar(grammar: str) -> None:
    with pytest.raises(ApiError, match="Invalid grammar specification"):
        grammar_text(grammar, random.Random(0), Budget())


@pytest.mark.parametrize(
    "grammar",
    ["root ::= " + "(" * 5000,
     "root ::= " + '"a"' * 40_000, 'root ::= "a"{1000000000}', 'root ::= "a"' + "*" * 9000,
     "\n".join(f"r{i} ::= r{i + 1}" for i in range(4000)) + "\nroot ::= r0\nr4000 ::= \"a\""],
)  # fmt: skip
def test_work_is_bounded(grammar: str) -> None:
    with pytest.raises(ApiError):
        grammar_text(grammar, random.Random(0), Budget())


def test_repetitions_of_repetitions_are_refused_not_a_traceback() -> None:
    with pytest.raises(ApiError, match="Invalid grammar specification"):
        grammar_text("root ::= " + "(" * 45 + '"a"' + ("+" * 45 + ")") * 45, random.Random(0), Budget())


def test_a_choice_is_looked_at_once_however_often_it_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Counter[int]()

    def counted(node: grammar_values.Node, lengths: dict[str, float]) -> float:
        looks[id(node)] += 1
        return real(node, lengths)

    real = grammar_values._length
    monkeypatch.setattr(grammar_values, "_length", counted)
    grammar = "root ::= (" + "|".join(['""'] * 50) + '){200} "b"'
    assert grammar_text(grammar, random.Random(1), Budget(100)) == "b"
    assert looks.total() < 1000


def test_only_what_is_seen_is_made() -> None:
    text = grammar_text('root ::= "abcdefgh" root | "abcdefgh" root | "x"', random.Random(3), Budget(1))
    assert len(text) <= 256
