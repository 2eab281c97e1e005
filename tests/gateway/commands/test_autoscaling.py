"""A HorizontalPodAutoscaler at work on the pods of a stack: real pages, real pods that come and go."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from gateway.autoscale.hpa import read_hpa
from gateway.cluster.targets import StackTarget
from gateway.commands.autoscaling import Autoscaling
from gateway.manifests.load import read
from gateway.stack.plan import make_plan
from gateway.stack.stack import Stack
from tests.e2e import worlds
from tests.gateway.autoscale.objects import external, hpa_object, pods_metric
from tests.gateway.lint.world import documents
from tests.gateway.stack.test_stack import post, running, world
from tests.waiting import until_async

SLOW = ("--max-num-seqs", "1", "--inter-token-latency", "10ms")
AT_ONCE = {"scaleDown": {"stabilizationWindowSeconds": 0}}


def test_a_ramp_scales_from_one_to_four_to_one(tmp_path: Path) -> None:
    """The object is in the form of the simulator chart's own, down to the adapter's name of the metric."""
    named = pods_metric(name="vllm_num_requests_waiting")
    made = hpa_object(named, most=4, behavior=AT_ONCE)
    numbers: list[int] = []

    async def check(stack: Stack, said: list[str]) -> None:
        async with Autoscaling(stack, said.append, period_s=0.1) as scaling:
            first = next(iter(stack.pods))
            requests = [asyncio.create_task(post(first, max_tokens=20)) for _ in range(12)]
            for wanted in (4, 1):
                await until_async(lambda wanted=wanted: len(stack.pods) == wanted)  # type: ignore[misc]
                numbers.append(len(stack.pods))
            answers = await asyncio.gather(*requests)
            assert all(b" 200 OK" in answer[:20] for answer in answers)
            (status,) = scaling.status()
            assert (status["target"], status["min_replicas"], status["max_replicas"]) == (
                "Deployment/x",
                1,
                4,
            )

    said = running(tmp_path, *world(1, args=SLOW), made, check=check)
    assert numbers == [4, 1]
    scaled = [line for line in said if line.startswith("HorizontalPodAutoscaler")]
    assert scaled[0].startswith("HorizontalPodAutoscaler apps/hpa: x 1 -> 4 pods, New size: 4; reason: ")
    assert scaled[-1].endswith("-> 1 pods, New size: 1; reason: All metrics below target")


def test_whose_pages_a_metric_is_on(tmp_path: Path) -> None:
    other = worlds.servers("y", 1)
    service = worlds.service("svc", "y", 80, 8000)

    async def check(stack: Stack, said: list[str]) -> None:
        (server,) = [s for s in stack.plan.servers if s.workload.name == "x"]
        target = StackTarget(stack, server)
        assert (target.replicas(), target.ready(), len(target.pods())) == (2, 2, 2)
        await stack.drain(next(iter(stack.pods)).name, 1.0)
        assert (target.replicas(), target.ready(), len(target.pods())) == (2, 1, 1)
        await stack.restart(next(iter(stack.pods)).name)
        (of_all,) = read_hpa_metrics(external("q", value="1"))
        assert len(target.about(of_all)[0]) == 3
        for kind, name, number in (
            ("InferencePool", "pool", 2),
            ("Service", "svc", 1),
            ("Deployment", "y", 1),
            ("Pod", next(iter(stack.pods)).name, 1),
            ("Service", "none", 0),
        ):
            described = {"kind": kind, "name": name, "apiVersion": "v1"}
            metric = {"name": "q"}
            target_ = {"type": "Value", "value": "1"}
            (made,) = read_hpa_metrics(
                {
                    "type": "Object",
                    "object": {"describedObject": described, "metric": metric, "target": target_},
                }
            )
            sources, about = target.about(made)
            assert (len(sources), about) == (number, name)

    running(tmp_path, *world(2), other, service, check=check)


def read_hpa_metrics(*metrics: dict[str, Any]) -> Any:
    text = worlds.dump(hpa_object(*metrics))
    return read_hpa(read(documents(text)).resources[0]).metrics


def test_what_an_autoscaler_does_not_do_is_told() -> None:
    cpu = {"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}}
    nobody = {"kind": "Deployment", "name": "nobody"}
    text = worlds.dump(
        worlds.servers("x"),
        hpa_object(pods_metric(), cpu),
        {**hpa_object(pods_metric(), scaleTargetRef=nobody), "metadata": worlds.meta("second")},
    )
    alone = worlds.dump(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": worlds.meta("x"),
            "spec": {"containers": [{"name": "vllm", "args": ["--model", "m"]}]},
        },
        hpa_object(pods_metric(), scaleTargetRef={"kind": "Pod", "name": "x"}),
    )
    assert [str(u) for u in make_plan(read(documents(alone))).unread] == [
        "not simulated: HorizontalPodAutoscaler apps/hpa: a Pod has no scale: nothing is scaled"
    ]
    plan = make_plan(read(documents(text)))
    assert [hpa.name for hpa, _ in plan.autoscalers] == ["hpa"]
    assert [str(u) for u in plan.unread] == [
        "not simulated: HorizontalPodAutoscaler apps/hpa spec.metrics[1]: resource metric cpu counts as "
        "unavailable, as without a metrics server: nothing shrinks by it",
        "not simulated: HorizontalPodAutoscaler apps/second: "
        "there are no pods of Deployment apps/nobody here: nothing is scaled",
    ]
