"""The fleet that a scenario supposes, applied to manifests."""

from pathlib import Path

import pytest
import yaml

from loadgen.cli import main
from loadgen.errors import ScenarioError
from loadgen.scenario.fleetneeds import apply_needs, merged_arguments
from loadgen.scenario.scenario import FleetNeeds

LAB = Path(__file__).parents[3] / "gateway" / "presets" / "lab" / "lab.yaml"


def test_arguments_take_the_place_of_their_like() -> None:
    base = [
        "--model",
        "m",
        "--max-loras",
        "2",
        "--lora-modules",
        '{"name":"a"}',
        '{"name":"b"}',
        "--port=8000",
        "--x",
    ]
    wanted = ["--lora_modules", '{"name":"c"}', "--port", "9"]
    assert merged_arguments(base, wanted) == ["--model", "m", "--max-loras", "2", "--x", *wanted]


def documents() -> list[dict[str, object]]:
    container = {"name": "sim", "args": ["--model", "m", "--max-num-seqs", "1"]}
    template = {"spec": {"containers": [{"name": "sidecar"}, container]}}
    return [
        {"kind": "Deployment", "metadata": {"name": "d"}, "spec": {"replicas": 1, "template": template}},
        {"kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"p.yaml": "kind: EndpointPickerConfig\n"}},
        {"kind": "InferencePool", "metadata": {"name": "pool", "namespace": "ns"}},
    ]


def test_needs_are_met() -> None:
    needs = FleetNeeds(
        4, ("--max-num-seqs", "9"), {"low": -1}, {"kind": "EndpointPickerConfig", "plugins": []}
    )
    deployment, config, _, objective = apply_needs(documents(), needs)
    assert deployment["spec"]["replicas"] == 4
    container = deployment["spec"]["template"]["spec"]["containers"][1]
    assert container["args"] == ["--model", "m", "--max-num-seqs", "9"]
    assert yaml.safe_load(config["data"]["p.yaml"]) == needs.picker
    assert objective["metadata"] == {"name": "low", "namespace": "ns"}
    assert objective["spec"] == {"priority": -1, "poolRef": {"name": "pool"}}


def test_manifests_that_cannot_meet_them() -> None:
    with pytest.raises(ScenarioError, match="no Deployment"):
        apply_needs(documents()[1:], FleetNeeds())
    with pytest.raises(ScenarioError, match="no ConfigMap"):
        apply_needs([documents()[0]], FleetNeeds(picker={}))
    with pytest.raises(ScenarioError, match="no InferencePool"):
        apply_needs([documents()[0]], FleetNeeds(objectives={"a": 1}))


@pytest.mark.skipif(not LAB.is_file(), reason="needs the packaged lab")
def test_the_packaged_lab_can_be_fitted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scenarios", "overload-shed", "--manifests", str(LAB)]) == 0
    made = [each for each in yaml.safe_load_all(capsys.readouterr().out) if each]
    assert sum(each["kind"] == "InferenceObjective" for each in made) == 3
    assert len(made) == 3 + sum(1 for each in yaml.safe_load_all(LAB.read_text()) if each)
