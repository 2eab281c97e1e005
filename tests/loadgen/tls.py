"""A certificate for servers of the tests on loopback."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Certificate and key of localhost; skips the test where there is no openssl."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl program to make a certificate")
    cert, key = folder / "cert.pem", folder / "key.pem"
    name = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,DNS:model.test")
    command = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *name)
    subprocess.run([*command, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


def server_context(certificate: tuple[Path, Path], *alpn: str) -> ssl.SSLContext:
    """TLS of a server that takes these protocols."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context
