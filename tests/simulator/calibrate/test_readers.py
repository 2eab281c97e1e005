"""Recorded runs as people have them, and what is wrong with others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from simulator.calibrate.readers import read_runs
from simulator.errors import ConfigError


def encode(text: str) -> list[int]:
    return [len(word) for word in text.split()]


def record(name: str, **fields: Any) -> dict[str, Any]:
    usual = {"outcome": "ok", "start": 1.0, "first_token": 1.5, "last_token": 2.0}
    return {"id": name, **usual, "prompt_tokens": 4, "output_tokens": 3, **fields}


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_loadgen_directories_have_an_engine_a_pod(tmp_path: Path) -> None:
    lines(
        tmp_path / "records-0.jsonl",
        [
            {"records": 1, "t0": 0.0},
            record("a", pod="p1"),
            record("b", pod="p2", start=0.5, opening=1.2, cached_tokens=3),
            record("c", pod="p1", outcome="reset"),
            record("d", pod="p1", start=0.2, output_tokens=None),
        ],
    )
    runs, notes = read_runs(tmp_path, encode)
    assert [(run.client_side, [r.name for r in run.requests]) for run in runs] == [
        (True, ["a"]),
        (True, ["b"]),
    ]
    (b,) = runs[1].requests
    assert b.measured is not None
    assert (b.arrival, b.measured.first_token, b.measured.last_token) == (0.5, 1.2, 2.0)
    assert b.prompt.token_ids()[:3] == [1000, 1001, 1002]
    assert len(set(b.prompt.token_ids() + runs[0].requests[0].prompt.token_ids())) == 8
    assert notes == [
        f"{tmp_path.name}: 2 requests without a whole, counted answer are no part of the fit",
        f"{tmp_path.name}: 1 prompts were partly cached; their common beginning is supposed",
    ]


def test_vllm_bench(tmp_path: Path) -> None:
    value = {
        "input_lens": [3, 5, 7],
        "output_lens": [2, 0, 3],
        "ttfts": [0.25, 0.0, 0.5],
        "itls": [[0.125], [], [0.25, 0.25]],
        "start_times": [100.5, 100.25, 100.0],
    }
    (tmp_path / "b.json").write_text(json.dumps(value))
    (run,), notes = read_runs(tmp_path / "b.json", encode)
    assert [(r.arrival, r.prompt.length, r.output_tokens, r.measured) for r in run.requests] == [
        (0.0, 7, 3, run.requests[0].measured),
        (0.5, 3, 2, run.requests[1].measured),
    ]
    measured = [r.measured for r in run.requests]
    assert [(m.first_token, m.last_token) for m in measured if m] == [(0.5, 1.0), (0.75, 0.875)]
    assert notes == ["b.json: 1 failed requests are no part of the fit"]


def test_a_recording_of_an_engine(tmp_path: Path) -> None:
    row = {"id": 1, "arrival_s": 0.5, "prompt_token_ids": [1, 2], "output_tokens": 2}
    measured = {**row, "measured": {"first_token": 1.0, "last_token": 1.5}}
    path = lines(tmp_path / "requests.jsonl", [measured, row])
    (run,), _ = read_runs(path, encode)
    assert not run.client_side
    assert [request.measured is None for request in run.requests] == [False, True]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("b.json", "{", "cannot be read as JSON"),
        ("b.json", "{}", "input_lens, output_lens, ttfts, itls, start_times missing"),
        (
            "b.json",
            '{"input_lens": [1], "output_lens": [], "ttfts": [], "itls": [], "start_times": []}',
            "are of different lengths",
        ),
        (
            "requests.jsonl",
            '{"arrival_s": 0, "prompt": "a b", "output_tokens": 2}',
            "no request has `measured` times",
        ),
        ("records-0.jsonl", "nonsense", "not JSON"),
        ("records-0.jsonl", '{"records": 1}', "no ok answer has token counts"),
    ],
)
def test_what_is_no_measured_run(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_runs(tmp_path if name.startswith("records") else tmp_path / name, encode)
