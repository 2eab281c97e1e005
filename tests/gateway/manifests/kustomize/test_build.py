import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.errors import ManifestError
from gateway.manifests.load import load
from gateway.manifests.patches import merge
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
        "configMapGenerator": [{"name": "conf", "literals": ["a=b"]}],
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
        ({"helmCharts": []}, "helmCharts: kustomize field that simfleet does not know"),
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
        ({"patches": [{"patch": "kind: Job\nmetadata: {name: x}"}]}, "no object matches"),
    ],
)
def test_what_cannot_be_built_is_an_error(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(ManifestError, match=words):
        load([str(project(tmp_path, change))])


def test_merge_deletes_and_replaces() -> None:
    base = {"containers": [{"name": "a", "x": 1}, {"name": "b"}], "list": [1, 2], "gone": 1}
    patch = {
        "containers": [{"name": "a", "y": 2}, {"name": "b", "$patch": "delete"}],
        "list": [3],
        "gone": None,
    }
    assert merge(base, patch) == {"containers": [{"name": "a", "x": 1, "y": 2}], "list": [3]}


def test_the_same_objects_as_kubectl_kustomize(tmp_path: Path) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    change: dict[str, Any] = {
        "namespace": "other",
        "nameSuffix": "-y",
        "patches": [
            {"path": "patch.yaml"},
            {"target": {"kind": "Service"}, "patch": "- {op: add, path: /spec/type, value: ClusterIP}"},
        ],
    }
    where = project(tmp_path, change, patch_yaml=STRATEGIC)
    done = subprocess.run(["kubectl", "kustomize", str(where)], capture_output=True, text=True, check=True)
    theirs = {(d["kind"], d["metadata"]["name"]): d for d in yaml.safe_load_all(done.stdout)}
    ours = {(r.kind, r.name): r.root.value for r in load([str(where)]).resources}
    assert ours == theirs
