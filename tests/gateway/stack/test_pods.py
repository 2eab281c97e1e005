"""Pods as endpoints, the picker's flags and files, the example request, the live table."""

from __future__ import annotations

import collections
import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from gateway.commands.table import LogCounter, Rates, render
from gateway.envoy.example import Example, example
from gateway.errors import ControlError, GatewayError
from gateway.manifests.attach import attach, attachments_of
from gateway.manifests.load import load
from gateway.stack.pickers import goflags
from gateway.stack.pickers.make import find_epp, make_picker
from gateway.stack.pickers.process import Endpoint, PickerOptions, PickerSpec, file_discovery
from gateway.stack.pickers.reference import ReferencePicker
from gateway.stack.plan import ServerPlan, make_plan
from gateway.stack.pods import Pod, PodState, PodTable
from gateway.stack.report import arguments_of
from tests.e2e import worlds

OBJECTIVE = {
    "apiVersion": "inference.networking.x-k8s.io/v1alpha2",
    "kind": "InferenceObjective",
    "metadata": worlds.meta("batch"),
    "spec": {"priority": -1, "poolRef": {"name": "p"}},
}


def world(*more: Any) -> Any:
    objects = [
        worlds.servers("x"),
        worlds.pool("p", "x", "epp", ports=(8000, 8001)),
        worlds.picker("epp", "p"),
    ]
    return make_plan(load(["-"], "apps", io.StringIO(worlds.dump(*objects, *more))))


def table(server: ServerPlan, count: int = 3) -> PodTable:
    pods = PodTable()
    for i in range(count):
        name, ordinal = pods.next_identity(server)
        pods.add(Pod(name, server, ordinal, f"127.0.0.{i + 2}", (8000, 8001), PodState.READY))
    return pods


def test_only_ready_pods_are_endpoints_each_port_one() -> None:
    plan = world(worlds.service("svc", "x", 80, 8000))
    pods = table(plan.servers[0])
    first, second, third = pods
    first.state, second.state = PodState.DRAINING, PodState.KILLED
    pool = plan.servers[0].pool
    assert [(e.name, e.pod, e.address, e.port) for e in pods.endpoints(pool)] == [
        (f"{third.name}-rank-0", third.name, "127.0.0.4", 8000),
        (f"{third.name}-rank-1", third.name, "127.0.0.4", 8001),
    ]
    service = plan.manifests.services["apps", "svc"]
    assert pods.behind(service, service.ports[0]) == [("127.0.0.4", 8000)]
    assert [p.is_running for p in pods] == [True, False, True]


def test_pods_are_found_by_a_part_of_their_name() -> None:
    pods = table(world().servers[0])
    first = next(iter(pods))
    assert pods.get(first.name) is first
    assert pods.get(first.name.rpartition("-")[2]) is first
    with pytest.raises(ControlError, match="'x' is ambiguous; pods: x-"):
        pods.get("x")
    with pytest.raises(ControlError, match="'y' does not exist; pods: x-"):
        pods.get("y")


def test_names_of_removed_pods_do_not_come_back() -> None:
    server = world().servers[0]
    pods = table(server)
    last = list(pods)[-1]
    pods.remove(last)
    assert len(pods) == 2
    assert pods.next_identity(server)[0] != last.name


def spec(
    tmp_path: Path, *args: str, options: PickerOptions | None = None, more: tuple[Any, ...] = ()
) -> PickerSpec:
    plan = world(*more)
    flags = tuple(goflags.split(args))
    pool = plan.servers[0].pool
    return PickerSpec(
        "epp-1",
        pool,
        flags,
        {"A": "1"},
        tmp_path / "epp",
        tmp_path / "log",
        plan.manifests,
        options or PickerOptions(),
    )


def flags_of(picker: ReferencePicker) -> dict[str, str | None]:
    assert picker.process.argv[1:4] == ("-P", "-m", "gateway.picker")
    return dict(goflags.split(picker.process.argv[4:]))


def test_the_reference_picker_s_command_line(tmp_path: Path) -> None:
    plain = ReferencePicker(
        spec(tmp_path, "--v", "4", "--grpc-port=1", "--config-text", "x", "--secure-serving=false")
    )
    flags = flags_of(plain)
    assert (flags["v"], flags["config-text"], flags["secure-serving"]) == ("4", "x", "false")
    assert (flags["pool-name"], flags["pool-namespace"]) == ("p", "apps")
    assert flags["grpc-port"] == str(plain.grpc_port) != "1"
    assert not plain.spec.secure
    assert "objectives-file" not in flags
    assert json.loads(Path(str(flags["endpoints-file"])).read_text()) == {"endpoints": []}


def test_options_replace_the_manifests_configuration(tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("x")
    options = PickerOptions("reference", config, tmp_path / "d.jsonl", (tmp_path / "a.py", tmp_path / "b.py"))
    picker = make_picker(
        spec(tmp_path, "--config-file=/gone", "--config-text=x", options=options, more=(OBJECTIVE,))
    )
    assert isinstance(picker, ReferencePicker)
    flags = flags_of(picker)
    assert (flags["config-file"], "config-text" in flags) == (str(config), False)
    assert flags["decision-log"] == str(tmp_path / "d.jsonl")
    plugins = [a for a in picker.process.argv if a.startswith("--plugin=")]
    assert plugins == [f"--plugin={tmp_path}/a.py", f"--plugin={tmp_path}/b.py"]
    objectives = yaml.safe_load(Path(str(flags["objectives-file"])).read_text())
    assert objectives["metadata"]["name"] == "batch"


def test_a_config_file_that_no_config_map_has(tmp_path: Path) -> None:
    with pytest.raises(GatewayError, match=r"--config-file /config/x\.yaml, which no mounted ConfigMap has"):
        make_picker(spec(tmp_path, "--config-file=/config/x.yaml", options=PickerOptions("reference")))


def test_endpoints_file() -> None:
    endpoint = Endpoint("pod-rank-0", "pod", "ns", "127.0.0.2", 8000, {"a": "b"})
    assert yaml.safe_load(file_discovery([endpoint])) == {
        "endpoints": [
            {
                "name": "pod-rank-0",
                "namespace": "ns",
                "address": "127.0.0.2",
                "port": "8000",
                "labels": {"a": "b"},
            }
        ]
    }


def test_two_stacks_of_the_same_manifests_share_no_pod_name() -> None:
    server = world().servers[0]
    here, there = PodTable(), PodTable("other")
    names = [{pods.next_identity(server)[0] for _ in range(3)} for pods in (here, there)]
    assert not names[0] & names[1]


@pytest.mark.parametrize(
    ("args", "shown"),
    [
        (("--model", "m", "--max-loras=2"), ["--model", "m", "--max-loras=2"]),
        (("--api-key", "one", "two", "--model", "m"), ["--model", "m"]),
        (("--model", "m", "--api_key=one"), ["--model", "m"]),
    ],
)
def test_the_flags_of_a_pod_are_told_without_its_keys(args: tuple[str, ...], shown: list[str]) -> None:
    pod = Pod("x-1", world().servers[0], 0, "127.0.0.2", args=args)
    assert arguments_of(pod) == shown


def test_which_picker_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EPP_BIN", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_epp("auto") is find_epp("reference") is None
    binary = tmp_path / "epp"
    binary.write_text("#!/bin/sh\n")
    binary.chmod(0o755)
    assert find_epp("auto") == binary
    assert find_epp("reference") is None
    other = tmp_path / "other"
    binary.rename(other)
    monkeypatch.setenv("EPP_BIN", str(other))
    assert find_epp("auto") == other == find_epp(str(other))
    with pytest.raises(GatewayError, match="not an executable file"):
        find_epp("/nowhere")


def example_of(*rules: dict[str, Any], hosts: tuple[str, ...] = ()) -> Example | None:
    text = worlds.dump(worlds.gateway("gw"), worlds.route("r", "gw", *rules, hosts=hosts))
    manifests = load(["-"], "apps", io.StringIO(text))
    gateway = manifests.gateways["infra", "gw"]
    return example(list(attachments_of(gateway, attach(manifests))), "http://x:1", "m")


def test_a_route_to_a_service_is_the_example_where_none_goes_to_a_pool() -> None:
    rules = [
        worlds.rule(worlds.to_service("other", 80), matches=[worlds.prefix("/o")]),
        worlds.rule(worlds.to_service("svc", 80), matches=[worlds.prefix("/s")]),
    ]
    text = worlds.dump(worlds.gateway("gw"), worlds.route("r", "gw", *rules))
    manifests = load(["-"], "apps", io.StringIO(text))
    attachments = list(attachments_of(manifests.gateways["infra", "gw"], attach(manifests)))
    assert example(attachments, "http://x:1", "m") is None
    made = example(attachments, "http://x:1", "m", {("apps", "svc"): "its"})
    assert made is not None
    assert (made.url, json.loads(made.body)["model"]) == ("http://x:1/s/v1/completions", "its")


def rule_at(*matches: dict[str, Any]) -> dict[str, Any]:
    return worlds.rule(worlds.to_pool("p"), matches=list(matches))


@pytest.mark.parametrize(
    ("match", "path"),
    [
        (worlds.prefix("/v1/completions"), "/v1/completions"),
        (worlds.prefix("/"), "/v1/completions"),
        (worlds.prefix("/v1/chat"), "/v1/chat/completions"),
        (worlds.prefix("/tenant"), "/tenant/v1/completions"),
        ({"path": {"type": "Exact", "value": "/v1/chat/completions"}}, "/v1/chat/completions"),
    ],
)
def test_the_example_fits_the_route(match: dict[str, Any], path: str) -> None:
    made = example_of(rule_at(match))
    assert made is not None
    assert made.url == f"http://x:1{path}"
    assert ("messages" in json.loads(made.body)) == path.endswith("chat/completions")


def test_the_example_names_host_and_headers() -> None:
    made = example_of(rule_at({"headers": [{"name": "x-tier", "value": "a b"}]}), hosts=("*.a.com",))
    assert made is not None
    assert made.command().startswith(
        "curl -s -i http://x:1/v1/completions -H 'x-tier: a b' -H 'Host: www.a.com' -d '{"
    )
    assert example_of(worlds.rule(worlds.to_service("s", 80))) is None
    assert example_of(rule_at({"path": {"type": "RegularExpression", "value": "/x.*"}})) is None
    assert example_of(rule_at({"method": "GET"})) is None


def test_the_live_table(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    counter = LogCounter(log)
    counter.read()  # not there yet
    line = {"status": 200, "upstream_host": "127.0.0.2:8000", "picked": "127.0.0.2:8000,127.0.0.3:8000"}
    log.write_text(json.dumps(line) + "\n" + json.dumps({"status": 503}) + "\n" + '{"status"')
    counter.read()
    assert counter.served == counter.picked == {"127.0.0.2:8000": 1}
    assert counter.statuses == {"2xx": 1, "5xx": 1}
    log.write_text(json.dumps({"status": 200}) + "\n")
    counter.read()
    assert counter.statuses == {"2xx": 2, "5xx": 1}, "after a rotation"
    assert Rates().per_second(collections.Counter(a=3))["a"] > 3
    pod = {
        "name": "pod-1",
        "address": "127.0.0.2",
        "ports": [8000],
        "state": "ready",
        "running": 3,
        "waiting": 1,
    }
    full = {**pod, "kv_cache_usage": 0.25, "prefix_cache_hit_rate": 0.5, "adapters": ["reviews-1"]}
    dead = {"name": "pod-2", "address": "127.0.0.3", "ports": [8000], "state": "killed"}
    report = {
        "name": "lab",
        "url": "http://x",
        "pods": [full, dead],
        "pickers": [],
        "events": ["pod-2 killed"],
    }
    console = Console(width=140, file=io.StringIO())
    console.print(render(report, {"127.0.0.2:8000": 2.0}, {"127.0.0.2:8000": 2.5}, {"2xx": 7}))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    row = next(x for x in shown.splitlines() if "pod-1" in x)
    assert row.split() == [
        "pod-1", "127.0.0.2:8000", "ready", "3", "1", "25.0", "50", "2.0", "2.5", "reviews-1"
    ]  # fmt: skip
    assert "answers  2xx 7" in shown
    assert "pod-2 killed" in shown
