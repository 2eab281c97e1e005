"""`simfleet.simulate` and `simfleet.size`: the commands in virtual time, as objects."""

from __future__ import annotations

from pathlib import Path

import pytest

import simfleet

FEW = {
    "model": "meta-llama/Llama-3.1-8B-Instruct",
    "fleet": {"replicas": 2, "args": ["--profile", "llama-3.1-8b/h100"]},
    "classes": {"c": {"arrival": {"rate": 20, "requests": 30}, "output_tokens": 4}},
}


@pytest.mark.slow
def test_a_simulation_is_rows_and_results(tmp_path: Path) -> None:
    made = simfleet.simulate(FEW, out=tmp_path / "s", seeds=2)
    rows = made.rows()
    assert [row["seed"] for row in rows] == [0, 1]
    assert {row["outcomes.ok"] for row in rows} == {30.0}
    assert all(row["latency_s.ttft.p50"] > 0 for row in rows)
    assert [result.report.run.requests for result in made.results] == [30, 30]
    assert len(list(made.results[0].records())) == 30
    assert made._repr_html_().count("<iframe srcdoc=") == 2


@pytest.mark.slow
def test_a_size_is_answers_and_rows(tmp_path: Path) -> None:
    found = simfleet.size(FEW, slo=["ttft.p95=2s"], profile="llama-3.1-8b/h100", max_replicas=2, out=tmp_path)
    (answer,) = found.answers
    assert (answer["profile"], answer["replicas"]) == ("llama-3.1-8b/h100", 1)
    assert found.rows()[0]["slo.ttft.p95.limit"] == 2.0
    assert "<iframe srcdoc=" in found._repr_html_()


def test_errors_are_the_commands() -> None:
    with pytest.raises(simfleet.CommandError, match="nowhere"):
        simfleet.simulate("nowhere")
