"""One table by Istio's release: what differs in the configuration, and what servers are told."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.envoy.compat import LATEST, TABLE, istio
from gateway.envoy.config import EnvoyOptions, build
from gateway.envoy.process import GatewayOptions, GatewayProcess
from gateway.envoy.rewrites import CORS_FILTER
from gateway.errors import UsageError
from gateway.manifests.load import load
from tests.e2e import worlds
from tests.gateway.envoy.running import Picker, Server, running

Json = dict[str, Any]
CORS = {"type": "CORS", "cors": {"allowOrigins": ["https://a.example"]}}


def made(release: str, *, bugs: bool = False) -> tuple[Json, list[Json]]:
    """The route with a CORS filter and the clusters."""
    objects = [
        worlds.gateway("gw"),
        worlds.service("svc", "x", 80),
        worlds.route("r", "gw", worlds.rule(worlds.to_service("svc", 80), filters=[CORS])),
    ]
    manifests = load(["-"], "apps", io.StringIO(worlds.dump(*objects)))
    gateway = next(iter(manifests.gateways.values()))
    options = EnvoyOptions(Path("/state"), {80: 18080}, 19000, istio=istio(release, bugs=bugs))
    resources = build(manifests, gateway, options).bootstrap["static_resources"]
    manager = resources["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    return manager["route_config"]["virtual_hosts"][0]["routes"][0], resources["clusters"]


@pytest.mark.parametrize("release", TABLE)
def test_what_a_release_does_otherwise(release: str) -> None:
    row = TABLE[release]
    route, clusters = made(release)
    policy = route["typed_per_filter_config"][CORS_FILTER]
    assert ("forward_not_matching_preflights" in policy) == row.answers_foreign_preflights
    thresholds = clusters[0]["circuit_breakers"]["thresholds"][0]
    assert thresholds.get("track_remaining", False) == row.tracks_remaining


def test_the_rows() -> None:
    assert list(TABLE) == ["1.28", "1.29", "1.30", "1.31"]
    assert [(r.tracks_remaining, r.answers_foreign_preflights) for r in TABLE.values()] == [
        (True, False), (False, False), (False, True), (False, True)
    ]  # fmt: skip
    assert istio("v1.30.2") == TABLE["1.30"]
    assert istio() == TABLE[LATEST]
    assert not TABLE[LATEST].last_pool_picks
    buggy = istio("1.29", bugs=True)
    assert (buggy.name, buggy.last_pool_picks, buggy.cors_drops_picker) == ("1.29", True, True)
    assert (buggy.grpc_has_no_picker, buggy.root_loses_slash) == (True, True)
    with pytest.raises(UsageError, match=r"--istio-release 1\.27: must be one of 1\.28, 1\.29, 1\.30, 1\.31"):
        istio("1.27")


@pytest.mark.parametrize(("release", "seen"), [("1.29", 1), ("1.30", 0)])
def test_whose_a_foreign_preflight_is(tmp_path: Path, release: str, seen: int) -> None:
    async def scenario() -> None:
        server = Server()
        objects = [
            worlds.gateway("gw"),
            worlds.service("svc", "x", 80),
            worlds.route("r", "gw", worlds.rule(worlds.to_service("svc", 80), filters=[CORS])),
        ]
        options = GatewayOptions(concurrency=1, istio_release=release)
        manifests = load(["-"], "apps", io.StringIO(worlds.dump(*objects)))
        gateway = next(iter(manifests.gateways.values()))
        envoy = GatewayProcess(manifests, gateway, tmp_path, options)
        async with await asyncio.start_server(server.serve, *server.address):
            await envoy.start(lambda _: [server.address])
            try:
                headers = {"Origin": "https://b.example", "Access-Control-Request-Method": "POST"}
                async with httpx.AsyncClient() as client:
                    answer = await client.options(f"{envoy.urls[80]}/v1", headers=headers)
                assert (answer.status_code, len(server.asked)) == (200, seen)
            finally:
                await envoy.stop()

    asyncio.run(scenario())


def test_servers_are_told_the_operation(tmp_path: Path) -> None:
    """istiod's words: host, port and path of the cluster; the rule's name where there are several."""

    async def scenario() -> None:
        server = Server()
        picker = Picker(server.address)
        both = worlds.rule(
            worlds.to_service("svc", 80), worlds.to_service("svc", 81), matches=[worlds.prefix("/two")]
        )
        objects = [
            worlds.gateway("gw"),
            worlds.pool("p", "x", "epp"),
            worlds.service("epp", "epp", 9002, appProtocol="http2"),
            {
                **worlds.service("svc", "x", 80),
                "spec": {
                    "selector": {"app": "x"},
                    "ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "b"}],
                },
            },
            worlds.route(
                "r",
                "gw",
                worlds.rule(
                    worlds.to_service("svc", 80), matches=[{"path": {"type": "Exact", "value": "/one"}}]
                ),
                both,
                worlds.rule(worlds.to_pool("p")),
            ),
        ]
        async with (
            running(tmp_path, objects, [server.address], server, picker) as url,
            httpx.AsyncClient() as client,
        ):
            for path in ("/one", "/two/x", "/v1/chat"):
                assert (await client.post(url + path, content=b"x")).status_code == 200
        told = [headers["x-envoy-decorator-operation"] for _, headers, _ in server.asked]
        assert told == [
            "svc.apps.svc.cluster.local:80/one",
            "infra~gw~istio-autogenerated-k8s-gateway~http~*:80/*",
            "p-ip-148de9c5.apps.svc.cluster.local:54321/*",
        ]

    asyncio.run(scenario())
