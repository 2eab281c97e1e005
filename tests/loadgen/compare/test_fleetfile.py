"""The fleet that a scenario supposes reaches the hooks of a comparison."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from loadgen.compare.fleetfile import FLEET_FILE, VARIABLE, write_fleet
from loadgen.compare.hooks import arms_of_files, run_hook
from loadgen.errors import RunError, ScenarioError
from loadgen.scenario.read import load_scenario
from loadgen.scenario.scenario import Arm, Scenario

HOT = load_scenario("hot-prefix")
LAB = Path(__file__).parents[3] / "gateway" / "presets" / "lab" / "lab.yaml"
USES = f'cat "${VARIABLE}"'


def scenario_with(setup: str | None) -> Scenario:
    return replace(HOT, arms=(Arm("a", setup), Arm("b", setup)))


def servers(path: str) -> list[dict[str, object]]:
    found = [each for each in yaml.safe_load_all(Path(path).read_text()) if each]
    return [each for each in found if each["kind"] == "Deployment" and "--model" in str(each)]


def test_manifests_are_fitted_to_the_scenario(tmp_path: Path) -> None:
    env = write_fleet(scenario_with(USES), LAB, tmp_path)
    assert env == {VARIABLE: str(tmp_path / FLEET_FILE)}
    (server,) = servers(env[VARIABLE])
    assert "llama-3.1-8b/h100" in str(server)
    assert "2600" in str(server)
    assert "llama-3.1-8b/h100" not in LAB.read_text(), "a lab of that profile would prove nothing"


def test_without_manifests_they_are_those_of_simfleet_up(tmp_path: Path) -> None:
    pytest.importorskip("grpc", reason="simfleet up needs the extra: pip install 'vllm-simfleet[gateway]'")
    env = write_fleet(scenario_with(USES), None, tmp_path)
    (server,) = servers(env[VARIABLE])
    assert "--num-gpu-blocks-override" in str(server)


def test_own_setups_find_it_and_others_need_none(tmp_path: Path) -> None:
    files = [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    for file in files:
        file.write_text("kind: EndpointPickerConfig\n")
    arms = tuple(arms_of_files(files, None, None, None))
    assert VARIABLE in (arms[0].setup or "")
    assert write_fleet(replace(HOT, arms=arms), LAB, tmp_path) != {}
    assert write_fleet(scenario_with("true"), None, tmp_path) == {}
    assert write_fleet(scenario_with(None), None, tmp_path) == {}
    with pytest.raises(ScenarioError, match="no setup uses them"):
        write_fleet(scenario_with("true"), LAB, tmp_path)


def test_a_hook_reads_the_file_by_its_variable(tmp_path: Path) -> None:
    env = write_fleet(scenario_with(USES), LAB, tmp_path)
    run_hook(USES, Arm("a", USES, env=env), 1, tmp_path / "log")
    assert "llama-3.1-8b/h100" in (tmp_path / "log").read_text()


def test_where_simfleet_cannot_tell_its_lab_the_way_out_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "simfleet"
    broken.write_text("#!/bin/sh\necho no lab >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr("loadgen.compare.fleetfile.LAB", (str(broken),))
    monkeypatch.setattr(os, "environ", dict(os.environ))
    with pytest.raises(RunError, match="ended with 3: no lab"):
        write_fleet(scenario_with(USES), None, tmp_path)
    monkeypatch.setattr("loadgen.compare.fleetfile.LAB", (str(tmp_path / "nowhere"),))
    with pytest.raises(RunError, match="give manifests with --manifests FILE"):
        write_fleet(scenario_with(USES), None, tmp_path)
