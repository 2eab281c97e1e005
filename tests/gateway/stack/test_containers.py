"""Containers as command lines: variables, downward API, mounts, shells, programs."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import ManifestError
from gateway.manifests.load import Manifests, load
from gateway.stack.containers import (
    PodIdentity,
    command_line,
    environment,
    expand,
    mount_files,
    relocate,
    server_flags,
    with_compat,
)
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
    assert command_line(workload.containers[0], {}, places) == [
        f"--config={tmp_path}/v/a.yaml", "--x", "/configs/b", f"{tmp_path}/v"
    ]  # fmt: skip


def test_items_and_sub_paths(tmp_path: Path) -> None:
    mounts = [{"name": "v", "mountPath": "/etc/epp.yaml", "subPath": "a.yaml"}]
    manifests = world(volumeMounts=mounts)
    workload = manifests.workloads[0]
    places = mount_files(manifests, workload, workload.containers[0], tmp_path)
    assert relocate("--config-file=/etc/epp.yaml", places) == f"--config-file={tmp_path}/v/a.yaml"


@pytest.mark.parametrize(
    ("command", "args", "flags"),
    [
        ([], ["--model", "m"], ["--model", "m"]),
        ([], ["m", "--port", "1"], ["m", "--port", "1"]),
        (["vllm", "serve"], ["m"], ["m"]),
        (["vllm"], ["serve", "m"], ["m"]),
        ([], ["vllm", "serve", "m"], ["m"]),
        (["/app/llm-d-inference-sim"], ["--model", "m"], ["--model", "m"]),
        (["python3", "-m", "vllm.entrypoints.openai.api_server"], ["--model", "m"], ["--model", "m"]),
        (["simfleet", "serve"], ["--model", "m"], ["--model", "m"]),
        (["sh", "-c"], ["exec vllm serve $MODEL --port ${PORT:-8000}"], ["m", "--port", "8000"]),
        (["/bin/bash", "-c", "pip install x && vllm serve m \\\n --port 1"], [], ["m", "--port", "1"]),
        (["bash", "-lc"], ["vllm serve 'a b' --x '{\"k\": 1}'"], ["a b", "--x", '{"k": 1}']),
    ],
)
def test_the_server_s_flags(command: list[str], args: list[str], flags: list[str]) -> None:
    container = world(command=command, args=args).workloads[0].containers[0]
    assert server_flags(container, command_line(container, {"MODEL": "m"}, {})) == flags


@pytest.mark.parametrize(
    ("image", "compat"),
    [
        ("ghcr.io/llm-d/llm-d-inference-sim:v0.7.1", "llm-d-0.7"),
        ("vllm/vllm-openai:v0.11.2", "vllm-0.11"),
        ("vllm/vllm-openai:v0.33.0", None),
        ("example.com/simfleet", None),
    ],
)
def test_the_image_decides_whom_to_imitate(image: str, compat: str | None) -> None:
    container = world(image=image).workloads[0].containers[0]
    assert with_compat(container, ["--model", "m"]) == [
        "--model",
        "m",
        *(["--compat", compat] if compat else []),
    ]
    assert with_compat(container, ["--compat=vllm-0.33"]) == ["--compat=vllm-0.33"]


def test_expand() -> None:
    assert expand("$(A) $(B) $$(A) $A", {"A": "1"}) == "1 $(B) $(A) $A"
