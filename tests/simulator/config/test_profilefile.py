"""Profiles out of files, and what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from simulator.config.profilefile import find_profile
from simulator.config.resolve import parse_args
from simulator.engine.pace.profiles import PROFILES
from simulator.errors import ConfigError

GOOD: dict[str, Any] = {
    "profile": 1,
    "name": "mine",
    "coefficients_us": {"c0": 5000.0, "c1": 20.0, "c2": 20.0, "k": 2048, "c3": 10.0, "c4": 0.02, "c5": 0.005},
    "api_overhead_us": 7500.0,
    "engine": {"max_num_seqs": 48, "max_num_batched_tokens": 1024, "num_gpu_blocks": 777},
}


def test_a_name_is_a_name() -> None:
    name = next(iter(PROFILES))
    assert find_profile(name.upper()) is PROFILES[name]


def test_a_server_is_that_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(GOOD))
    config = parse_args(["--model", "m", "--profile", str(path)])
    engine = config.engine
    assert (engine.max_num_seqs, engine.max_num_batched_tokens, engine.num_gpu_blocks) == (48, 1024, 777)
    assert engine.api_overhead == pytest.approx(0.0075)
    assert config.latency.kind == "step"
    own = parse_args(["--model", "m", "--profile", str(path), "--api-overhead", "2ms"])
    assert own.engine.api_overhead == pytest.approx(0.002)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"profile": 2}, "is no profile of simfleet calibrate"),
        ({"coefficients_us": None}, "needs coefficients_us, an object"),
        (
            {"coefficients_us": {**GOOD["coefficients_us"], "c3": -1}},
            "c3 must be a number of 0 or more, not -1",
        ),
        ({"engine": {}}, "max_num_seqs must be a number"),
        ({"api_overhead_us": "x"}, "api_overhead_us must be a number"),
    ],
)
def test_files_that_are_none(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({**GOOD, **change}))
    with pytest.raises(ConfigError, match=words):
        find_profile(str(path))


@pytest.mark.parametrize(
    ("name", "words"), [("nobody", "no profile 'nobody'; there are"), ("a.json", "cannot be read")]
)
def test_no_profile(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        find_profile(name)
