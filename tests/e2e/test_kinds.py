"""Manifests of many kinds, a real Envoy: what is built works, what is not is told."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import httpx
import pytest

from tests.e2e import worlds
from tests.e2e.labkit import Lab, Labs
from tests.ports import free_port
from tests.waiting import until

COMMAND = [sys.executable, "-c", "import sys; from gateway.cli import main; sys.exit(main())"]
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": worlds.meta("bare-0", labels={"app": "bare"}),
    "spec": {
        "containers": [{"name": "vllm", "image": "vllm/vllm-openai:v0.21.0", "args": ["--model", "base"]}]
    },
}
DENY = {
    "apiVersion": "security.istio.io/v1",
    "kind": "AuthorizationPolicy",
    "metadata": worlds.meta("deny", "infra"),
    "spec": {
        "action": "DENY",
        "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "first"}],
        "rules": [{"to": [{"operation": {"paths": ["*/v1/completions"]}}]}],
    },
}
TELEMETRY = {
    "apiVersion": "telemetry.istio.io/v1",
    "kind": "Telemetry",
    "metadata": worlds.meta("t", "infra"),
    "spec": {"tracing": [{"randomSamplingPercentage": 10}]},
}


PRECISE = """
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- {type: token-producer, parameters: {modelName: base}}
- type: precise-prefix-cache-producer
  parameters: {kvEventsConfig: {podDiscoveryConfig: {socketPort: 5561}}}
- {type: prefix-cache-scorer, parameters: {prefixMatchInfoProducerName: precise-prefix-cache-producer}}
- {type: max-score-picker}
schedulingProfiles:
- {name: default, plugins: [{pluginRef: prefix-cache-scorer, weight: 1}, {pluginRef: max-score-picker}]}
"""
EVENTS = '{"enable_kv_cache_events":true,"publisher":"zmq","endpoint":"tcp://*:5561","topic":"kv@$(POD_IP):8000@base"}'


LLM = {
    "apiVersion": "serving.kserve.io/v1alpha2",
    "kind": "LLMInferenceService",
    "metadata": worlds.meta("llm"),
    "spec": {
        "model": {"uri": "hf://some/model", "name": "some/model"},
        "router": {
            "scheduler": {},
            "route": {},
            "gateway": {"refs": [{"name": "first", "namespace": "infra"}]},
        },
    },
}
LLM_TLS = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "DestinationRule",
    "metadata": worlds.meta("llm"),
    "spec": {
        "host": "llm-epp-service",
        "trafficPolicy": {"tls": {"mode": "SIMPLE", "insecureSkipVerify": True}},
    },
}


def events() -> dict[str, Any]:
    """Servers that tell which blocks they have."""
    made = worlds.servers("events", 3, args=["--kv-events-config", EVENTS, "--block-size", "16"])
    field = {"fieldRef": {"fieldPath": "status.podIP"}}
    made["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "POD_IP", "valueFrom": field}]
    return made


def active(ports: str) -> dict[str, Any]:
    """Servers of two target ports, one of which they say is active."""
    made = worlds.servers("active", 1, ports=(8000, 8001))
    made["spec"]["template"]["metadata"]["annotations"] = {"inference.networking.k8s.io/active-ports": ports}
    return made


def world() -> str:
    stripped = {"filters": [worlds.rewrite_to("/v1")]}
    return worlds.dump(
        worlds.gateway("first"),
        worlds.gateway("second"),
        POD,
        worlds.service("bare", "bare", 80, 8000),
        worlds.service("closed", "bare", 80, 9999),
        active("8001"),
        worlds.pool("pool", "active", "epp", ports=(8000, 8001)),
        worlds.picker("epp", "pool"),
        events(),
        worlds.pool("precise", "events", "precise-epp"),
        worlds.picker("precise-epp", "precise", PRECISE),
        worlds.route(
            "r",
            "first",
            worlds.rule(worlds.to_service("bare", 80), matches=[worlds.prefix("/bare")], **stripped),
            worlds.rule(worlds.to_service("closed", 80), matches=[worlds.prefix("/closed")], **stripped),
            worlds.rule(worlds.to_pool("pool"), matches=[worlds.prefix("/pool")], **stripped),
            worlds.rule(worlds.to_pool("precise"), matches=[worlds.prefix("/precise")], **stripped),
        ),
        worlds.route("s", "second", worlds.rule(worlds.to_service("bare", 80))),
        DENY,
        TELEMETRY,
        LLM,
        LLM_TLS,
    )


@pytest.fixture(scope="module")
def lab(labs: Labs) -> Lab:
    return labs.up("-f", labs.manifests(world(), "kinds.yaml"), "--port", str(free_port()), name="kinds")


def models(http: httpx.Client, lab: Lab, path: str) -> int:
    return http.get(f"{lab.url}{path}/models").status_code


def test_a_pod_behind_a_plain_service_answers(lab: Lab, http: httpx.Client) -> None:
    assert models(http, lab, "/bare") == 200
    assert "pod      bare-0  " in lab.text


def test_a_port_that_no_container_listens_on_is_a_503(lab: Lab, http: httpx.Client) -> None:
    assert models(http, lab, "/closed") == 503


def test_a_picker_chooses_active_ports_only(lab: Lab, http: httpx.Client) -> None:
    """Every endpoint is offered by the test's header; the one that the pod does not name is not known."""
    report = lab.ask("status")
    pool = next(p for p in report["pools"] if p["name"] == "pool")
    assert [e.rpartition(":")[2] for e in pool["endpoints"]] == ["8000", "8001"]
    place = pool["endpoints"][0].rpartition(":")[0]
    headers = {"test-epp-endpoint-selection": f"{place}:8000,{place}:8001"}
    for _ in range(5):
        answer = http.post(f"{lab.url}/pool/chat/completions", headers=headers, json={
            "model": "base", "messages": [{"role": "user", "content": "x"}], "max_tokens": 1,
        })  # fmt: skip
        assert answer.status_code == 200
        assert answer.headers["x-went-into-resp-headers"] == "true"
    served = {pod["name"]: pod for pod in report["pods"] if pod["workload"] == "active"}
    assert len(served) == 1
    pages = [httpx.get(url).text for url in next(iter(served.values()))["metrics_urls"]]
    assert [_successes(page) for page in pages] == [0, 5]


def test_an_llm_inference_service_answers_on_its_paths(lab: Lab, http: httpx.Client) -> None:
    """By its own path, its model's and a header, through the picker; the rest by its Service."""
    body = {"model": "some/model", "messages": [{"role": "user", "content": "x"}], "max_tokens": 1}
    published = "publishers/apps/models/some/model"
    for path, headers in (
        ("/apps/llm/v1/chat/completions", {}),
        (f"/{published}/v1/chat/completions", {}),
        ("/v1/chat/completions", {"x-gateway-model-name": published}),
    ):
        answer = http.post(f"{lab.url}{path}", json=body, headers=headers)
        assert answer.status_code == 200, (path, answer.text)
        assert answer.headers["x-inference-pod"].startswith("llm-kserve-")
    models = http.get(f"{lab.url}/apps/llm/v1/models").json()["data"]
    assert [m["id"] for m in models] == ["some/model", published]


def test_a_text_goes_where_its_blocks_are(lab: Lab, http: httpx.Client) -> None:
    """The picker has the tokens of a text of the pods, and of their events it knows who has its blocks."""
    words = " ".join(f"word{i}" for i in range(80))

    def ask(path: str, **body: Any) -> str:
        answer = http.post(f"{lab.url}/precise{path}", json={"model": "base", "max_tokens": 1, **body})
        assert answer.status_code == 200
        return answer.headers["x-inference-pod"]

    for path, body in (
        ("/completions", {"prompt": words}),
        ("/chat/completions", {"messages": [{"role": "user", "content": f"chat {words}"}]}),
    ):
        # Until the picker has heard of the first one's blocks, any pod may come next.
        until(lambda path=path, body=body: ask(path, **body) == ask(path, **body) == ask(path, **body))
        assert len({ask(path, **body) for _ in range(8)}) == 1


def _successes(page: str) -> float:
    lines = [line for line in page.splitlines() if line.startswith("vllm:request_success_total{")]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def test_the_policy_refuses_as_istio_does(lab: Lab, http: httpx.Client) -> None:
    answer = http.post(f"{lab.url}/bare/completions", json={"model": "base", "prompt": "x"})
    assert answer.status_code == 200  # the rule is for the path that clients ask for
    answer = http.post(f"{lab.url}/bare/v1/completions", json={"model": "base", "prompt": "x"})
    assert (answer.status_code, answer.text) == (403, "RBAC: access denied")
    (other,) = [g["url"] for g in lab.ask("status")["gateways"] if g["name"] == "second"]
    answer = http.post(f"{other}/v1/completions", json={"model": "base", "prompt": "x"})
    assert answer.status_code == 200


def test_two_gateways_have_two_ports(lab: Lab) -> None:
    first, second = (g["url"] for g in lab.ask("status")["gateways"])
    assert first != second
    mine, other = (url.rpartition(":")[2] for url in (first, second))
    assert f"--port {mine} is that of first-istio: listener port 80 is at {other}" in lab.text


def test_what_is_not_simulated_is_told_everywhere(lab: Lab, labs: Labs) -> None:
    line = (
        "not simulated: Telemetry infra/t: access log and metrics are the lab's own, and no traces are sent"
    )
    assert lab.text.count(line) == 1
    (found,) = lab.ask("status")["not_simulated"]
    assert (found["kind"], found["namespace"], found["name"]) == ("Telemetry", "infra", "t")
    shown = subprocess.run(
        [*COMMAND, "ps", "--name", "kinds"],
        capture_output=True,
        text=True,
        env=lab.env,
        timeout=120,
        check=True,
    )
    assert line in shown.stdout


def test_nothing_to_run_says_what_was_given(labs: Labs) -> None:
    text = worlds.dump({**TELEMETRY})
    argv = [*COMMAND, "up", "--name", "none", "-f", labs.manifests(text, "none.yaml")]
    env = {**os.environ, "SIMFLEET_STATE_DIR": str(labs.state)}
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False, env=env)
    assert done.returncode == 1
    assert "nothing to run" in done.stderr
    assert "not simulated: Telemetry infra/t" in done.stderr
