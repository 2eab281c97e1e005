"""A stack without gateways and pickers: its pods as they start, scale, drain, die and come back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import ControlError, ManifestError, StackError
from gateway.manifests.load import read
from gateway.stack.faults import read_faults
from gateway.stack.pickers.process import PickerOptions
from gateway.stack.plan import make_plan
from gateway.stack.pods import Pod, PodState
from gateway.stack.stack import Stack, StackOptions
from kit.yamldoc import Document
from tests.e2e import worlds
from tests.ports import free_port
from tests.waiting import until_async

Check = Callable[[Stack, list[str]], Awaitable[None]]


def running(directory: Path, *objects: Any, check: Check, replicas: int | None = None) -> list[str]:
    """Run a stack of these objects for as long as `check` looks at it; what it reported."""
    said: list[str] = []

    async def scenario() -> None:
        documents = (Document("m.yaml", i, each, ManifestError) for i, each in enumerate(objects))
        plan = make_plan(read(documents), replicas)
        async with Stack(plan, StackOptions(directory, PickerOptions("reference")), said.append) as stack:
            await check(stack, said)

    asyncio.run(scenario())
    return said


def world(replicas: int = 2, *, ports: tuple[int, ...] = (8000,), args: tuple[str, ...] = ()) -> list[Any]:
    servers = worlds.servers("x", replicas, ports=ports)
    containers = servers["spec"]["template"]["spec"]["containers"]
    containers[0].setdefault("args", []).extend(args)
    return [servers, worlds.pool("pool", "x", None, ports=ports)]


def test_what_has_no_scale_is_not_scaled(tmp_path: Path) -> None:
    spec = {"containers": [{"name": "vllm", "args": ["--model", "base"]}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": worlds.meta("alone"), "spec": spec}
    template = {"metadata": {"labels": {"app": "g"}}, "spec": spec}
    group = {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": worlds.meta("group"),
        "spec": {"replicas": 1, "leaderWorkerTemplate": {"size": 2, "workerTemplate": template}},
    }

    async def check(stack: Stack, said: list[str]) -> None:
        with pytest.raises(ControlError, match="alone cannot be scaled: a Pod has no scale"):
            await stack.scale("alone", 2)
        with pytest.raises(ControlError, match=r"group cannot be scaled: .* has pods that are told apart"):
            await stack.scale("group", 2)
        assert [pod.name for pod in stack.pods] == ["alone", "group-0", "group-0-1"]

    running(tmp_path, pod, group, check=check)


def states(stack: Stack) -> list[str]:
    return [pod.state.value for pod in stack.pods]


async def get(pod: Pod, path: str) -> int:
    """The status of a GET at the pod, 0 where nobody listens."""
    try:
        reader, writer = await asyncio.open_connection(pod.address, pod.ports[0])
    except ConnectionRefusedError:
        return 0
    writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return int(answer.split(b" ", 2)[1])


async def post(pod: Pod, **fields: Any) -> bytes:
    """What came of the answer until the connection ended, however it did."""
    body = json.dumps({"model": pod.models[-1], "prompt": "x", "ignore_eos": True, **fields}).encode()
    reader, writer = await asyncio.open_connection(pod.address, pod.ports[0])
    head = f"POST /v1/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {len(body)}\r\n"
    writer.write(head.encode() + b"content-type: application/json\r\n\r\n" + body)
    answer = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := await reader.read(65536):
            answer += piece
    writer.close()
    return answer


def test_pods_answer_at_addresses_of_their_own_and_are_gone_at_the_end(tmp_path: Path) -> None:
    kept: list[Pod] = []

    async def check(stack: Stack, said: list[str]) -> None:
        kept.extend(stack.pods)
        assert len({pod.address for pod in kept}) == 3
        assert [await get(pod, "/health") for pod in kept] == [200] * 3
        assert said == [f"pod      {pod.name}  {pod.address}:8000" for pod in kept]
        assert states(stack) == ["ready"] * 3
        assert not stack.failure.done()

    running(tmp_path, *world(3), check=check)

    async def afterwards() -> list[int]:
        return [await get(pod, "/health") for pod in kept]

    assert asyncio.run(afterwards()) == [0, 0, 0]


def test_the_number_of_pods_may_be_told(tmp_path: Path) -> None:
    async def check(stack: Stack, _: list[str]) -> None:
        assert len(stack.pods) == 1

    running(tmp_path, *world(4), check=check, replicas=1)


def test_scaling_keeps_the_oldest_and_never_gives_a_name_twice(tmp_path: Path) -> None:
    async def check(stack: Stack, _: list[str]) -> None:
        before = [pod.name for pod in stack.pods]
        assert await stack.scale("pool", 4) == "x: 2 -> 4 pods"
        grown = [pod.name for pod in stack.pods]
        assert grown[:2] == before
        assert await stack.scale("x", 1) == "x: 4 -> 1 pods"
        assert [pod.name for pod in stack.pods] == before[:1]
        assert await stack.scale("x", 1) == "x: 1 -> 1 pods"
        await stack.scale("x", 2)
        assert not {pod.name for pod in stack.pods} & set(grown[1:])
        assert await stack.scale("x", 0) == "x: 2 -> 0 pods"
        assert len(stack.pods) == 0

    running(tmp_path, *world(), check=check)


def test_a_pod_that_goes_finishes_what_it_has(tmp_path: Path) -> None:
    async def check(stack: Stack, _: list[str]) -> None:
        (pod,) = stack.pods
        asked = asyncio.create_task(post(pod, max_tokens=20))
        replica = stack.replica(pod)
        assert replica is not None
        await until_async(lambda: replica.engine.stats.num_requests_running)
        await stack.scale("pool", 0)
        answer = await asked
        assert answer.startswith(b"HTTP/1.1 200")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["usage"]["completion_tokens"] == 20

    running(tmp_path, *world(1, args=("--inter-token-latency", "20ms")), check=check)


@pytest.mark.parametrize("target", ["y", "", "apps/pool"])
def test_who_is_not_there_cannot_be_scaled(tmp_path: Path, target: str) -> None:
    async def check(stack: Stack, _: list[str]) -> None:
        with pytest.raises(ControlError) as caught:
            await stack.scale(target, 1)
        assert str(caught.value) == f"pool {target!r} does not exist; there are: pool, x"

    running(tmp_path, *world(1), check=check)


def test_of_two_workloads_in_a_pool_one_has_to_be_named(tmp_path: Path) -> None:
    first, pool = world(1)
    second = worlds.servers("x", 1)
    second["metadata"]["name"] = "x2"

    async def check(stack: Stack, _: list[str]) -> None:
        with pytest.raises(ControlError) as caught:
            await stack.scale("pool", 2)
        assert str(caught.value) == "pool 'pool' is ambiguous, name the workload; there are: pool, x, x2"
        assert await stack.scale("x2", 2) == "x2: 1 -> 2 pods"
        assert len(stack.pods) == 3

    running(tmp_path, first, second, pool, check=check)


def test_kill_and_restart(tmp_path: Path) -> None:
    async def check(stack: Stack, _: list[str]) -> None:
        first, second = stack.pods
        assert await stack.kill(first.name) == f"pod {first.name} killed"
        assert states(stack) == ["killed", "ready"]
        assert [await get(pod, "/health") for pod in (first, second)] == [0, 200]
        assert [e.pod for e in stack.pods.endpoints(first.pool)] == [second.name]
        with pytest.raises(ControlError, match=rf"^pod {first.name} is killed already$"):
            await stack.drain(first.name)
        address = first.address
        assert await stack.restart(first.name) == f"pod {first.name} restarted"
        assert (first.address, await get(first, "/health")) == (address, 200)
        assert states(stack) == ["ready", "ready"]

    running(tmp_path, *world(), check=check)


def test_a_pod_that_dies_after_some_tokens_is_noticed(tmp_path: Path) -> None:
    async def check(stack: Stack, said: list[str]) -> None:
        (pod,) = stack.pods
        assert await stack.kill(pod.name, 3) == f"pod {pod.name} dies after 3 more tokens"
        assert states(stack) == ["ready"]
        answer = await post(pod, max_tokens=50, stream=True)
        assert answer.count(b'"text":') == 3
        assert b"[DONE]" not in answer
        await until_async(lambda: pod.state is PodState.KILLED)
        assert said[-1] == f"pod {pod.name} died"

    running(tmp_path, *world(1, args=("--inter-token-latency", "1ms")), check=check)


def test_drain_ends_by_itself_or_by_its_grace(tmp_path: Path) -> None:
    async def check(stack: Stack, _: list[str]) -> None:
        idle, busy = stack.pods
        assert await stack.drain(idle.name, 30) == f"pod {idle.name} drained"
        replica = stack.replica(busy)
        assert replica is not None
        asked = asyncio.create_task(post(busy, max_tokens=2000))
        await until_async(lambda: replica.engine.stats.num_requests_running)
        assert await stack.drain(busy.name, 0.05) == f"pod {busy.name} drained; cut off after 0.05 s"
        assert states(stack) == ["drained", "drained"]
        assert stack.pods.endpoints(busy.pool) == []
        await asked
        with pytest.raises(ControlError, match=rf"^pod {busy.name} is drained already$"):
            await stack.drain(busy.name)

    running(tmp_path, *world(2, args=("--inter-token-latency", "20ms", "--max-model-len", "3k")), check=check)


def test_a_drain_keeps_nobody_else_waiting(tmp_path: Path) -> None:
    """Another workload is scaled, a fault is set and its pod restarted while the first one drains."""

    async def check(stack: Stack, _: list[str]) -> None:
        busy = next(iter(stack.pods))
        replica = stack.replica(busy)
        assert replica is not None
        asked = asyncio.create_task(post(busy, max_tokens=2000))
        await until_async(lambda: replica.engine.stats.num_requests_running)
        shrinking = asyncio.create_task(stack.scale("x", 0))
        await until_async(lambda: busy.state is PodState.DRAINING)
        async with asyncio.timeout(20):
            assert await stack.scale("other", 3) == "other: 1 -> 3 pods"
            assert len(await stack.fault("all", {"refuse": True}) or "") > 0
            other = next(p for p in stack.pods if p.server.workload.name == "other")
            await stack.restart(other.name)
        assert not shrinking.done(), "it drains still"
        await stack.kill(busy.name)
        await asyncio.gather(asked, return_exceptions=True)
        assert await shrinking == "x: 1 -> 0 pods"

    other = worlds.servers("other", 1)
    running(
        tmp_path,
        *world(1, args=("--inter-token-latency", "20ms", "--max-model-len", "3k")),
        other,
        check=check,
    )


def test_each_rank_of_a_pod_has_a_port(tmp_path: Path) -> None:
    async def check(stack: Stack, _: list[str]) -> None:
        (pod,) = stack.pods
        assert pod.ports == (8000, 8001)
        replica = stack.replica(pod)
        assert replica is not None
        assert len(replica.peers) == 2
        assert [(e.name, e.port) for e in stack.pods.endpoints(pod.pool)] == [
            (f"{pod.name}-rank-0", 8000),
            (f"{pod.name}-rank-1", 8001),
        ]

    running(tmp_path, *world(1, ports=(8000, 8001), args=("--data-parallel-size", "2")), check=check)


def test_a_server_that_would_not_start_names_its_manifest(tmp_path: Path) -> None:
    async def never(_: Stack, __: list[str]) -> None:
        raise AssertionError("it started")

    with pytest.raises(
        ManifestError, match=r"m\.yaml.*args: container vllm: the server would not start: .*max-num"
    ):
        running(tmp_path, *world(1, args=("--max-num-seqs", "none")), check=never)


def test_a_container_that_cannot_run_keeps_only_its_own_pods_from_it(tmp_path: Path) -> None:
    """A broken script is told by name and line, a file of the image by its stand-in; the others are ready."""
    objects = world(1, args=("--chat-template", "examples/x.jinja"))
    broken = worlds.servers("broken", 2)
    broken["spec"]["template"]["metadata"]["labels"] = objects[0]["spec"]["template"]["metadata"]["labels"]
    broken["spec"]["template"]["spec"]["containers"][0]["command"] = ["sh", "-c", "sleep infinity"]

    async def check(stack: Stack, lines: list[str]) -> None:
        assert [p.server.workload.name for p in stack.pods] == [objects[0]["metadata"]["name"]]
        told = [n for n in stack.plan.notes if "container vllm" in n]
        assert ["note: " + n for n in told] == [x for x in lines if "container vllm" in x]
        assert "a file of the image: the simulator's own template stands in" in told[0]
        assert re.search(
            r"broken is not run: .*m\.yaml:\d+: .*no server command found; .*sleeps for ever", told[1]
        )

    running(tmp_path, *objects, broken, check=check)


def test_faults_reach_one_pod_or_all_and_end(tmp_path: Path) -> None:
    async def check(stack: Stack, _: list[str]) -> None:
        first, second = stack.pods
        wanted = read_faults(["errors=100", "slow"])
        told = await stack.fault("all", wanted.changes)
        assert told.splitlines() == [
            f"pod {p.name}: failure_injection_rate 100, failure_types ['server_error'], latency_factor 2.0"
            for p in stack.pods
        ]
        assert b"503" in (await post(first)).split(b"\r\n")[0]
        await stack.fault(second.name, {}, clear=True)
        assert b"200" in (await post(second)).split(b"\r\n")[0]
        await stack.fault(first.name, read_faults(["off", "refuse"]).changes, clear=True)
        assert await get(first, "/health") == 0
        assert states(stack) == ["ready", "ready"]  # until a probe would notice
        assert await stack.fault("all", {}, clear=True, stall_s=0.1) == "\n".join(
            f"pod {p.name}: none" for p in (first, second)
        )
        assert await get(first, "/health") == 200
        for name, changes, words in [
            ("nobody", {}, "does not exist"),
            ("all", {"meteor": 1}, "there is no fault 'meteor'"),
        ]:
            with pytest.raises(ControlError, match=words):
                await stack.fault(name, changes)
        await stack.kill(second.name)
        with pytest.raises(ControlError, match="is killed"):
            await stack.fault(second.name, {})

    running(tmp_path, *world(2), check=check)


def test_a_pod_that_is_not_ready_by_a_fault_is_no_endpoint(tmp_path: Path) -> None:
    objects = world(2)
    container = objects[0]["spec"]["template"]["spec"]["containers"][0]
    container["readinessProbe"] = {"httpGet": {"path": "/health", "port": 8000}}

    async def check(stack: Stack, _: list[str]) -> None:
        (pool,) = stack.plan.manifests.pools.values()
        first, second = stack.pods
        await stack.fault(first.name, {"unready": True})
        await until_async(lambda: [e.pod for e in stack.pods.endpoints(pool)] == [second.name])
        await stack.fault(first.name, {"unready": False})
        await until_async(lambda: len(stack.pods.endpoints(pool)) == 2)

    running(tmp_path, *objects, check=check)


def test_the_control_port_of_a_container_is_its_pod_s(tmp_path: Path) -> None:
    """Each pod has its own, on its own address, and knows of no other pod."""
    port = free_port()

    async def ask(pod: Pod) -> bytes:
        reader, writer = await asyncio.open_connection(pod.address, port)
        writer.write(
            f"GET /replicas HTTP/1.1\r\nhost: localhost:{port}\r\nconnection: close\r\n\r\n".encode()
        )
        answer = await reader.read()
        writer.close()
        return answer

    async def check(stack: Stack, _: list[str]) -> None:
        for pod in stack.pods:
            assert [r["name"] for r in json.loads((await ask(pod)).partition(b"\r\n\r\n")[2])] == [pod.name]
        first, _second = stack.pods
        await stack.kill(first.name)
        with pytest.raises(ConnectionRefusedError):
            await ask(first)
        await stack.restart(first.name)
        assert b'"ready":true' in await ask(first)

    running(
        tmp_path, *world(2, args=("--control-port", str(port), "--failure-injection-rate=0")), check=check
    )


def test_endpoints_that_no_gateway_takes_over(tmp_path: Path) -> None:
    class Deaf:
        async def has_applied(self) -> bool:
            return False

        def publish(self, _: object) -> None:
            """Hears and does nothing."""

    async def check(stack: Stack, _: list[str]) -> None:
        stack.gateways.append(Deaf())  # type: ignore[arg-type]
        with pytest.raises(StackError, match=r"^Envoy did not take over the endpoints within 0\.02 s$"):
            await stack.until_applied(0.02)
        stack.gateways.clear()

    running(tmp_path, *world(1), check=check)
