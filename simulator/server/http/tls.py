"""TLS contexts of replicas: vLLM's files, or llm-d-inference-sim's certificate made at start."""

from __future__ import annotations

import logging
import os
import shutil
import ssl
import subprocess
import tempfile
from pathlib import Path

from simulator.config.compat import compat
from simulator.config.serve import ServeConfig
from simulator.errors import ConfigError
from simulator.server.logs import event


def ssl_context(config: ServeConfig) -> ssl.SSLContext | None:
    """The server's context.

    None without TLS. Raises ConfigError for files that are no certificate and key.
    """
    if config.self_signed_certs:
        return _self_signed()
    if not config.ssl_certfile or not config.ssl_keyfile:
        return None
    context = _loaded(config.ssl_certfile, config.ssl_keyfile, config.ssl_ca_certs)
    behaviour = compat(config.compat)
    if config.enable_ssl_refresh or behaviour.tls_reload:
        _Refreshing(context, config.ssl_certfile, config.ssl_keyfile, config.ssl_ca_certs)
    return context


def _loaded(certificate: str, key: str, authorities: str | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key)
        if authorities:
            context.load_verify_locations(authorities)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"TLS: {certificate} and {key} do not load: {error}") from None
    return context


class _Refreshing:
    """Who connects after a change of the files gets what they hold then.

    They are looked at as a handshake begins. A pair that does not load, as one that is half written, changes
    nothing, and is tried again with the next handshake.
    """

    def __init__(self, context: ssl.SSLContext, *files: str | None) -> None:
        self._files = files
        self._current = context
        self._seen = self._stamps()
        context.sni_callback = self._begin

    def _stamps(self) -> list[tuple[int, int, int]]:
        found = [os.stat(file) for file in self._files if file]
        return [(stat.st_mtime_ns, stat.st_ino, stat.st_size) for stat in found]

    def _begin(self, connection: ssl.SSLObject, _name: str | None, _first: ssl.SSLContext) -> None:
        try:
            stamps = self._stamps()
            if stamps != self._seen:
                certificate, key, authorities = self._files
                self._current, self._seen = _loaded(certificate or "", key or "", authorities), stamps
        except (OSError, ConfigError) as error:
            event("TLS files do not load; the old ones go on", logging.WARNING, why=str(error))
        connection.context = self._current


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
