"""Reads a data set of recorded answers: JSON Lines with a prompt and its response in each line.

`{"prompt": "...", "response": "..."}`; instead of `prompt` there may be `messages` (the last one counts, as
it does in a chat request), and `response` may be a list of several answers.

The SQLite files of llm-d-inference-sim (table `llmd`) are read too. They hold only hashes of their prompts,
made with its own tokenizers, so every one of their answers serves every prompt.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from simulator.engine.text.chatml import content_text
from simulator.engine.text.dataset_text import DatasetRow
from simulator.errors import ConfigError

_SQLITE_MAGIC = b"SQLite format 3\0"


def read_dataset(path: Path, table: str = "llmd") -> list[DatasetRow]:
    """All rows of the file; `table` is that of an SQLite file. Raises ConfigError with file and line."""
    try:
        data = path.read_bytes()
        if data.startswith(_SQLITE_MAGIC):
            return _sqlite_rows(path, table)
        text = data.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"data set {path} cannot be read: {error}") from error
    rows: list[DatasetRow] = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            rows += _rows(line, f"{path}:{number}")
    if not rows:
        raise ConfigError(f'data set {path} has no rows; each line is {{"prompt": "...", "response": "..."}}')
    return rows


def _sqlite_rows(path: Path, table: str) -> list[DatasetRow]:
    name = '"' + table.replace('"', '""') + '"'
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            found = connection.execute(f"SELECT id, gen_tokens FROM {name}").fetchall()
        answers = [(row_id, json.loads(tokens)) for row_id, tokens in found]
    except (sqlite3.Error, ValueError, TypeError) as error:
        raise ConfigError(f"data set {path}, table {table}: {error}") from error
    rows = []
    for row_id, tokens in answers:
        strings = tokens.get("strings") if isinstance(tokens, dict) else tokens
        if not isinstance(strings, list) or not all(isinstance(token, str) for token in strings):
            raise ConfigError(f"data set {path}, row {row_id}: gen_tokens must hold a list of texts")
        if "".join(strings):
            rows.append(DatasetRow(f"\0{row_id}", "".join(strings)))
    if not rows:
        raise ConfigError(f"data set {path}, table {table}: no answers")
    return rows


def _rows(line: str, where: str) -> Iterator[DatasetRow]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ConfigError(f"{where}: not JSON: {error}") from error
    if not isinstance(row, dict):
        raise ConfigError(f'{where}: must be an object {{"prompt": "...", "response": "..."}}')
    prompt = _prompt(row, where)
    responses = row.get("response")
    for response in responses if isinstance(responses, list) else [responses]:
        if not isinstance(response, str) or not response:
            raise ConfigError(f'{where}: "response" must be a text that is not empty, or a list of such')
        yield DatasetRow(prompt, response)


def _prompt(row: dict[str, Any], where: str) -> str:
    prompt = row.get("prompt")
    if isinstance(prompt, str):
        return prompt
    messages = row.get("messages")
    if isinstance(messages, list) and messages and isinstance(messages[-1], dict):
        return content_text(messages[-1].get("content"))
    raise ConfigError(f'{where}: needs "prompt" (a text) or "messages" (a list of chat messages)')
