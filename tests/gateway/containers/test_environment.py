"""A container's variables and files: env, downward API, references, mounts."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from gateway.containers.environment import PodIdentity, environment, expand
from gateway.containers.mounts import mount_files, mounted, relocate
from gateway.errors import ManifestError
from gateway.manifests.load import Manifests, load
from tests.e2e import worlds

POD = PodIdentity("pod-1", "apps", "127.0.0.2", {"app": "x", "tier": "a"}, {"note": "n"})


def world(*more: Any, **container: Any) -> Manifests:
    server = worlds.servers("x")
    template = server["spec"]["template"]["spec"]
    template["containers"][0].update(container)
    template["volumes"] = [{"name": "v", "configMap": {"name": "conf"}}, {"name": "tmp", "emptyDir": {}}]
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": worlds.meta("conf"),
        "data": {"a.yaml": "A"},
    }
    return load(["-"], "apps", io.StringIO(worlds.dump(server, config, *more)))


def env_of(*variables: dict[str, Any], **container: Any) -> dict[str, str]:
    manifests = world(env=list(variables), **container)
    workload = manifests.workloads[0]
    return environment(manifests, workload, workload.containers[0], POD)


def field(path: str) -> dict[str, Any]:
    return {"name": "X", "valueFrom": {"fieldRef": {"fieldPath": path}}}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "pod-1"),
        ("metadata.namespace", "apps"),
        ("status.podIP", "127.0.0.2"),
        ("spec.nodeName", "localhost"),
        ("spec.serviceAccountName", "default"),
        ("metadata.labels['tier']", "a"),
        ("metadata.annotations['note']", "n"),
        ("metadata.labels['none']", ""),
    ],
)
def test_downward_api(path: str, value: str) -> None:
    assert env_of(field(path)) == {"X": value}


def test_a_field_that_does_not_exist() -> None:
    with pytest.raises(ManifestError, match=r"no field 'status\.colour'"):
        env_of(field("status.colour"))


def test_variables_refer_to_earlier_ones() -> None:
    env = env_of({"name": "A", "value": "1"}, {"name": "B", "value": "$(A)-$(NO)-$$(A)"}, {"name": "C"})
    assert env == {"A": "1", "B": "1-$(NO)-$(A)", "C": ""}


def test_values_of_config_maps_and_secrets() -> None:
    ref = {"name": "K", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "a.yaml"}}}
    secret = {"name": "S", "valueFrom": {"secretKeyRef": {"name": "hf-token", "key": "t"}}}
    assert env_of(ref, secret) == {"K": "A", "S": ""}
    missing = {"name": "K", "valueFrom": {"configMapKeyRef": {"name": "gone", "key": "k"}}}
    with pytest.raises(ManifestError, match="ConfigMap gone with key k not found"):
        env_of(missing)
    assert env_of(envFrom=[{"configMapRef": {"name": "conf"}}]) == {"a.yaml": "A"}


def test_mounted_files_and_paths_in_arguments(tmp_path: Path) -> None:
    mounts = [{"name": "v", "mountPath": "/config"}, {"name": "tmp", "mountPath": "/tmp"}]
    manifests = world(volumeMounts=mounts, args=["--config=/config/a.yaml", "--x", "/configs/b", "/config"])
    workload = manifests.workloads[0]
    places = mount_files(manifests, workload, workload.containers[0], tmp_path)
    assert list(places) == ["/config"]
    assert (tmp_path / "v" / "a.yaml").read_text() == "A"
    assert [relocate(word, places) for word in workload.containers[0].args] == [
        f"--config={tmp_path}/v/a.yaml", "--x", "/configs/b", f"{tmp_path}/v"
    ]  # fmt: skip
    files = mounted(workload.containers[0], places, tmp_path)
    assert (files.read("/config/a.yaml"), files.read("/config/b"), files.read("/etc/x")) == ("A", None, None)
    tests = [
        ("f", "/config/a.yaml"),
        ("f", "/config/b"),
        ("d", "/tmp"),
        ("f", "/tmp/x"),
        ("x", "/config/a.yaml"),
    ]
    assert [files.exists(letter, path) for letter, path in tests] == [True, False, True, None, None]


def test_items_and_sub_paths(tmp_path: Path) -> None:
    mounts = [{"name": "v", "mountPath": "/etc/epp.yaml", "subPath": "a.yaml"}]
    manifests = world(volumeMounts=mounts)
    workload = manifests.workloads[0]
    places = mount_files(manifests, workload, workload.containers[0], tmp_path)
    assert relocate("--config-file=/etc/epp.yaml", places) == f"--config-file={tmp_path}/v/a.yaml"


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$(A) $(B) $$(A) $A", "1 $(B) $(A) $A"),
        ("$(echo a) $$ $(A", "$(echo a) $ $(A"),
        ("$(basename $(A))", "$(basename $(A))"),  # a reference ends at the first parenthesis
    ],
)
def test_expand(text: str, expanded: str) -> None:
    assert expand(text, {"A": "1"}) == expanded
