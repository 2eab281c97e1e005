"""AuthorizationPolicies through a real Envoy: who gets Istio's 403, and what the configuration says."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.envoy import rbac
from gateway.errors import ManifestError
from gateway.manifests.load import Manifests, load
from gateway.manifests.told.unread import unread
from tests.e2e import worlds
from tests.gateway.envoy.running import Server, running

Json = dict[str, Any]
GATEWAY = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "gw"}


def policy(
    name: str,
    *rules: Json,
    action: str = "DENY",
    namespace: str = "infra",
    annotations: dict[str, str] | None = None,
    **spec: Any,
) -> Json:
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": worlds.meta(name, namespace, annotations=annotations or {}),
        "spec": {"action": action, "rules": list(rules), **(spec or {"targetRefs": [GATEWAY]})},
    }


def to(**operation: list[str]) -> Json:
    return {"to": [{"operation": operation}]}


WORLD = [
    worlds.gateway("gw"),
    worlds.service("svc", "x", 80),
    worlds.route("r", "gw", worlds.rule(worlds.to_service("svc", 80))),
]


def read(*objects: Any) -> Manifests:
    return load(["-"], "apps", io.StringIO(worlds.dump(*WORLD, *objects)))


async def statuses(directory: Path, policies: list[Json], requests: list[tuple[str, Json]]) -> list[int]:
    """What each request (path, options) is answered; a refusal has Istio's words and reaches no server."""
    server = Server()
    found = []
    async with (
        running(directory, [*WORLD, *policies], [server.address], server) as url,
        httpx.AsyncClient() as client,
    ):
        for path, options in requests:
            before = len(server.asked)
            answer = await client.request(options.pop("method", "POST"), url + path, **options)
            found.append(answer.status_code)
            if answer.status_code == 403:
                assert (answer.text, len(server.asked)) == ("RBAC: access denied", before)
    return found


# A DENY rule, a request that it is for, and the nearest one that it is not for.
DENIED: list[tuple[Json, tuple[str, Json], tuple[str, Json]]] = [
    (to(paths=["/exact"]), ("/exact?x=1", {}), ("/exact/", {})),
    (to(paths=["/begin*"]), ("/beginning", {}), ("/a/begin", {})),
    (to(paths=["*/end"]), ("/to/the/end", {}), ("/end/to", {})),
    (to(paths=["/a/{*}/c"]), ("/a/b/c", {}), ("/a/b/b/c", {})),
    (to(paths=["/deep/{**}"]), ("/deep/b/b", {}), ("/deeper", {})),
    (to(methods=["DELETE"]), ("/", {"method": "DELETE"}), ("/", {"method": "PUT"})),
    (
        to(hosts=["*.Example.com"]),
        ("/", {"headers": {"Host": "A.example.COM"}}),
        ("/", {"headers": {"Host": "a.example.org"}}),
    ),
    (to(paths=["/not*"], notPaths=["/not/this"]), ("/not/that", {}), ("/not/this", {})),
    (
        {"when": [{"key": "request.headers[x-tier]", "values": ["free"]}]},
        ("/", {"headers": {"x-tier": "free"}}),
        ("/", {"headers": {"x-tier": "paid"}}),
    ),
    (
        {"when": [{"key": "request.headers[x-any]", "values": ["*"]}]},
        ("/", {"headers": {"x-any": "1"}}),
        ("/", {"headers": {"x-other": "1"}}),
    ),
    (
        {**to(paths=["/port"]), "when": [{"key": "destination.port", "values": ["80"]}]},
        ("/port", {}),
        ("/ports", {}),
    ),
    ({**to(paths=["/ip"]), "from": [{"source": {"ipBlocks": ["127.0.0.0/8"]}}]}, ("/ip", {}), ("/ips", {})),
    (
        {**to(paths=["/far"]), "from": [{"source": {"notIpBlocks": ["10.0.0.1"]}}]},
        ("/far", {}),
        ("/fars", {}),
    ),
    (
        {**to(paths=["/token"]), "from": [{"source": {"notRequestPrincipals": ["*"]}}]},
        ("/token", {}),
        ("/tokens", {}),
    ),
    (
        {**to(paths=["/mtls"]), "from": [{"source": {"notPrincipals": ["cluster.local/ns/x/sa/y"]}}]},
        ("/mtls", {}),
        ("/m", {}),
    ),
]


def test_deny(tmp_path: Path) -> None:
    policies = [policy(f"p{i}", rule) for i, (rule, _, _) in enumerate(DENIED)]
    never = [
        policy("ports", to(ports=["443"])),
        policy("ip", {"from": [{"source": {"remoteIpBlocks": ["10.0.0.0/8"]}}]}),
        policy("who", {"from": [{"source": {"principals": ["*"]}}]}),
        policy("token", {"from": [{"source": {"requestPrincipals": ["*"]}}]}),
        policy("nothing"),
        policy("try", {}, annotations={"istio.io/dry-run": "true"}),
        policy("elsewhere", {}, targetRefs=[{**GATEWAY, "name": "other"}]),
        policy("sidecars", {}, namespace="apps", selector={"matchLabels": {"app": "x"}}),
        policy("log", {}, action="AUDIT"),
    ]
    requests = [request for _, denied, passed in DENIED for request in (denied, passed)]
    found = asyncio.run(statuses(tmp_path, [*policies, *never], requests))
    assert found == [403, 200] * len(DENIED)


def test_allow_and_deny(tmp_path: Path) -> None:
    """With an ALLOW policy what no rule fits is refused, and DENY comes first."""
    policies = [
        policy("a", to(paths=["/v1/*"], methods=["POST"]), to(paths=["/health"]), action="ALLOW"),
        policy(
            "b", to(paths=["/labels"]), action="ALLOW",
            selector={"matchLabels": {"gateway.networking.k8s.io/gateway-name": "gw"}},
        ),
        policy("c", to(paths=["/mesh"]), action="ALLOW", namespace="istio-system", selector={}),
        policy("d", to(paths=["/v1/files"])),
    ]  # fmt: skip
    expected = {"/v1/chat": 200, "/health": 200, "/labels": 200, "/mesh": 200, "/v1/files": 403, "/v2": 403}
    requests: list[tuple[str, Json]] = [(path, {}) for path in expected]
    found = asyncio.run(statuses(tmp_path, policies, [*requests, ("/v1/chat", {"method": "GET"})]))
    assert found == [*expected.values(), 403]


def test_an_allow_policy_without_rules_allows_nothing(tmp_path: Path) -> None:
    bare = {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": worlds.meta("x", "infra"),
    }
    assert asyncio.run(statuses(tmp_path, [bare], [("/", {})])) == [403]


def test_names_and_order_are_istio_s() -> None:
    manifests = read(policy("a", {}, {}, action="ALLOW"), policy("d", to(paths=["/x"])))
    deny, allow = rbac.filters(manifests.policies, next(iter(manifests.gateways.values())), [(80, 8080)])
    path = {"url_path": {"path": {"exact": "/x"}}}
    assert deny == {
        "name": "envoy.filters.http.rbac",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
            "rules": {
                "action": "DENY",
                "policies": {
                    "ns[infra]-policy[d]-rule[0]": {
                        "permissions": [{"and_rules": {"rules": [{"or_rules": {"rules": [path]}}]}}],
                        "principals": [{"and_ids": {"ids": [{"any": True}]}}],
                    }
                },
            },
        },
    }  # fmt: skip
    rules = allow["typed_config"]["rules"]
    assert (rules["action"], list(rules["policies"])) == (
        "ALLOW", ["ns[infra]-policy[a]-rule[0]", "ns[infra]-policy[a]-rule[1]"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (policy("p", {}, action="BLOCK"), "must be one of ALLOW, AUDIT, CUSTOM, DENY, is 'BLOCK'"),
        (policy("p", to(ports=["http"])), "must be a port from 0 to 65535"),
        (policy("p", to(path=["/x"])), "is empty; it takes hosts, methods, paths, ports"),
        (policy("p", {"from": [{"source": {"ipBlocks": ["x"]}}]}), "must be an address or a CIDR block"),
        (
            policy("p", {"when": [{"key": "request.path", "values": ["x"]}]}),
            "knows no attribute 'request.path'",
        ),
        (policy("p", {"when": [{"key": "request.headers[x", "values": ["x"]}]}), "in brackets"),
        (policy("p", {"when": [{"key": "source.ip"}]}), "needs values or notValues"),
        (policy("p", to(paths=[""])), "must not be empty"),
        (policy("p", {}, targetRefs=[GATEWAY], selector={"matchLabels": {"a": "b"}}), "only one of"),
    ],
)
def test_what_istio_refuses(made: Json, words: str) -> None:
    with pytest.raises(ManifestError) as refused:
        read(made)
    assert words in str(refused.value)


def test_what_has_no_effect_is_told() -> None:
    told = unread(read(
        policy("a", {}, action="CUSTOM", provider={"name": "x"}),
        policy("b", {}, annotations={"istio.io/dry-run": "true"}),
        policy("c", {}, namespace="apps", selector={"matchLabels": {"app": "x"}}),
        policy("d", {"when": [{"key": "request.auth.claims[iss]", "values": ["x"]}]}),
        policy("e", {}),
    ))  # fmt: skip
    assert [(u.resource.name, u.consequence) for u in told] == [
        ("a", "action CUSTOM lets every request pass here"),
        ("b", "a dry run lets every request pass here"),
        ("c", "it applies to no Gateway of the manifests, and pods have no sidecar that would enforce it"),
        ("d", "no token is checked here, so nobody fits request.auth.claims[iss]"),
    ]
