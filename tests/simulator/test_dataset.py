"""Reading recorded answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulator.dataset import read_dataset
from simulator.errors import ConfigError


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
