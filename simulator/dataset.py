"""Reads a data set of recorded answers: JSON Lines with a prompt and its response in each line.

`{"prompt": "...", "response": "..."}`; instead of `prompt` there may be `messages` (the last one counts, as
it does in a chat request), and `response` may be a list of several answers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from simulator.engine.chatml import content_text
from simulator.engine.dataset_text import DatasetRow
from simulator.errors import ConfigError


def read_dataset(path: Path) -> list[DatasetRow]:
    """All rows of the file. Raises ConfigError with file and line."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"data set {path} cannot be read: {error}") from error
    rows: list[DatasetRow] = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            rows += _rows(line, f"{path}:{number}")
    if not rows:
        raise ConfigError(f'data set {path} has no rows; each line is {{"prompt": "...", "response": "..."}}')
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
