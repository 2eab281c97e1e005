"""TLS files that change while a server runs."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from simulator.config.resolve import parse_args
from simulator.server.http.tls import ssl_context


def made(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate of that name and its key."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ]
    command += ["-subj", f"/CN={name}", "-days", "1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


def shown_to_a_client(context: ssl.SSLContext) -> bytes:
    """The certificate that a handshake with `context` ends with; both ends in memory."""
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ours.check_hostname, ours.verify_mode = False, ssl.CERT_NONE
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ours.wrap_bio(back, there)
    server = context.wrap_bio(there, back, server_side=True)
    for _ in range(10):
        for end in (client, server):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    found = client.getpeercert(binary_form=True)
    assert found is not None
    return found


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")
@pytest.mark.parametrize(
    ("flags", "changes"),
    [(("--enable-ssl-refresh",), True), ((), False), (("--compat", "llm-d-0.10"), True)],
)
def test_changed_files_are_read_again(tmp_path: Path, flags: tuple[str, ...], changes: bool) -> None:
    certificate, key = made(tmp_path, "one")
    other, other_key = made(tmp_path, "two")
    given = ("--model", "m", "--ssl-certfile", str(certificate), "--ssl-keyfile", str(key))
    context = ssl_context(parse_args([*given, *flags], {}))
    assert context is not None
    first = shown_to_a_client(context)
    os.replace(other, certificate)
    assert shown_to_a_client(context) == first  # the key is still the old one's: half of a change
    os.replace(other_key, key)
    assert (shown_to_a_client(context) != first) is changes
