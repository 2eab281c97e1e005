"""TLS contexts of replicas: vLLM's files, or llm-d-inference-sim's certificate made at start."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import tempfile
from pathlib import Path

from simulator.config.serve import ServeConfig
from simulator.errors import ConfigError


def ssl_context(config: ServeConfig) -> ssl.SSLContext | None:
    """The server's context.

    None without TLS. Raises ConfigError for files that are no certificate and key.
    """
    if config.self_signed_certs:
        return _self_signed()
    if not config.ssl_certfile or not config.ssl_keyfile:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(config.ssl_certfile, config.ssl_keyfile)
        if config.ssl_ca_certs:
            context.load_verify_locations(config.ssl_ca_certs)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"TLS: {config.ssl_certfile} and {config.ssl_keyfile} do not load: {error}"
        ) from None
    return context


def _self_signed() -> ssl.SSLContext:
    openssl = shutil.which("openssl")
    if openssl is None:
        raise ConfigError(
            "--self-signed-certs needs the program openssl; or give --ssl-certfile, --ssl-keyfile"
        )
    with tempfile.TemporaryDirectory(prefix="simfleet-tls-") as folder:
        key, certificate = Path(folder, "key.pem"), Path(folder, "cert.pem")
        command = [
            *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-subj", "/CN=simfleet", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
            *("-days", "3650", "-keyout", str(key), "-out", str(certificate)),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ConfigError(f"--self-signed-certs: openssl failed: {done.stderr.strip()[-300:]}")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
    return context
