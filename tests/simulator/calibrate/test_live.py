"""A server that is probed over HTTP: what it says of itself, and hidden coefficients found again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from simulator.calibrate.fit import scores
from simulator.calibrate.probe import Limits, kinds, limits
from simulator.calibrate.readers import read_runs
from simulator.calibrate.trial import trial
from simulator.cli import main
from simulator.errors import ConfigError
from tests.simulator.calibrate.test_fit import ENGINE, loads, measured
from tests.simulator.server.serving import Server, serving

# a slow machine: its steps are long beside what this one is late by
HIDDEN = {"c0": 41_000.0, "c1": 90.0, "c2": 130.0, "k": 128, "c3": 70.0, "c4": 0.4, "c5": 0.012}
API_US = 6_000.0
SIZES = {"max_num_seqs": 64, "max_num_batched_tokens": 2048, "num_gpu_blocks": 6000}


@pytest.fixture(scope="module")
def hidden(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    told = tmp_path_factory.mktemp("hidden") / "hidden.json"
    told.write_text(
        json.dumps({"profile": 1, "coefficients_us": HIDDEN, "api_overhead_us": API_US, "engine": SIZES})
    )
    with serving("--model", "m", "--profile", str(told), "--max-model-len", "4096") as server:
        yield server


def test_a_server_is_asked_for_its_limits(hidden: Server) -> None:
    url = hidden.base
    assert limits(url, "m") == Limits(max_model_len=4096, num_gpu_blocks=6000, block_size=16)
    with pytest.raises(ConfigError, match="does not serve other; it lists m"):
        limits(url, "other")


def test_a_probe_has_four_kinds_of_enough_requests_that_fit() -> None:
    for longest in (256, 4096, 131072):
        made = kinds(longest)
        assert [kind.name for kind in made] == ["singles", "prompts", "decodes", "burst"]
        for kind in made:
            flag = "--burst-size" if kind.name == "burst" else "--requests"
            assert int(kind.flags[kind.flags.index(flag) + 1]) >= 50


def lateness(singles: Path, truth: list[float]) -> float:
    """Seconds by which this machine was late with answers that came one at a time; nobody else can know."""
    (run,), _ = read_runs(singles, lambda text: [])
    late = [
        abs(each.request.measured.first_token - each.first_token)
        for each in trial(run, ENGINE, truth, int(HIDDEN["k"]))
        if each.request.measured is not None
    ]
    return sum(late) / len(late)


@pytest.mark.slow
def test_hidden_coefficients_predict_unseen_loads(hidden: Server, tmp_path: Path) -> None:
    """Within 2 %, and three times what this machine was late by: first and last tokens are, and the load."""
    out = tmp_path / "mine.json"
    sizes = ["--max-num-seqs", "64", "--max-num-batched-tokens", "2048"]
    words = ["--target", hidden.base, "--model", "m", *sizes, "-o", str(out), "--quiet"]
    assert main(["calibrate", *words, "--probe-out", str(tmp_path / "kept")]) == 0
    found = json.loads(out.read_text())
    steps = found["coefficients_us"]
    beta = [*(steps[name] for name in ("c0", "c1", "c2", "c3", "c4", "c5")), found["api_overhead_us"]]
    truth = [*(HIDDEN[name] for name in ("c0", "c1", "c2", "c3", "c4", "c5")), API_US]
    late = lateness(next(tmp_path.glob("kept-probe-*")) / "singles", truth)
    for kind, load in loads(5, 2.0).items():
        true = measured(kind, load, truth, int(HIDDEN["k"]))
        said = scores(trial(true, ENGINE, beta, int(steps["k"])))
        spans = [
            (m.first_token - r.arrival, m.last_token - m.first_token)
            for r in true.requests
            if (m := r.measured) is not None
        ]
        ttft, between = (sum(each) / len(spans) for each in zip(*spans, strict=True))
        allowed = {"ttft": late / ttft, "tpot": late / between, "e2e": late / (ttft + between)}
        for metric, error in said.mean.items():
            assert abs(error) < 2.0 + 300 * allowed[metric], (kind, metric, late, said, found)
        print(f"{kind}: {said.mean}, late by {1e3 * late:.1f} ms")
