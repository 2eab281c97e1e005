"""A stack under load, with a real Prometheus that scrapes pods, picker, gateway and load generator."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from gateway.commands.ps import prometheus_config
from gateway.commands.up import read_manifests
from tests.e2e.labkit import Lab, Labs
from tests.ports import free_port
from tests.waiting import until

ROOT = Path(__file__).parents[2]
RULES = sorted((ROOT / "charts").glob("*/files/rules.yaml"))
FLOW_CONTROL = """
apiVersion: inference.networking.x-k8s.io/v1alpha1
kind: EndpointPickerConfig
featureGates: [flowControl]
flowControl: {maxBytes: 100000}
plugins: [{type: queue-scorer}, {type: kv-cache-utilization-scorer}, {type: prefix-cache-scorer}]
schedulingProfiles:
- name: default
  plugins:
  - {pluginRef: queue-scorer}
  - {pluginRef: kv-cache-utilization-scorer}
  - {pluginRef: prefix-cache-scorer}
"""
SCENARIO = """
name: watched
model: meta-llama/Llama-3.1-8B-Instruct
duration: 300s  # as long as the tests look
classes:
  chat:
    api: chat
    arrival: {process: poisson, rate: 12}
    prefix: {groups: 6, tokens: 600}
    input_tokens: 60
    output_tokens: 24
"""
LOAD_S = 60.0


class Prometheus:
    """One that answers queries."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, path: str, **parameters: str) -> Any:
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The instant vector of an expression as a dashboard holds it."""
        for variable, value in (("$__rate_interval", "8s"), ("$__range", "20s")):
            expression = expression.replace(variable, value)
        result: list[dict[str, Any]] = self.ask("query", query=expression)["result"]
        return result


def _lab(labs: Labs) -> Lab:
    """The lab preset with pods that take time and have a small cache."""
    objects = [r.root.value for r in read_manifests([], "default").resources if not r.made_by]
    for found in objects:
        if found["kind"] == "Deployment" and "model-server" in found["metadata"]["name"]:
            args = found["spec"]["template"]["spec"]["containers"][0]["args"]
            args += [
                "--profile",
                "llama-3.1-8b/h100",
                "--max-num-seqs",
                "2",
                "--enable-prompt-tokens-details",
            ]
    config = labs.manifests(FLOW_CONTROL, "epp.yaml")
    return labs.up("-f", labs.manifests(yaml.safe_dump_all(objects)), "--epp-config", config)


def _refused(url: str) -> None:
    """Requests that the picker refuses, so that its errors have series: larger than its queue may be."""
    body = {"model": "meta-llama/Llama-3.1-8B-Instruct", "prompt": "x" * 200_000}
    for _ in range(3):
        answer = httpx.post(f"{url}/v1/completions", json=body, timeout=10)
        assert answer.status_code == 429, answer.text


@pytest.fixture(scope="module")
def prometheus() -> Iterator[Prometheus]:
    """After some seconds of load, all of it scraped."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("no `prometheus` on the PATH: apt install prometheus")
    labs, folder = Labs(), Path(tempfile.mkdtemp(prefix="sfprom"))
    processes: list[subprocess.Popen[bytes]] = []
    try:
        lab = _lab(labs)
        port, load_port = free_port(), free_port()
        config = prometheus_config([lab.status], "500ms")
        config["scrape_configs"].append(
            {"job_name": "loadgen", "static_configs": [{"targets": [f"127.0.0.1:{load_port}"]}]}
        )
        config["rule_files"] = [str(path) for path in RULES]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        (folder / "load.yaml").write_text(SCENARIO)
        with (folder / "prometheus.log").open("wb") as log:
            processes.append(
                subprocess.Popen(
                    [program, f"--config.file={folder / 'prometheus.yml'}",
                     f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}"],
                    stdout=log, stderr=log,
                )
            )  # fmt: skip
        found = Prometheus(f"http://127.0.0.1:{port}")
        until(lambda: _is_ready(found.url), what="prometheus is ready")
        _refused(lab.url)
        command = [sys.executable, "-m", "loadgen.cli", "run", str(folder / "load.yaml"), "--target", lab.url,
                   "-q", "--no-selftest", "--metrics-port", str(load_port),
                   "-o", str(folder / "run")]  # fmt: skip
        load = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        processes.append(load)
        until(lambda: found.query("loadgen_requests_ended_total > 60"), LOAD_S, "load is under way")
        _refused(lab.url)
        until(lambda: found.query("sum(loadgen_requests_ended_total) > 110"), LOAD_S, "most of it has ended")
        yield found
    finally:
        for process in processes:
            process.terminate()
            process.wait(30)
        labs.close()
        shutil.rmtree(folder)


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready", timeout=1).status_code == 200
    except httpx.HTTPError:
        return False
