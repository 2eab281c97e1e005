"""Routes about a replica's state, and which of them exist: by version, environment and flag."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from simulator.config.resolve import parse_args
from simulator.server.routes.server_info import server_info
from simulator.server.routes.vllm_admin import DEV_ROUTES, SLEEP_ROUTES
from tests.ports import free_port
from tests.simulator.server.pods import Answer, Pod, pod
from tests.simulator.steps import FLAT_20_MS

DEV = {"VLLM_SERVER_DEV_MODE": "1"}
GETS = {"/server_info", "/is_paused", "/weight_info", "/get_world_size", "/is_sleeping"}
BODIES: dict[str, Any] = {"/collective_rpc": {"method": "x"}, "/abort_requests": {}}


def ask(one: Pod, path: str) -> Answer:
    return one.get(path) if path in GETS else one.post(path, BODIES.get(path))


@pytest.mark.parametrize("path", sorted(DEV_ROUTES | SLEEP_ROUTES))
def test_routes_of_development_mode(path: str) -> None:
    with pod() as one:
        hidden = ask(one, path)
        assert (hidden.status, hidden.json()) == (404, {"detail": "Not Found"})
    with pod(env=DEV) as one:
        assert ask(one, path).status == 200
    with pod("--compat", "llm-d-0.7") as one:
        assert ask(one, path).status == (200 if path in SLEEP_ROUTES else 404)


@pytest.mark.parametrize(
    ("version", "health", "number"),
    [("vllm-0.33", b"", "0.33.0"), ("vllm-0.11", b"", "0.11.0"), ("llm-d-0.7", b"{}", "0.7.1")],
)
def test_health_and_version(version: str, health: bytes, number: str) -> None:
    with pod("--compat", version) as one:
        for answer in (one.get("/health"), one.get("/ping"), one.post("/ping"), one.get("/ready")):
            assert (answer.status, answer.body) == (200, health)
        assert one.get("/version").json() == {"version": number}
        one.replica.prepared.faults.unhealthy = True
        for answer in (one.get("/health"), one.get("/ping")):
            assert (answer.status, answer.body) == (503, b"")
        assert one.get("/ready").status == 200


@pytest.mark.parametrize("state", ["draining", "shutting_down", "unready", "starting"])
def test_who_is_not_ready(state: str) -> None:
    with pod(*(("--startup-duration", "600s") if state == "starting" else ())) as one:
        if state == "unready":
            one.replica.prepared.faults.unready = True
        elif state != "starting":
            setattr(one.replica.state, state, True)
        assert [one.get(path).status for path in ("/ready", "/health/ready", "/health")] == [503, 503, 200]


def test_load_is_counted_where_it_is_tracked() -> None:
    for flags, load in (((), 0), (("--enable-server-load-tracking",), 1)):
        with pod("--latency", "step", "--step-model", FLAT_20_MS, *flags, env=DEV) as one:

            async def main(one: Pod = one) -> Answer:
                body = {"model": "m", "prompt": "x", "max_tokens": 3000, "ignore_eos": True}
                task = asyncio.create_task(one.asking("POST", "/v1/completions", body))
                while not one.replica.driver.num_unfinished:
                    await asyncio.sleep(0)
                seen = await one.asking("GET", "/load")
                await one.asking("POST", "/abort_requests", raw=b"{}")
                await task
                return seen

            assert one.run(main()).json() == {"server_load": load}
            assert one.get("/load").json() == {"server_load": 0}


def test_sleeping_and_waking() -> None:
    with pod(env=DEV) as one:
        assert one.get("/is_sleeping").json() == {"is_sleeping": False}
        assert one.post("/sleep?level=2").json() == {"status": "sleeping", "level": 2}
        assert one.get("/is_sleeping").json() == {"is_sleeping": True}
        assert 'sleep_state="discard_all"} 1.0' in one.get("/metrics").text
        woken = one.post("/wake_up?tags=weights&tags=kv_cache").json()
        assert woken == {"status": "awake", "tags": ["weights", "kv_cache"]}
        assert one.get("/is_sleeping").json() == {"is_sleeping": False}
        assert one.complete(max_tokens=1).status == 200
        wrong = one.post("/sleep?level=3")
        assert (wrong.status, wrong.error["param"]) == (400, "query.level")


@pytest.mark.parametrize(("flags", "env", "sleeps"), [((), {}, False), (("--enable-sleep-mode",), DEV, True)])
def test_llmd_sleeps_where_it_may_and_serves_on(
    flags: tuple[str, ...], env: dict[str, str], sleeps: bool
) -> None:
    with pod("--compat", "llm-d-0.7", *flags, env=env) as one:
        assert one.post("/sleep").body == b""
        assert one.get("/is_sleeping").json() == {"is_sleeping": sleeps}
        assert one.complete(max_tokens=1).status == 200


@pytest.mark.parametrize(
    ("version", "body"), [("vllm-0.33", {"success": True}), ("vllm-0.11", None), ("llm-d-0.7", None)]
)
def test_the_cache_can_be_forgotten(version: str, body: Any) -> None:
    with pod("--compat", version, env=DEV) as one:
        prompt = [300] * 64
        for _ in range(2):
            one.complete(prompt, max_tokens=1)
        hits = one.replica.engine.stats.prefix_cache_hits
        assert hits > 0
        answer = one.post("/reset_prefix_cache")
        assert (answer.json() if answer.body else None) == body
        one.complete(prompt, max_tokens=1)
        assert one.replica.engine.stats.prefix_cache_hits == hits


def test_pausing() -> None:
    with pod(env=DEV) as one:
        for mode in ("abort", "wait", "keep"):
            assert one.post(f"/pause?mode={mode}").json() == {"status": "paused"}
            assert one.get("/is_paused").json() == {"is_paused": True}
            assert one.complete(max_tokens=1).status == 503
            assert one.post("/resume").json() == {"status": "resumed"}
            assert one.get("/is_paused").json() == {"is_paused": False}
            assert one.complete(max_tokens=1).status == 200
        assert one.post("/pause?mode=nap").status == 400


def test_requests_are_aborted_by_id() -> None:
    with pod("--latency", "step", "--step-model", FLAT_20_MS, env=DEV) as one:
        body = {"model": "m", "prompt": "x", "max_tokens": 3000, "ignore_eos": True}

        async def main() -> list[Any]:
            tasks = [
                asyncio.create_task(one.asking("POST", "/v1/completions", {**body, "request_id": name}))
                for name in ("a", "b")
            ]
            while one.replica.driver.num_unfinished < 2:
                await asyncio.sleep(0)
            abort = json.dumps({"request_ids": ["cmpl-a", "cmpl-none"]}).encode()
            first = await one.asking("POST", "/abort_requests", raw=abort)
            done = await tasks[0]
            assert not tasks[1].done()
            rest = await one.asking("POST", "/abort_requests", raw=b"{}")
            return [first.json(), rest.json(), done.json(), (await tasks[1]).json()]

        first, rest, a, b = one.run(main())
        assert (first["aborted"], rest["aborted"]) == (2, 1)  # vLLM counts the ids that it is told
        assert {x["id"]: x["choices"][0]["finish_reason"] for x in (a, b)} == {
            "cmpl-a": "abort",
            "cmpl-b": "abort",
        }
        wrong = one.post("/abort_requests", {"request_ids": "cmpl-a"})
        assert (wrong.status, wrong.error["param"]) == (400, "request_ids")


def test_what_workers_say() -> None:
    with pod(env=DEV, ranks=2) as one:
        assert one.get("/get_world_size").json() == {"world_size": 2}
        assert one.post("/collective_rpc", {"method": "x"}).json() == {"results": [None, None]}
        assert one.post("/collective_rpc", {}).message == "Missing 'method' in request body"
        assert one.get("/weight_info").json() == {"weight_version": "default"}


def test_server_info() -> None:
    flags = ("--max-model-len", "100", "--enable-lora", "--max-loras", "3", "--block-size", "32")
    with pod(*flags, env=DEV) as one:
        config = one.get("/server_info?config_format=json").json()["vllm_config"]
        assert config["model_config"]["max_model_len"] == 100
        assert config["cache_config"]["block_size"] == 32
        assert config["lora_config"]["max_loras"] == 3
        assert one.get("/server_info").json() == {"vllm_config": str(server_info(one.replica.config))}
        assert one.get("/server_info?config_format=xml").status == 400
    assert server_info(parse_args(["--model", "m", "--no-enable-lora"], {}))["lora_config"] is None


def test_event_sources() -> None:
    with pod() as one:
        assert one.get("/kv_event_sources").json() == {}
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    events = {"enable_kv_cache_events": True, "publisher": "zmq", "topic": "t", "endpoint": endpoint}
    with pod("--kv-events-config", json.dumps(events)) as one:
        (found,) = one.get("/kv_event_sources").json().values()
        assert {key: found[key] for key in events} == events


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/v1/completions", 405),
        ("PUT", "/v1/models", 405),
        ("GET", "/v1/embeddings", 404),
    ],
)
def test_no_such_route(method: str, path: str, status: int) -> None:
    with pod() as one:
        answer = one.request(method, path)
        assert (answer.status, list(answer.json())) == (status, ["detail"])
        assert answer.headers["vary"] == "Origin"
    with pod("--compat", "llm-d-0.7") as one:
        answer = one.request(method, path)
        if path != "/v1/embeddings":
            assert answer.status == status
            assert answer.headers["content-type"].startswith("text/plain")
