"""llm-d's P/D pods in a stack: the routing sidecar before a decoding server, prefill pods."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.stack.pods import Pod
from gateway.stack.stack import Stack
from kit.children import python
from tests.e2e import worlds
from tests.gateway.stack.test_stack import running, states
from tests.waiting import until_async

NIXL = '{"kv_connector":"NixlConnector","kv_role":"kv_both"}'
BODY = {"model": "m", "prompt": "one two three " * 20, "max_tokens": 6, "ignore_eos": True}
HEADER = "x-prefiller-host-port"
Check = Callable[[Stack, httpx.AsyncClient], Awaitable[None]]


def pd_world(*flags: str, sidecar: tuple[str, ...] = ("--secure-proxy=false",)) -> list[Any]:
    """A decode pod with its sidecar on 8000 before vLLM on 8200, and a prefill pod on 8000."""
    args = ["--kv-transfer-config", NIXL, "--served-model-name", "m", *flags]
    decode = worlds.servers("decode", 1, args=args, ports=(8200,))
    decode["spec"]["template"]["spec"]["initContainers"] = [
        {
            "name": "routing-proxy",
            "image": "ghcr.io/llm-d/llm-d-routing-sidecar:v0.10.0",
            "restartPolicy": "Always",
            "args": ["--port=8000", "--vllm-port=8200", "--connector=nixlv2", *sidecar],
            "ports": [{"containerPort": 8000}],
        }
    ]
    prefill = worlds.servers("prefill", 1, args=args)
    for one in (decode, prefill):
        one["spec"]["template"]["metadata"]["labels"]["llm-d.ai/pool"] = "pd"
    pool = worlds.pool("pd", "x", None)
    pool["spec"]["selector"] = {"matchLabels": {"llm-d.ai/pool": "pd"}}
    return [decode, prefill, pool]


def in_stack(directory: Path, *objects: Any, check: Check) -> list[str]:
    async def checked(stack: Stack, _: list[str]) -> None:
        async with httpx.AsyncClient(timeout=20) as client:
            await check(stack, client)

    return running(directory, *objects, check=checked)


def parts(stack: Stack) -> tuple[Pod, Pod, str, dict[str, str]]:
    """Decode pod, prefill pod, where the sidecar is, and the header that names the prefill pod."""
    decode, prefill = stack.pods
    return decode, prefill, f"http://{decode.address}:8000", {HEADER: f"{prefill.address}:8000"}


def requests(stack: Stack, pod: Pod) -> int:
    replica = stack.replica(pod)
    assert replica is not None
    return sum(replica.engine.stats.request_success.values())


def test_prefill_first_then_decode(tmp_path: Path) -> None:
    async def check(stack: Stack, client: httpx.AsyncClient) -> None:
        decode, prefill, url, named = parts(stack)
        assert (decode.ports, prefill.ports) == ((8200,), (8000,))
        answer = await client.post(f"{url}/v1/completions", json=BODY, headers=named)
        assert (answer.status_code, answer.json()["usage"]["completion_tokens"]) == (200, 6)
        assert answer.headers["x-inference-pod"] == decode.name
        assert (requests(stack, decode), requests(stack, prefill)) == (1, 1)
        for pod, tokens in ((decode, 6), (prefill, 1)):
            replica = stack.replica(pod)
            assert replica is not None
            assert replica.engine.stats.generation_tokens == tokens
        plain = await client.post(f"{url}/v1/completions", json=BODY)
        assert plain.status_code == 200
        assert (requests(stack, decode), requests(stack, prefill)) == (2, 1)
        metrics = (await client.get(f"{url}/metrics")).text
        assert "vllm:request_success_total" in metrics
        assert (await client.get(f"{url}/health")).status_code == 200
        assert (await client.get(f"{url}/v1/models")).json()["data"][0]["id"] == "m"
        assert (await client.get(f"{url}/nowhere")).status_code == 404

    in_stack(tmp_path, *pd_world(), check=check)


def test_a_load_is_told_of_both_pods_and_what_each_served(tmp_path: Path) -> None:
    """The report of loadgen has the pod that prefills with its requests, though it answers none."""
    report = tmp_path / "run" / "report.json"

    async def check(stack: Stack, client: httpx.AsyncClient) -> None:
        decode, prefill, url, named = parts(stack)
        listing = {
            "pods": [
                {
                    "name": pod.name,
                    "urls": [f"http://{pod.address}:{pod.ports[0]}"],
                    "metrics_urls": [f"http://{pod.address}:{pod.ports[0]}/metrics"],
                }
                for pod in (decode, prefill)
            ]
        }
        (tmp_path / "fleet.json").write_text(json.dumps(listing))
        load = await asyncio.create_subprocess_exec(
            *python("-c", "import sys; from loadgen.cli import main; sys.exit(main(sys.argv[1:]))"),
            *("run", "--target", url, "--model", "m", "--users", "2", "--requests", "12"),
            *("--input-tokens", "20", "--output-tokens", "6", "--ignore-eos", "-q", "--no-selftest"),
            *("-H", f"{HEADER}:{named[HEADER]}", "--fleet", str(tmp_path / "fleet.json")),
            *("-o", str(report.parent)),
            stdout=asyncio.subprocess.DEVNULL,
        )
        assert await load.wait() in (0, 2)  # 2: a machine that was late
        found = json.loads(report.read_text())
        both = {name: found["pod_gauges"][name] for name in (decode.name, prefill.name)}
        assert [pod["role"] for pod in both.values()] == ["decode", "prefill"]
        assert [pod["requests"] for pod in both.values()] == [12, 12]
        assert [pod["output_tokens"] for pod in both.values()] == [72, 12]
        assert both[prefill.name]["prompt_tokens"] == both[decode.name]["prompt_tokens"] > 0
        assert found["spread"]["counts"] == {decode.name: 12}
        ids = next(row for row in found["selfchecks"] if row["name"] == "ids at the pods")
        assert ids["status"] == "ok", ids
        told = report.with_suffix(".md").read_text()
        assert "Prefill and decode" in told

    in_stack(tmp_path, *pd_world(), check=check)


def test_streams_pass_as_they_come(tmp_path: Path) -> None:
    """The first event is there long before the last: 50 ms a token, and the whole takes a second."""

    async def check(stack: Stack, client: httpx.AsyncClient) -> None:
        _, _, url, named = parts(stack)
        loop = asyncio.get_running_loop()
        body = {**BODY, "stream": True, "max_tokens": 20, "stream_options": {"include_usage": True}}
        times, events = [], []
        async with client.stream("POST", f"{url}/v1/completions", json=body, headers=named) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            async for line in answer.aiter_lines():
                if line:
                    times.append(loop.time())
                    events.append(line)
        assert events[-1] == "data: [DONE]"
        assert json.loads(events[-2][6:])["usage"]["completion_tokens"] == 20
        assert times[-1] - times[0] >= 0.5

    in_stack(tmp_path, *pd_world("--inter-token-latency", "50ms"), check=check)


def test_a_client_that_leaves_ends_its_request(tmp_path: Path) -> None:
    async def check(stack: Stack, client: httpx.AsyncClient) -> None:
        decode, _, url, _ = parts(stack)
        body = {**BODY, "stream": True, "max_tokens": 1000}
        replica = stack.replica(decode)
        assert replica is not None
        async with client.stream("POST", f"{url}/v1/completions", json=body) as answer:
            async for _line in answer.aiter_lines():
                assert replica.engine.stats.num_requests_running == 1
                break
        await until_async(lambda: replica.engine.stats.num_requests_running == 0)
        assert replica.engine.stats.generation_tokens < 900

    in_stack(tmp_path, *pd_world("--inter-token-latency", "20ms"), check=check)


def test_what_goes_wrong_is_told_as_there(tmp_path: Path) -> None:
    async def check(stack: Stack, client: httpx.AsyncClient) -> None:
        decode, prefill, url, named = parts(stack)
        path = f"{url}/v1/completions"
        nowhere = await client.post(path, json=BODY, headers={HEADER: f"{decode.address}:1"})
        assert (nowhere.status_code, nowhere.json()["type"]) == (502, "BadGateway")
        assert (await client.post(path, content=b"{", headers=named)).status_code == 400
        assert (await client.post(path, json=BODY, headers={HEADER: "no-port"})).status_code == 502
        await stack.fault(prefill.name, {"failure_injection_rate": 100, "failure_types": ["rate_limit"]})
        refused = await client.post(path, json=BODY, headers=named)
        assert (refused.status_code, refused.headers["x-inference-pod"]) == (429, prefill.name)
        await stack.fault(decode.name, {"refuse": True})
        down = await client.post(path, json=BODY)
        assert (down.status_code, down.json()["type"]) == (503, "ServiceUnavailable")
        await stack.fault("all", {}, clear=True)
        assert (await client.post(path, json=BODY, headers=named)).status_code == 200
        await stack.kill(decode.name)
        with pytest.raises(httpx.TransportError):
            await client.post(path, json=BODY)
        await stack.restart(decode.name)
        assert states(stack) == ["ready", "ready"]
        assert (await client.post(path, json=BODY, headers=named)).status_code == 200

    in_stack(tmp_path, *pd_world(), check=check)


def test_many_at_once_over_kept_connections(tmp_path: Path) -> None:
    async def check(stack: Stack, client: httpx.AsyncClient) -> None:
        decode, prefill, url, named = parts(stack)
        answers = await asyncio.gather(
            *(client.post(f"{url}/v1/completions", json=BODY, headers=named) for _ in range(60))
        )
        assert {a.status_code for a in answers} == {200}
        assert (requests(stack, decode), requests(stack, prefill)) == (60, 60)

    in_stack(tmp_path, *pd_world(), check=check)


def test_a_secure_proxy_takes_tls_and_says_what_a_cluster_would_not(tmp_path: Path) -> None:
    async def check(stack: Stack, client: httpx.AsyncClient) -> None:
        _, _, url, named = parts(stack)
        assert (await client.post(f"{url}/v1/completions", json=BODY, headers=named)).status_code == 200
        trusting = ssl.create_default_context()
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        async with httpx.AsyncClient(verify=trusting) as secure:
            path = url.replace("http:", "https:") + "/v1/completions"
            assert (await secure.post(path, json=BODY, headers=named)).status_code == 200
        (note,) = [n for n in stack.plan.notes if "routing sidecar" in n]
        assert "--secure-proxy is on: in a cluster its port takes TLS only" in note

    in_stack(tmp_path, *pd_world(sidecar=()), check=check)


def test_a_sidecar_that_forwards_elsewhere_is_told(tmp_path: Path) -> None:
    async def check(stack: Stack, client: httpx.AsyncClient) -> None:
        _, _, url, _ = parts(stack)
        assert (await client.post(f"{url}/v1/completions", json=BODY)).status_code == 503
        assert any("forwards to port 8201, the model server listens on 8200" in n for n in stack.plan.notes)

    sidecar = ("--secure-proxy=false", "--model-server-port=8201")
    in_stack(tmp_path, *pd_world(sidecar=sidecar), check=check)
