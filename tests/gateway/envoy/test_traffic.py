"""Requests through a real Envoy with our configuration; figures are real Istio's (istio-measured.md)."""

from __future__ import annotations

import asyncio
import datetime
import json
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import h11
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.e2e import worlds
from tests.gateway.envoy.running import Picker, Server, dead, running
from tests.gateway.envoy.test_config import destination_rule
from tests.waiting import until_async

POOL = [
    worlds.gateway("gw"),
    worlds.pool("p", "x", "epp"),
    worlds.service("epp", "epp", 9002, appProtocol="http2"),
]
TO_POOL = [*POOL, worlds.route("r", "gw", worlds.rule(worlds.to_pool("p")))]


async def posts(url: str, number: int, size: int) -> list[int]:
    """Status codes of `number` POSTs, one after the other."""
    async with httpx.AsyncClient(timeout=20.0) as client:
        return [(await client.post(url, content=b"x" * size)).status_code for _ in range(number)]


@pytest.mark.parametrize(("size", "messages"), [(1, 3), (100_000, 3), (900_000, 4)])
def test_a_large_body_reaches_the_picker_s_second_choice(tmp_path: Path, size: int, messages: int) -> None:
    """The messages are those of the best of 20 requests: a client that is stopped sends in more pieces."""

    async def scenario() -> None:
        server, gone = Server(), dead()
        picker = Picker(gone, server.address)
        async with running(tmp_path, TO_POOL, [gone, server.address], server, picker) as url:
            assert await posts(url, 20, size) == [200] * 20
        assert [length for _, _, length in server.asked] == [size] * 20
        assert len(picker.messages) == 20
        assert min(picker.messages.values()) <= messages

    asyncio.run(scenario())


def to_service(rules: list[dict[str, Any]] | None = None, **policy: Any) -> list[Any]:
    """A gateway with a Service behind it, and the DestinationRule of that Service."""
    return [
        worlds.gateway("gw"),
        worlds.service("svc", "x", 80),
        worlds.route("r", "gw", *(rules or [worlds.rule(worlds.to_service("svc", 80))])),
        destination_rule(host="svc", **policy),
    ]


@pytest.mark.parametrize("size", [100_000, 900_000])
def test_a_large_body_is_sent_again(tmp_path: Path, size: int) -> None:
    """One of a Service's two endpoints is dead."""

    async def scenario() -> None:
        server = Server()
        objects = to_service(loadBalancer={"simple": "ROUND_ROBIN"})
        async with running(tmp_path, objects, [dead(), server.address], server) as url:
            assert await posts(url, 30, size) == [200] * 30

    asyncio.run(scenario())


def test_100_continue_is_the_model_server_s_to_say(tmp_path: Path) -> None:
    """Envoy answers no Expect itself: the picker waits for a body that the client sends in the end unasked.

    Where Envoy answers itself, its 100 Continue is under way before the picker is asked.
    """

    async def scenario() -> None:
        server = Server()
        picker = Picker(server.address)
        async with running(tmp_path, TO_POOL, [server.address], server, picker) as url:
            place = urlsplit(url)
            reader, writer = await asyncio.open_connection(place.hostname, place.port)
            client = h11.Connection(h11.CLIENT)
            head = [("host", "lab"), ("expect", "100-continue"), ("content-length", "5")]
            writer.write(client.send(h11.Request(method="POST", target="/", headers=head)) or b"")
            await asyncio.wait_for(picker.seen.wait(), 10)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.3)
            assert server.asked == []
            for part in (h11.Data(b"hello"), h11.EndOfMessage()):
                writer.write(client.send(part) or b"")
            answers = []
            while not isinstance(event := client.next_event(), h11.EndOfMessage):
                if event is h11.NEED_DATA:
                    client.receive_data(await asyncio.wait_for(reader.read(65536), 10))
                elif isinstance(event, h11.InformationalResponse | h11.Response):
                    answers.append(event.status_code)
            writer.close()
        ((_, headers, length),) = server.asked
        assert (answers[-1], headers["expect"], length) == (200, "100-continue", 5)

    asyncio.run(scenario())


def at(path: str, *filters: dict[str, Any]) -> dict[str, Any]:
    return worlds.rule(worlds.to_service("svc", 80), matches=[worlds.prefix(path)], filters=list(filters))


def changed(kind: str, value: dict[str, Any]) -> dict[str, Any]:
    special = {"URLRewrite": "urlRewrite", "CORS": "cors"}
    return {"type": kind, special.get(kind, kind[:1].lower() + kind[1:]): value}


RULES = [
    at("/secure", changed("RequestRedirect", {"scheme": "https"})),
    at("/ported", changed("RequestRedirect", {"scheme": "https", "port": 8443})),
    at("/mirrored", changed("RequestMirror", {"backendRef": {"name": "svc", "port": 80}})),
    at(
        "/host",
        changed("RequestHeaderModifier", {"set": [{"name": "Host", "value": "modified"}]}),
        changed("URLRewrite", {"hostname": "rewritten"}),
    ),
    at("/cors", changed("CORS", {"allowOrigins": ["https://a.example"], "allowMethods": ["PUT"]})),
    at("/", worlds.rewrite_to("/pre")),
]


def test_filters_do_what_istio_s_do(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = Server()
        async with (
            running(tmp_path, to_service(RULES), [server.address], server) as url,
            httpx.AsyncClient(base_url=url, headers={"host": "lab.example:8080"}) as client,
        ):
            secure = await client.get("/secure/a")
            assert secure.headers["location"] == "https://lab.example:8080/secure/a"
            bare = await client.get("/secure/a", headers={"host": "lab.example"})
            assert bare.headers["location"] == "https://lab.example/secure/a"
            assert (await client.get("/ported")).headers["location"] == "https://lab.example:8443/ported"
            preflight = {"origin": "https://b.example", "access-control-request-method": "PUT"}
            foreign = await client.options("/cors", headers=preflight)
            assert (foreign.status_code, "access-control-allow-origin" in foreign.headers) == (200, False)
            assert server.asked == [], "answered by the gateway"
            await client.get("/mirrored")
            await until_async(lambda: len(server.asked) == 2, what="the request and its mirror")
            assert [headers["host"] for _, headers, _ in server.asked] == ["lab.example:8080"] * 2
            await client.get("/host")
            assert server.asked[-1][1]["host"] == "rewritten"
            await client.get("/x")
            assert server.asked[-1][0] == "/pre/x"

    asyncio.run(scenario())


@pytest.mark.parametrize(("path", "sent"), [("/x", "/prex"), ("/", "/pre")])
def test_istio_s_bug_with_a_replaced_root(tmp_path: Path, path: str, sent: str) -> None:
    async def scenario() -> None:
        server = Server()
        objects = to_service([at("/", worlds.rewrite_to("/pre/"))])
        async with running(tmp_path, objects, [server.address], server, istio_bugs=True) as url:
            assert httpx.codes.is_success((await posts(url + path, 1, 1))[0])
        assert server.asked[-1][0] == sent

    asyncio.run(scenario())


def test_ejected_endpoints_get_nothing(tmp_path: Path) -> None:
    """Envoy itself would use them all again once more than half are ejected."""
    ejection = {"consecutive5xxErrors": 1, "maxEjectionPercent": 100, "baseEjectionTime": "10m"}

    async def scenario() -> None:
        server = Server(status=500)
        objects = to_service(outlierDetection=ejection)
        async with running(tmp_path, objects, [server.address], server) as url:
            async with asyncio.timeout(10):
                while (await posts(url, 1, 1)) == [500]:
                    pass  # Envoy ejects on another thread, a moment later
            asked = len(server.asked)
            assert await posts(url, 5, 1) == [503] * 5
        assert len(server.asked) == asked

    asyncio.run(scenario())


def serves_as(name: str, directory: Path) -> tuple[ssl.SSLContext, str]:
    """A server's context with a certificate for `name`, and the file of what signed it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    certificate, private = directory / "cert.pem", directory / "key.pem"
    certificate.write_bytes(made.public_bytes(pem))
    plain = serialization.NoEncryption()
    private.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, private)
    return context, str(certificate)


@pytest.mark.parametrize(
    ("more", "statuses"),
    [
        ({}, [200, 503]),  # the request's host is the name to be proven
        ({"sni": "right.example"}, [200, 200]),
        ({"subjectAltNames": ["right.example"]}, [200, 200]),
        ({"subjectAltNames": ["other.example"]}, [503, 503]),
        ({"insecureSkipVerify": True}, [200, 200]),
    ],
)
def test_the_server_s_name_is_verified(tmp_path: Path, more: dict[str, Any], statuses: list[int]) -> None:
    context, authority = serves_as("right.example", tmp_path)
    tls = {"mode": "SIMPLE", "caCertificates": authority, **more}

    async def scenario() -> None:
        server = Server(tls=context)
        async with (
            running(tmp_path, to_service(tls=tls), [server.address], server) as url,
            httpx.AsyncClient() as client,
        ):
            hosts = ("right.example", "wrong.example")
            got = [(await client.get(url, headers={"host": host})).status_code for host in hosts]
        assert got == statuses

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"insecureSkipVerify": True}, 200),
        ({}, 500),  # the host of a stream to the picker is the cluster's name, which no certificate proves
        ({"sni": "epp.apps.svc.cluster.local"}, 200),
        ({"subjectAltNames": ["epp.apps.svc.cluster.local"]}, 200),
        ({"subjectAltNames": ["other"]}, 500),
    ],
)
def test_a_picker_s_name_is_verified_where_the_rule_gives_one(
    tmp_path: Path, more: dict[str, Any], status: int
) -> None:
    _, authority = serves_as("epp.apps.svc.cluster.local", tmp_path)
    pair = ((tmp_path / "key.pem").read_bytes(), (tmp_path / "cert.pem").read_bytes())
    rule = destination_rule(tls={"mode": "SIMPLE", "caCertificates": authority, **more})

    async def scenario() -> None:
        server = Server()
        picker = Picker(server.address, tls=grpc.ssl_server_credentials([pair]))
        async with running(tmp_path, [*TO_POOL, rule], [server.address], server, picker) as url:
            assert await posts(url, 1, 1) == [status]

    asyncio.run(scenario())


def test_the_admin_port_does_nothing_for_web_pages(tmp_path: Path) -> None:
    """Any page may POST to loopback; what reads stays, what ends or changes Envoy is gone."""

    async def scenario() -> None:
        server = Server()
        async with running(tmp_path, to_service(), [server.address], server) as url:
            admin = json.loads((tmp_path / "bootstrap.json").read_text())["admin"]["address"][
                "socket_address"
            ]
            base = f"http://{admin['address']}:{admin['port_value']}"
            async with httpx.AsyncClient(base_url=base, timeout=20.0) as client:
                paths = ("quitquitquit", "drain_listeners", "logging?level=off", "healthcheck/fail")
                codes = [(await client.post(f"/{path}")).status_code for path in paths]
                codes += [(await client.post("/ready%2f../quitquitquit")).status_code]
                assert codes == [403] * 5
                reads = (
                    "",
                    "ready",
                    "clusters?format=json",
                    "stats?filter=x",
                    "stats/prometheus",
                    "config_dump",
                )
                assert [(await client.get(f"/{path}")).status_code for path in reads] == [200] * 6
                assert (await client.post("/reopen_logs")).status_code == 200
            assert await posts(url, 1, 1) == [200]

    asyncio.run(scenario())
