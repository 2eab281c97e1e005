"""The fleet that a scenario supposes, applied to manifests."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import yaml

from loadgen.cli import main
from loadgen.errors import ScenarioError
from loadgen.scenario.fleetneeds import apply_needs, flag_name, manifests_for, merged_arguments
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


def test_manifests_from_standard_input_for_a_scenario_of_ones_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "mine.yaml"
    classes = "classes: {c: {arrival: {process: constant, rate: 1}}}"
    mine.write_text(f"model: m\nduration: 1s\nfleet: {{replicas: 5}}\n{classes}\n")
    monkeypatch.setattr("sys.stdin", io.StringIO(yaml.safe_dump_all(documents())))
    assert main(["scenarios", str(mine), "--manifests", "-"]) == 0
    made = list(yaml.safe_load_all(capsys.readouterr().out))
    assert made[0]["spec"]["replicas"] == 5
    assert main(["scenarios", "no-such", "--manifests", str(LAB)]) == 2
    assert "no packaged scenario of that name" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argument", "name"),
    [("--model", "model"), ("--max_num_seqs=4", "max-num-seqs"), ("-m", None), ("value", None), ("--", "")],
)
def test_the_name_of_a_flag(argument: str, name: str | None) -> None:
    assert flag_name(argument) == name


@pytest.mark.parametrize(
    ("base", "wanted", "merged"),
    [
        (["--a", "1"], [], ["--a", "1"]),
        (["--a", "1", "--b"], ["--b"], ["--a", "1", "--b"]),
        (["--a", "1", "2", "--b"], ["--a=3"], ["--b", "--a=3"]),
        (["--a=1", "--a=2"], ["--a", "3"], ["--a", "3"]),
        (["serve", "--a", "1"], ["--a", "2"], ["serve", "--a", "2"]),
        ([], ["--a"], ["--a"]),
    ],
)
def test_merged_arguments(base: list[str], wanted: list[str], merged: list[str]) -> None:
    assert merged_arguments(base, wanted) == merged


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("a: [", "m.yaml:1: not YAML: "),
        ("- a\n- b\n", "m.yaml: document 1 is no manifest (a mapping with `kind:`)"),
        ("kind: Service\n---\njust text\n", "m.yaml: document 2 is no manifest (a mapping with `kind:`)"),
        ("kind: Deployment\nspec:\n", "no Deployment with a container that has --model among its args"),
        ("kind: Deployment\nspec: {template: text}\n", "no Deployment with a container that has --model"),
        ("kind: Deployment\nspec: {template: {spec: {containers: }}}\n", "no Deployment with a container"),
        ("kind: Pod\nspec: {containers: [{args: [--model, m]}]}\n", "no Deployment with a container"),
        ("", "no Deployment with a container"),
    ],
)
def test_files_that_hold_no_fleet(tmp_path: Path, text: str, error: str) -> None:
    path = written(tmp_path / "m.yaml", text)
    with pytest.raises(ScenarioError) as caught:
        manifests_for(FleetNeeds(), path)
    assert error in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(ScenarioError, match="cannot be read"):
            manifests_for(FleetNeeds(), path)
    (tmp_path / "latin").write_bytes(b"kind: \xe9\n")
    with pytest.raises(ScenarioError, match="cannot be read"):
        manifests_for(FleetNeeds(), tmp_path / "latin")


def test_a_pool_without_a_name_can_have_no_objectives() -> None:
    needs = FleetNeeds(objectives={"low": 1})
    with pytest.raises(ScenarioError, match=r"an InferencePool without metadata\.name"):
        apply_needs([documents()[0], {"kind": "InferencePool", "metadata": None}], needs)


def test_every_model_server_is_fitted_and_nothing_else(tmp_path: Path) -> None:
    server = "spec: {template: {spec: {containers: [{args: [--model, m]}]}}}"
    text = f"kind: Deployment\n{server}\n---\nkind: StatefulSet\n{server}\n---\n---\nkind: Service\nx: 1\n"
    made = manifests_for(FleetNeeds(2, ("--seed", "1")), written(tmp_path / "m.yaml", text))
    one, other, service = yaml.safe_load_all(made)
    for document in (one, other):
        assert document["spec"]["replicas"] == 2
        assert document["spec"]["template"]["spec"]["containers"][0]["args"] == [
            "--model",
            "m",
            "--seed",
            "1",
        ]
    assert service == {"kind": "Service", "x": 1}


def test_objectives_stand_in_the_namespace_of_their_pool() -> None:
    pool = {"kind": "InferencePool", "metadata": {"name": "p"}}
    *_, low, high = apply_needs([documents()[0], pool], FleetNeeds(objectives={"low": -1, "high": 9}))
    assert low == {
        "apiVersion": "inference.networking.x-k8s.io/v1alpha2",
        "kind": "InferenceObjective",
        "metadata": {"name": "low"},
        "spec": {"priority": -1, "poolRef": {"name": "p"}},
    }
    assert (high["metadata"], high["spec"]["priority"]) == ({"name": "high"}, 9)


@pytest.mark.parametrize(
    "document",
    [
        "kind: Deployment",
        "{kind: Deployment, spec: 5}",
        "{kind: Deployment, spec: {template: {spec: {containers: [x, 5, null]}}}}",
        "{kind: Deployment, spec: {template: {spec: {containers: {args: [--model]}}}}}",
        "{kind: Deployment, spec: {template: {spec: {containers: [{args: --model}]}}}}",
        "{kind: StatefulSet, spec: {template: {spec: {containers: [{args: {--model: m}}]}}}}",
        "{kind: DaemonSet, spec: {template: {spec: {containers: [{args: [--model, m]}]}}}}",
        "{kind: ConfigMap, data: [EndpointPickerConfig]}",
    ],
)
def test_objects_of_another_form_are_no_model_servers(tmp_path: Path, document: str) -> None:
    (tmp_path / "m.yaml").write_text(document)
    with pytest.raises(ScenarioError, match="no Deployment with a container that has --model among its args"):
        manifests_for(FleetNeeds(replicas=2), tmp_path / "m.yaml")


@pytest.mark.parametrize("data", ["[EndpointPickerConfig]", "EndpointPickerConfig", "null", "{a: other}"])
def test_config_maps_of_another_form_hold_no_picker(tmp_path: Path, data: str) -> None:
    server = "{kind: Deployment, spec: {template: {spec: {containers: [{args: [--model, m]}]}}}}"
    (tmp_path / "m.yaml").write_text(f"{server}\n---\n{{kind: ConfigMap, data: {data}}}")
    with pytest.raises(ScenarioError, match="no ConfigMap that holds an EndpointPickerConfig"):
        manifests_for(FleetNeeds(picker={"kind": "x"}), tmp_path / "m.yaml")
