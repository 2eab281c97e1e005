from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.errors import ManifestError
from gateway.manifests.load import load
from tests.e2e import worlds


def project(tmp_path: Path, kustomization: dict[str, Any], **files: str) -> Path:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "kustomization.yaml").write_text(yaml.safe_dump({"resources": ["server.yaml"]}))
    objects = [worlds.servers("server", 1), worlds.service("svc", "server", 80, 8000)]
    (tmp_path / "base" / "server.yaml").write_text(worlds.dump(objects))
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump({"resources": ["base"], **kustomization}))
    for name, text in files.items():
        (tmp_path / name.replace("_", ".")).write_text(text)
    return tmp_path


STRATEGIC = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: server, namespace: apps}
spec:
  replicas: 4
  template:
    spec:
      containers:
      - name: vllm
        args: [--model, other]
        env:
        - {name: EXTRA, value: "1"}
"""
JSON_PATCH = [
    {"op": "replace", "path": "/spec/replicas", "value": 7},
    {"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "--max-loras=4"},
    {"op": "remove", "path": "/spec/template/spec/containers/0/env/0"},
]


def test_resources_and_strategic_patch(tmp_path: Path) -> None:
    where = project(tmp_path, {"patches": [{"path": "patch.yaml"}]}, patch_yaml=STRATEGIC)
    workload = load([str(where)]).workloads[0]
    assert (workload.replicas, workload.containers[0].args) == (4, ("--model", "other"))
    assert [e.name for e in workload.containers[0].env] == ["EXTRA", "POD_NAME", "POD_NAMESPACE"]


def test_json_patch_with_target(tmp_path: Path) -> None:
    patch = {"target": {"kind": "Deployment"}, "patch": yaml.safe_dump(JSON_PATCH)}
    workload = load([str(project(tmp_path, {"patches": [patch]}))]).workloads[0]
    assert (workload.replicas, workload.containers[0].args[-1]) == (7, "--max-loras=4")
    assert [e.name for e in workload.containers[0].env] == ["POD_NAMESPACE"]


def test_transformers(tmp_path: Path) -> None:
    change = {
        "namespace": "other",
        "namePrefix": "x-",
        "commonLabels": {"team": "a"},
        "images": [{"name": "example.com/simfleet", "newTag": "v2"}],
        "replicas": [{"name": "x-server", "count": 9}],
        "configMapGenerator": [
            {"name": "conf", "literals": ["a=b"], "options": {"disableNameSuffixHash": True}}
        ],
    }
    manifests = load([str(project(tmp_path, change))])
    workload = manifests.workloads[0]
    assert (str(workload), workload.replicas) == ("Deployment other/x-server", 9)
    assert workload.pod_labels == {"app": "server", "team": "a"}
    assert workload.containers[0].image == "example.com/simfleet:v2"
    assert manifests.services["other", "x-svc"].selector == {"app": "server", "team": "a"}
    assert manifests.config_maps["other", "x-conf"].data == {"a": b"b"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"resources": ["https://x/y"]}, "cannot be read offline"),
        ({"resources": ["gone.yaml"]}, "does not exist"),
        ({"patches": [{"path": "gone.yaml"}]}, "does not exist"),
        (
            {"patches": [{"patch": "- {op: remove, path: /spec/no/way}", "target": {"kind": "Service"}}]},
            "nothing at",
        ),
        (
            {"patches": [{"patch": "- {op: fly, path: /spec/x}", "target": {"kind": "Service"}}]},
            "must be add",
        ),
        ({"patches": [{"patch": "kind: Job\nmetadata: {name: x}"}]}, "apiVersion is missing"),
    ],
)
def test_what_cannot_be_built_is_an_error(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(ManifestError, match=words):
        load([str(project(tmp_path, change))])


IMAGE = {"name": "example.com/vllm", "tagSuffix": "-x"}
PATCH: dict[str, Any] = {"target": {"kind": "Service"}, "patch": "- {op: remove, path: /spec/type}"}
MAP: dict[str, Any] = {"name": "made", "literals": ["a=b"]}


@pytest.mark.parametrize(
    ("change", "path"),
    [
        *(
            ({field: value}, field)
            for field, value in {
                "helmCharts": [{"name": "x"}],
                "helmGlobals": {},
                "helmChartInflationGenerator": [],
                "replacements": [{"path": "x"}],
                "vars": [{"name": "X"}],
                "transformers": ["x.yaml"],
                "generators": ["x.yaml"],
                "validators": ["x.yaml"],
                "configurations": ["x.yaml"],
                "crds": ["x.yaml"],
                "openapi": {"path": "x"},
                "buildMetadata": ["originAnnotations"],
                "inventory": {},
                "commonlabels": {"a": "b"},
            }.items()
        ),
        ({"images": [IMAGE]}, "images[0].tagSuffix"),
        ({"patches": [{**PATCH, "options": {"allowNameChange": True}}]}, "patches[0].options"),
        ({"patches": [{**PATCH, "target": {"kinds": "X"}}]}, "patches[0].target.kinds"),
        ({"configMapGenerator": [{**MAP, "kvSources": []}]}, "configMapGenerator[0].kvSources"),
        ({"configMapGenerator": [{**MAP, "type": "x"}]}, "configMapGenerator[0].type"),
        ({"configMapGenerator": [MAP, {**MAP, "options": {"x": 1}}]}, "configMapGenerator[1].options.x"),
        ({"generatorOptions": {"hash": False}}, "generatorOptions.hash"),
        ({"labels": [{"pairs": {"a": "b"}, "fields": []}]}, "labels[0].fields"),
        ({"replicas": [{"name": "server", "count": 1, "kind": "X"}]}, "replicas[0].kind"),
    ],
)
def test_a_field_that_is_not_built_is_named(tmp_path: Path, change: dict[str, Any], path: str) -> None:
    with pytest.raises(ManifestError) as error:
        load([str(project(tmp_path, change))])
    assert f": {path}: kustomize field that simfleet does not build" in str(error.value)
    assert f"{tmp_path}/kustomization.yaml:" in str(error.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "Component"}, "kind: must be Kustomization here"),
        ({"components": ["base"]}, "kind: must be Component here"),
        ({"components": ["gone"]}, "is no directory"),
        ({"configMapGenerator": [{**MAP, "behavior": "merge"}]}, "merge: the ConfigMap made is not there"),
        ({"configMapGenerator": [MAP, MAP]}, "create: the ConfigMap made is there already"),
        ({"configMapGenerator": [{**MAP, "behavior": "add"}]}, "must be create, merge or replace"),
        ({"configMapGenerator": [{"name": "x", "literals": ["a"]}]}, "must be KEY=VALUE"),
        ({"configMapGenerator": [{"name": "x", "literals": ["=a"]}]}, "must be KEY=VALUE"),
        ({"configMapGenerator": [{"name": "x", "literals": ["a=b", "a=c"]}]}, "'a' stands twice"),
        ({"configMapGenerator": [{"name": "x", "envs": ["e.txt"]}]}, "'HOME' without a value"),
        ({"replicas": [{"name": "nobody", "count": 1}]}, r"there is no Deployment, .* called nobody"),
        ({"patches": [{"target": {"name": "("}, "patch": "- {op: remove, path: /x}"}]}, "not a regular"),
        ({"patches": [{"target": {"labelSelector": "a in (b)"}, "patch": "[]"}]}, "is not KEY=VALUE"),
        ({"patches": [{"target": {"kind": "Service"}}]}, "either patch or path"),
        ({"patches": [{"patch": "[]"}]}, "a JSON patch needs a target"),
        ({"patches": [{"patch": "kind: X\napiVersion: v1\nmetadata: {name: svc}"}]}, "no object matches"),
        ({"patches": [{"target": {"kind": "Deployment"}, "patch": "text"}]}, "an object or a list"),
        (
            {"patches": [{"target": {"kind": "Deployment"}, "patch": "spec: {$retainKeys: [a]}"}]},
            "retainKeys",
        ),
    ],
)
def test_what_kustomize_refuses_too(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    where = project(tmp_path, change, e_txt="HOME\n")
    with pytest.raises(ManifestError, match=words):
        load([str(where)])


@pytest.mark.parametrize(
    "operation",
    [
        "{op: add, path: /spec/ports/7, value: {}}",
        "{op: add, path: /spec/ports/-1, value: {}}",
        "{op: replace, path: /spec/ports/1/port, value: 1}",
        "{op: replace, path: /spec/ports/00/port, value: 1}",
        "{op: replace, path: /spec/ports/-, value: 1}",
        "{op: remove, path: /spec/gone}",
        "{op: add, path: /spec/gone/deep, value: 1}",
        "{op: add, path: /kind/deep, value: 1}",
        "{op: test, path: /spec/gone, value: 1}",
        "{op: move, from: /spec/gone, path: /spec/x}",
        "{op: copy, from: /spec/ports/3, path: /spec/x}",
    ],
)
def test_json_patches_that_lead_nowhere(tmp_path: Path, operation: str) -> None:
    patch = {"target": {"kind": "Service"}, "patch": f"- {operation}"}
    with pytest.raises(ManifestError, match="there is nothing at this path"):
        load([str(project(tmp_path, {"patches": [patch]}))])


def test_ports_with_and_without_a_protocol_are_not_merged(tmp_path: Path) -> None:
    """kustomize loses the patch's item without a word."""
    patch = {"target": {"kind": "Service"}, "patch": "spec: {ports: [{port: 80, protocol: UDP}]}"}
    with pytest.raises(ManifestError, match=r"merges lists by port and protocol, which .* lacks"):
        load([str(project(tmp_path, {"patches": [patch]}))])
