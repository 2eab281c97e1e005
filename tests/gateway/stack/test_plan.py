from __future__ import annotations

import io
import re
from typing import Any

from gateway.manifests.load import load
from gateway.stack.plan import Plan, fronting_ports, make_plan, pod_name
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
