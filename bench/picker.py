"""What the reference picker costs: microseconds per pick, per scrape and per ext_proc stream.

`python -m bench.picker` takes about 15 seconds and prints tables. A pick is Director.handle: body read,
prefix hashed and looked up, all scorers of the chart's default profile, body written again. A stream is all
bytes of one request through HTTP/2, protobuf and the director, without a socket. A scrape is counted by the
CPU time of the process that scrapes; a second process serves the pages.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import random
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any, cast

import uvloop
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from hpack import Encoder

from bench.entry import parser
from gateway.picker.compat import GIE_V12, GIE_V13, LLMD_HEAD, Compat
from gateway.picker.config import EndpointPickerConfig, PluginSpec, SchedulingPlugin, SchedulingProfile
from gateway.picker.director import Director, Incoming
from gateway.picker.plugins.builtin import BUILTIN
from gateway.picker.plugins.loader import DEFAULT_PROFILE, Loader
from gateway.picker.pool.datastore import Datastore
from gateway.picker.pool.endpoints import NEVER_SCRAPED, Endpoint, EndpointMetrics
from gateway.picker.pool.exposition import PickerMetrics
from gateway.picker.pool.extract import extract, validate
from gateway.picker.pool.inflight import InflightLoad
from gateway.picker.pool.metric_specs import Engines, vllm_mapping
from gateway.picker.pool.scrape import Scraper, ScrapeSettings
from gateway.picker.wire.frames import PREFACE, frame
from gateway.picker.wire.grpc import GrpcPort, _Connection
from gateway.picker.wire.server import ext_proc_methods

PORT = 24100
METHOD = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"


def metrics_page(histograms: int = 40) -> bytes:
    """A page of vLLM's size: what the picker wants among histograms of 20 buckets."""
    lines = []
    for number in range(histograms):
        name = f"vllm:histogram_{number}_seconds"
        lines.append(f"# HELP {name} A histogram.\n# TYPE {name} histogram")
        lines += [f'{name}_bucket{{engine="0",le="{b}.0",model_name="reviews-1"}} {b}.0' for b in range(20)]
    for name, value in (
        ("num_requests_waiting", 3),
        ("num_requests_running", 9),
        ("kv_cache_usage_perc", 0.25),
    ):
        lines.append(f"# TYPE vllm:{name} gauge")
        lines.append(f'vllm:{name}{{engine="0",model_name="reviews-1"}} {value}')
    lines.append("# TYPE vllm:lora_requests_info gauge")
    labels = 'max_lora="4",running_lora_adapters="a,b",waiting_lora_adapters=""'
    lines.append(f"vllm:lora_requests_info{{{labels}}} 1.7e+09")
    lines.append("# TYPE vllm:cache_config_info gauge")
    lines.append('vllm:cache_config_info{block_size="16",num_gpu_blocks="8192"} 1.0')
    return ("\n".join(lines) + "\n").encode()


def director(compat: Compat, endpoints: int) -> Director:
    """One with the chart's default profile and endpoints of varied load."""
    rng = random.Random(1)
    store, inflight = Datastore("pool", "ns"), InflightLoad()
    loaded = Loader(compat, BUILTIN, rng, inflight, lambda _: None).load(_default_config())
    store.replace(_endpoint(number, rng) for number in range(endpoints))
    return Director(compat, store, loaded, inflight=inflight, metrics=PickerMetrics(compat), rng=rng)


def _default_config() -> EndpointPickerConfig:
    return EndpointPickerConfig(
        plugins=[PluginSpec(type=name) for name, _ in DEFAULT_PROFILE],
        scheduling_profiles=[
            SchedulingProfile(
                name="default",
                plugins=[
                    SchedulingPlugin(plugin_ref=name, weight=weight) for name, weight in DEFAULT_PROFILE
                ],
            )
        ],
    )


def _endpoint(number: int, rng: random.Random) -> Endpoint:
    address = f"127.0.{number // 200}.{number % 200 + 2}"
    place = Endpoint(f"sim-{number}", "ns", address, 8000, f"{address}:8000", {}, f"sim-{number}")
    place.metrics = EndpointMetrics(
        waiting=rng.randrange(5), kv_usage=rng.random(), num_blocks=8192, updated_at=time.monotonic()
    )
    return place


def microseconds(work: Callable[[], object], seconds: float = 0.5) -> float:
    """Median over batches."""
    for _ in range(20):
        work()
    batches = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(50):
            work()
        batches.append((time.perf_counter() - start) / 50 * 1e6)
    return statistics.median(batches)


def picks() -> None:
    print("\npick, us                     3 endpoints   100 endpoints")
    for compat in (GIE_V12, LLMD_HEAD):
        for size in (200, 4_000, 64_000):
            row = []
            for endpoints in (3, 100):
                target = director(compat, endpoints)
                rng = random.Random(2)
                shared = "".join(rng.choices("abcdefgh ", k=size * 3 // 4))
                bodies = [
                    json.dumps(
                        {"model": "m", "prompt": shared + "".join(rng.choices("xyz ", k=size // 4))}
                    ).encode()
                    for _ in range(64)
                ]
                turn = iter(range(10**9))

                def one(target: Director = target, bodies: list[bytes] = bodies, turn: Any = turn) -> None:
                    raw = bodies[next(turn) % 64]
                    target.complete(target.handle(Incoming({}, raw, {}, 0.0)))

                row.append(microseconds(one))
            print(f"{compat.name:12s} prompt {size:6d} B   {row[0]:9.0f}   {row[1]:13.0f}")


async def streams() -> None:
    target = director(GIE_V12, 3)
    connection = _Connection(GrpcPort(ext_proc_methods(target)))
    connection.connection_made(cast(asyncio.Transport, _Sink()))
    # With windows that never close, as Envoy's do not.
    connection.data_received(
        PREFACE + frame(4, 0, 0) + frame(8, 0, 0, (2**31 - 1 - 65535).to_bytes(4, "big"))
    )
    encoder = Encoder()
    opening = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", METHOD),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ]
    prompt = json.dumps({"model": "reviews-1", "prompt": "hello world " * 40}).encode()
    answer = json.dumps({"id": "1", "choices": [{"text": "x" * 400}], "usage": {"prompt_tokens": 1}}).encode()
    asked = {
        ":method": "POST",
        ":path": "/v1/completions",
        "content-type": "application/json",
        "accept": "*/*",
    }
    asked.update({f"x-header-{i}": "value" for i in range(6)})
    answered = {":status": "200", "content-type": "application/json"}
    parts = [
        _message("request_headers", asked, b"", False),
        _message("request_body", {}, prompt, False) + _message("request_body", {}, b"", True),
        _message("response_headers", answered, b"", False),
        _message("response_body", {}, answer, False) + _message("response_body", {}, b"", True),
    ]
    stream = iter(range(1, 2**31, 2))

    def one() -> None:
        number = next(stream)
        connection.data_received(frame(1, 4, number, encoder.encode(opening)) + frame(0, 0, number, parts[0]))
        for part in parts[1:]:
            connection.data_received(frame(0, 0, number, part))
        connection.data_received(frame(0, 1, number))

    print(f"\next_proc stream, 6 messages in, 4 out:  {microseconds(one):.0f} us")


def _message(kind: str, headers: dict[str, str], body: bytes, ended: bool) -> bytes:
    message = pb.ProcessingRequest()
    part = getattr(message, kind)
    part.end_of_stream = ended
    for name, value in headers.items():
        header = part.headers.headers.add()
        header.key, header.raw_value = name, value.encode()
    if kind.endswith("body"):
        part.body = body
    data: bytes = message.SerializeToString()
    return b"\0" + len(data).to_bytes(4, "big") + data


class _Sink:
    """A transport that goes nowhere."""

    def write(self, data: bytes) -> None:
        return

    def pause_reading(self) -> None:
        return

    resume_reading = close = pause_reading

    def is_closing(self) -> bool:
        return True


def parsing() -> None:
    page, mapping, hints = metrics_page(), vllm_mapping(GIE_V13, {}), dict[bytes, int]()
    reading = microseconds(lambda: extract(page, mapping, NEVER_SCRAPED, GIE_V13, 1.0, hints=hints))
    whole = microseconds(lambda: validate(page))
    print(
        f"\nreading a page of {len(page) // 1000} kB: {reading:.0f} us; "
        f"checking all of it (once a second): {whole:.0f} us"
    )


async def scraping(endpoints: int, seconds: float) -> None:
    scraper = Scraper(Engines(vllm_mapping(GIE_V13, {})), ScrapeSettings(), GIE_V13)
    rng = random.Random(1)
    places = [_endpoint(number, rng) for number in range(endpoints)]
    for place in places:
        place.metrics_host = f"127.0.0.1:{PORT}"
        scraper.add(place)
    await asyncio.sleep(0.5)
    before, seen = _cpu(), sum(place.scrapes for place in places)
    await asyncio.sleep(seconds)
    cpu, scrapes = _cpu() - before, sum(place.scrapes for place in places) - seen
    scraper.stop()
    print(
        f"scraping {endpoints:3d} endpoints every 50 ms: {scrapes / seconds:5.0f} scrapes/s, "
        f"{cpu / scrapes * 1e6:4.0f} us CPU each, {cpu / seconds * 100:4.0f} % of a core, "
        f"failures {sum(place.scrape_failures for place in places)}"
    )


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class _Pages(asyncio.Protocol):
    """Answers every request with the same page."""

    def __init__(self) -> None:
        page = metrics_page()
        self._answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(page), page)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(self._answer * data.count(b"\r\n\r\n"))


def _serve_pages(ready: Any) -> None:
    async def serve() -> None:
        await asyncio.get_running_loop().create_server(_Pages, "127.0.0.1", PORT)
        ready.set()
        await asyncio.sleep(3600)

    uvloop.run(serve())


def main() -> None:
    parser(__doc__).parse_args()
    picks()
    asyncio.run(streams())
    parsing()
    ready = multiprocessing.Event()
    server = multiprocessing.Process(target=_serve_pages, args=(ready,), daemon=True)
    server.start()
    ready.wait(10)
    for endpoints in (3, 100):
        uvloop.run(scraping(endpoints, 3.0))
    server.terminate()
    server.join()


if __name__ == "__main__":
    main()
