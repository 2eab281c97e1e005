"""Who leaves frees the engine at its next step, and nobody waits behind long answers, at every latency."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest

from simulator.engine.outputs import StepOutput
from simulator.engine.request import FinishReason
from simulator.server.replica import Shared
from simulator.server.timer import Timer
from tests.simulator.server.inprocess import Kept, replica, request, run
from tests.simulator.server.serving import Server, serving
from tests.simulator.steps import FLAT_20_MS, flat_flag
from tests.waiting import until, until_async

ROOMY = ("--max-model-len", "40000", "--num-gpu-blocks-override", "130000", "--max-num-seqs", "64")
ONE_MS = ("--step-model", flat_flag(1000))
LATENCIES = {
    "zero": (),
    "no-step": ("--step-model", flat_flag(0)),
    "1-ms": ONE_MS,
    "20-ms": ("--step-model", FLAT_20_MS),
    "1-ms-each": ("--time-to-first-token", "1ms", "--inter-token-latency", "1ms"),
    "no-time-each": ("--time-to-first-token", "1ms"),
}


AT_ONCE = ("zero", "no-step", "no-time-each")


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("latency", LATENCIES)
def test_who_leaves_is_gone_at_the_next_boundary(latency: str, stream: bool) -> None:
    async def main() -> None:
        pod = replica(*ROOMY, *LATENCIES[latency])
        names = [f"r{i}" for i in range(64)]
        for name in names:
            pod.driver.submit(request(name, max_tokens=30_000, stream=stream), Kept())
        stats = pod.engine.stats
        await until_async(lambda: stats.generation_tokens >= 128)
        before = stats.generation_tokens
        assert before < 64 * 30_000 / 2, "the loop gets its turn long before they are through"
        time.sleep(0.2)  # noqa: ASYNC251 - the fault under test: at paced latencies there is a backlog
        steps: list[StepOutput] = []
        pod.driver.on_step = steps.append
        pod.driver.abort_many(names)
        await until_async(lambda: stats.num_requests_running == 0)
        assert stats.generation_tokens == before
        assert sum(step.num_steps for step in steps) <= 2, "those under way"
        assert (pod.engine.num_unfinished, stats.num_requests_waiting, stats.kv_cache_usage) == (0, 0, 0.0)
        pod.engine.check_invariants()
        pod.close()

    run(main())


@pytest.mark.parametrize("latency", LATENCIES)
def test_who_waits_leaves_the_queue_too(latency: str) -> None:
    """Of a thousand, most are queued or have not even been seen by a boundary."""

    async def main() -> None:
        pod = replica(*ROOMY, *LATENCIES[latency])
        names = [f"r{i}" for i in range(1000)]
        for name in names[:500]:
            pod.driver.submit(request(name, max_tokens=20_000), Kept())
        stats = pod.engine.stats
        await until_async(lambda: stats.num_requests_waiting > 0)
        for name in names[500:]:
            pod.driver.submit(request(name, max_tokens=20_000), Kept())
        before = stats.generation_tokens
        random.Random(latency).shuffle(names)
        pod.driver.abort_many(names)
        await until_async(lambda: stats.num_requests_running + stats.num_requests_waiting == 0)
        assert stats.generation_tokens == before
        assert pod.engine.num_unfinished == 0
        pod.engine.check_invariants()
        pod.close()

    run(main())


@pytest.mark.parametrize("latency", LATENCIES)
def test_what_the_server_ends_has_its_last_output_at_once(latency: str) -> None:
    async def main() -> None:
        pod = replica(*ROOMY, *LATENCIES[latency])
        sinks = {f"r{i}": Kept() for i in range(100)}
        for name, sink in sinks.items():
            pod.driver.submit(request(name, max_tokens=30_000), sink)
        stats = pod.engine.stats
        await until_async(lambda: stats.generation_tokens >= 128)
        before = stats.generation_tokens
        pod.driver.end_many(sinks)
        await pod.driver.wait_idle()
        assert {sink.finish_reason for sink in sinks.values()} == {FinishReason.ABORT}
        assert stats.request_success["abort"] == 100
        assert stats.generation_tokens == before
        for name, histogram in stats.histograms.items():
            assert histogram.total >= 0, name
        pod.close()

    run(main())


@pytest.mark.parametrize("latency", AT_ONCE)
def test_nobody_waits_for_long_answers_without_latency(latency: str) -> None:
    async def main() -> None:
        pod = replica(*ROOMY, *LATENCIES[latency])
        long = [Kept() for _ in range(32)]
        for i, sink in enumerate(long):
            pod.driver.submit(request(f"r{i}", max_tokens=30_000), sink)
        await until_async(lambda: pod.engine.stats.generation_tokens >= 128)
        short = Kept()
        asked = request("short", max_tokens=1, arrival_time=time.monotonic())
        pod.driver.submit(asked, short)
        await short.done.wait()
        assert not any(sink.done.is_set() for sink in long)
        assert pod.engine.stats.generation_tokens < 32 * 30_000 / 2
        assert short.outputs[0].time >= asked.arrival_time, "nobody is answered before he came"
        pod.close()

    run(main())


def test_replicas_share_the_loop() -> None:
    """Each has long answers without latency; the loop turns, and none of them falls behind the others."""

    async def main() -> None:
        shared = Shared(Timer())
        pods = [replica(*ROOMY, shared=shared) for _ in range(20)]
        for pod in pods:
            for i in range(4):
                pod.driver.submit(request(f"r{i}", max_tokens=30_000), Kept())
        counts = [pod.engine.stats for pod in pods]
        await until_async(lambda: min(stats.generation_tokens for stats in counts) >= 2000)
        assert max(stats.generation_tokens for stats in counts) < 4 * 30_000
        for pod in pods:
            pod.close()

    run(main())


# -- over HTTP ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["zero", "1-ms", "20-ms"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with serving("--model", "m", *ROOMY, *LATENCIES[request.param]) as running:
        yield running


def settled(server: Server) -> None:
    families = ("vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc")
    until(lambda: not any(server.metric(name) for name in families), what="an idle engine")


def post(body: dict[str, Any]) -> bytes:
    data = json.dumps({"model": "m", "prompt": "x", "ignore_eos": True, **body}).encode()
    return b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(data) + data


async def come_and_go(port: int, count: int) -> None:
    rng = random.Random(count)
    left = iter(range(count))

    async def one_after_the_other() -> None:
        for _ in left:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            stream = rng.random() < 0.7
            writer.write(post({"max_tokens": 30_000, "stream": stream, "n": rng.choice([1, 1, 3])}))
            if stream and rng.random() < 0.8:
                await asyncio.wait_for(reader.read(rng.choice([1, 500, 50_000])), 30)
            writer.transport.abort()

    await asyncio.gather(*(one_after_the_other() for _ in range(24)))


@pytest.mark.parametrize(
    "count", [200, pytest.param(10_000, marks=pytest.mark.slow)], ids=["some", "ten-thousand"]
)
def test_random_disconnects(server: Server, count: int) -> None:
    before = server.metric("vllm:generation_tokens_total")
    asyncio.run(come_and_go(server.port, count))
    settled(server)
    made = server.metric("vllm:generation_tokens_total")
    assert made - before < count * 30_000 / 4, "what nobody waits for is not generated"
    time.sleep(0.05)  # in which an engine that goes on would be seen to
    assert server.metric("vllm:generation_tokens_total") == made
    assert server.metric("vllm:request_success_total") == 0


def test_many_choices_are_left(server: Server) -> None:
    before = server.metric("vllm:generation_tokens_total")

    async def leave() -> None:
        _reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(post({"max_tokens": 1000, "n": 2000}))
        await until_async(lambda: server.in_flight)
        writer.transport.abort()

    asyncio.run(leave())
    settled(server)
    assert server.metric("vllm:generation_tokens_total") - before < 2000 * 1000 / 2


@pytest.mark.parametrize("stream", [True, False])
def test_others_are_answered_beside_long_answers(stream: bool) -> None:
    """/health and a request of one token, the best of several tries: 50 ms."""

    async def tries(server: Server) -> tuple[float, float]:
        writers = []
        for _ in range(48):
            _reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(post({"max_tokens": 30_000, "stream": stream}))
            writers.append(writer)
        for _ in range(200):  # those that are whole already are not in flight again
            if server.in_flight >= 24:
                break
            await asyncio.sleep(0.001)  # between two looks
        health = answer = float("inf")
        for _ in range(60):
            begin = time.monotonic()
            assert server.request("GET", "/health").status == 200
            between = time.monotonic()
            body = {"model": "m", "prompt": "x", "max_tokens": 1}
            assert server.request("POST", "/v1/completions", body).status == 200
            health, answer = min(health, between - begin), min(answer, time.monotonic() - between)
            if max(health, answer) < 0.05:
                break
        for writer in writers:
            writer.transport.abort()
        return health, answer

    with serving("--model", "m", *ROOMY) as server:
        health, answer = asyncio.run(tries(server))
        assert health < 0.05
        assert answer < 0.05
        settled(server)
