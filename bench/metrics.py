"""GET /metrics: the time to render it, and the cost of 100 replicas scraped 20 times a second each.

python bench/metrics.py. Targets: under 0.15 ms to render; under a third of a core for the scrapes. The
baseline is prometheus_client's generate_latest over a registry of the same families, in the same run.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable

import uvloop
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from bench.client import Server, connect, request
from bench.entry import parser
from simulator.config.resolve import parse_args
from simulator.engine.stats import EngineStats
from simulator.server.metrics.exposition import Exposition, Templates
from simulator.server.metrics.families import families

REPLICAS, RATE, SECONDS, PORT = 100, 20, 5.0, 18081
_VALUES = (0.004, 0.03, 0.4, 2.0, 12.0, 300.0)


def baseline() -> Callable[[], bytes]:
    """The same families through prometheus_client."""
    registry = CollectorRegistry()
    stats = EngineStats(32768)
    for family in families("vllm-0.33", frozenset(), False):
        names = [name for name in ("engine", "model_name", family.label) if name]
        for child in family.children or ("",):
            labels = {"engine": "0", "model_name": "bench"} | ({family.label: child} if family.label else {})
            if isinstance(family.source, str):
                buckets = stats.histograms[family.source].bounds
                made = Histogram(family.name, family.help, names, registry=registry, buckets=buckets)
                for value in _VALUES:
                    made.labels(**labels).observe(value)
            elif child in (family.children or ("",))[:1]:
                kind = Counter if family.kind == "counter" else Gauge
                metric = kind(family.name, family.help, names, registry=registry)
                for each in family.children or ("",):
                    metric.labels(**(labels | ({family.label: each} if family.label else {})))
    return lambda: generate_latest(registry)


def ours() -> Callable[[], bytes]:
    config = parse_args(["--model", "bench", "--strict"], {})
    stats = EngineStats(config.engine.max_model_len)
    for histogram in stats.histograms.values():
        for value in _VALUES:
            histogram.observe(value, 7)
    exposition = Exposition(config, stats, Templates())
    return exposition.render


def milliseconds(render: Callable[[], bytes], times: int) -> float:
    render()
    began = time.perf_counter()
    for _ in range(times):
        render()
    return (time.perf_counter() - began) / times * 1e3


async def scrape(server: Server) -> tuple[float, int]:
    """(server's share of a core, scrapes answered) over SECONDS."""
    answers = 0
    wanted = b"HTTP/1.1 200"

    def on_data(data: bytes) -> None:
        nonlocal answers
        answers += data.count(wanted)

    hosts = [f"127.0.5.{i + 1}" for i in range(REPLICAS)]
    body = json.dumps({"prompt": "warm", "max_tokens": 8}).encode()
    wires = [await connect(host, PORT, on_data) for host in hosts]
    for wire, host in zip(wires, hosts, strict=True):
        wire.transport.write(request("/v1/completions", host, body))
    await asyncio.sleep(0.5)
    payloads = [request("/metrics", host) for host in hosts]
    answers, cpu, began = 0, server.cpu_seconds(), time.monotonic()
    for tick in range(int(SECONDS * RATE * REPLICAS)):
        index = tick % REPLICAS
        due = began + tick / (RATE * REPLICAS)
        if due > time.monotonic():
            await asyncio.sleep(due - time.monotonic())
        wires[index].transport.write(payloads[index])
    await asyncio.sleep(0.1)
    elapsed = time.monotonic() - began
    return (server.cpu_seconds() - cpu) / elapsed, answers


def main() -> None:
    parser(__doc__).parse_args()
    print(f"prometheus_client   {milliseconds(baseline(), 100):7.3f} ms a scrape")
    print(f"template            {milliseconds(ours(), 2000):7.3f} ms a scrape   target 0.15")
    fleet = ["fleet", "--replicas", str(REPLICAS), "--address", "127.0.5.1", "--port", str(PORT)]
    with (
        Server([*fleet, "--model", "bench"], f"127.0.5.{REPLICAS}", PORT) as server,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        share, answers = runner.run(scrape(server))
    print(f"{REPLICAS} replicas x {RATE}/s   {share:7.3f} of a core   target 0.333 ({answers} scrapes)")


if __name__ == "__main__":
    main()
