"""Workloads beside Deployments, bare Pods, and autoscalers, as a cluster runs them."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from gateway.cluster.autoscaling import Autoscalers
from gateway.cluster.objects.kinds import DAEMON_SET, DEPLOYMENT, HPA, JOB, POD
from gateway.cluster.reading import manifests_of
from gateway.cluster.world import World
from gateway.stack.plan import make_plan
from tests.e2e import worlds
from tests.gateway.cluster.test_world import delete, pods, running
from tests.gateway.cluster.worldkit import Machine, create, new_world
from tests.waiting import until_async

NS = worlds.NAMESPACE
CONTAINER = {"name": "vllm", "image": "vllm/vllm-openai:v0.11.0", "args": ["--model", "base"]}


def daemons(kind: str = "DaemonSet", api: str = "apps/v1") -> dict[str, Any]:
    spec = {**worlds.servers("d")["spec"]}
    del spec["replicas"]
    return {"apiVersion": api, "kind": kind, "metadata": worlds.meta("d"), "spec": spec}


def bare(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": worlds.meta(name),
        "spec": {"containers": [CONTAINER]},
    }


def test_a_daemon_set_has_one_pod() -> None:
    async def check(world: World, machine: Machine) -> None:
        create(world, daemons())
        await until_async(lambda: len(pods(world)) == 1)

        def status() -> Any:
            return world.state.need(DAEMON_SET, NS, "d")["status"]

        await until_async(lambda: status().get("numberReady") == 1)
        assert (status()["desiredNumberScheduled"], status()["currentNumberScheduled"]) == (1, 1)

    running(check)


def test_a_job_gets_its_selector_and_counts_its_pods() -> None:
    async def check(world: World, machine: Machine) -> None:
        job = daemons("Job", "batch/v1")
        del job["spec"]["selector"]
        made = create(world, job)
        labels = made["spec"]["template"]["metadata"]["labels"]
        assert labels["job-name"] == "d"
        assert made["spec"]["selector"]["matchLabels"].items() <= labels.items()
        assert (made["spec"]["completions"], made["spec"]["backoffLimit"]) == (1, 6)
        await until_async(lambda: world.state.need(JOB, NS, "d")["status"].get("active") == 1)

    running(check)


def test_a_bare_pod_runs_on_the_node_and_goes() -> None:
    async def check(world: World, machine: Machine) -> None:
        create(world, bare("p"))

        def phase() -> Any:
            return world.state.need(POD, NS, "p").get("status", {}).get("phase")

        await until_async(lambda: phase() == "Running")
        assert world.state.need(POD, NS, "p")["spec"]["nodeName"] == "localhost"
        delete(world, "Pod", "p")
        await until_async(lambda: not pods(world))
        assert machine.ended == ["p"]

    running(check)


def test_an_autoscaler_writes_its_target() -> None:
    world, _ = new_world()
    create(world, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NS}})
    create(world, worlds.servers("x", 1))
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"},
        "minReplicas": 2,
        "maxReplicas": 4,
    }
    metric = {"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "5"}}
    spec["metrics"] = [{"type": "Pods", "pods": metric}]
    create(
        world,
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": worlds.meta("x"),
            "spec": spec,
        },
    )
    manifests, problems = manifests_of(world.state, set())
    assert problems == {}
    table = SimpleNamespace(of_workload=lambda _: [None])  # one pod
    stack = SimpleNamespace(plan=make_plan(manifests), pods=table)
    told: list[str] = []
    scalers = Autoscalers(cast("Any", stack), world, told.append)

    async def look() -> None:
        await scalers.sync()
        await until_async(lambda: world.state.need(DEPLOYMENT, NS, "x")["spec"]["replicas"] == 2)

    asyncio.run(look())
    status = world.state.need(HPA, NS, "x")["status"]
    assert (status["currentReplicas"], status["desiredReplicas"]) == (1, 2)
    assert "below Spec.MinReplicas" in told[0]
    assert scalers.status()[0]["target"] == "Deployment/x"


def test_a_pod_that_a_controller_made_changes_no_plan() -> None:
    async def check(world: World, machine: Machine) -> None:
        create(world, worlds.servers("x", 3))
        await until_async(lambda: len(pods(world)) == 3)
        manifests, _ = manifests_of(world.state, set())
        assert [w.resource.kind for w in manifests.workloads] == ["Deployment"]

    running(check)
