"""Routes, filters, references and listeners on a real Envoy: Gateway API's rules as Istio has them."""

from __future__ import annotations

import collections
import datetime
import http.client
import json
import socket
from typing import Any
from urllib.parse import urlsplit

import h2.config
import h2.connection
import h2.events
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.e2e import worlds
from tests.e2e.labkit import Lab, Labs

ROUND_ROBIN = """
apiVersion: inference.networking.x-k8s.io/v1alpha1
kind: EndpointPickerConfig
plugins: [{type: random-picker}]
schedulingProfiles: [{name: default, plugins: [{pluginRef: random-picker}]}]
"""
BODY = {"model": "base", "prompt": "hello", "max_tokens": 2}


def to_main(**more: Any) -> dict[str, Any]:
    return worlds.to_pool("main-pool", **more)


def completions_at(path: str, *backends: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A rule that answers completions at a path of its own."""
    filters = [worlds.rewrite_to("/v1/completions"), *more.pop("filters", [])]
    return worlds.rule(*(backends or (to_main(),)), matches=[worlds.prefix(path)], filters=filters, **more)


def certificate_of(name: str) -> tuple[bytes, bytes]:
    """Key and self-signed certificate, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private, certificate.public_bytes(encoding)


def world() -> str:
    headers = {"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": ["x-drop"]}}
    answer = {
        "type": "ResponseHeaderModifier",
        "responseHeaderModifier": {"set": [{"name": "x-lab", "value": "yes"}], "remove": ["vary"]},
    }
    redirect = {"type": "RequestRedirect", "requestRedirect": {"path": {
        "type": "ReplacePrefixMatch", "replacePrefixMatch": "/v1"}, "statusCode": 301}}  # fmt: skip
    key, certificate = certificate_of("lab.example")
    tls = {
        **worlds.listener("tls", 8443),
        "protocol": "HTTPS",
        "tls": {"certificateRefs": [{"name": "cert"}]},
    }
    tier_in = {"from": "Selector", "selector": {"matchLabels": {"tier": "in"}}}
    matched = {
        "path": {"type": "Exact", "value": "/matched"},
        "method": "POST",
        "headers": [{"name": "x-tier", "value": "gold|silver", "type": "RegularExpression"}],
        "queryParams": [{"name": "q", "value": "1"}],
    }
    return worlds.dump(
        worlds.gateway("gw", worlds.listener(), worlds.listener("other", 8081, "Same"),
                       worlds.listener("labelled", 8082, tier_in), tls,
                       worlds.listener("wild", 8083, hostname="*.example.com")),
        {"apiVersion": "v1", "kind": "Secret", "metadata": worlds.meta("cert", "infra"),
         "stringData": {"tls.key": key.decode(), "tls.crt": certificate.decode()}},
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "inside", "labels": {"tier": "in"}}},
        worlds.servers("main", 2),
        worlds.servers("slow", 1, ["--time-to-first-token", "3s"]),
        worlds.pool("main-pool", "main", "epp"),
        worlds.pool("slow-pool", "slow", "slow-epp"),
        worlds.picker("epp", "main-pool", ROUND_ROBIN),
        worlds.picker("slow-epp", "slow-pool", ROUND_ROBIN),
        worlds.service("plain", "main", 80, 8000),
        worlds.route(
            "rules", "gw",
            completions_at("/changed", filters=[headers, answer]),
            worlds.rule(matches=[worlds.prefix("/moved")], filters=[redirect]),
            completions_at("/deep/er"),
            worlds.rule(to_main(), matches=[matched], filters=[worlds.rewrite_to("/v1/completions")]),
            completions_at("/service", worlds.to_service("plain", 80)),
            completions_at("/half", to_main(weight=1), worlds.to_service("plain", 80, weight=1)),
            completions_at("/partly", to_main(weight=1), worlds.to_service("nowhere", 80, weight=1)),
            completions_at("/nothing", to_main(weight=0)),
            completions_at("/impatient", worlds.to_pool("slow-pool"), timeouts={"request": "300ms"}),
            completions_at("/cors", filters=[{"type": "CORS", "cors": {"allowOrigins": ["https://a.example"]}}]),
            sectionName="http",
        ),
        worlds.route("models", "gw", worlds.rule(to_main(), matches=[worlds.prefix("/v1/models")]),
                     sectionName="http"),
        worlds.route("denied", "gw", completions_at("/x"), sectionName="other"),
        worlds.route("elsewhere", "gw", completions_at("/x", to_main(namespace="apps")), namespace="outside",
                     sectionName="http"),
        worlds.route("inside", "gw", completions_at("/x", to_main(namespace="apps")), namespace="inside",
                     sectionName="labelled"),
        worlds.grant("apps", "inside", {"group": "inference.networking.k8s.io", "kind": "InferencePool"}),
        worlds.route("hosts", "gw", completions_at("/x"), hosts=("a.example.com", "b.other.com"),
                     sectionName="wild"),
    )  # fmt: skip


@pytest.fixture(scope="module")
def lab(labs: Labs) -> Lab:
    return labs.up("-f", labs.manifests(world()))


class Ask:
    def __init__(self, lab: Lab, client: httpx.Client) -> None:
        self.client = client
        self.urls = {x["port"]: x["url"] for x in lab.gateway("gw")["listeners"]}

    def __call__(self, path: str, port: int = 80, method: str = "POST", **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.request(method, self.urls[port] + path, json=BODY, headers=named)


@pytest.fixture(scope="module")
def ask(lab: Lab, http: httpx.Client) -> Ask:
    return Ask(lab, http)


def picked(answer: httpx.Response) -> bool:
    return "x-went-into-resp-headers" in answer.headers


def test_header_modifiers(ask: Ask) -> None:
    answer = ask("/changed", x_drop="1")
    assert (answer.status_code, answer.headers["x-lab"], picked(answer)) == (200, "yes", True)
    assert "vary" not in answer.headers


def test_redirect(ask: Ask) -> None:
    answer = ask("/moved/models")
    assert answer.status_code == 301
    assert answer.headers["location"] == ask.urls[80] + "/v1/models"


def test_prefix_rewrite_matches_path_elements(ask: Ask) -> None:
    assert ask("/deep/er").status_code == 200
    assert ask("/deep/erX").status_code == 404
    assert ask("/deep").status_code == 404


@pytest.mark.parametrize(
    ("method", "query", "tier", "status"),
    [
        ("POST", "?q=1", "gold", 200),
        ("POST", "?q=1", "bronze", 404),
        ("POST", "?q=2", "gold", 404),
        ("PUT", "?q=1", "gold", 404),
    ],
)
def test_all_conditions_of_a_match(ask: Ask, method: str, query: str, tier: str, status: int) -> None:
    assert ask("/matched" + query, method=method, x_tier=tier).status_code == status


def test_a_service_backend_has_no_picker(ask: Ask) -> None:
    answers = [ask("/service") for _ in range(20)]
    assert {(a.status_code, picked(a)) for a in answers} == {(200, False)}
    assert len({a.headers["x-inference-pod"] for a in answers}) == 2


def test_weights_between_a_pool_and_a_service(ask: Ask) -> None:
    seen = collections.Counter(picked(ask("/half")) for _ in range(60))
    assert min(seen[True], seen[False]) > 12


def test_the_invalid_part_of_a_weighted_rule_answers_500(ask: Ask) -> None:
    seen = collections.Counter(ask("/partly").status_code for _ in range(60))
    assert seen.keys() == {200, 500}
    assert min(seen.values()) > 12


def test_no_weight_at_all_answers_500(ask: Ask) -> None:
    assert ask("/nothing").status_code == 500


def test_request_timeout(ask: Ask) -> None:
    assert ask("/impatient").status_code == 504


def test_cors_keeps_the_picker(ask: Ask) -> None:
    answer = ask("/cors", origin="https://a.example")
    assert (answer.headers["access-control-allow-origin"], picked(answer)) == ("https://a.example", True)


def test_get_is_picked_too(ask: Ask) -> None:
    answer = ask("/v1/models", method="GET")
    assert answer.status_code == 200
    assert picked(answer)


def test_allowed_routes_of_listeners(lab: Lab, ask: Ask) -> None:
    assert ask("/x", port=8081).status_code == 404, "other: routes of the gateway's own namespace only"
    assert ask("/x", port=8082).status_code == 200, "labelled: namespaces with tier=in"
    assert any("denied" in n and "NotAllowedByListeners" in n for n in lab.status["notes"])


def test_a_pool_of_another_namespace_needs_a_grant(lab: Lab, ask: Ask) -> None:
    assert ask("/x").status_code == 500, "namespace outside has no ReferenceGrant"
    assert any("outside/elsewhere" in n and "RefNotPermitted" in n for n in lab.status["notes"])


def test_hostnames_intersect(ask: Ask) -> None:
    for host, status in (("a.example.com", 200), ("b.other.com", 404), ("c.example.com", 404)):
        assert ask("/x", port=8083, host=host).status_code == status


def test_an_https_listener(ask: Ask) -> None:
    assert ask.urls[8443].startswith("https://")
    with httpx.Client(verify=False) as client:
        answer = client.post(ask.urls[8443] + "/v1/models", json=BODY)
    assert (answer.status_code, answer.headers["server"]) == (404, "istio-envoy"), "no route of this listener"


def test_http_1_1_client(ask: Ask) -> None:
    place = urlsplit(ask.urls[80])
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=5)
    for _ in range(2):  # the connection is kept
        connection.request("POST", "/deep/er", json.dumps(BODY))
        answer = connection.getresponse()
        assert (answer.version, answer.status) == (11, 200)
        assert json.loads(answer.read())["object"] == "text_completion"
    connection.close()


def test_a_client_that_expects_100_continue(ask: Ask) -> None:
    """The picker waits for the body and Envoy leaves the 100 to the model server, as in Istio."""
    place = urlsplit(ask.urls[80])
    body = json.dumps({**BODY, "prompt": "x " * 10_000}).encode()
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=10)
    connection.putrequest("POST", "/deep/er")
    connection.putheader("Expect", "100-continue")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders()
    connection.send(body)  # unasked, as curl does after a second
    answer = connection.getresponse()
    assert (answer.status, "x-went-into-resp-headers" in answer.headers) == (200, True)
    assert json.loads(answer.read())["object"] == "text_completion"
    connection.close()


def test_h2c_client(ask: Ask) -> None:
    """HTTP/2 with prior knowledge, three streams on one connection."""
    place = urlsplit(ask.urls[80])
    client = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    client.initiate_connection()
    for _ in range(3):
        stream = client.get_next_available_stream_id()
        head = [(":method", "POST"), (":scheme", "http"), (":path", "/deep/er"), (":authority", "lab")]
        client.send_headers(stream, head)
        client.send_data(stream, json.dumps(BODY).encode(), end_stream=True)
    statuses: list[str] = []
    bodies: dict[int, bytes] = collections.defaultdict(bytes)
    ended: set[int] = set()
    with socket.create_connection((place.hostname, place.port), timeout=5) as connection:
        connection.sendall(client.data_to_send())
        while len(ended) < 3:
            for event in client.receive_data(connection.recv(65536)):
                if isinstance(event, h2.events.ResponseReceived):
                    statuses.append(dict(event.headers)[":status"])
                elif isinstance(event, h2.events.DataReceived):
                    bodies[event.stream_id] += event.data
                elif isinstance(event, h2.events.StreamEnded):
                    ended.add(event.stream_id)
            connection.sendall(client.data_to_send())
    assert statuses == ["200"] * 3
    assert {json.loads(body)["object"] for body in bodies.values()} == {"text_completion"}


def test_istio_bugs_are_reproduced_on_request(labs: Labs, http: httpx.Client) -> None:
    """istio.md 1.6: no picker under CORS; the last backendRef's picker, here none, for a weighted rule."""
    lab = labs.up("-f", labs.manifests(world(), "bugs.yaml"), "--istio-bugs", name="bugs")
    buggy = Ask(lab, http)
    assert not picked(buggy("/cors", origin="https://a.example"))
    assert not any(picked(buggy("/half")) for _ in range(10))
    assert picked(buggy("/changed"))
