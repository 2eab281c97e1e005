"""The picker's own metrics, as a scraper sees them."""

from __future__ import annotations

import asyncio
import urllib.request
from pathlib import Path

import pytest

from gateway.picker.app import Picker
from gateway.picker.compat import GIE_V12
from gateway.picker.pool.exposition import NAMES, PickerMetrics
from gateway.picker.pool.extract import validate
from kit.prometheus import Counter, Gauge, Histogram, Registry
from tests.gateway.picker.factories import config
from tests.gateway.picker.running import ModelServer, body, data_plane, headers, picker
from tests.waiting import until_async


def test_the_text_format() -> None:
    registry = Registry({"requests": "alias"})
    requests = registry.add(Counter("requests", "How many.", ("model",)))
    requests.inc('a"b\\c\n')
    requests.inc("x", by=2.5)
    registry.add(Gauge("now", "Asked.", (), lambda: [((), 7.0)]))
    registry.add(Gauge("silent", "Never set."))
    times = registry.add(Histogram("times", "Seconds.", ("m",), (0.5, 1.0)))
    for value in (0.5, 0.6, 3.0):
        times.observe(value, "y")
    page = registry.render()
    assert page == (
        "# HELP requests How many.\n# TYPE requests counter\n"
        'requests{model="a\\"b\\\\c\\n"} 1\nrequests{model="x"} 2.5\n'
        "# HELP alias How many.\n# TYPE alias counter\n"
        'alias{model="a\\"b\\\\c\\n"} 1\nalias{model="x"} 2.5\n'
        "# HELP now Asked.\n# TYPE now gauge\nnow 7\n"
        "# HELP times Seconds.\n# TYPE times histogram\n"
        'times_bucket{m="y",le="0.5"} 1\ntimes_bucket{m="y",le="1"} 2\ntimes_bucket{m="y",le="+Inf"} 3\n'
        'times_sum{m="y"} 4.1\ntimes_count{m="y"} 3\n'
    )
    assert times.count("y") == 3
    validate(page.encode())


async def get(port: int, path: str) -> tuple[int, str]:
    def fetch() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    return await asyncio.to_thread(fetch)


async def one_request(running: Picker) -> None:
    async with data_plane(running.options.grpc_port) as connect:
        stream = connect()
        prompt = b'{"model":"m","prompt":"' + b"x" * 640 + b'"}'
        await stream.send(headers("request_headers", {":method": "POST"}), body("request_body", prompt, True))
        await stream.next()
        await stream.body("request_body")
        await stream.close()


CHART = config("{type: queue-scorer}", "{type: prefix-cache-scorer}")


def test_the_epps_names(tmp_path: Path) -> None:
    async def scenario() -> str:
        server = ModelServer()
        server.page = server.page.replace(b"waiting 0", b"waiting 4").replace(b"perc 0", b"perc 0.5")
        async with server.running() as port:
            places = (("a", "127.0.0.1", port),)
            async with picker(tmp_path, text=CHART, endpoints=places) as running:
                (place,) = running.datastore.endpoints
                await until_async(lambda: place.metrics.waiting == 4, what="a scrape")
                await one_request(running)
                await one_request(running)
                status, page = await get(running.options.metrics_port, "/metrics")
                assert status == 200
                return page

    page = asyncio.run(scenario())
    validate(page.encode())
    for line in (
        'inference_pool_ready_pods{name="pool"} 1',
        'inference_pool_average_queue_size{name="pool"} 4',
        'inference_pool_average_kv_cache_utilization{name="pool"} 0.5',
        'inference_pool_per_pod_queue_size{name="pool",model_server_pod="a"} 4',
        'inference_objective_request_total{model_name="m",target_model_name="m",priority="0"} 2',
        "inference_extension_scheduler_e2e_duration_seconds_count 2",
        'inference_extension_plugin_duration_seconds_count{extension_point="Scorer",'
        'plugin_type="queue-scorer",plugin_name="queue-scorer"} 2',
        "inference_extension_prefix_indexer_size 10",
        "inference_extension_prefix_indexer_hit_ratio_sum 1",
        "inference_extension_prefix_indexer_hit_bytes_sum 640",
        'inference_extension_info{commit="reference-picker",build_ref="gie-v1.2"} 1',
        'inference_objective_running_requests{model_name="m"} 0',
    ):
        assert line in page.splitlines(), line


def test_llm_ds_names_stand_beside_the_old_ones(tmp_path: Path) -> None:
    async def scenario() -> str:
        async with picker(tmp_path, text=config("{type: queue-scorer}", api="llm-d")) as running:
            await one_request(running)
            return running.metrics.registry.render()

    page = asyncio.run(scenario())
    assert 'llm_d_epp_request_total{model_name="m",target_model_name="m",priority="0"} 1' in page
    assert 'inference_objective_request_total{model_name="m",target_model_name="m",priority="0"} 1' in page
    assert 'llm_d_epp_ready_endpoints{name="pool"} 2' in page


@pytest.mark.parametrize(("path", "status"), [("/endpoints", 200), ("/nothing", 404)])
def test_other_pages(tmp_path: Path, path: str, status: int) -> None:
    async def scenario() -> tuple[int, str]:
        async with picker(tmp_path) as running:
            return await get(running.options.metrics_port, path)

    got, text = asyncio.run(scenario())
    assert got == status
    assert ("127.0.0.2:9" in text) if status == 200 else ("/metrics" in text)


def test_models_that_clients_invent_do_not_fill_the_page() -> None:
    metrics = PickerMetrics(GIE_V12)
    labels = {metrics.model_label(f"m{number}") for number in range(5000)}
    assert len(labels) == NAMES + 1
    assert metrics.model_label("m0") == "m0"
    assert metrics.model_label("m4999") == "other"


def test_flows_that_clients_invent_do_not_fill_the_page() -> None:
    metrics = PickerMetrics(GIE_V12)
    assert len({metrics.flow_label(f"f{number}") for number in range(5000)}) == NAMES + 1
