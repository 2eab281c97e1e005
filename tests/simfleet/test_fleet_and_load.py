"""The Python interface to a fleet and to load, against real processes."""

from __future__ import annotations

from pathlib import Path

import pytest

import simfleet
from simfleet.process import flags
from tests.ports import free_port

FEW = {"model": "m", "rate": 40, "duration": "1s", "output_tokens": 4, "no_selftest": True}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"rate": 5, "no_stream": True, "http2": False, "seed": None}, ["--rate", "5", "--no-stream"]),
        ({"slo": ["ttft=1s", "e2e=2s"]}, ["--slo", "ttft=1s", "--slo", "e2e=2s"]),
        ({}, []),
    ],
)
def test_keywords_are_flags(given: dict[str, object], expected: list[str]) -> None:
    assert flags(given) == expected


def test_a_run_against_a_fleet(tmp_path: Path) -> None:
    port = free_port()
    with simfleet.Fleet("m", replicas=2, address="127.0.0.66", port=port) as fleet:
        assert fleet.urls == [f"http://127.0.0.66:{port}", f"http://127.0.0.67:{port}"]
        result = simfleet.run(target=fleet.url, out=tmp_path / "r", expect=["outcomes.ok > 99%"], **FEW)
        failing = simfleet.run(
            {"classes": {"c": {"model": "m", "arrival": {"process": "burst", "size": 5}}}},
            target=fleet.url,
            expect=["outcomes.ok < 1%"],
            no_selftest=True,
        )
    assert result.exit_code in (0, 2), result.failures  # 2: this machine was too busy to trust it
    assert result.failures == []
    figures = result.figures()
    assert figures["ttft.count"] == result.report.run.requests == len(list(result.records()))
    assert "<iframe srcdoc=" in result._repr_html_()  # what a notebook calls
    assert not failing.ok
    assert len(failing.failures) == 1


def test_errors_are_those_of_the_commands(tmp_path: Path) -> None:
    with pytest.raises(simfleet.CommandError, match="needs `model:`") as caught:
        simfleet.run(target="http://127.0.0.1:9", out=tmp_path / "r", rate=1, duration="1s")
    assert caught.value.code == 2
    with pytest.raises(simfleet.CommandError, match="--nonsense"):
        simfleet.Fleet("m", nonsense=True).start()
