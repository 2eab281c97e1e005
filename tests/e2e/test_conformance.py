"""The conformance cases of the Gateway API Inference Extension, re-expressed against our gateway.

One stack stands for the suite's base: two gateways, a primary and a secondary pool, a data-parallel pool, and
pickers that go where the header test-epp-endpoint-selection says.
"""

from __future__ import annotations

import collections
import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.e2e import worlds
from tests.e2e.labkit import Lab, Labs
from tests.waiting import until

SELECT = "test-epp-endpoint-selection"
PRIMARY, SECONDARY = "primary.example.com", "secondary.example.com"
BODY = {"model": "base", "prompt": "Write as if you were a critic: San Francisco", "max_tokens": 2}


def base() -> str:
    pools = {
        n: worlds.to_pool(f"{n}-pool") for n in ("primary", "secondary", "dp", "no-epp", "no-ref", "h2c")
    }
    paths = {
        name: worlds.rule(
            *backends,
            matches=[worlds.prefix(f"/{name}")],
            filters=[worlds.rewrite_to("/v1/completions")],
        )
        for name, backends in {
            "follow": [pools["primary"]],
            "dp": [pools["dp"]],
            "weighted": [
                worlds.to_pool("primary-pool", weight=70),
                worlds.to_pool("secondary-pool", weight=30),
            ],
            "wrong-port": [worlds.to_pool("primary-pool", port=9999)],
            "same-port": [worlds.to_pool("primary-pool", port=8000)],
            "missing-pool": [worlds.to_pool("does-not-exist")],
            "invalid-epp": [pools["no-epp"]],
            "missing-ref": [pools["no-ref"]],
            "h2c": [pools["h2c"]],
            "rule-a": [pools["primary"]],
            "rule-b": [pools["secondary"]],
        }.items()
    }
    return worlds.dump(
        worlds.gateway("primary"),
        worlds.gateway("secondary"),
        worlds.servers("primary"),
        worlds.servers("secondary"),
        worlds.servers("dp", ports=(8000, 8002, 8004)),
        worlds.pool("primary-pool", "primary", "primary-epp"),
        worlds.pool("secondary-pool", "secondary", "secondary-epp", fail_open=True),
        worlds.pool("dp-pool", "dp", "dp-epp", ports=(8000, 8002, 8004)),
        worlds.pool("no-epp-pool", "primary", "no-such-service"),
        worlds.pool("no-ref-pool", "primary", None),
        worlds.pool("h2c-pool", "primary", "primary-epp", appProtocol="kubernetes.io/h2c"),
        worlds.picker("primary-epp", "primary-pool"),
        worlds.picker("secondary-epp", "secondary-pool"),
        worlds.picker("dp-epp", "dp-pool"),
        worlds.route("primary", "primary", *paths.values(), hosts=(PRIMARY,)),
        worlds.route(
            "secondary",
            "secondary",
            worlds.rule(pools["secondary"], matches=[worlds.prefix("/v1")]),
            hosts=(SECONDARY,),
        ),
    )


@pytest.fixture(scope="module")
def lab(labs: Labs) -> Lab:
    return labs.up("-f", labs.manifests(base()))


class Ask:
    """Requests to a gateway of the lab."""

    def __init__(self, lab: Lab, http: httpx.Client) -> None:
        self.http = http
        self.urls = {g["name"]: g["url"] for g in lab.status["gateways"]}

    def __call__(
        self, path: str, select: str = "", gateway: str = "primary", host: str = "", **body: Any
    ) -> httpx.Response:
        headers = {"host": host or f"{gateway}.example.com"}
        if select:
            headers[SELECT] = select
        return self.http.post(self.urls[gateway] + path, json={**BODY, **body}, headers=headers)


@pytest.fixture(scope="module")
def ask(lab: Lab, http: httpx.Client) -> Ask:
    return Ask(lab, http)


def pods_of(lab: Lab, workload: str) -> list[dict[str, Any]]:
    return [p for p in lab.pods if p["workload"] == workload]


def condition(lab: Lab, words: str) -> bool:
    return any(words in note for note in lab.status["notes"])


def test_gateway_following_epp_routing(lab: Lab, ask: Ask) -> None:
    pods = pods_of(lab, "primary")
    for pod in pods:
        answer = ask("/follow", select=pod["address"])
        assert (answer.status_code, answer.headers["x-inference-pod"]) == (200, pod["name"])
    chosen = {p["name"] for p in pods[1:]}
    both = ",".join(p["address"] for p in pods[1:])
    with ThreadPoolExecutor(10) as threads:
        answers = list(threads.map(lambda _: ask("/follow", select=both), range(100)))
    assert {a.status_code for a in answers} == {200}
    assert {a.headers["x-inference-pod"] for a in answers} == chosen


def test_gateway_following_epp_routing_with_data_parallelism(lab: Lab, ask: Ask) -> None:
    pods = pods_of(lab, "dp")
    for pod in pods:
        for port in (8000, 8002, 8004):
            answer = ask("/dp", select=f"{pod['address']}:{port}")
            served = (answer.headers["x-inference-pod"], answer.headers["x-inference-port"])
            assert served == (pod["name"], str(port))
    first, second, _ = pods
    select = f"{first['address']},{second['address']}:8002"
    with ThreadPoolExecutor(10) as threads:
        answers = list(threads.map(lambda _: ask("/dp", select=select), range(60)))
    ports: dict[str, set[str]] = {}
    for answer in answers:
        ports.setdefault(answer.headers["x-inference-pod"], set()).add(answer.headers["x-inference-port"])
    assert ports.keys() == {first["name"], second["name"]}
    assert ports[second["name"]] == {"8002"}


def test_gateway_destination_endpoint_served(lab: Lab, ask: Ask) -> None:
    for i, pod in enumerate(pods_of(lab, "primary")):
        assert ask(f"/follow?served={i}", select=pod["address"]).status_code == 200
        entry = lab.access_log(f"/follow?served={i}")
        assert entry["served"] == f"{pod['address']}:8000"


def test_gateway_weighted_across_two_inference_pools(lab: Lab, ask: Ask) -> None:
    """Each pool's own picker decides, though both are told the union of the endpoints."""
    total = 600
    names = {p["name"]: p["workload"] for p in lab.pods}
    every = ",".join(p["address"] for p in lab.pods)
    with ThreadPoolExecutor(5) as threads:
        answers = list(threads.map(lambda _: ask("/weighted", select=every), range(total)))
    assert {a.status_code for a in answers} == {200}
    hits = collections.Counter(names[a.headers["x-inference-pod"]] for a in answers)
    assert set(hits) == {"primary", "secondary"}
    tolerance = 5 * math.sqrt(0.7 * 0.3 / total)  # 0.094; one run in two million is beyond it
    assert hits["primary"] / total == pytest.approx(0.7, abs=tolerance)


@pytest.mark.parametrize("path", ["/wrong-port", "/same-port"])
def test_inference_pool_http_route_port_validation(lab: Lab, ask: Ask, path: str) -> None:
    """A backendRef's port is ignored for a pool, right or wrong."""
    assert ask(path, pods_of(lab, "primary")[0]["address"]).status_code == 200


def test_inference_pool_app_protocol(lab: Lab, ask: Ask) -> None:
    """h2c is spoken to the pods of such a pool; these know HTTP/1.1 only. The picker is asked as ever."""
    pod = pods_of(lab, "primary")[0]
    assert ask("/h2c?n=1", pod["address"]).status_code in {502, 503}
    entry = lab.access_log("/h2c?n=1")
    assert entry["picked"] == f"{pod['address']}:8000"
    assert "protocol_error" in entry["details"]


def test_http_route_invalid_inference_pool_ref(lab: Lab, ask: Ask) -> None:
    assert condition(lab, "ResolvedRefs is False, BackendNotFound: backend(does-not-exist) not found")
    assert ask("/missing-pool").status_code == 500


def test_inference_pool_invalid_epp_service(lab: Lab, ask: Ask) -> None:
    assert condition(lab, "InferencePool apps/no-epp-pool at Gateway infra/primary: ResolvedRefs is False")
    assert ask("/invalid-epp").status_code == 500


def test_inference_pool_missing_epp_ref(lab: Lab, ask: Ask) -> None:
    assert condition(lab, "ExtensionRef not defined")
    assert not condition(lab, "HTTPRoute apps/primary at Gateway infra/primary: Accepted is False")
    assert ask("/missing-ref").status_code == 500


def test_http_route_multiple_rules_different_pools(lab: Lab, ask: Ask) -> None:
    names = {p["name"]: p["workload"] for p in lab.pods}
    every = ",".join(p["address"] for p in lab.pods)
    for path, workload in (("/rule-a", "primary"), ("/rule-b", "secondary")):
        seen = {names[ask(path, every).headers["x-inference-pod"]] for _ in range(8)}
        assert seen == {workload}


def test_http_route_multiple_gateways_different_pools(lab: Lab, ask: Ask) -> None:
    names = {p["name"]: p["workload"] for p in lab.pods}
    there = ask("/v1/completions", ",".join(p["address"] for p in lab.pods), "secondary")
    assert names[there.headers["x-inference-pod"]] == "secondary"
    assert ask("/follow", gateway="secondary").status_code == 404, "a route of the other gateway"
    assert ask("/v1/completions", gateway="primary", host=SECONDARY).status_code == 404


def test_epp_unavailable(lab: Lab, ask: Ask) -> None:
    """FailOpen goes on without picker; FailClose answers 500; both heal when the picker is back."""
    pod = pods_of(lab, "secondary")[0]
    assert ask("/v1/completions", pod["address"], "secondary").headers["x-inference-pod"] == pod["name"]
    for name in ("secondary-epp", "primary-epp"):
        lab.ask("kill", name=name)
    until(lambda: _picker_endpoints_gone(lab), what="Envoy dropped the dead pickers")
    answers = [ask("/v1/completions", pod["address"], "secondary") for _ in range(30)]
    assert {a.status_code for a in answers} == {200}
    assert len({a.headers["x-inference-pod"] for a in answers}) == 3, "round robin over the pool"
    assert {ask("/follow").status_code for _ in range(10)} == {500}
    for name in ("secondary-epp", "primary-epp"):
        lab.ask("restart", name=name)
    assert ask("/follow", pods_of(lab, "primary")[1]["address"]).status_code == 200
    back = ask("/v1/completions", pod["address"], "secondary")
    assert (back.headers["x-inference-pod"], "x-went-into-resp-headers" in back.headers) == (
        pod["name"],
        True,
    )


def _picker_endpoints_gone(lab: Lab) -> bool:
    for gateway in lab.status["gateways"]:
        clusters = httpx.get(gateway["admin_url"] + "/clusters?format=json").json()["cluster_statuses"]
        for cluster in clusters:
            is_killed = "|9002||" in cluster["name"] and "dp-epp" not in cluster["name"]
            if is_killed and cluster.get("host_statuses"):
                return False
    return True
