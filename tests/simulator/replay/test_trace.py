"""Reading workload traces."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from simulator.errors import ConfigError
from simulator.replay.prompts import Prompt
from simulator.replay.trace import HASH_BLOCK, TraceRequest, read_trace, scale_rate


def encode(text: str) -> list[int]:
    return [ord(character) for character in text]


def write(folder: Path, *rows: object) -> Path:
    file = folder / "requests.jsonl"
    file.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))
    return file


def test_a_recorded_run(tmp_path: Path) -> None:
    measured = {"queued": 0.5, "scheduled": 0.6, "first_token": 1.0, "last_token": 3.0}
    write(
        tmp_path,
        {"id": 7, "arrival_s": 0.5, "prompt_token_ids": [1, 2], "output_tokens": 3, "measured": measured},
        {"id": 8, "arrival_s": 0.25, "prompt_token_ids": [3], "output_tokens": 4},
    )
    early, late = read_trace(tmp_path, encode)
    assert (early.name, early.arrival, early.prompt.token_ids(), early.output_tokens) == ("8", 0.25, [3], 4)
    assert early.measured is None
    assert late.measured is not None
    assert (late.measured.first_token, late.measured.last_token) == (1.0, 3.0)
    assert [request.name for request in read_trace(tmp_path, encode, limit=1)] == ["8"]


def test_text_and_lengths(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        {"arrival_s": 0, "prompt": "ab", "max_tokens": 5},
        {"timestamp": 1500, "input_length": 40, "output_length": 6},
        {"arrival_s": 2, "prompt_tokens": 40, "output_tokens": 7},
    )
    text, length, other = read_trace(file, encode)
    assert text.prompt.token_ids() == [97, 98]
    assert (length.arrival, len(length.prompt.token_ids()), length.output_tokens) == (1.5, 40, 6)
    assert not set(length.prompt.token_ids()) & set(other.prompt.token_ids())


def test_mooncake_hash_ids_share_blocks(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        {"timestamp": 0, "input_length": 1300, "output_length": 1, "hash_ids": [1, 2, 3]},
        {"timestamp": 1, "input_length": 1100, "output_length": 1, "hash_ids": [1, 2, 4]},
    )
    first, second = (request.prompt.token_ids() for request in read_trace(file, encode))
    assert (len(first), len(second)) == (1300, 1100)
    assert first[: 2 * HASH_BLOCK] == second[: 2 * HASH_BLOCK]
    assert first[2 * HASH_BLOCK] != second[2 * HASH_BLOCK]


def test_azure(tmp_path: Path) -> None:
    file = tmp_path / "azure.csv"
    file.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2023-11-16 18:15:46.6805900,374,44\n"
        "2023-11-16 18:15:50.9951690,396,0\n"
        "2023-11-16 18:15:51.1805900,396,109\n"
    )
    first, second = read_trace(file, encode)
    assert (first.arrival, len(first.prompt.token_ids()), first.output_tokens) == (0.0, 374, 44)
    assert second.arrival == pytest.approx(4.5)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{\n", "requests.jsonl:1: not JSON"),
        ("[]\n", "must be a JSON object"),
        ({"prompt": "a", "output_tokens": 1}, "needs arrival_s"),
        ({"arrival_s": -1, "prompt": "a", "output_tokens": 1}, "arrival_s must be a number of 0 or more"),
        ({"arrival_s": 0, "prompt": "a"}, "needs one of output_tokens"),
        ({"arrival_s": 0, "prompt": "a", "output_tokens": 0}, "output_tokens must be a whole number"),
        ({"arrival_s": 0, "prompt": "", "output_tokens": 1}, "the prompt is empty"),
        ({"arrival_s": 0, "output_tokens": 1}, "needs one of input_length"),
        ({"arrival_s": 0, "prompt_token_ids": ["a"], "output_tokens": 1}, "list of token ids"),
        ({"arrival_s": 0, "input_length": 9, "hash_ids": 3, "output_tokens": 1}, "hash_ids must be"),
        ({"arrival_s": 0, "prompt": "a", "output_tokens": 1, "measured": {}}, "measured needs first_token"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, row: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_trace(write(tmp_path, row), encode)


def test_bad_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_trace(tmp_path / "none", encode)
    with pytest.raises(ConfigError, match="holds no requests"):
        read_trace(write(tmp_path), encode)
    csv = tmp_path / "x.csv"
    csv.write_text("TIMESTAMP,ContextTokens\n")
    with pytest.raises(ConfigError, match="GeneratedTokens"):
        read_trace(csv, encode)
    csv.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\nnever,1,2\n")
    with pytest.raises(ConfigError, match=r"x.csv:2"):
        read_trace(csv, encode)


def test_faster_arrivals_drop_what_was_measured() -> None:
    request = TraceRequest("a", 3.0, Prompt.of_ids([1]), 1)
    assert scale_rate([request], 2.0)[0].arrival == 1.5
    assert scale_rate([request], 1.0)[0] is request
