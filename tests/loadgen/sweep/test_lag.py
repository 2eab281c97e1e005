"""A rate that was too much while the client or its machine lagged is tried again, and the lag is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadgen.scenario.read import read_scenario
from loadgen.scenario.scenario import Scenario
from loadgen.sweep import cpu
from loadgen.sweep import run as runs
from loadgen.sweep.cpu import CpuPressure, is_here
from loadgen.sweep.data import Point
from loadgen.sweep.run import SweepOptions, Swept, summed_up
from loadgen.sweep.search import Search, Tried

SCENARIO = "name: s\nmodel: m\nclasses: {c: {arrival: {rate: 1, duration: 9s}}}\n"


def point(rate: float, served: float, **more: object) -> Point:
    fields: dict[str, object] = {
        "asked": rate, "started": rate, "served": served, "keeps_up": served >= rate, "ok": 1.0
    }  # fmt: skip
    return Point(**{**fields, **more})  # type: ignore[arg-type]


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[Point]:
    """What the next runs find, first to last; what they were is kept in `.tries`."""
    points: list[Point] = []

    def one(scenario: Scenario, options: SweepOptions, path: Path, rate: float, *, first: bool) -> Point:
        assert f"rate: {rate}" in scenario.text
        found = points.pop(0)
        found.dir = path.name
        return found

    monkeypatch.setattr(runs, "_one", one)
    return points


def tried(options: SweepOptions | None = None) -> Point:
    scenario = read_scenario(SCENARIO, "s.yaml", Path())
    return runs._tried(scenario, options or SweepOptions(), Path("out"), 30.0, 0)


def test_the_best_of_lagging_runs_counts(given: list[Point]) -> None:
    given += [
        point(30, 20, late_p99=0.2),
        point(30, 24, starved=0.9),
        point(30, 22, starved=0.9),
        point(30, 1),
    ]
    found = tried()
    assert (found.served, found.dir) == (24, "rate-01-30-again-1")
    assert len(given) == 1  # three tries and no more


def test_a_run_without_lag_or_one_that_passes_is_believed(given: list[Point]) -> None:
    for first in (point(30, 20), point(30, 30, starved=0.9)):
        given[:] = [first]
        assert tried() is first
    given[:] = [point(30, 20, starved=0.9), point(30, 30)]
    assert tried().served == 30
    given[:] = [point(30, 20, late_p99=1.0)]
    assert tried(SweepOptions(rates=(30.0,))).served == 20  # rates that were asked for are run once


def test_lag_is_told_where_it_matters() -> None:
    scenario = read_scenario(SCENARIO, "s.yaml", Path())
    low, high = point(20, 20, starved=0.9), point(20.5, 19, starved=0.9)
    for points, said in (([low, high], True), ([low, point(20.5, 19)], False)):
        search = Search(20.0)
        for each in points:
            search.add(Tried(each.asked, each.keeps_up))
        report = summed_up(scenario, SweepOptions(), Swept(points, search))
        assert report.limit == 20.0
        assert ("this may be too low: the server's machine was short of CPU 90 %" in report.sentence) is said
        assert bool(report.lag) is said
    assert "up to 200 ms late" in point(1, 1, late_p99=0.2).lag
    assert point(1, 1, late_p99=0.001, starved=0.1).lag == ""


def test_what_the_kernel_says_of_its_cpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "cpu"
    monkeypatch.setattr(cpu, "PRESSURE", page)
    assert CpuPressure().share() is None
    page.write_text("some avg10=0.00 total=1000000\nfull avg10=0.00 total=0\n")
    pressure = CpuPressure()
    page.write_text("some avg10=0.00 total=900000000\nfull avg10=0.00 total=0\n")
    assert pressure.share() == 1.0
    page.write_text("nothing of that kind\n")
    assert pressure.share() is None


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.7:80", True),
        ("http://[::1]:80", True),
        ("https://localhost", True),
        ("http://10.0.0.1:8000", False),
        ("http://gateway.example", False),
    ],
)
def test_which_servers_are_on_this_machine(url: str, here: bool) -> None:
    assert is_here(url) is here
