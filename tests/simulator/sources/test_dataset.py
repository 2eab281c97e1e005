"""Reading recorded answers."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from simulator.errors import ConfigError
from simulator.sources.dataset import read_dataset


def test_every_form_of_row(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(
        '{"prompt": "a\u2028b", "response": "1"}\n\n'
        '{"prompt": "c", "response": ["2", "3"]}\n'
        '{"messages": [{"role": "user", "content": [{"type": "text", "text": "d"}]}], "response": "4"}\n',
        encoding="utf-8",
    )
    rows = [(row.prompt, row.response) for row in read_dataset(file)]
    assert rows == [("a\u2028b", "1"), ("c", "2"), ("c", "3"), ("d", "4")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no rows"),
        ("{", r"rows.jsonl:1: not JSON"),
        ("[]", r"rows.jsonl:1: must be an object"),
        ('{"prompt": "a", "response": "b"}\n{"prompt": "a"}', r"rows.jsonl:2: \"response\" must be"),
        ('{"response": "b"}', r"rows.jsonl:1: needs \"prompt\""),
        ('{"prompt": "a", "response": ""}', "not empty"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(content)
    with pytest.raises(ConfigError, match=message):
        read_dataset(file)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_dataset(tmp_path / "none.jsonl")


def write_sqlite(file: Path, *answers: str) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(
            "CREATE TABLE llmd"
            " (id INTEGER PRIMARY KEY, prompt_hash BLOB, gen_tokens JSON, n_gen_tokens INTEGER)"
        )
        for answer in answers:
            connection.execute("INSERT INTO llmd VALUES (NULL, x'00', ?, 2)", (answer,))


def test_the_sqlite_files_of_llm_d(tmp_path: Path) -> None:
    file = tmp_path / "conversations.sqlite3"
    write_sqlite(file, '["Hello ", "there"]', '{"strings": ["A", " b"], "numbers": [1, 2]}')
    assert [row.response for row in read_dataset(file)] == ["Hello there", "A b"]
    assert len({row.prompt for row in read_dataset(file)}) == 2
    with pytest.raises(ConfigError, match="no such table"):
        read_dataset(file, table="other")


@pytest.mark.parametrize("answer", ["{", "[1]", '{"numbers": [1]}', "[]"])
def test_bad_sqlite_files_are_named(tmp_path: Path, answer: str) -> None:
    file = tmp_path / "conversations.sqlite3"
    write_sqlite(file, answer)
    with pytest.raises(ConfigError, match="conversations"):
        read_dataset(file)
