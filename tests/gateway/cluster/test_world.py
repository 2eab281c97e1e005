"""Controllers on the objects that are written, with a machine that is only pretended."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gateway.cluster.objects.errors import ApiError
from gateway.cluster.objects.kinds import DEPLOYMENT, ENDPOINT_SLICE, NAMESPACE, POD, REPLICA_SET, SERVICE
from gateway.cluster.objects.writes import Deletion
from gateway.cluster.world import World
from tests.e2e import worlds
from tests.gateway.cluster.worldkit import Machine, create, new_world
from tests.waiting import until_async

NS = worlds.NAMESPACE


def running(check: Callable[[World, Machine], Awaitable[None]]) -> None:
    async def scenario() -> None:
        world, machine = new_world()
        create(world, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NS}})
        world.start()
        try:
            await check(world, machine)
        finally:
            await world.stop()

    asyncio.run(scenario())


def pods(world: World) -> list[str]:
    return [p["metadata"]["name"] for p in world.state.list(POD, NS)]


def delete(world: World, kind: str, name: str, **how: Any) -> None:
    api = "apps/v1" if kind in {"Deployment", "ReplicaSet"} else "v1"
    world.state.delete(world.state.served(api, kind), NS, name, Deletion(**how))


def test_a_deployment_gets_pods_and_a_status() -> None:
    async def check(world: World, machine: Machine) -> None:
        create(world, worlds.servers("x", 2))
        await until_async(lambda: len(pods(world)) == 2)

        def status() -> Any:
            return world.state.need(DEPLOYMENT, NS, "x").get("status", {})

        await until_async(lambda: status().get("readyReplicas") == 2)
        assert (status()["replicas"], status()["updatedReplicas"]) == (2, 2)
        assert [(c["type"], c["status"]) for c in status()["conditions"]] == [
            ("Available", "True"),
            ("Progressing", "True"),
        ]
        (owner,) = world.state.list(REPLICA_SET, NS)
        pod = world.state.list(POD, NS)[0]
        assert pod["metadata"]["ownerReferences"][0]["uid"] == owner["metadata"]["uid"]
        assert pod["metadata"]["labels"]["app"] == "x"
        assert pod["status"]["podIP"] == "127.0.0.9"

    running(check)


def test_a_deleted_pod_ends_and_comes_again() -> None:
    async def check(world: World, machine: Machine) -> None:
        create(world, worlds.servers("x", 1))
        await until_async(lambda: len(pods(world)) == 1)
        (before,) = world.state.list(POD, NS)
        delete(world, "Pod", before["metadata"]["name"])
        assert world.state.list(POD, NS)[0]["metadata"]["deletionTimestamp"]

        def again() -> bool:
            return any(p["metadata"]["uid"] != before["metadata"]["uid"] for p in world.state.list(POD, NS))

        await until_async(again)
        assert machine.ended == [before["metadata"]["name"]]

    running(check)


def test_owners_take_what_is_theirs_with_them() -> None:
    async def check(world: World, machine: Machine) -> None:
        create(world, worlds.servers("x", 1))
        await until_async(lambda: len(pods(world)) == 1)
        delete(world, "Deployment", "x")
        await until_async(lambda: not world.state.list(REPLICA_SET, NS) and not pods(world))

    running(check)


def test_a_namespace_ends_with_all_that_is_in_it() -> None:
    async def check(world: World, machine: Machine) -> None:
        create(world, worlds.servers("x", 1))
        create(world, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}, NS)
        await until_async(lambda: len(pods(world)) == 1)
        world.state.delete(world.state.served("v1", "Namespace"), "", NS, Deletion())
        with pytest.raises(ApiError, match="being terminated"):
            create(world, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "d"}}, NS)
        await until_async(lambda: world.state.get(NAMESPACE, "", NS) is None)
        left = [o for s in world.state.registry if s.kind.namespaced for o in world.state.list(s.kind, NS)]
        assert left == []

    running(check)


def test_services_get_addresses_and_endpoints() -> None:
    async def check(world: World, machine: Machine) -> None:
        made = create(world, worlds.service("s", "x", 80, 8000))
        other = create(world, {**worlds.service("t", "x", 80, 8000), "spec": {"ports": [{"port": 1}],
                               "type": "LoadBalancer"}})  # fmt: skip
        assert made["spec"]["clusterIP"] != other["spec"]["clusterIP"]
        assert other["spec"]["ports"][0]["nodePort"] >= 30000
        create(world, worlds.servers("x", 2))

        def endpoints() -> list[Any]:
            found = [s for s in world.state.list(ENDPOINT_SLICE, NS) if s["endpoints"]]
            return found[0]["endpoints"] if found else []

        await until_async(lambda: len(endpoints()) == 2)
        assert endpoints()[0]["conditions"] == {"ready": True, "serving": True, "terminating": False}

    running(check)


def test_gateways_of_our_class_are_programmed_and_others_are_not_touched() -> None:
    async def check(world: World, machine: Machine) -> None:
        create(world, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "infra"}})
        create(world, worlds.gateway("gw"))
        foreign = worlds.gateway("other")
        foreign["spec"]["gatewayClassName"] = "someone-elses"
        create(world, foreign)

        def of(name: str) -> dict[str, Any]:
            served = world.state.served("gateway.networking.k8s.io/v1", "Gateway")
            found: dict[str, Any] = world.state.need(served.kind, "infra", name)["status"]
            return found

        def programmed(name: str) -> str:
            return next(str(c["status"]) for c in of(name)["conditions"] if c["type"] == "Programmed")

        await until_async(lambda: programmed("gw") == "True")
        (class_,) = [c for c in world.state.of("GatewayClass") if c["metadata"]["name"] == "istio"]
        assert class_["status"]["conditions"][0]["observedGeneration"] == 1
        assert [c["type"] for c in of("gw")["conditions"]] == ["Accepted", "Programmed", "ResolvedRefs"]
        assert of("gw")["addresses"] == [{"type": "IPAddress", "value": "127.0.1.1"}]
        assert programmed("other") == "Unknown"
        await until_async(lambda: world.state.get(SERVICE, "infra", "gw-istio") is not None)

    running(check)


def test_a_thousand_pods_leave_the_loop_free() -> None:
    """A tick on which nothing happens writes nothing, whatever the number of pods."""

    async def check(world: World, machine: Machine) -> None:
        create(world, worlds.servers("x", 300))
        await until_async(lambda: len(pods(world)) == 300)
        await until_async(lambda: world.state.need(DEPLOYMENT, NS, "x")["status"].get("readyReplicas") == 300)
        version = world.state.store.version
        await world.settle()
        await world.settle()
        assert world.state.store.version == version

    running(check)


def test_others_run_while_many_pods_are_made() -> None:
    async def check(world: World, machine: Machine) -> None:
        seen = set()

        def all_there() -> bool:
            seen.add(len(pods(world)))
            return len(pods(world)) == 300

        create(world, worlds.servers("x", 300))
        while not all_there():
            await asyncio.sleep(0)
        assert len(seen) > 4

    running(check)
