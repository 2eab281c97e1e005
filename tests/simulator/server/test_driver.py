"""The driver: what sinks get, when, and what happens to those who leave."""

from __future__ import annotations

import asyncio
import re
import time
from types import SimpleNamespace
from typing import cast

import pytest

from simulator.engine.outputs import RequestOutput, StepOutput
from simulator.engine.request import FinishReason, SamplingParams
from simulator.errors import EngineError, InvariantError
from simulator.server.answers.generation import Job, Sequence
from simulator.server.answers.unary import UnaryGeneration
from simulator.server.http.exchange import Exchange
from simulator.server.http.incoming import Incoming
from simulator.server.http.writer import Wire, Writer
from simulator.server.requests.prompts import Prompt
from tests.simulator.server.inprocess import Kept, replica, request, run
from tests.simulator.steps import FLAT_20_MS


def test_every_token_is_delivered_once_and_in_order() -> None:
    async def main() -> None:
        pod = replica()
        sinks = {f"r{i}": Kept() for i in range(50)}
        for i, (name, sink) in enumerate(sinks.items()):
            pod.driver.submit(request(name, max_tokens=1 + i), sink)
        await pod.driver.wait_idle()
        for i, sink in enumerate(sinks.values()):
            assert sink.num_tokens == 1 + i
            assert len(sink.outputs) == 1 + i, "a streamed request gets an output for each token"
            assert sink.finish_reason is FinishReason.LENGTH
            assert [o.finish_reason for o in sink.outputs[:-1]] == [None] * i
        assert pod.driver.num_unfinished == 0
        pod.engine.check_invariants()

    run(main())


def test_a_request_that_does_not_stream_gets_one_output() -> None:
    async def main() -> None:
        pod = replica()
        sink = Kept()
        pod.driver.submit(request("r", max_tokens=100, stream=False), sink)
        await sink.done.wait()
        assert len(sink.outputs) == 1
        assert sink.num_tokens == 100

    run(main())


def test_steps_keep_an_absolute_schedule() -> None:
    """Late deliveries do not add up: after 25 steps of 20 ms the engine's clock shows 500 ms."""

    async def main() -> None:
        pod = replica("--step-model", FLAT_20_MS)
        sink = Kept()
        pod.driver.submit(request("r", max_tokens=26), sink)
        await sink.done.wait()
        times = [output.time for output in sink.outputs]
        assert abs(times[-1] - times[0] - 25 * 0.020) < 1e-6
        assert pod.driver.lag.count == pod.engine.stats.num_steps >= 26

    run(main())


def test_a_late_driver_says_so_and_keeps_the_pace() -> None:
    async def main() -> None:
        pod = replica("--step-model", FLAT_20_MS)
        sink = Kept()
        pod.driver.submit(request("r", max_tokens=10), sink)
        await asyncio.sleep(0.05)
        time.sleep(0.1)  # noqa: ASYNC251 - the fault under test: something blocks the loop
        await sink.done.wait()
        times = [output.time for output in sink.outputs]
        assert abs(times[-1] - times[0] - 9 * 0.020) < 1e-6
        assert pod.driver.lag.maximum > 0.05
        assert pod.driver.lag.count == pod.engine.stats.num_steps, "those caught up together too"
        assert pod.driver.lag.total > 0.05 + 0.03, "at least two steps were late"

    run(main())


def test_who_leaves_gets_nothing_more_and_frees_the_engine() -> None:
    async def main() -> None:
        pod = replica("--step-model", FLAT_20_MS)
        gone, stays = Kept(), Kept()
        pod.driver.submit(request("gone", max_tokens=1000), gone)
        pod.driver.submit(request("stays", max_tokens=6), stays)
        await asyncio.sleep(0.05)
        pod.driver.abort("gone")
        pod.driver.abort("gone")
        seen = len(gone.outputs)
        await stays.done.wait()
        await pod.driver.wait_idle()
        assert len(gone.outputs) == seen
        assert gone.finish_reason is None
        while pod.engine.num_unfinished:
            await asyncio.sleep(0.005)
        pod.engine.check_invariants()
        assert pod.engine.stats.kv_cache_usage == 0.0

    run(main())


def test_a_sink_that_fails_takes_nothing_from_the_others() -> None:
    class Broken(Kept):
        def on_output(self, output: RequestOutput) -> None:
            raise ValueError("a bug of a route")

    async def main() -> None:
        pod = replica()
        good = [Kept() for _ in range(4)]
        for i, sink in enumerate((good[0], Broken(), good[1], Broken(), good[2], good[3])):
            pod.driver.submit(request(f"r{i}", max_tokens=6), sink)
        for sink in good:
            await sink.done.wait()
            assert sink.num_tokens == 6
        await pod.driver.wait_idle()
        while pod.engine.num_unfinished:
            await asyncio.sleep(0.005)
        pod.engine.check_invariants()

    run(main())


def test_stall_holds_everything_back_until_resume() -> None:
    async def main() -> None:
        pod = replica()
        pod.driver.stall()
        sink = Kept()
        pod.driver.submit(request("r"), sink)
        await asyncio.sleep(0.02)
        assert not sink.outputs
        pod.driver.resume()
        await sink.done.wait()

    run(main())


def test_on_step_sees_every_step_after_its_outputs() -> None:
    async def main() -> None:
        pod = replica()
        sink = Kept()
        steps: list[tuple[StepOutput, int]] = []
        pod.driver.on_step = lambda step: steps.append((step, sink.num_tokens))
        pod.driver.submit(request("r", max_tokens=5), sink)
        await pod.driver.wait_idle()
        delivered = [
            sum(len(o.new_token_ids) for s, _ in steps[: i + 1] for o in s.outputs) for i in range(len(steps))
        ]
        assert [tokens for _, tokens in steps] == delivered

    run(main())


def test_without_latency_requests_of_one_round_share_their_steps() -> None:
    async def main(*flags: str) -> tuple[int, float]:
        pod = replica(*flags)
        sinks = [Kept() for _ in range(16)]
        for i, sink in enumerate(sinks):
            arrival = time.monotonic()
            pod.driver.submit(request(f"r{i}", max_tokens=5, arrival_time=arrival), sink)
        await pod.driver.wait_idle()
        least = min(output.time - output.request.arrival_time for sink in sinks for output in sink.outputs)
        return pod.engine.stats.num_steps, least

    steps, least = run(main())
    assert steps <= 8
    assert least >= 0, "nobody is answered before he came"
    alone_first, _ = run(main("--step-model", FLAT_20_MS))
    assert alone_first > steps, "with latency the first has its first step to itself"


def test_wait_idle_without_work_returns_at_once() -> None:
    async def main() -> None:
        await replica().driver.wait_idle()

    run(main())


def test_an_engine_that_raises_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        pod = replica("--step-model", FLAT_20_MS)
        sink = Kept()
        pod.driver.submit(request("r", max_tokens=100), sink)

        def fail(until: float, max_steps: int = 0) -> list[StepOutput]:
            raise InvariantError("on purpose")

        monkeypatch.setattr(pod.engine, "fast_forward", fail)
        died = asyncio.Event()
        pod.driver.on_death = died.set
        await died.wait()
        with pytest.raises(EngineError, match="the engine is dead"):
            pod.driver.submit(request("late"), Kept())
        pod.driver.resume()
        pod.driver.abort("r")

    run(main())


def test_a_closed_driver_does_nothing() -> None:
    async def main() -> None:
        pod = replica()
        pod.close()
        sink = Kept()
        pod.driver.submit(request("r"), sink)
        await asyncio.sleep(0.01)
        assert not sink.outputs

    run(main())


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_cannot_be_rendered_is_an_error_and_ends(stream: bool) -> None:
    sent: list[bytes] = []
    resets: list[bool] = []

    class Bug(UnaryGeneration):
        def on_output(self, sequence: Sequence, output: RequestOutput) -> None:
            if output.finish_reason is not None:
                self.sequence_ended()
            raise ValueError("a bug of a route")

    async def main() -> None:
        pod = replica()
        wire = SimpleNamespace(
            is_gone=False,
            is_full=False,
            default_headers=b"",
            write=sent.append,
            end_answer=lambda: None,
            abort=lambda: resets.append(True),
        )
        incoming = Incoming("POST", b"/v1/completions", [], "1.1", keep_alive=True, expects=False)
        exchange = Exchange(incoming, Writer(cast(Wire, wire), incoming), pod)
        sampling = SamplingParams(max_tokens=3, ignore_eos=True)
        job = Job(exchange, "cmpl-x", "m", [Prompt([5, 6, 7])] * 2, sampling, stream=stream)
        if stream:
            exchange.start_stream()
        made = Bug(job)
        made.submit()
        while pod.engine.num_unfinished or not made.done:
            await asyncio.sleep(0.005)
        assert not pod.prepared.active
        assert pod.driver.num_unfinished == 0

    run(main())
    statuses = re.findall(rb"HTTP/1.1 (\d+)", b"".join(sent))
    assert (statuses, resets) == (([b"200"], [True]) if stream else ([b"500"], []))
