"""Binaries in the picker's place: what they are told, by flags, files and the API stand-in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from gateway.errors import ManifestError, ProcessError, StackError
from gateway.machine.readiness import grpc_is_serving
from gateway.manifests.load import load
from gateway.stack.pickers.go import (
    DISCOVERY,
    FileDiscoveryPicker,
    KubeApiPicker,
    asks_for_files,
    inspect,
    make_external_picker,
    served_kinds,
    with_file_discovery,
)
from gateway.stack.pickers.process import Endpoint, PickerOptions, PickerProcess, PickerSpec
from tests.gateway.oddpicker import odd_picker

MANIFESTS = """
apiVersion: inference.networking.k8s.io/v1
kind: InferencePool
metadata: {name: pool, namespace: ns, annotations: {since: 2026-01-02}}
spec:
  selector: {matchLabels: {app: x}}
  targetPorts: [{number: 8000}, {number: 8001}]
  endpointPickerRef: {name: epp, port: {number: 9002}}
---
apiVersion: inference.networking.x-k8s.io/v1alpha2
kind: InferenceObjective
metadata: {name: low, namespace: ns}
spec: {priority: -1, poolRef: {name: pool}}
"""
CONFIG = """
apiVersion: inference.networking.x-k8s.io/v1alpha1
kind: EndpointPickerConfig
plugins: [{type: queue-scorer}, {type: single-profile-handler}]
schedulingProfiles: [{name: default, plugins: [{pluginRef: queue-scorer, weight: 2}]}]
"""
FILED = CONFIG.replace("plugins: [", "plugins: [{name: mine, type: file-discovery}, ", 1)
FILED += "dataLayer: {discovery: {pluginRef: mine}}\n"
Flags = tuple[tuple[str, str | None], ...]


def spec(directory: Path, flags: Flags = (), *, text: str = CONFIG, **options: Any) -> PickerSpec:
    manifests = directory / "manifests.yaml"
    manifests.write_text(MANIFESTS)
    config = directory / "config.yaml"
    config.write_text(text)
    read = load([str(manifests)])
    return PickerSpec(
        name="epp-0",
        pool=read.pools["ns", "pool"],
        flags=(("config-file", str(config)), *flags),
        env={"GIVEN": "by the manifest"},
        directory=directory / "epp-0",
        log=directory / "epp.log",
        manifests=read,
        options=PickerOptions(**options),
    )


def endpoint(number: int, *, port: int = 8000, rank: int = 0) -> Endpoint:
    return Endpoint(f"p{number}-rank-{rank}", f"p{number}", "ns", f"127.0.0.{number}", port, {"app": "x"})


def started(picker: PickerProcess, during: Callable[[], Awaitable[Any]] | None = None) -> Any:
    """Start the picker, do something, stop it."""

    async def scenario() -> Any:
        try:
            await picker.start()
            assert await grpc_is_serving("127.0.0.1", picker.health_port, timeout_s=10)
            return await during() if during else None
        finally:
            await picker.stop()

    return asyncio.run(scenario())


def argv(picker: PickerProcess) -> dict[str, str]:
    words = [word.removeprefix("--").partition("=") for word in picker.process.argv[1:]]
    return {name: value for name, _, value in words}


@pytest.mark.parametrize(("kind", "name"), [("gie", "gie"), ("llm-d", "llm-d-router"), ("lwepp", "lwepp")])
def test_the_kind_of_a_binary_is_read_off_its_help(tmp_path: Path, kind: str, name: str) -> None:
    binary = inspect(odd_picker(tmp_path, kind))
    assert binary.kind == f"{name} {binary.path}"
    assert {"grpc-port", "v"} <= binary.flags
    assert isinstance(make_external_picker(spec(tmp_path), binary.path), KubeApiPicker)


@pytest.mark.parametrize("kind", ["gie", "llm-d"])
def test_only_a_router_that_asks_for_it_gets_a_file(tmp_path: Path, kind: str) -> None:
    picker = make_external_picker(spec(tmp_path, text=FILED), odd_picker(tmp_path, kind))
    assert isinstance(picker, FileDiscoveryPicker if kind == "llm-d" else KubeApiPicker)
    notes = [note for note in picker.notes if "InferenceObjective ns/low: has no effect" in note]
    assert len(notes) == (kind == "llm-d")


@pytest.mark.parametrize(
    ("text", "asks"),
    [
        (CONFIG, False),
        (FILED, True),
        ("dataLayer: {discovery: {pluginRef: file-discovery}}", True),
        ("dataLayer: {discovery: {pluginRef: d}}\nplugins: [{name: d, type: other}]", False),
        ("", False),
        ("dataLayer: 1", False),
    ],
)
def test_a_configuration_asks_for_files_by_its_discovery(text: str, asks: bool) -> None:
    assert asks_for_files(text) is asks


def test_the_lightweight_picker_runs_without_configuration_and_metrics(tmp_path: Path) -> None:
    log = tmp_path / "starts.jsonl"
    picker = make_external_picker(spec(tmp_path), odd_picker(tmp_path, "lwepp", log=log))
    picker.update_endpoints([endpoint(2)])
    assert {"grpc-port", "grpc-health-port", "pool-name"} <= argv(picker).keys()
    assert "config-file" not in argv(picker)
    assert [note for note in picker.notes if "has no flag --config-file" in note]
    started(picker)
    assert json.loads(log.read_text())["env"]["KUBECONFIG"]


@pytest.mark.parametrize("group", ["inference.networking.x-k8s.io", "llm-d.ai"])
def test_the_group_that_the_manifests_use_is_the_one_that_is_served(tmp_path: Path, group: str) -> None:
    """llm-d-router reads the objects of llm-d.ai alone where it finds both definitions."""
    file = tmp_path / "manifests.yaml"
    file.write_text(MANIFESTS.replace("inference.networking.x-k8s.io", group))
    served = {(k.group, k.kind) for k in served_kinds(load([str(file)]))}
    assert (group, "InferenceObjective") in served
    assert len(served & {("llm-d.ai", "InferenceObjective")}) == (group == "llm-d.ai")
    assert {("llm-d.ai", "InferenceModelRewrite"), ("", "Pod")} <= served


@pytest.mark.parametrize(
    ("path", "words"), [("/bin/true", "is no endpoint picker"), ("/nowhere/epp", "No such file")]
)
def test_what_is_no_picker_is_an_error(path: str, words: str) -> None:
    with pytest.raises(StackError, match=words):
        inspect(Path(path))


def test_a_deprecated_flag_is_passed_on_and_an_unknown_one_is_noted(tmp_path: Path) -> None:
    given: Flags = (("lora-info-metric", "lora"), ("model-server-metrics-port", "9"), ("v", "4"))
    picker = make_external_picker(spec(tmp_path, given), odd_picker(tmp_path))
    flags = argv(picker)
    assert (flags["lora-info-metric"], flags["v"]) == ("lora", "4")
    assert "model-server-metrics-port" not in flags
    (note,) = picker.notes
    assert "has no flag --model-server-metrics-port, which epp-0 is given" in note


def test_ports_are_this_machine_s(tmp_path: Path) -> None:
    given: Flags = (("grpc-port", "9002"), ("kubeconfig", "/k"), ("tracing", "true"))
    picker = make_external_picker(spec(tmp_path, given), odd_picker(tmp_path))
    flags = argv(picker)
    assert flags["grpc-port"] == str(picker.grpc_port)
    assert flags["metrics-endpoint-auth"] == flags["ha-enable-leader-election"] == "false"
    assert flags["tracing"] == "true", "as the manifest says"
    assert "kubeconfig" not in flags


@pytest.mark.parametrize(
    ("given", "namespace", "name"),
    [
        ((), "ns", "pool"),
        ((("pool-name", "other"), ("pool-namespace", "there")), "there", "other"),
        ((("pool-name", "other"),), "default", "other"),
        ((("endpoint-selector", "app=x"),), None, None),
    ],
)
@pytest.mark.parametrize("kind", ["gie", "llm-d"])
def test_the_pool_is_the_one_that_the_flags_name(
    tmp_path: Path, kind: str, given: Flags, namespace: str | None, name: str | None
) -> None:
    """A picker that is told of another pool than the one that leads to it does as it is told."""
    flags = argv(make_external_picker(spec(tmp_path, given), odd_picker(tmp_path, kind)))
    assert (flags.get("pool-namespace"), flags.get("pool-name")) == (namespace, name)


def test_a_configuration_from_the_command_line_replaces_the_manifests_one(tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(CONFIG.replace("queue-scorer", "lora-affinity-scorer"))
    picker = make_external_picker(
        spec(tmp_path, (("config-text", "x"),), config_file=other), odd_picker(tmp_path)
    )
    flags = argv(picker)
    assert flags["config-file"] == str(other)
    assert "config-text" not in flags
    other.write_text(FILED.replace("queue-scorer", "lora-affinity-scorer"))
    filed = make_external_picker(spec(tmp_path, config_file=other), odd_picker(tmp_path, "llm-d"))
    assert "lora-affinity-scorer" in Path(argv(filed)["config-file"]).read_text()


def test_file_discovery(tmp_path: Path) -> None:
    log = tmp_path / "starts.jsonl"
    picker = make_external_picker(spec(tmp_path, text=FILED), odd_picker(tmp_path, "llm-d", log=log))
    picker.update_endpoints([endpoint(2), endpoint(3)])
    config = yaml.safe_load(Path(argv(picker)["config-file"]).read_text())
    (plugin,) = [p for p in config["plugins"] if p["type"] == "file-discovery"]
    file = Path(plugin["parameters"]["path"])

    def listed() -> list[Any]:
        found: list[Any] = yaml.safe_load(file.read_text())["endpoints"]
        return found

    async def change() -> list[Any]:
        before = listed()
        picker.update_endpoints([endpoint(3)])
        return [before, listed()]

    before, after = started(picker, change)
    assert [(e["name"], e["address"], e["port"]) for e in before] == [
        ("p2-rank-0", "127.0.0.2", "8000"),
        ("p3-rank-0", "127.0.0.3", "8000"),
    ]
    assert after == [before[1]]
    assert list(file.parent.glob("*.tmp*")) == [], "replaced in one piece"
    assert config["apiVersion"] == "llm-d.ai/v1alpha1"
    assert config["dataLayer"]["discovery"] == {"pluginRef": DISCOVERY}
    assert plugin["parameters"]["watchFile"] is True
    assert picker.kube_api_url is None
    assert json.loads(log.read_text())["env"]["GIVEN"] == "by the manifest"


def test_file_discovery_keeps_what_a_configuration_says() -> None:
    config = yaml.safe_load(with_file_discovery(CONFIG, Path("/e")))
    assert config["plugins"][:2] == [{"type": "queue-scorer"}, {"type": "single-profile-handler"}]
    assert config["schedulingProfiles"] == yaml.safe_load(CONFIG)["schedulingProfiles"]


def test_file_discovery_replaces_the_discovery_of_a_configuration() -> None:
    text = CONFIG.replace(
        "plugins: [", "plugins: [{name: mine, type: file-discovery, parameters: {path: /x}}, ", 1
    )
    text += "dataLayer: {injectDefaults: true, discovery: {pluginRef: mine}}\n"
    config = yaml.safe_load(with_file_discovery(text, Path("/e")))
    assert [p.get("name") for p in config["plugins"]] == [None, None, DISCOVERY]
    assert config["dataLayer"] == {"injectDefaults": True, "discovery": {"pluginRef": DISCOVERY}}


def test_without_a_configuration_the_defaults_are_written_out(tmp_path: Path) -> None:
    config = yaml.safe_load(with_file_discovery("", Path("/e")))
    weights = {p["pluginRef"]: p["weight"] for p in config["schedulingProfiles"][0]["plugins"]}
    assert weights == {"queue-scorer": 2, "kv-cache-utilization-scorer": 2, "prefix-cache-scorer": 3}
    assert {p["type"] for p in config["plugins"]} == {*weights, "file-discovery"}


@pytest.mark.parametrize(("text", "words"), [("a: [", "not YAML"), ("[1]", "must be a mapping")])
def test_a_configuration_that_cannot_be_read(text: str, words: str) -> None:
    with pytest.raises(ManifestError, match=words):
        with_file_discovery(text, Path("/e"))


def test_api_stand_in(tmp_path: Path) -> None:
    log = tmp_path / "starts.jsonl"
    picker = make_external_picker(spec(tmp_path), odd_picker(tmp_path, log=log))
    picker.update_endpoints([endpoint(2), endpoint(3), endpoint(3, port=8001, rank=1)])
    assert picker.kube_api_url

    async def look() -> list[Any]:
        async with httpx.AsyncClient(base_url=picker.kube_api_url or "") as api:
            before = (await api.get("/api/v1/namespaces/ns/pods")).json()["items"]
            picker.update_endpoints([endpoint(3), endpoint(4)])
            after = (await api.get("/api/v1/namespaces/ns/pods")).json()["items"]
            group = "/apis/inference.networking.x-k8s.io/v1alpha2"
            objectives = (await api.get(group + "/inferenceobjectives")).json()["items"]
            pools = (await api.get("/apis/inference.networking.k8s.io/v1/inferencepools")).json()["items"]
            return [before, after, objectives, pools]

    before, after, objectives, pools = started(picker, look)
    assert [(p["metadata"]["name"], p["status"]["podIP"]) for p in before] == [
        ("p2", "127.0.0.2"),
        ("p3", "127.0.0.3"),
    ]
    assert [p["containerPort"] for p in before[1]["spec"]["containers"][0]["ports"]] == [8000, 8001]
    active = "inference.networking.k8s.io/active-ports"  # of a pod that serves fewer than the pool's
    assert [p["metadata"].get("annotations") for p in before] == [{active: "8000"}, None]
    assert [p["metadata"]["name"] for p in after] == ["p3", "p4"]
    assert after[0]["metadata"]["uid"] == before[1]["metadata"]["uid"]
    assert [o["metadata"]["name"] for o in objectives] == ["low"]
    assert [p["metadata"]["annotations"] for p in pools] == [{"since": "2026-01-02"}]
    env = json.loads(log.read_text())["env"]
    assert env["GIVEN"] == "by the manifest"
    assert f'server: "{picker.kube_api_url}"' in Path(env["KUBECONFIG"]).read_text()


@pytest.mark.parametrize("kind", ["gie", "llm-d"])
def test_a_picker_starts_again(tmp_path: Path, kind: str) -> None:
    log = tmp_path / "starts.jsonl"
    picker = make_external_picker(spec(tmp_path), odd_picker(tmp_path, kind, log=log))

    async def twice() -> None:
        for _ in range(2):
            await picker.start()
            await picker.stop()
            assert not picker.process.is_running

    asyncio.run(twice())
    first, second = log.read_text().splitlines()
    assert first == second


def test_a_crash_is_reported_with_the_last_lines(tmp_path: Path) -> None:
    picker = make_external_picker(spec(tmp_path, text="crash: true"), odd_picker(tmp_path))
    with pytest.raises(ProcessError, match="epp-0 ended with status 2 before it was ready") as caught:
        started(picker)
    lines = caught.value.log_tail.splitlines()
    assert lines[-2:] == ["line 29", "panic: told to"]
    assert len(lines) == 15
