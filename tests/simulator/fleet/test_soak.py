"""Long runs: a fleet is as large at the end as when its caches were full, and has counted everything.

`SIMFLEET_SOAK=0.01 pytest -m slow tests/simulator/fleet/test_soak.py` is a hundredth of the full size.
"""

from __future__ import annotations

import asyncio
import http.client
import itertools
import json
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.ports import free_port
from tests.simulator.server.serving import ROOT
from tests.soaking import SOAK, Held, ask_all, sized

TOKENS, STREAMED = 5, 20
PROMPTS = 20_000  # more than the caches hold
GROWTH_MB = 4.0
pytestmark = pytest.mark.slow


@contextmanager
def fleet(
    replicas: int, net: str, *flags: str
) -> Iterator[tuple[list[tuple[str, int]], subprocess.Popen[str]]]:
    """The addresses of a `simfleet fleet` and its process; ended by SIGTERM, with exit code 0."""
    port = free_port(f"{net}.1.1")
    command = [sys.executable, "-m", "simulator", "fleet", "--model", "m", "--replicas", str(replicas)]
    command += ["--address", f"{net}.1.1", "--port", str(port), "--latency", "zero", *flags]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        places = []
        while len(places) < replicas:
            line = process.stdout.readline()
            assert line, "the fleet has ended"
            found = re.search(rf"({re.escape(net)}\S*):{port}", line)
            if found is not None:
                places.append((found[1], port))
        yield places, process
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()


def get(place: tuple[str, int], path: str) -> bytes:
    connection = http.client.HTTPConnection(*place, timeout=60)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        assert response.status == 200
        return response.read()
    finally:
        connection.close()


def total(places: list[tuple[str, int]], family: str) -> float:
    """The sum of all series of a family over all replicas."""
    pattern = re.compile(rf"^{family}(?:{{[^}}]*}})? (\S+)$".encode(), re.MULTILINE)
    return sum(sum(map(float, pattern.findall(get(place, "/metrics")))) for place in places)


def a_request(number: int, stream: bool) -> tuple[bytes, bool]:
    """A few of many prompts, each of several blocks, so that caches hit, fill and evict."""
    rng = random.Random(number)
    prompt = (
        [300 + rng.randrange(50) * 7] * 16 + [rng.randrange(PROMPTS) + 300] * 32 + [number % 1000 + 300] * 16
    )
    body = {
        "prompt": prompt,
        "max_tokens": STREAMED if stream else TOKENS,
        "ignore_eos": True,
        "stream": stream,
    }
    data = json.dumps(body).encode()
    return b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (
        len(data),
        data,
    ), stream


def is_whole(answer: bytes) -> bool:
    return b'"completion_tokens":%d' % TOKENS in answer or (
        answer.count(b"data: ") == STREAMED + 1 and b"data: [DONE]" in answer
    )


def test_a_million_requests_and_200_000_streams() -> None:
    """Over 50 replicas; 15 to 25 minutes on two cores at full size."""
    whole, streams = sized(1_000_000, 3000), sized(200_000, 600)
    count = whole + streams
    order = random.Random(1)

    def requests(first: int, last: int) -> Iterator[tuple[bytes, bool]]:
        for number in range(first, last):
            stream = number * streams // count != (number + 1) * streams // count
            yield a_request(order.randrange(10**9), stream)

    with fleet(50, "127.101", "--num-gpu-blocks-override", "512", "--max-model-len", "512") as (
        places,
        process,
    ):
        held = Held(process.pid)
        idle = None
        parts = 30
        answered = 0
        for part in range(parts):
            begin, end = count * part // parts, count * (part + 1) // parts
            answered += asyncio.run(ask_all(places, requests(begin, end), is_whole, each=2))
            time.sleep(0.2)  # connections close; what is measured is what stays
            held.look()
            idle = idle or held.looks[0][2]
        assert answered == count
        assert total(places, "vllm:request_success_total") == count
        assert total(places, "vllm:generation_tokens_total") == whole * TOKENS + streams * STREAMED
        assert total(places, "vllm:prompt_tokens_total") == count * 64
        assert total(places, "vllm:num_requests_running") == total(places, "vllm:num_requests_waiting") == 0
        assert total(places, "vllm:kv_cache_usage_perc") == 0
        assert total(places, "vllm:e2e_request_latency_seconds_count") == count
        assert abs(held.looks[-1][2] - idle) <= 2, str(held)
        # Below that the caches are still filling in the middle third.
        assert held.growth_mb() < (GROWTH_MB if SOAK >= 0.05 else 20), str(held)
        print(f"\n{count} requests: {held}")


def test_500_replicas_are_scraped() -> None:
    """Each once a second, for ten minutes at full size, beside a little load."""
    seconds = sized(600, 20)
    with fleet(500, "127.102") as (places, process):
        held = Held(process.pid)
        assert (
            asyncio.run(ask_all(places, iter([a_request(i, False) for i in range(5000)]), is_whole)) == 5000
        )
        scrape = b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n"
        end = time.monotonic() + seconds
        scrapes = 0
        while time.monotonic() < end:
            begin = time.monotonic()
            page = itertools.repeat((scrape, False), len(places))
            scrapes += asyncio.run(
                ask_all(places, page, lambda answer: b"vllm:num_requests_running" in answer)
            )
            held.look()
            time.sleep(max(0.0, begin + 1 - time.monotonic()))  # the scrapers' interval
        assert scrapes == len(held.looks) * len(places)
        assert total(places[:50], "vllm:request_success_total") > 0
        assert total(places, "vllm:request_success_total") == 5000
        assert max(look[2] for look in held.looks[1:]) - min(look[2] for look in held.looks[1:]) <= len(
            places
        )
        assert held.growth_mb() < GROWTH_MB, str(held)
        print(f"\n{scrapes} scrapes in {seconds} s: {held}")
