"""The loop, with pods of the test's own and time as data."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from gateway.autoscale.hpa import MetricSpec
from gateway.autoscale.loop import Autoscaler
from gateway.autoscale.metrics import Page, Source, parse, value_of
from gateway.errors import ControlError
from tests.gateway.autoscale.objects import external, hpa, pods_metric

QUEUE = "vllm:num_requests_waiting"
CPU = {
    "type": "Resource",
    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
}


class Pods:
    """A target of `waiting` requests that its pods share."""

    name = "x"

    def __init__(self, number: int, waiting: float) -> None:
        self.number = number
        self.waiting: float | None = waiting
        self.scaled: list[int] = []
        self.refuses = ""
        self.free = asyncio.Event()  # until it is set, what is scaled takes long
        self.free.set()

    def replicas(self) -> int:
        return self.number

    def ready(self) -> int:
        return self.number

    def pods(self) -> Sequence[Source]:
        return [Source(f"p{i}", ()) for i in range(self.number)]

    def about(self, metric: MetricSpec) -> tuple[Sequence[Source], str | None]:
        return self.pods(), None

    async def scale(self, replicas: int) -> None:
        self.scaled.append(replicas)
        await self.free.wait()
        if self.refuses:
            raise ControlError(self.refuses)
        self.number = replicas

    async def look(self, sources: Sequence[Source]) -> dict[str, Page]:
        if self.waiting is None:
            return {}
        return {s.name: ((QUEUE, {}, self.waiting / self.number),) for s in sources}


class Lab:
    def __init__(self, pods: Pods, *metrics: dict[str, Any], **spec: Any) -> None:
        self.pods = pods
        self.lines: list[str] = []
        self.now = 0.0
        made = hpa(*metrics, **spec)
        self.scaler = Autoscaler(made, pods, self.lines.append, lambda: self.now, pods.look)

    async def after(self, seconds: float) -> int:
        """Look again that much later; the pods then."""
        self.now += seconds
        await self.scaler.sync()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return self.pods.number


def test_a_ramp_goes_up_and_down() -> None:
    async def scenario() -> None:
        lab = Lab(Pods(1, 0), most=4)
        assert await lab.after(15) == 1
        lab.pods.waiting = 12
        assert await lab.after(15) == 4
        assert lab.lines == [
            "HorizontalPodAutoscaler apps/hpa: x 1 -> 4 pods, New size: 4; "
            "reason: pods metric vllm:num_requests_waiting above target"
        ]
        lab.pods.waiting = 0
        assert [await lab.after(60) for _ in range(6)] == [4, 4, 4, 4, 1, 1]
        assert lab.lines[-1].endswith("x 4 -> 1 pods, New size: 1; reason: All metrics below target")
        status = lab.scaler.status()
        assert (status["current_replicas"], status["metrics"][0]["value"]) == (1, 0.0)

    asyncio.run(scenario())


def test_bounds_before_metrics() -> None:
    async def scenario() -> None:
        assert await Lab(Pods(1, 0), least=3).after(1) == 3
        assert await Lab(Pods(12, 99), most=10).after(1) == 10
        off = Lab(Pods(0, 1))
        assert await off.after(1) == 0
        assert "replica count of the target is zero" in off.scaler.status()["problem"]

    asyncio.run(scenario())


def test_while_pods_end_nothing_else_is_asked() -> None:
    async def scenario() -> None:
        lab = Lab(Pods(4, 0), behavior={"scaleDown": {"stabilizationWindowSeconds": 0}})
        lab.pods.free.clear()
        await lab.after(15)
        lab.pods.waiting = 40
        await lab.after(15)
        assert lab.pods.scaled == [1]
        lab.pods.free.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        lab.pods.waiting = 40
        assert await lab.after(15) == 5
        assert lab.pods.scaled == [1, 5]

    asyncio.run(scenario())


def test_a_missing_metric_keeps_what_there_is_and_is_told_once() -> None:
    async def scenario() -> None:
        lab = Lab(Pods(3, 0), pods_metric(), CPU, behavior={"scaleDown": {"stabilizationWindowSeconds": 0}})
        assert [await lab.after(15), await lab.after(15)] == [3, 3]
        (line,) = lab.lines
        assert "unable to get resource metric cpu: there is no metrics server" in line
        lab.pods.waiting = 30  # more may be had all the same
        assert await lab.after(15) == 7
        blind = Lab(Pods(3, 0))
        blind.pods.waiting = None
        assert await blind.after(15) == 3
        assert "did not receive metrics for targeted pods" in blind.lines[0]

    asyncio.run(scenario())


def test_the_metric_that_asks_for_most_counts() -> None:
    async def scenario() -> None:
        lab = Lab(Pods(2, 8), pods_metric("4"), external(QUEUE, averageValue="2"))
        assert await lab.after(15) == 4
        assert "external metric vllm:num_requests_waiting above target" in lab.lines[0]

    asyncio.run(scenario())


def test_a_refusal_is_told_and_tried_again() -> None:
    async def scenario() -> None:
        lab = Lab(Pods(1, 40))
        lab.pods.refuses = "no address is left"
        assert await lab.after(15) == 1
        assert lab.lines[-1] == "HorizontalPodAutoscaler apps/hpa: no address is left"
        lab.pods.refuses = ""
        assert await lab.after(15) == 4

    asyncio.run(scenario())


def test_values_of_pages() -> None:
    text = (
        '# TYPE vllm:num_requests_waiting gauge\nvllm:num_requests_waiting{engine="0",model_name="m"} 1.0\n'
        'vllm:num_requests_waiting{engine="1",model_name="m"} 2.5\n'
        '# TYPE queue gauge\nqueue{name="a"} 4\nqueue{name="b"} 5\n# TYPE bad gauge\nbad NaN\n'
    )
    page = parse(text)
    by_underscore, one = (
        hpa(pods_metric(name=QUEUE.replace(":", "_"))).metrics[0],
        hpa(pods_metric(selector={"matchLabels": {"engine": "1"}})).metrics[0],
    )
    assert (value_of(by_underscore, [page]), value_of(by_underscore, [page, page])) == (3500, 7000)
    assert value_of(one, [page]) == 2500
    queue = hpa(external("queue", value="1")).metrics[0]
    assert (value_of(queue, [page]), value_of(queue, [page], "b")) == (9000, 5000)
    assert value_of(hpa(external("bad", value="1")).metrics[0], [page]) is None
    assert parse("<html>") == ()
