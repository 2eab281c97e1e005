"""Istio's own control plane as a child: a real istiod that reads this API and programs the Envoys.

It runs with the settings that stock Envoy takes: without the filters that only Istio's build of Envoy has,
without a certificate authority, and with one instance, so without elections.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import yaml

from gateway.cluster.controllers.namespaces import ISTIO_NAMESPACE
from gateway.envoy.ads import CLUSTER_ID
from gateway.errors import UsageError
from gateway.machine.ports import free_port
from gateway.machine.processes import Process
from gateway.machine.readiness import http_get

BINARY = "pilot-discovery"
READY_TIMEOUT_S = 60.0  # 1 s on a quiet machine
_HOST = "127.0.0.1"
_MESH: dict[str, Any] = {
    "defaultProviders": {"metrics": []},  # else the filter istio.stats
    "enableAutoMtls": False,  # else clusters wait for certificates from an agent
    "rootNamespace": ISTIO_NAMESPACE,
}
_SETTINGS = {
    "PILOT_ENABLE_METADATA_EXCHANGE": "false",  # a filter of Istio's own Envoy
    "PILOT_ENABLE_ALPN_FILTER": "false",  # another
    "PILOT_ENABLE_GATEWAY_API_DEPLOYMENT_CONTROLLER": "false",  # Envoys and their Services are ours
    "ENABLE_GATEWAY_API_INFERENCE_EXTENSION": "true",
    "ENABLE_CA_SERVER": "false",
    "ENABLE_LEADER_ELECTION": "false",
    "PILOT_DEBOUNCE_AFTER": "20ms",  # 100 ms in a cluster, where more than one person writes
    "POD_NAME": "istiod-0",
    "POD_NAMESPACE": ISTIO_NAMESPACE,
    "CLUSTER_ID": CLUSTER_ID,
    "ISTIOD_CUSTOM_HOST": "istiod.istio-system.svc",
}


def find_istiod(wanted: str) -> Path | None:
    """The binary, None for our own translation. `auto`: ISTIOD_BIN, then `pilot-discovery` on the PATH.

    UsageError when it cannot run.
    """
    if wanted == "none":
        return None
    if wanted == "auto":
        named = os.environ.get("ISTIOD_BIN") or shutil.which(BINARY)
        if not named:
            return None
        wanted = named
    path = Path(wanted)
    if not path.is_file() or not os.access(path, os.X_OK):
        raise UsageError(
            f"--istiod {wanted}: not an executable file; give auto, none or the path of {BINARY}"
        )
    return path.resolve()


class Istiod:
    """One istiod, from `start()` to `stop()`."""

    def __init__(self, binary: Path, directory: Path, kubeconfig: Path) -> None:
        self.binary = binary
        self.xds_port = free_port()
        self._http_port = free_port()
        mesh = directory / "mesh.yaml"
        mesh.write_text(yaml.safe_dump(_MESH), encoding="utf-8")
        argv = [
            str(binary),
            "discovery",
            f"--kubeconfig={kubeconfig}",
            f"--meshConfig={mesh}",
            f"--networksConfig={directory / 'networks.yaml'}",
            f"--httpAddr={_HOST}:{self._http_port}",
            f"--grpcAddr={_HOST}:{self.xds_port}",
            f"--monitoringAddr={_HOST}:{free_port()}",
            "--httpsAddr=",
            "--secureGRPCAddr=",
            f"--ctrlz_port={free_port()}",
            "--shutdownDuration=0s",
            "--kubernetesApiQPS=1000",
            "--kubernetesApiBurst=1000",
        ]
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
        self.process = Process("istiod", argv, directory / "istiod.log", {**kept, **_SETTINGS})

    async def start(self) -> None:
        """Returns when the program runs, which is before it is ready. Raises ProcessError."""
        await self.process.start()

    async def until_ready(self) -> None:
        """Raises ProcessError."""
        await self.process.until_ready(self._is_ready, READY_TIMEOUT_S)

    async def _is_ready(self) -> bool:
        status, _ = await http_get(_HOST, self._http_port, "/ready")
        return status == 200

    async def stop(self) -> None:
        await self.process.stop()

    @property
    def as_data(self) -> dict[str, Any]:
        """As `ps` shows it."""
        return {
            "kind": "istiod",
            "binary": str(self.binary),
            "pid": self.process.pid,
            "debug_url": f"http://{_HOST}:{self._http_port}/debug",
            "log": str(self.process.log),
        }
