"""A real endpoint picker of GIE and the model servers that it and the reference picker scrape."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import shutil
import subprocess
import urllib.request
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from gateway.kubeapi.podobject import pod
from gateway.kubeapi.serve import KubeApi, kubeconfig
from gateway.kubeapi.store import Store
from gateway.picker.app import Picker
from tests.gateway.picker.factories import config
from tests.gateway.picker.running import ModelServer
from tests.ports import free_port

HOSTS = [f"127.0.7.{number}" for number in range(2, 6)]
CHART = config(
    "{type: queue-scorer}",
    "{type: kv-cache-utilization-scorer}",
    "{type: prefix-cache-scorer}",
    "{type: lora-affinity-scorer}",
    rest="""\
schedulingProfiles:
- name: default
  plugins:
  - {pluginRef: queue-scorer, weight: 2}
  - {pluginRef: kv-cache-utilization-scorer, weight: 2}
  - {pluginRef: prefix-cache-scorer, weight: 3}
  - {pluginRef: lora-affinity-scorer, weight: 1}
""",
)
NEWER = {"running-requests-size-scorer": "gie-v1.3", "token-load-scorer": "gie-v1.5"}


def chart(release: str) -> str:
    """The configuration to compare with: every scorer of the release that needs no predictor."""
    more = [name for name, first in NEWER.items() if release >= first]
    plugins = "".join(f"- {{type: {name}}}\n" for name in more)
    weighted = "".join(f"  - {{pluginRef: {name}, weight: 2}}\n" for name in more)
    return CHART.replace("schedulingProfiles:\n", f"{plugins}schedulingProfiles:\n") + weighted


def binaries() -> list[Path]:
    named = [Path(path) for path in os.environ.get("EPP_BIN", "").split(os.pathsep) if path]
    found = shutil.which("epp")
    return named or ([Path(found)] if found else [])


def release_of(binary: Path) -> str:
    """The row of the table that a binary is, by the flags of its --help (deprecated ones are not listed)."""
    done = subprocess.run([binary, "--help"], capture_output=True, text=True, timeout=20, check=False)
    text = done.stdout + done.stderr
    if "emit-endpoint-scores" in text:
        pytest.skip(f"{binary} is llm-d-router: it takes no pods from the API stand-in of this test")
    if "kv-cache-usage-percentage-metric" not in text:
        return "gie-v1.5"
    return "gie-v1.2" if "total-running-requests-metric" not in text else "gie-v1.3"


POOL = {
    "apiVersion": "inference.networking.k8s.io/v1",
    "kind": "InferencePool",
    "metadata": {"name": "pool", "namespace": "ns"},
}


@contextlib.asynccontextmanager
async def real(binary: Path, directory: Path, port: int) -> AsyncIterator[tuple[int, int, Path]]:
    """(ext_proc port, metrics port, log) of a real picker over pods on HOSTS."""
    store = Store()
    selector = {"matchLabels": {"app": "sim"}}
    reference = {"group": "", "kind": "Service", "name": "epp", "port": {"number": 9002}}
    spec = {"selector": selector, "targetPorts": [{"number": port}], "endpointPickerRef": reference}
    store.apply({**POOL, "spec": spec})
    for number, host in enumerate(HOSTS):
        store.apply(pod(f"sim-{number}", "ns", host, {"app": "sim"}, (port,)))
    api = KubeApi(store, free_port())
    (directory / "kubeconfig").write_text(kubeconfig(api.url))
    (directory / "config.yaml").write_text(chart(release_of(binary)))
    grpc_port, metrics_port = free_port(), free_port()
    log = directory / "epp.log"
    await api.start()
    with log.open("wb") as sink:
        process = await asyncio.create_subprocess_exec(
            *(str(binary), "--pool-name", "pool", "--pool-namespace", "ns", "--secure-serving=false"),
            *(
                "--config-file",
                str(directory / "config.yaml"),
                "--tracing=false",
                "--metrics-endpoint-auth=false",
            ),
            *("--grpc-port", str(grpc_port), "--grpc-health-port", str(free_port())),
            *("--metrics-port", str(metrics_port), "--v", "4", "--zap-encoder", "json"),
            env={**os.environ, "KUBECONFIG": str(directory / "kubeconfig")},
            stdout=sink,
            stderr=sink,
        )
    try:
        async with asyncio.timeout(30):
            while len(await queues(metrics_port)) != len(HOSTS):
                assert process.returncode is None, log.read_text()[-2000:]
                await asyncio.sleep(0.05)
        yield grpc_port, metrics_port, log
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(20):
            await process.wait()
        await api.stop()


async def queues(port: int) -> dict[str, float]:
    """What a picker believes of each endpoint's queue, from its own metrics."""

    def fetch() -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                text: str = answer.read().decode()
                return text
        except OSError:
            return ""

    found = re.findall(r'model_server_pod="([^"]+)"[^}]*\} (\S+)', await asyncio.to_thread(fetch))
    return {name: float(value) for name, value in found}


@contextlib.asynccontextmanager
async def model_servers() -> AsyncIterator[tuple[list[ModelServer], int]]:
    servers, port = [ModelServer() for _ in HOSTS], free_port()
    async with contextlib.AsyncExitStack() as stack:
        for server, host in zip(servers, HOSTS, strict=True):
            await stack.enter_async_context(server.running(host, port))
        yield servers, port


def page(waiting: int, kv: float, adapters: str) -> bytes:
    return (
        "# TYPE vllm:num_requests_waiting gauge\n"
        f"vllm:num_requests_waiting {waiting}\n"
        f"# TYPE vllm:gpu_cache_usage_perc gauge\nvllm:gpu_cache_usage_perc {kv}\n"
        f"# TYPE vllm:kv_cache_usage_perc gauge\nvllm:kv_cache_usage_perc {kv}\n"
        f"# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running {(waiting * 7 + 3) % 13}\n"
        "# TYPE vllm:lora_requests_info gauge\n"
        f'vllm:lora_requests_info{{max_lora="2",running_lora_adapters="{adapters}",'
        'waiting_lora_adapters=""} 5\n# TYPE vllm:cache_config_info gauge\n'
        'vllm:cache_config_info{block_size="16",num_gpu_blocks="200"} 1\n'
    ).encode()


async def settle(servers: Sequence[ModelServer], rng: random.Random, metrics_port: int, ours: Picker) -> None:
    """Give every endpoint other metrics, and wait until both pickers have them."""
    before = [place.metrics.waiting for place in ours.datastore.endpoints]
    waiting = rng.sample(range(12), len(servers))
    while any(new == old for new, old in zip(waiting, before, strict=True)):
        waiting = rng.sample(range(12), len(servers))
    for server, queue in zip(servers, waiting, strict=True):
        # Sevenths and elevenths: no two totals are equal by accident.
        server.page = page(queue, round(rng.randrange(1, 77) / 77, 6), rng.choice(["a", "b", "a,b", "c"]))
    wanted = {f"sim-{number}": float(queue) for number, queue in enumerate(waiting)}

    def both(theirs: dict[str, float]) -> bool:
        mine = {place.name: float(place.metrics.waiting) for place in ours.datastore.endpoints}
        return {name.removesuffix("-rank-0"): queue for name, queue in theirs.items()} == wanted == mine

    async with asyncio.timeout(10):
        while not both(await queues(metrics_port)):
            await asyncio.sleep(0.02)
    # Every queue is another than before, so the page that it was read from is the new one.
