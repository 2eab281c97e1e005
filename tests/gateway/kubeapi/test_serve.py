"""The API on a port: it starts, ends with whoever still watches, and starts again."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from gateway.kubeapi.podobject import pod
from gateway.kubeapi.serve import KubeApi, kubeconfig
from gateway.kubeapi.store import Store
from gateway.machine.ports import is_free
from tests.ports import free_port


def test_stop_ends_watches_and_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    async def scenario() -> list[str]:
        store, port = Store(), free_port()
        store.apply(pod("p", "ns", "127.0.0.2", {}, (8000,)))
        api = KubeApi(store, port)
        await api.start()
        seen: list[str] = []
        async with httpx.AsyncClient(base_url=api.url, timeout=5) as client:
            query = {"watch": "true", "resourceVersion": "0"}
            async with client.stream("GET", "/api/v1/pods", params=query) as answer:
                lines = answer.aiter_lines()
                seen.append(await anext(lines))
                store.apply(pod("p", "ns", "127.0.0.2", {}, (8000,), ready=False))
                stopping = asyncio.create_task(api.stop())
                seen += [line async for line in lines]
            await stopping
        assert is_free("127.0.0.1", port)
        return seen

    added, modified = asyncio.run(scenario())
    assert '"type": "ADDED"' in added
    assert '"type": "MODIFIED"' in modified
    assert capfd.readouterr() == ("", "")


def test_it_starts_again_on_the_same_port() -> None:
    async def scenario() -> list[int]:
        api = KubeApi(Store(), free_port())
        codes = []
        async with httpx.AsyncClient(base_url=api.url) as client:
            for _ in range(2):
                await api.start()
                await api.start()  # it runs: nothing happens
                codes.append((await client.get("/readyz")).status_code)
                await api.stop()
                await api.stop()
        return codes

    assert asyncio.run(scenario()) == [200, 200]


def test_a_taken_port_is_an_error() -> None:
    async def scenario() -> None:
        port = free_port()
        first, second = KubeApi(Store(), port), KubeApi(Store(), port)
        await first.start()
        try:
            with pytest.raises(OSError, match="in use"):
                await second.start()
        finally:
            await first.stop()

    asyncio.run(scenario())


def test_kubeconfig_names_the_server() -> None:
    assert 'server: "http://127.0.0.1:1"' in kubeconfig("http://127.0.0.1:1")


def test_a_web_page_reads_nothing() -> None:
    async def scenario() -> list[int]:
        port = free_port()
        api = KubeApi(Store(), port)
        await api.start()
        codes = []
        async with httpx.AsyncClient(base_url=api.url) as client:
            for headers in (
                {"Host": f"evil.example:{port}"},
                {"Origin": "http://evil.example"},
                {"Host": f"localhost:{port}"},
            ):
                answer = await client.get("/api/v1/secrets", headers=headers)
                codes.append(answer.status_code)
                assert answer.json()["apiVersion"] == "v1"
        await api.stop()
        return codes

    codes = asyncio.run(scenario())
    assert codes[:2] == [403, 403]
    assert codes[2] != 403
