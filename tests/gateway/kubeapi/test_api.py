"""The API on the wire, as client-go and kubectl use it."""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import uvicorn

from gateway.kubeapi import watch as watching
from gateway.kubeapi.api import create_app
from gateway.kubeapi.podobject import pod
from gateway.kubeapi.query import Query
from gateway.kubeapi.store import Store
from tests.waiting import until_async

POOL = {
    "apiVersion": "inference.networking.k8s.io/v1",
    "kind": "InferencePool",
    "metadata": {"name": "sim", "namespace": "ns"},
    "spec": {"targetPorts": [{"number": 8000}], "endpointPickerRef": {"name": "epp"}},
}


def a_store() -> Store:
    store = Store()
    store.apply(POOL)
    for i in (2, 3):
        store.apply(pod(f"p{i}", "ns", f"127.0.0.{i}", {"app": "x", "n": str(i)}, (8000,)))
    return store


@asynccontextmanager
async def serving(store: Store) -> AsyncIterator[httpx.AsyncClient]:
    """The app on a free loopback port below 32768."""
    for port in range(21000, 21200):
        sock = socket.socket()
        try:
            sock.bind(("127.0.0.1", port))
            break
        except OSError:
            sock.close()
    config = uvicorn.Config(create_app(store), log_config=None, lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[sock]))
    await until_async(lambda: server.started)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            yield client
    finally:
        server.should_exit = True
        await task
        sock.close()


def run(store: Store, body: Any) -> None:
    async def main() -> None:
        async with serving(store) as client:
            await body(client)

    asyncio.run(main())


def test_discovery_lists_groups_and_resources() -> None:
    async def body(client: httpx.AsyncClient) -> None:
        groups = (await client.get("/apis")).json()["groups"]
        assert {g["name"] for g in groups} >= {"inference.networking.k8s.io", "llm-d.ai"}
        found = (await client.get("/apis/inference.networking.k8s.io/v1")).json()
        assert [r["name"] for r in found["resources"]] == ["inferencepools"]
        assert (await client.get("/api")).json()["versions"] == ["v1"]
        assert (await client.get("/apis/unknown.example/v1")).status_code == 404
        assert (await client.get("/healthz")).text == "ok"

    run(a_store(), body)


def test_list_get_and_errors() -> None:
    async def body(client: httpx.AsyncClient) -> None:
        pods = (await client.get("/api/v1/namespaces/ns/pods", params={"labelSelector": "n=3"})).json()
        assert pods["kind"] == "PodList"
        assert pods["metadata"]["resourceVersion"] == "4"
        assert [p["status"]["podIP"] for p in pods["items"]] == ["127.0.0.3"]
        assert (await client.get("/api/v1/namespaces/other/pods")).json()["items"] == []
        assert (await client.get("/api/v1/namespaces/ns/pods/p2")).json()["metadata"]["name"] == "p2"
        missing = await client.get("/api/v1/namespaces/ns/pods/nope")
        assert (missing.status_code, missing.json()["message"]) == (404, 'pods "nope" not found')
        refused = await client.delete("/api/v1/namespaces/ns/pods/p2")
        assert (refused.status_code, refused.json()["reason"]) == (405, "MethodNotAllowed")
        assert (await client.get("/api/v1/pods", params={"labelSelector": "a b c"})).status_code == 400

    run(a_store(), body)


async def events(
    client: httpx.AsyncClient, store: Store, path: str, count: int, **params: str
) -> list[dict[str, Any]]:
    """The `count` events that a watch sends, and no other before one that is then caused."""
    last = "last-of-all"
    found: list[dict[str, Any]] = []
    async with client.stream("GET", path, params={"watch": "true"} | params) as answer:
        assert answer.status_code == 200
        async for line in answer.aiter_lines():
            found.append(json.loads(line))
            if found[-1]["object"]["metadata"].get("name") == last:
                return found[:-1]
            if len(found) == count:
                store.apply(pod(last, "ns", "127.0.0.9", {"app": "x"}, (8000,)))
    raise AssertionError(f"the watch ended after {summary(found)}")


def summary(found: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(e["type"], e["object"]["metadata"].get("name", "")) for e in found]


def test_watch_from_a_version_replays_and_follows() -> None:
    store = a_store()

    async def body(client: httpx.AsyncClient) -> None:
        path = "/api/v1/namespaces/ns/pods"
        watching = asyncio.create_task(events(client, store, path, 3, resourceVersion="3"))
        await asyncio.sleep(0.1)
        store.apply(pod("p2", "ns", "127.0.0.2", {"app": "x"}, (8000,), ready=False))
        store.delete(pod("p3", "ns", "", {}, ()))
        assert summary(await watching) == [("ADDED", "p3"), ("MODIFIED", "p2"), ("DELETED", "p3")]

    run(store, body)


def test_watch_list_sends_what_is_there_then_a_bookmark() -> None:
    store = a_store()

    async def body(client: httpx.AsyncClient) -> None:
        params = {"sendInitialEvents": "true", "allowWatchBookmarks": "true"}
        found = await events(client, store, "/api/v1/namespaces/ns/pods", 3, **params)
        assert summary(found) == [("ADDED", "p2"), ("ADDED", "p3"), ("BOOKMARK", "")]
        meta = found[-1]["object"]["metadata"]
        assert meta == {"resourceVersion": "4", "annotations": {"k8s.io/initial-events-end": "true"}}

    run(store, body)


def test_a_watch_ends_when_its_time_is_over() -> None:
    async def body(client: httpx.AsyncClient) -> None:
        params = {"watch": "true", "resourceVersion": "4", "timeoutSeconds": "1"}
        answer = await client.get("/api/v1/pods", params=params)
        assert (answer.status_code, answer.text) == (200, "")

    run(a_store(), body)


@pytest.mark.parametrize("name", ["timeoutSeconds", "limit", "resourceVersion", "continue"])
def test_what_is_no_number_is_400(name: str) -> None:
    odd = ["x", "nan", "1e3", "0.5", "9" * 5000, "inf", "\uff11", "1_0", "W10", "é", "-"]

    async def body(client: httpx.AsyncClient) -> None:
        for value, watch in itertools.product(odd, ("false", "true")):
            answer = await client.get("/api/v1/pods", params={"watch": watch, name: value})
            assert (answer.status_code, answer.json()["reason"]) == (400, "BadRequest")
            assert len(answer.content) < 1000

    run(a_store(), body)


def test_a_negative_time_is_over_at_once() -> None:
    async def body(client: httpx.AsyncClient) -> None:
        answer = await client.get("/api/v1/pods", params={"watch": "true", "timeoutSeconds": "-1"})
        assert (answer.status_code, answer.text) == (200, "")

    run(a_store(), body)


def test_a_version_that_is_not_there_yet_is_504() -> None:
    """A client that knows the store of an earlier stack must not wait for versions of that one."""

    async def body(client: httpx.AsyncClient) -> None:
        for watch in ("false", "true"):
            params = {"watch": watch, "resourceVersion": "5"}
            answer = await client.get("/api/v1/pods", params=params)
            said = answer.json()
            assert (answer.status_code, said["reason"]) == (504, "Timeout")
            assert said["message"] == "Too large resource version: 5, current: 4"
            assert said["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"

    run(a_store(), body)


def test_lists_come_in_parts() -> None:
    store = Store()
    for i in range(7):
        store.apply(pod(f"p{i}", f"ns{i % 2}", "127.0.0.2", {}, ()))

    async def body(client: httpx.AsyncClient) -> None:
        whole = (await client.get("/api/v1/pods")).json()
        assert set(whole["metadata"]) == {"resourceVersion"}
        found, params, left = [], {"limit": "3"}, []
        while True:
            part = (await client.get("/api/v1/pods", params=params)).json()
            found += part["items"]
            left.append(part["metadata"].get("remainingItemCount"))
            if (token := part["metadata"].get("continue")) is None:
                break
            params["continue"] = token
        assert (found, left) == (whole["items"], [4, 1, None])
        store.apply(pod("p9", "ns0", "127.0.0.2", {}, ()))
        stale = await client.get("/api/v1/pods", params=params)
        assert (stale.status_code, stale.json()["reason"]) == (410, "Expired")
        for none in ("0", "-3", "8"):
            every = (await client.get("/api/v1/pods", params={"limit": none})).json()
            assert len(every["items"]) == 8

    run(store, body)


def test_a_watcher_that_does_not_read_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "MOST_WAITING", 5)
    store = a_store()
    kind = next(k for k in store.kinds if k.plural == "pods")
    watch = watching.Watch(store, kind, "", lambda _: True, Query(watch=True, version=store.version))
    watch.begin()
    for i in range(100):
        store.apply(pod("p2", "ns", "127.0.0.2", {"n": f"again{i}"}, (8000,)))

    async def lines() -> list[bytes]:
        return [line async for line in watch.lines()]

    assert len(asyncio.run(lines())) == 6


def test_an_object_that_stops_to_match_is_deleted_for_that_watcher() -> None:
    store = a_store()

    async def body(client: httpx.AsyncClient) -> None:
        watching = asyncio.create_task(
            events(client, store, "/api/v1/pods", 2, resourceVersion="4", labelSelector="app=x")
        )
        await asyncio.sleep(0.1)
        store.apply(pod("p2", "ns", "127.0.0.2", {"app": "y"}, (8000,)))
        store.apply(pod("p2", "ns", "127.0.0.2", {"app": "x"}, (8000,)))
        assert summary(await watching) == [("DELETED", "p2"), ("ADDED", "p2")]

    run(store, body)


def test_a_version_too_old_is_410_and_one_that_is_no_number_400() -> None:
    store = Store(history=1)
    for i in range(3):
        store.apply(pod(f"p{i}", "ns", "127.0.0.2", {}, ()))

    async def body(client: httpx.AsyncClient) -> None:
        params = {"watch": "true", "resourceVersion": "1"}
        gone = await client.get("/api/v1/pods", params=params)
        assert (gone.status_code, gone.json()["reason"]) == (410, "Expired")
        wrong = await client.get("/api/v1/pods", params=params | {"resourceVersion": "x"})
        assert wrong.status_code == 400

    run(store, body)


def test_kubectl_reads_it() -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not in PATH")

    async def body(client: httpx.AsyncClient) -> None:
        command = [kubectl, "--server", str(client.base_url), "get", "pods,inferencepools", "-A"]
        process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        out, _ = await asyncio.wait_for(process.communicate(), 30)
        text = out.decode()
        assert process.returncode == 0
        assert "pod/p2" in text
        assert "1/1" in text
        assert "inferencepool.inference.networking.k8s.io/sim" in text

    run(a_store(), body)
