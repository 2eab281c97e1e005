from __future__ import annotations

import io
import re
from typing import Any

import pytest

from gateway.manifests.load import load
from gateway.manifests.workloads import Container
from gateway.stack.plan import (
    Plan,
    fronting_ports,
    is_model_server,
    listening_ports,
    make_plan,
    pod_name,
)
from gateway.stack.pods import Pod, PodState, PodTable
from tests.e2e import worlds


def plan(*objects: Any, replicas: int | None = None) -> Plan:
    return make_plan(load(["-"], "apps", io.StringIO(worlds.dump(*objects))), replicas)


def test_servers_and_picker_of_a_pool() -> None:
    made = plan(
        worlds.servers("x", 4), worlds.servers("y"), worlds.pool("p", "x", "epp"), worlds.picker("epp", "p")
    )
    assert [(s.workload.name, s.replicas) for s in made.servers] == [("x", 4), ("y", 3)]
    assert [p.workload.name for p in made.pickers] == ["epp"]
    assert made.notes == []
    assert plan(worlds.servers("x"), worlds.pool("p", "x", "e"), replicas=9).servers[0].replicas == 9


def test_the_container_is_the_one_with_the_pool_s_port() -> None:
    server = worlds.servers("x")
    sidecar = {"name": "proxy", "ports": [{"containerPort": 9999}]}
    server["spec"]["template"]["spec"]["containers"].insert(0, sidecar)
    assert plan(server, worlds.pool("p", "x", "e")).servers[0].container.name == "vllm"


def test_a_proxy_in_front_of_the_server() -> None:
    """llm-d's routing sidecar has the pool's port; the server behind it another."""
    server = worlds.servers("x", ports=(8200,))
    proxy = {
        "name": "proxy",
        "image": "ghcr.io/llm-d/llm-d-routing-sidecar",
        "ports": [{"containerPort": 8000}],
    }
    server["spec"]["template"]["spec"]["initContainers"] = [{**proxy, "restartPolicy": "Always"}]
    made = plan(server, worlds.pool("p", "x", "e")).servers[0]
    assert made.container.name == "vllm"
    assert fronting_ports(made.workload, made.container, (8000,))
    assert not fronting_ports(made.workload, made.container, (8000, 8001))


def test_two_pools_with_one_picker() -> None:
    made = plan(
        worlds.servers("x"),
        worlds.pool("p", "x", "epp"),
        worlds.pool("q", "x", "epp"),
        worlds.picker("epp", "p"),
    )
    assert len(made.pickers) == 1
    assert any("serves InferencePool apps/p already" in note for note in made.notes)


def test_what_will_not_work_is_noted() -> None:
    def notes(*objects: Any) -> str:
        return "\n".join(plan(*objects).notes)

    pool = worlds.pool("p", "x", "epp")
    assert "no workload has pods with labels {'app': 'x'}" in notes(pool)
    assert "picker Service epp does not exist; requests get 500" in notes(pool)
    open_pool = worlds.pool("p", "x", "epp", fail_open=True)
    assert "requests get 200 by round robin" in notes(open_pool)
    assert "no endpointPickerRef" in notes(worlds.pool("p", "x", None))
    assert "has no port 9002" in notes(pool, worlds.service("epp", "epp", 9003))
    route = worlds.route("r", "gw", worlds.rule(worlds.to_service("svc", 81)))
    to_no_port = notes(worlds.gateway("gw"), route, worlds.service("svc", "x", 80))
    assert "HTTPRoute apps/r: Service apps/svc has no port 81; requests get 500" in to_no_port
    assert "no workload behind picker Service epp" in notes(pool, worlds.service("epp", "epp", 9002))
    idle = worlds.picker("epp", "p")
    idle[0]["spec"]["replicas"] = 0
    assert "0 replicas; requests get 500" in notes(pool, idle)
    tcp = {"name": "t", "port": 1, "protocol": "TCP"}
    assert [str(u) for u in plan(worlds.gateway("g", tcp)).unread] == [
        "not simulated: Gateway infra/g spec.listeners[0].protocol: listeners that speak TCP are not run"
    ]
    old = {**pool, "apiVersion": "inference.networking.x-k8s.io/v1alpha2"}
    assert "v1alpha2 is ignored" in notes(old)


def test_pod_names_look_like_kubernetes_and_stay() -> None:
    workload = plan(worlds.servers("x"), worlds.pool("p", "x", "e")).servers[0].workload
    names = [pod_name(workload, i) for i in range(50)]
    assert len(set(names)) == 50
    assert all(
        re.fullmatch(r"x-[bcdfghjklmnpqrstvwxz2456789]{10}-[bcdfghjklmnpqrstvwxz2456789]{5}", n)
        for n in names
    )
    assert names[0] == pod_name(workload, 0)
    others = [pod_name(workload, i, "other") for i in range(50)]
    assert not {*names} & {*others}, "two stacks of the same manifests"
    assert others == [pod_name(workload, i, "other") for i in range(50)]
    stateful = {**worlds.servers("s"), "kind": "StatefulSet"}
    assert pod_name(plan(stateful, worlds.pool("p", "s", "e")).servers[0].workload, 2) == "s-2"


def container(image: str = "", command: list[str] | None = None, args: list[str] | None = None) -> Container:
    server = worlds.servers("x")
    written = {"name": "c", "image": image, "command": command or [], "args": args or []}
    server["spec"]["template"]["spec"]["containers"] = [written]
    return load(["-"], "apps", io.StringIO(worlds.dump(server))).workloads[0].containers[0]


@pytest.mark.parametrize(
    ("image", "command", "args", "serves"),
    [
        ("vllm/vllm-openai:v0.11.0", [], ["--model", "m"], True),
        ("registry.example/mirror:5000/vllm-openai@sha256:00", [], [], True),
        ("ghcr.io/llm-d/llm-d-cuda:v0.4.0", ["vllm", "serve"], ["m"], True),
        ("python:3.12", ["python3", "-m", "vllm.entrypoints.openai.api_server"], [], True),
        ("ubuntu", ["bash", "-c"], ["pip install vllm && vllm serve m"], True),
        ("ghcr.io/llm-d/llm-d-inference-sim:v0.7.1", [], [], True),
        ("lmsysorg/sglang:latest", ["python3", "-m", "sglang.launch_server"], ["--model-path", "m"], True),
        ("vllm/vllm-openai:v0.11.0", ["ray", "start", "--block"], [], False),
        ("vllm/vllm-openai:v0.11.0", ["vllm", "bench", "serve"], ["--model", "m"], False),
        ("lmcache/lmstack-router:latest", [], ["--static-models", "m"], False),
        ("ghcr.io/vllm-project/production-stack/vllm-router:1", [], ["--service-discovery", "k8s"], False),
        ("registry.k8s.io/gateway-api-inference-extension/epp:v1.5.0", [], ["--pool-name", "p"], False),
        ("nginx:1.27", [], [], False),
        ("example.com/vllm-simfleet:1", [], ["serve", "--model", "m"], True),
        ("example.com/vllm-simfleet:1", ["loadgen"], ["run", "--model", "m"], False),
        ("example.com/vllm-simfleet:1", [], ["loadgen", "run", "x.yaml"], False),
        ("example.com/vllm-simfleet:1", ["python", "-m", "gateway.picker"], ["--pool-name", "p"], False),
    ],
)
def test_what_is_a_model_server(image: str, command: list[str], args: list[str], serves: bool) -> None:
    assert is_model_server(container(image, command, args)) == serves


def test_servers_of_no_pool() -> None:
    """Behind a plain Service, and behind none; programs that serve no model are told."""
    web = worlds.servers("web")
    web["spec"]["template"]["spec"]["containers"] = [{"name": "web", "image": "nginx"}]
    made = plan(
        worlds.servers("x", 2), worlds.service("svc", "x", 80, 8000), worlds.servers("y", 1),
        web, worlds.service("web", "web", 80),
    )  # fmt: skip
    assert [(s.workload.name, s.pool, s.service and s.service.name, s.targets) for s in made.servers] == [
        ("x", None, "svc", (8000,)), ("y", None, None, ())
    ]  # fmt: skip
    assert [str(u) for u in made.unread] == [
        "not run: Deployment apps/web: it serves no model (image nginx); "
        "requests to Service apps/web find no endpoint (503)"
    ]


def listens(
    targets: tuple[int, ...], declared: tuple[int, ...], port: int, active: str = ""
) -> tuple[int, ...]:
    server = worlds.servers("x", ports=(port,))
    template = server["spec"]["template"]
    template["spec"]["containers"][0]["ports"] = [{"containerPort": p} for p in declared]
    if active:
        template["metadata"]["annotations"] = {"inference.networking.k8s.io/active-ports": active}
    (made,) = plan(server, worlds.pool("p", "x", "e", ports=targets)).servers
    return listening_ports(made, port, 1)


def test_where_a_pod_listens() -> None:
    assert listens((8000,), (8000,), 8000) == (8000,)
    assert listens((8000,), (), 8000) == (8000,), "a port that is used need not be declared"
    assert listens((8000,), (8000,), 8080) == (8080,), "a port that is declared need not be used"
    assert listens((8000, 8001), (8000, 8001), 8000) == (8000, 8001), "one process for each"
    assert listens((8000, 8001), (8000,), 8000) == (8000,)
    assert listens((8000, 8001), (), 8001) == (8001,)
    assert listens((8000, 8001, 8002), (8000, 8001, 8002), 8000, "8000, 8002") == (8000, 8002)
    (made,) = plan(worlds.servers("x"), worlds.pool("p", "x", "e", ports=(8000, 8001))).servers
    assert listening_ports(made, 8000, 4) == (8000, 8001, 8002, 8003)


def test_what_a_picker_may_choose() -> None:
    server = worlds.servers("x", 1, ports=(8000, 8001))
    server["spec"]["template"]["metadata"]["annotations"] = {
        "inference.networking.k8s.io/active-ports": "8001"
    }
    made = plan(server, worlds.pool("p", "x", "e", ports=(8000, 8001)))
    (served,) = made.servers
    assert served.pool is not None
    table = PodTable()
    table.add(Pod("x-0", served, 0, "127.0.0.2", (8000, 8001), PodState.READY))
    assert [e.port for e in table.endpoints(served.pool)] == [8000, 8001]
    assert [(e.port, e.name) for e in table.choices(served.pool)] == [(8001, "x-0-rank-1")]


def test_the_names_of_a_stack_s_second_pods() -> None:
    """A StatefulSet's and a LeaderWorkerSet's are numbered from where they begin."""
    server = {**worlds.servers("x", 2), "kind": "StatefulSet"}
    server["spec"]["ordinals"] = {"start": 3}
    (made,) = plan(server, worlds.pool("p", "x", "e")).servers
    table = PodTable()
    for wanted in ("x-3", "x-4"):
        name, ordinal = table.next_identity(made)
        assert name == wanted
        table.add(Pod(name, made, ordinal, "127.0.0.2"))
    table.remove(table.get("x-3"))
    assert table.next_identity(made) == ("x-3", 3)
