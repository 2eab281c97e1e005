"""Metrics pages into a time series: text, states, listings, Prometheus, and the scraper over real sockets."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest

from loadgen.errors import LoadgenError, TargetError
from loadgen.numbers.jsonl import JsonlWriter
from loadgen.records.pod_metrics import parse_samples, pod_state, split_series
from loadgen.records.rundir import ScrapeLine, read_scrapes
from loadgen.run.fleetlist import parse_fleet
from loadgen.run.scrape import Scraper, read_fleet, split_name
from loadgen.scenario.scenario import Scrape
from tests.loadgen.fakes import FakeServer, Reply, Seen, plain
from tests.ports import free_port
from tests.waiting import until_async

PAGE = """# HELP vllm:num_requests_running Running.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 2.0
vllm:num_requests_waiting{engine="0",model_name="m"} 1.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:gpu_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:prefix_cache_hits_total{engine="0",model_name="m"} 40.0
vllm:prefix_cache_queries_total{engine="0",model_name="m"} 100.0
vllm:request_success_total{engine="0",finished_reason="stop",model_name="m"} 5.0
vllm:request_success_total{engine="0",finished_reason="length",model_name="m"} 7.0
vllm:e2e_request_latency_seconds_bucket{le="0.3",model_name="m"} 12.0
vllm:e2e_request_latency_seconds_sum{model_name="m"} 1.5
vllm:request_success_created{model_name="m"} 1.7e9
vllm:cache_config_info{block_size="16",num_gpu_blocks="1024",engine="0"} 1.0
vllm:lora_requests_info{max_lora="4",running_lora_adapters="a",waiting_lora_adapters=""} 100.5
vllm:lora_requests_info{max_lora="4",running_lora_adapters="a,b",waiting_lora_adapters="c"} 101.5
python_gc_objects_collected_total{generation="0"} 9.0
vllm:broken{x="y"} notanumber
"""


def test_a_page_keeps_the_servers_series_without_buckets() -> None:
    samples = parse_samples(PAGE)
    assert samples['vllm:num_requests_running{engine="0",model_name="m"}'] == 3.0
    assert not any(
        "_bucket" in key or "_created" in key or "python_" in key or "broken" in key for key in samples
    )
    assert split_series('a:b{x="1",y="q\\"z"}') == ("a:b", {"x": "1", "y": 'q\\"z'})


def test_what_a_pod_says_of_itself() -> None:
    state = pod_state(parse_samples(PAGE))
    assert state.values == {
        "running": 5.0,
        "waiting": 1.0,
        "kv": 0.25,
        "hits": 40.0,
        "queries": 100.0,
        "succeeded": 12.0,
    }
    assert state.running_adapters == {"a", "b"}
    assert (state.max_lora, state.block_size, state.num_gpu_blocks) == (4, 16, 1024)


LISTING = {
    "stacks": [
        {
            "url": "http://127.0.0.1:8080",
            "pods": [
                {
                    "name": "a",
                    "metrics_urls": ["http://127.0.0.2:8000/metrics"],
                    "urls": ["http://127.0.0.2:8000"],
                },
                {
                    "name": "b",
                    "metrics_urls": ["http://127.0.0.3:8000/metrics", "http://127.0.0.3:8001/metrics"],
                },
            ],
            "pickers": [
                {"name": "epp", "metrics_url": "http://127.0.0.1:9090/metrics", "decision_log": "/x"}
            ],
        }
    ]
}


def test_the_listing_of_simfleet_ps() -> None:
    fleet = parse_fleet(json.dumps(LISTING).encode(), "ps")
    assert [(member.name, member.source) for member in fleet.members] == [
        ("a", "pod"),
        ("b#0", "pod"),
        ("b#1", "pod"),
        ("epp", "epp"),
    ]
    assert (fleet.url, fleet.decision_logs, fleet.pods) == (
        "http://127.0.0.1:8080",
        ("/x",),
        ("http://127.0.0.2:8000",),
    )


@pytest.mark.parametrize(
    ("pod", "pages"),
    [
        ({"name": "a", "address": "127.0.0.2", "port": 8000}, ["127.0.0.2:8000"]),
        ({"name": "a", "address": "127.0.0.2:8000"}, ["127.0.0.2:8000"]),
        ({"name": "a", "host": "h", "ports": [1, 2]}, ["h:1", "h:2"]),
        ({"name": "a", "url": "http://h:1"}, ["http://h:1"]),
    ],
)
def test_plain_lists_of_pods_in_their_common_shapes(pod: dict[str, object], pages: list[str]) -> None:
    assert [member.metrics_url for member in parse_fleet(json.dumps([pod]).encode(), "x").members] == pages


@pytest.mark.parametrize("data", [b"", b"no json", b"[]", b'{"stacks": []}', b'[{"name": "a"}]', b"3"])
def test_a_listing_without_pods_is_an_error(data: bytes) -> None:
    with pytest.raises(TargetError, match=r"scrape\.fleet: x"):
        parse_fleet(data, "x")


def test_fleet_listings_from_files_and_commands(tmp_path: Path) -> None:
    (tmp_path / "fleet.json").write_text("[1]")
    assert asyncio.run(read_fleet(str(tmp_path / "fleet.json"))) == b"[1]"
    assert asyncio.run(read_fleet("echo '[2]'")) == b"[2]\n"
    with pytest.raises(LoadgenError, match="exit code 3: sorry"):
        asyncio.run(read_fleet("echo sorry >&2; exit 3"))


def scrape(tmp_path: Path, spec: Scrape) -> list[ScrapeLine]:
    """One scrape before, five good pages or more during, one scrape after."""

    async def main() -> None:
        writer = JsonlWriter(tmp_path / "scrapes.jsonl")
        scraper = Scraper(spec, writer)
        await scraper.discover()
        await scraper.once("before")
        scraper.begin(time.monotonic() + 0.05)
        task = asyncio.create_task(scraper.run())
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            await asyncio.sleep(0.1)
            writer.flush()
            if sum(line.phase == "during" and not line.error for line in read_scrapes(tmp_path)) >= 5:
                break
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await scraper.settled()
        scraper.close()
        writer.close()

    asyncio.run(main())
    return read_scrapes(tmp_path)


async def page(_: Seen, reply: Reply) -> None:
    idle = PAGE.replace("running{engine", "x{engine").replace("waiting{engine", "x{engine")
    await reply.send(plain(200, idle))


def test_pages_become_a_series_with_its_cost(tmp_path: Path) -> None:
    async def main() -> list[ScrapeLine]:
        async with FakeServer(page) as server:
            spec = Scrape(pods=(server.url, f"http://127.0.0.1:{free_port()}/metrics"), interval=0.1)
            return await asyncio.to_thread(scrape, tmp_path, spec)

    lines = asyncio.run(main())
    good = [line for line in lines if line.error is None]
    assert {line.phase for line in good} == {"before", "during", "after"}
    assert all(line.took > 0 and line.bytes > 100 for line in good)
    during = [line.t for line in good if line.phase == "during"]
    looks = [int(moment / 0.1 + 1e-6) for moment in during]
    assert len(looks) >= 5
    assert looks[0] >= 1
    assert looks == sorted(set(looks)), "never before its time, at most one look an interval"
    assert [line.t < 0 for line in good if line.phase == "before"] == [True]
    bad = [line for line in lines if line.error is not None]
    assert bad
    assert all("refused" in (line.error or "") and not line.samples for line in bad)


@pytest.mark.parametrize("given", ["{url}", "nick={url}/metrics", "sim-7={url}"])
@pytest.mark.parametrize("says", [None, "sim-7"])
def test_a_page_goes_by_the_name_its_server_gives(tmp_path: Path, given: str, says: str | None) -> None:
    async def script(seen: Seen, reply: Reply) -> None:
        if seen.path == "/metrics":
            await page(seen, reply)
        else:
            assert (seen.method, seen.path) == ("GET", "/v1/completions")
            await reply.send(
                plain(405, {"detail": "Method Not Allowed"}, **({"x_inference_pod": says} if says else {}))
            )

    async def main() -> tuple[list[ScrapeLine], str]:
        async with FakeServer(script) as server:
            spec = Scrape(pods=(given.format(url=server.url),), interval=0.1)
            return await asyncio.to_thread(scrape, tmp_path, spec), server.url.removeprefix("http://")

    lines, address = asyncio.run(main())
    name = given.rpartition("=")[0]
    wanted = says or name or None
    assert {(line.name, line.pod) for line in lines} == {(wanted or address, wanted)}
    assert {line.url for line in lines} == {f"http://{address}/metrics"}


def test_the_query_of_a_page_is_asked_for_and_tells_pages_apart(tmp_path: Path) -> None:
    asked: list[str] = []

    async def script(seen: Seen, reply: Reply) -> None:
        asked.append(seen.path)
        await reply.send(plain(200, 'vllm:num_requests_running{model_name="m"} 2\n'))

    async def main() -> list[ScrapeLine]:
        async with FakeServer(script) as server:
            pods = (f"{server.url}/metrics?shard=1", f"{server.url}/metrics?shard=2", f"{server.url}?shard=3")
            return await asyncio.to_thread(scrape, tmp_path, Scrape(pods=pods, interval=0.1))

    lines = asyncio.run(main())
    assert {path for path in asked if path.startswith("/m")} == {f"/metrics?shard={n}" for n in (1, 2, 3)}
    assert len({line.name for line in lines}) == 3
    assert not any("shard" in line.url for line in lines)  # a query may hold a key


def test_names_before_urls() -> None:
    assert split_name("a=http://h:1/metrics?x=1") == ("a", "http://h:1/metrics?x=1")
    for plain_url in ("http://h:1/metrics?x=1", "h:1", "h:1/m?x=1"):
        assert split_name(plain_url) == (None, plain_url)


def test_a_prometheus_gives_a_line_for_each_pod(tmp_path: Path) -> None:
    series = [
        {"metric": {"__name__": "vllm:num_requests_running", "pod": "a", "engine": "0"}, "value": [1, "2"]},
        {"metric": {"__name__": "vllm:num_requests_running", "pod": "b", "engine": "0"}, "value": [1, "4"]},
        {"metric": {"__name__": "inference_pool_ready_pods", "instance": "epp:9090"}, "value": [1, "3"]},
    ]

    async def script(seen: Seen, reply: Reply) -> None:
        assert seen.path.startswith("/api/v1/query?query=")
        await reply.send(plain(200, {"status": "success", "data": {"result": series}}))

    async def main() -> list[ScrapeLine]:
        async with FakeServer(script) as server:
            return await asyncio.to_thread(scrape, tmp_path, Scrape(prometheus=server.url, interval=0.2))

    lines = asyncio.run(main())
    assert {(line.name, line.source) for line in lines} == {("a", "pod"), ("b", "pod"), ("epp:9090", "epp")}
    assert pod_state(next(line for line in lines if line.name == "b").samples).values == {"running": 4.0}


def stack(name: str, port: int, pod: str) -> dict[str, object]:
    url = f"http://127.0.0.1:{port}"
    return {
        "name": name,
        "url": url,
        "gateways": [{"listeners": [{"url": url}], "access_log": f"/{name}/access.log"}],
        "pods": [{"name": pod, "pool": f"pool-{name}", "address": "127.0.0.2:8000"}],
        "pickers": [{"name": "epp", "metrics_url": f"{url}/m", "decision_log": f"/{name}/d.jsonl"}],
    }


TWO = json.dumps({"stacks": [stack("x", 8080, "x-1"), stack("y", 8081, "y-1")]}).encode()


@pytest.mark.parametrize(
    ("name", "target"),
    [("y", None), (None, "http://127.0.0.1:8081"), ("y", "http://127.0.0.1:8081/v1"), ("y", "http://h:1")],
)
def test_of_two_stacks_the_one_that_is_meant(name: str | None, target: str | None) -> None:
    fleet = parse_fleet(TWO, "ps", name, target)
    assert (fleet.stack, fleet.url, fleet.access_logs) == ("y", "http://127.0.0.1:8081", ("/y/access.log",))
    assert (fleet.decision_logs, fleet.pools, fleet.others) == (
        ("/y/d.jsonl",),
        {"y-1": "pool-y"},
        {"x-1": "x"},
    )
    assert [member.name for member in fleet.members] == ["y-1", "epp"]


@pytest.mark.parametrize(
    ("name", "target", "words"),
    [
        (None, None, "ps lists 2 stacks: x, y; say which with --name"),
        (None, "http://127.0.0.1:9", "ps lists 2 stacks"),
        ("z", None, "ps lists no stack 'z'; there are: x, y"),
        ("x", "http://127.0.0.1:8081", "belongs to stack y, not to x"),
    ],
)
def test_the_wrong_stack_is_named(name: str | None, target: str | None, words: str) -> None:
    with pytest.raises(TargetError, match=words):
        parse_fleet(TWO, "ps", name, target)


def test_pods_that_an_autoscaler_adds_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listing that says of autoscalers is read again while the run goes on, also after one that fails."""
    monkeypatch.setattr("loadgen.run.scrape.FOLLOW", 0.01)
    listing, lines = tmp_path / "fleet.json", tmp_path / "scrapes.jsonl"

    def write(*names: str, **more: object) -> None:
        pods = [{"name": name, "metrics_urls": [f"{url}/{name}"]} for name in names]
        aside = listing.with_suffix(".new")
        aside.write_text(json.dumps({"stacks": [{"pods": pods, **more}]}))
        aside.replace(listing)

    url = ""

    async def main() -> None:
        nonlocal url
        async with FakeServer(page) as server:
            url = server.url
            write("a", autoscalers=[{"name": "hpa"}])
            writer = JsonlWriter(lines)
            scraper = Scraper(Scrape(fleet=str(listing), interval=0.02), writer)
            await scraper.discover()
            scraper.begin(time.monotonic())
            running = asyncio.create_task(scraper.run())
            await asyncio.sleep(0)
            listing.write_text("{")
            await until_async(lambda: scraper.scrapes > 1)
            write("a", "b")
            await until_async(lambda: scraper.states.keys() == {"a", "b"})
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            scraper.close()
            writer.close()

    asyncio.run(main())
    assert {line.name for line in read_scrapes(tmp_path)} == {"a", "b"}
