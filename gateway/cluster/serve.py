"""The API on a loopback port of this process, over TLS."""

from __future__ import annotations

import base64
import secrets
from pathlib import Path

import uvicorn

from gateway.cluster.api.app import Behind, ClusterApi
from gateway.cluster.certs import make_certificate
from gateway.cluster.objects.state import State
from gateway.kubeapi.serve import InLoop
from gateway.machine.ports import free_port

HOST = "127.0.0.1"
PORT = 16443  # where a free one is looked for first: the same address over restarts


class ApiServer:
    """Serves one state from `start()` to `stop()`; `kubeconfig` is how kubectl finds it."""

    def __init__(self, state: State, directory: Path, behind: Behind, port: int | None = None) -> None:
        self.port = port or free_port(HOST, [PORT])
        self.url = f"https://{HOST}:{self.port}"
        self.kubeconfig = directory / "kubeconfig"
        self._token = secrets.token_urlsafe(24)
        self._directory = directory
        self._app = ClusterApi(state, self._token, behind)
        self._running: InLoop | None = None

    async def start(self) -> None:
        """Returns when it accepts connections. Raises OSError: the port is taken."""
        made = make_certificate(HOST)
        certificate, key = self._directory / "api.crt", self._directory / "api.key"
        for path, content in ((certificate, made.certificate), (key, made.key)):
            path.touch(mode=0o600)
            path.write_bytes(content)
        config = uvicorn.Config(
            self._app,
            log_config=None,
            log_level="error",  # what it says of an upgrade, kubectl says as well
            lifespan="off",
            timeout_graceful_shutdown=2,
            ws="none",
            ssl_certfile=str(certificate),
            ssl_keyfile=str(key),
        )
        self._running = InLoop(config)
        await self._running.start((HOST, self.port))
        self.kubeconfig.touch(mode=0o600)
        self.kubeconfig.write_text(self._kubeconfig(made.authority), encoding="utf-8")

    async def stop(self) -> None:
        """Closes the port and ends every watch."""
        if self._running is not None:
            self._app.end_watches()
            await self._running.stop()
            self._running = None

    def _kubeconfig(self, authority: bytes) -> str:
        data = base64.b64encode(authority).decode()
        return f"""apiVersion: v1
kind: Config
clusters:
- name: simfleet
  cluster:
    server: {self.url}
    certificate-authority-data: {data}
users:
- name: simfleet
  user:
    token: {self._token}
contexts:
- name: simfleet
  context:
    cluster: simfleet
    user: simfleet
current-context: simfleet
"""
