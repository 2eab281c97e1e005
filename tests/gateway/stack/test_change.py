"""A running stack that is given other manifests: what starts, changes and ends, with a real Envoy."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx

from gateway.errors import ManifestError
from gateway.manifests.load import read
from gateway.stack.change import Applied, apply
from gateway.stack.pickers.process import PickerOptions
from gateway.stack.plan import Plan, make_plan
from gateway.stack.stack import Stack, StackOptions
from kit.yamldoc import Document
from tests.e2e import worlds

BY_QUEUE = """
apiVersion: inference.networking.x-k8s.io/v1alpha1
kind: EndpointPickerConfig
plugins: [{type: queue-scorer}]
schedulingProfiles: [{name: default, plugins: [{pluginRef: queue-scorer, weight: 1}]}]
"""


def plan_of(objects: list[Any], **options: Any) -> Plan:
    documents = (Document("m.yaml", i, copy.deepcopy(o), ManifestError) for i, o in enumerate(objects))
    return make_plan(read(documents), **options)


def running(directory: Path, objects: list[Any], check: Callable[[Stack], Awaitable[None]]) -> None:
    async def scenario() -> None:
        options = StackOptions(directory, PickerOptions("reference"))
        async with Stack(plan_of(objects), options, lambda line: None) as stack:
            await check(stack)

    asyncio.run(scenario())


def world(replicas: int = 2) -> list[Any]:
    return [
        worlds.servers("x", replicas),
        worlds.pool("pool", "x", "epp"),
        *worlds.picker("epp", "pool", BY_QUEUE),
        worlds.gateway("gw"),
        worlds.route("r", "gw", worlds.rule(worlds.to_pool("pool"))),
    ]


async def ask(stack: Stack, path: str = "/v1/completions") -> httpx.Response:
    url = next(iter(stack.gateways[0].urls.values()))
    model = next(iter(stack.pods)).models[-1]
    async with httpx.AsyncClient(trust_env=False) as http:
        return await http.post(url + path, json={"model": model, "prompt": "x", "max_tokens": 1})


def test_nothing_changed_is_nothing_done(tmp_path: Path) -> None:
    async def check(stack: Stack) -> None:
        pids = [stack.gateways[0].process.pid, next(iter(stack.pickers)).process.process.pid]
        done = await apply(stack, plan_of(world()))
        assert done == Applied()
        assert pids == [stack.gateways[0].process.pid, next(iter(stack.pickers)).process.process.pid]

    running(tmp_path, world(), check)


def test_a_route_changes_while_envoy_runs(tmp_path: Path) -> None:
    async def check(stack: Stack) -> None:
        assert (await ask(stack)).status_code == 200
        pid = stack.gateways[0].process.pid
        objects = world()
        objects[-1]["spec"]["rules"][0]["matches"] = [{"path": {"type": "PathPrefix", "value": "/other"}}]
        done = await apply(stack, plan_of(objects))
        assert (await ask(stack)).status_code == 404
        assert (pid, done.problems) == (stack.gateways[0].process.pid, {})
        await apply(stack, plan_of(world()))
        assert (await ask(stack)).status_code == 200

    running(tmp_path, world(), check)


def test_replicas_a_template_and_the_pickers_configuration(tmp_path: Path) -> None:
    async def check(stack: Stack) -> None:
        objects = world(replicas=3)
        assert (await apply(stack, plan_of(objects))).lines == [
            f"Deployment {worlds.NAMESPACE}/x: 2 -> 3 pods"
        ]
        names = [pod.name for pod in stack.pods]
        objects[0]["spec"]["template"]["metadata"]["annotations"] = {"restartedAt": "now"}
        await apply(stack, plan_of(objects))
        assert len(stack.pods) == 3
        assert not set(names) & {pod.name for pod in stack.pods}
        picker = next(iter(stack.pickers)).process.process.pid
        epp = next(o for o in objects if o["kind"] == "Deployment" and o["metadata"]["name"] == "epp")
        container = epp["spec"]["template"]["spec"]["containers"][0]
        container["args"] = [*container.get("args", ()), "--v", "5"]
        done = await apply(stack, plan_of(objects))
        assert [line.split(": ")[1] for line in done.lines] == ["restarted"]
        assert next(iter(stack.pickers)).process.process.pid != picker
        assert (await ask(stack)).status_code == 200

    running(tmp_path, world(), check)


def test_a_stack_grows_from_nothing_and_goes_back_to_it(tmp_path: Path) -> None:
    async def check(stack: Stack) -> None:
        done = await apply(stack, plan_of(world()))
        assert done.problems == {}
        assert (await ask(stack)).status_code == 200
        done = await apply(stack, plan_of([]))
        assert (len(stack.pods), len(stack.pickers), stack.gateways) == (0, 0, [])

    running(tmp_path, [], check)


def test_a_part_that_cannot_change_is_told_of_and_the_rest_goes_on(tmp_path: Path) -> None:
    async def check(stack: Stack) -> None:
        objects = world(replicas=1)
        objects[0]["spec"]["template"]["spec"]["containers"][0]["args"] = ["--nonsense"]
        objects[-1]["spec"]["rules"][0]["matches"] = [{"path": {"type": "PathPrefix", "value": "/other"}}]
        done = await apply(stack, plan_of(objects))
        assert list(done.problems) == [f"Deployment {worlds.NAMESPACE}/x"]
        assert (await ask(stack)).status_code == 404

    running(tmp_path, world(1), check)
