"""Every packaged scenario through a real stack on the fleet it supposes: exit code 0 within a minute."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadgen.records.table import read_records
from loadgen.scenario.read import packaged_names
from tests.lateness import only_late, was_late
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
LAB = ROOT / "gateway" / "presets" / "lab" / "lab.yaml"
LIMIT_S = 60.0
ATTEMPTS = 3
"""A machine that is busy with other things makes the client late, and the run says so: it is run again."""
QUICK = ("page",)
"""Run by the default suite; the others are marked slow."""


class World:
    """A state directory of its own, so that `simfleet ps` in a scenario finds this stack alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        bin_dir = str(Path(sys.executable).parent)
        self.env = {
            **os.environ,
            "SIMFLEET_STATE_DIR": str(folder / "state"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "PATH": f"{bin_dir}{os.pathsep}{os.environ['PATH']}",
        }

    def run(self, *command: str, timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, env=self.env, capture_output=True, text=True, timeout=timeout, check=False
        )

    def up(self, scenario: str) -> None:
        made = self.run("loadgen", "scenarios", scenario, "--manifests", str(LAB))
        assert made.returncode == 0, made.stderr
        manifests = self.folder / "fleet.yaml"
        manifests.write_text(made.stdout)
        flags = ("-f", str(manifests), "--epp", "reference", "--port", str(free_port()), "--detach")
        started = self.run("simfleet", "up", *flags)
        assert started.returncode == 0, started.stdout + started.stderr


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.run("simfleet", "down")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in packaged_names()]
)
def test_a_packaged_scenario_meets_its_expectations(world: World, name: str) -> None:
    world.up(name)
    for attempt in range(ATTEMPTS):
        out = world.folder / f"run{attempt}"
        begin = time.monotonic()
        done = world.run("loadgen", "run", name, "--no-selftest", "--out", str(out), timeout=LIMIT_S * 2)
        took = time.monotonic() - begin
        if not was_late(done.returncode, done.stdout):
            break
    assert done.returncode == 0 or only_late(done.returncode, done.stdout), done.stdout + done.stderr
    assert took < LIMIT_S


@pytest.mark.slow
def test_churn_loses_only_what_was_in_flight_on_the_killed_pod(world: World) -> None:
    world.up("churn")
    listing = json.loads(world.run("simfleet", "ps", "--format", "json").stdout)
    killed = listing["stacks"][0]["pods"][0]["name"]
    out = world.folder / "run"
    world.run("loadgen", "run", "churn", "--no-selftest", "--out", str(out))
    lost = [record for record in read_records(out) if record.outcome != "ok"]
    for record in lost:
        assert record.pod in (None, killed)
        assert record.start is not None
        assert record.start <= 6.5
        assert record.end is not None
        assert record.end >= 5.9


@pytest.mark.slow
def test_overload_sheds_only_what_may_be_shed(world: World) -> None:
    world.up("overload-shed")
    out = world.folder / "run"
    world.run("loadgen", "run", "overload-shed", "--no-selftest", "--out", str(out))
    shed = [record for record in read_records(out) if record.outcome == "shed_429"]
    assert shed
    assert {record.cls for record in shed} == {"sheddable"}
