"""`loadgen compare --simulate`: what of an arm's setup a simulation takes, and a comparison made so."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from loadgen.cli import main
from loadgen.compare.simulated import flags_of
from loadgen.errors import ScenarioError
from loadgen.scenario.scenario import Arm

HEAD = "apiVersion: inference.networking.x-k8s.io/v1alpha1\nkind: EndpointPickerConfig\n"


def test_the_flags_of_up_that_say_what_runs_are_taken() -> None:
    setup = 'simfleet up --detach --name x -f "$LOADGEN_FLEET" --epp-config=a.yaml --plugin p.py'
    setup += " --epp reference --port 8080"
    arm = Arm(name="a", setup=setup, env={"LOADGEN_FLEET": "/tmp/fleet of mine.yaml"})
    assert flags_of(arm) == ["-f", "/tmp/fleet of mine.yaml", "--epp-config", "a.yaml", "--plugin", "p.py"]


@pytest.mark.parametrize(
    ("setup", "why"),
    [
        ("kubectl apply -f x", "not one `simfleet up`"),
        (None, "not one `simfleet up`"),
        ("simfleet up --epp ./epp", "a program without a virtual clock"),
        ("simfleet up; rm x", "'up;'"),
        ("simfleet up -f a && echo", "'&&'"),
        ("simfleet up 'a", "No closing quotation"),
    ],
)
def test_any_other_setup_is_refused_by_name(setup: str | None, why: str) -> None:
    with pytest.raises(ScenarioError, match="arm a cannot be simulated") as caught:
        flags_of(Arm(name="a", setup=setup))
    assert why in str(caught.value) or "not one `simfleet up`" in str(caught.value)


def test_a_comparison_in_virtual_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    (tmp_path / "page.yaml").write_text(
        HEAD + "plugins: [{type: queue-scorer}, {type: prefix-cache-scorer}]\nschedulingProfiles:\n"
        "- name: default\n  plugins: [{pluginRef: queue-scorer}, {pluginRef: prefix-cache-scorer}]\n"
    )
    (tmp_path / "turns.yaml").write_text(
        HEAD + "plugins: [{type: round-robin-picker}]\n"
        "schedulingProfiles: [{name: default, plugins: [{pluginRef: round-robin-picker}]}]\n"
    )
    arms = f"{tmp_path / 'page.yaml'},{tmp_path / 'turns.yaml'}"
    flags = ("--simulate", "--repeats", "2", "--jobs", "2", "--duration", "3s", "--warmup", "0", "--quiet")
    code = main(["compare", "hot-prefix", "--arms", arms, "--out", str(tmp_path / "out"), *flags])
    assert code == 0
    found = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert found["notes"][0].startswith("simulated: virtual time")
    assert "simulated: virtual time" in capsys.readouterr().out
    assert sorted((run["arm"], run["repeat"]) for run in found["runs"]) == [
        ("page", 1), ("page", 2), ("turns", 1), ("turns", 2)
    ]  # fmt: skip
