"""Clusters under DestinationRules: which files of this machine a rule's TLS settings may name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.envoy.clusters import build_cluster, service_spec
from gateway.errors import ManifestError
from gateway.manifests.destinationrule import SYSTEM_AUTHORITIES
from gateway.manifests.load import load
from tests.e2e import worlds
from tests.gateway.envoy.test_config import destination_rule


def context(directory: Path, **tls: Any) -> Any:
    """common_tls_context of a Service's cluster, its manifests in `directory`/m.yaml."""
    file = directory / "m.yaml"
    file.write_text(
        worlds.dump(
            [worlds.service("svc", "x", 80), destination_rule(host="svc", tls={"mode": "SIMPLE", **tls})]
        )
    )
    manifests = load([str(file)])
    service = manifests.services["apps", "svc"]
    cluster = build_cluster(
        service_spec(service, service.ports[0], directory), manifests.destination_rules[0]
    )
    return cluster["transport_socket"]["typed_config"]["common_tls_context"]


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """app/ with files and links of its own, and a file beside it that nothing may read."""
    (tmp_path / "app" / "tls").mkdir(parents=True)
    for name in ("app/tls/ca.pem", "app/cert.pem", "app/key.pem", "outside.pem"):
        (tmp_path / name).write_text("x")
    (tmp_path / "app" / "link.pem").symlink_to("tls/ca.pem")
    (tmp_path / "app" / "out.pem").symlink_to("../outside.pem")
    (tmp_path / "app" / "up").symlink_to("..")
    return tmp_path / "app"


@pytest.mark.parametrize(
    "name", ["tls/ca.pem", "HERE/tls/ca.pem", "link.pem", "tls/../tls/ca.pem", "up/app/tls/ca.pem"]
)
def test_authorities_beside_the_manifest(app: Path, name: str) -> None:
    made = context(app, caCertificates=name.replace("HERE", str(app)))
    assert made["validation_context"]["trusted_ca"] == {"filename": str(app / "tls" / "ca.pem")}


def test_the_system_s_authorities(app: Path) -> None:
    named = context(app, caCertificates=SYSTEM_AUTHORITIES[0])
    assert named["validation_context"]["trusted_ca"] == {"filename": SYSTEM_AUTHORITIES[0]}
    assert context(app)["validation_context"]["trusted_ca"]["filename"] in SYSTEM_AUTHORITIES
    assert context(app, caCertificates="/etc/shadow", insecureSkipVerify=True) == {}, "not opened at all"


def test_a_client_s_certificate(app: Path) -> None:
    made = context(app, mode="MUTUAL", clientCertificate="cert.pem", privateKey="key.pem")
    assert made["tls_certificates"] == [
        {
            "certificate_chain": {"filename": str(app / "cert.pem")},
            "private_key": {"filename": str(app / "key.pem")},
        }
    ]


@pytest.mark.parametrize("field", ["caCertificates", "clientCertificate", "privateKey"])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("/etc/shadow", "no file in or below"),
        ("/dev/zero", "no file in or below"),
        ("../outside.pem", "no file in or below"),
        ("out.pem", "no file in or below"),
        ("up/outside.pem", "no file in or below"),
        ("HERE/../outside.pem", "no file in or below"),
        ("a\0b", "no file in or below"),
        ("gone.pem", "does not exist, or is no file"),
        ("tls", "does not exist, or is no file"),
        ("", "does not exist, or is no file"),
    ],
)
def test_files_elsewhere(app: Path, field: str, name: str, words: str) -> None:
    files = {"clientCertificate": "cert.pem", "privateKey": "key.pem", field: name.replace("HERE", str(app))}
    with pytest.raises(ManifestError, match=rf"m\.yaml:\d+: spec\.trafficPolicy\.tls\.{field}: .*{words}"):
        context(app, mode="MUTUAL", **files)
