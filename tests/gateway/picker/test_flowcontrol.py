"""The queue in front of a saturated pool."""

from __future__ import annotations

import asyncio

import pytest

from gateway.picker.compat import LLMD_V010
from gateway.picker.errors import RequestError
from gateway.picker.flowcontrol import BandLimits, FlowController, FlowControlLimits
from gateway.picker.pool.exposition import PickerMetrics
from gateway.picker.request import InferenceRequest
from tests.gateway.picker.factories import request


class Pool:
    """A pool whose fullness the test sets."""

    def __init__(self, limits: FlowControlLimits | None = None) -> None:
        self.saturation = 1.0
        self.outcomes: list[tuple[str, str]] = []
        self.controller = FlowController(
            limits or FlowControlLimits(), lambda: self.saturation, lambda: True, self._heard
        )

    def _heard(self, asked: InferenceRequest, outcome: str, seconds: float) -> None:
        assert seconds >= 0
        self.outcomes.append((asked.request_id, outcome))

    def send(self, name: str, priority: int = 0, flow: str = "f", **headers: str) -> asyncio.Task[None]:
        asked = request(headers=headers)
        asked.request_id, asked.priority, asked.fairness_id, asked.size_bytes = name, priority, flow, 100
        return asyncio.create_task(self.controller.admit(asked), name=name)

    async def served(self, tasks: list[asyncio.Task[None]]) -> list[str]:
        """Open the pool and give the order in which the tasks went."""
        await asyncio.sleep(0)
        self.saturation = 0.0
        async with asyncio.timeout(5):
            await asyncio.gather(*tasks)
        return [name for name, outcome in self.outcomes if outcome == "Dispatched"]


def test_a_pool_with_room_lets_requests_through_at_once() -> None:
    async def scenario() -> None:
        pool = Pool()
        pool.saturation = 0.99
        await asyncio.wait_for(pool.send("a"), 5)
        assert pool.outcomes == [("a", "Dispatched")]

    asyncio.run(scenario())


def test_higher_priorities_go_first_and_equal_ones_in_order() -> None:
    async def scenario() -> None:
        pool = Pool()
        tasks = [pool.send("a"), pool.send("low", -1), pool.send("high", 5), pool.send("b")]
        await asyncio.sleep(0)
        assert pool.controller.depth() == {("f", 0): 2, ("f", -1): 1, ("f", 5): 1}
        assert await pool.served(tasks) == ["high", "a", "b", "low"]

    asyncio.run(scenario())


def test_round_robin_between_flows() -> None:
    async def scenario() -> None:
        limits = FlowControlLimits(default_band=BandLimits(fairness="round-robin-fairness-policy"))
        pool = Pool(limits)
        tasks = [pool.send(f"x{i}", flow="x") for i in range(3)] + [pool.send("y0", flow="y")]
        assert await pool.served(tasks) == ["x0", "y0", "x1", "x2"]

    asyncio.run(scenario())


def test_earliest_deadline_first() -> None:
    async def scenario() -> None:
        pool = Pool(FlowControlLimits(default_band=BandLimits(ordering="slo-deadline-ordering-policy")))
        slow = pool.send("slow", **{"x-slo-ttft-ms": "9000"})
        fast = pool.send("fast", **{"x-slo-ttft-ms": "100"})
        assert await pool.served([slow, fast]) == ["fast", "slow"]

    asyncio.run(scenario())


def test_full_queues_refuse() -> None:
    async def scenario() -> None:
        pool = Pool(FlowControlLimits(default_band=BandLimits(max_requests=1)))
        first = pool.send("a")
        await asyncio.sleep(0)
        with pytest.raises(RequestError, match="request rejected pre-queue: queue at capacity") as caught:
            await pool.send("b")
        assert (caught.value.status, caught.value.dropped) == (429, "rejected-saturated")
        await pool.served([first])

    asyncio.run(scenario())


def test_limits_of_bytes_and_of_the_whole() -> None:
    async def scenario(limits: FlowControlLimits) -> None:
        pool = Pool(limits)
        first = pool.send("a")
        await asyncio.sleep(0)
        with pytest.raises(RequestError):
            await pool.send("b", 1)
        await pool.served([first])

    asyncio.run(scenario(FlowControlLimits(max_bytes=150)))
    asyncio.run(scenario(FlowControlLimits(max_requests=1)))


def test_waiting_too_long_is_a_503() -> None:
    async def scenario() -> None:
        pool = Pool(FlowControlLimits(request_ttl=0.01))
        with pytest.raises(RequestError, match="request TTL expired") as caught:
            await asyncio.wait_for(pool.send("a"), 5)
        assert (caught.value.status, caught.value.dropped) == (503, "rejected-ttl-expired")
        assert pool.outcomes == [("a", "EvictedTTL")]

    asyncio.run(scenario())


def test_a_client_that_leaves_frees_its_place() -> None:
    async def scenario() -> None:
        pool = Pool()
        gone, stays = pool.send("gone"), pool.send("stays")
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        assert pool.controller.depth() == {("f", 0): 1}
        assert await pool.served([stays]) == ["stays"]
        assert ("gone", "EvictedContextCancelled") in pool.outcomes

    asyncio.run(scenario())


def test_close_refuses_all_that_wait() -> None:
    async def scenario() -> None:
        pool = Pool()
        task = pool.send("a")
        await asyncio.sleep(0)
        pool.controller.close()
        with pytest.raises(RequestError) as caught:
            await task
        assert caught.value.dropped == "rejected-shutting-down"

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("busy", "endpoints", "status", "dropped", "words"),
    [
        (False, True, 503, "rejected-ttl-expired", "request timed out in queue: request evicted"),
        (True, True, 429, "rejected-ttl-expired", "request timed out in queue: request evicted"),
        (True, False, 503, "rejected-no-endpoints", "request timed out in queue and no endpoints"),
    ],
)
def test_what_a_request_is_told_whose_time_is_over(
    busy: bool, endpoints: bool, status: int, dropped: str, words: str
) -> None:
    """llm-d-router from v0.10 on says 429 while the pool is merely busy."""

    async def scenario() -> RequestError:
        limits = FlowControlLimits(request_ttl=0.01, no_endpoint_ttl=0.01)
        controller = FlowController(limits, lambda: 1.0, lambda: endpoints, busy_after_ttl=busy)
        with pytest.raises(RequestError) as caught:
            async with asyncio.timeout(5):
                await controller.admit(request())
        return caught.value

    error = asyncio.run(scenario())
    assert (error.status, error.dropped) == (status, dropped)
    assert error.message.startswith(words)


def test_metrics_of_the_queue() -> None:
    async def scenario() -> str:
        metrics = PickerMetrics(LLMD_V010)
        full = [1.0]
        controller = FlowController(
            FlowControlLimits(default_band=BandLimits(max_requests=2)),
            lambda: full[0],
            lambda: True,
            on_cycle=metrics.dispatch_cycle.observe,
            on_enqueue=lambda asked, outcome, seconds: metrics.enqueue_duration.observe(
                seconds, asked.fairness_id, str(asked.priority), outcome
            ),
        )
        metrics.watch_flow_control("pool", controller)
        asked = [request(f"m{n}") for n in range(3)]
        for one in asked:
            one.size_bytes = 100
        waiting = [asyncio.create_task(controller.admit(one)) for one in asked]
        await asyncio.sleep(0)
        page = metrics.registry.render()
        full[0] = 0.0
        async with asyncio.timeout(5):
            await asyncio.gather(*waiting, return_exceptions=True)
        return page

    page = asyncio.run(scenario())
    models = 'model_name="m0",target_model_name="m0"'
    labels = f'fairness_id="default-flow",priority="0",inference_pool="pool",{models}'
    for prefix in ("inference_extension", "llm_d_epp"):
        name = f"{prefix}_flow_control_"
        assert f"{name}queue_size{{{labels}}} 1" in page
        assert f"{name}queue_bytes{{{labels}}} 100" in page
        assert f'{name}pool_saturation{{inference_pool="pool"}} 1' in page
        assert f"{name}dispatch_cycle_duration_seconds_count 2" in page
        enqueued = f'{name}request_enqueue_duration_seconds_count{{fairness_id="default-flow",priority="0"'
        assert f'{enqueued},outcome="NotYetFinalized"}} 2' in page
        assert f'{enqueued},outcome="RejectedCapacity"}} 1' in page
