"""The endpoint picker of a pool as a process: what every kind of picker has in common.

`PickerProcess` is the seam: reference.py runs the reference picker behind it, go.py a Go binary, and make.py
says which.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gateway.machine.processes import Process
from gateway.manifests.inference import InferencePool
from gateway.manifests.load import Manifests
from gateway.stack.pickers import goflags

# The EPP's defaults of --grpc-port, --grpc-health-port and --metrics-port, inside the pod.
GRPC_PORT, HEALTH_PORT, METRICS_PORT = 9002, 9003, 9090
READY_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Endpoint:
    """One place a request can go to: a ready pod and one of the pool's target ports."""

    name: str
    pod: str
    namespace: str
    address: str
    port: int
    labels: Mapping[str, str]


@dataclass(frozen=True)
class PickerOptions:
    """What the command line says about pickers."""

    epp: str = "auto"  # auto, reference or the path of a binary
    config_file: Path | None = None  # replaces the EndpointPickerConfig of the manifests
    decision_log: Path | None = None
    plugins: tuple[Path, ...] = ()
    otlp_traces: str | None = None  # URL that spans are posted to


@dataclass(frozen=True)
class PickerSpec:
    """One picker to be: its flags as the Deployment gives them, mounted files written and paths resolved."""

    name: str  # of the pod
    pool: InferencePool
    flags: tuple[tuple[str, str | None], ...]
    env: Mapping[str, str]
    directory: Path  # its own; files that it is told of go here
    log: Path
    manifests: Manifests
    options: PickerOptions
    image: str = ""

    @property
    def secure(self) -> bool:
        return goflags.is_true(goflags.value_of(self.flags, "secure-serving"), True)

    @property
    def pool_key(self) -> tuple[str, str]:
        """Namespace and name of the pool that the flags name; without a name, the one that leads to it."""
        name = goflags.value_of(self.flags, "pool-name")
        if name is None:
            return self.pool.namespace, self.pool.name
        namespace = goflags.value_of(self.flags, "pool-namespace") or self.env.get("NAMESPACE")
        return namespace or "default", name

    def inner_port(self, flag: str, default: int) -> int:
        """The port that the container would listen on."""
        value = goflags.value_of(self.flags, flag)
        return int(value) if value and value.isdigit() else default


class PickerProcess(Protocol):
    """A picker that runs or has run. Its ports are known before it starts and stay over restarts."""

    spec: PickerSpec
    kind: str  # shown to users
    process: Process
    grpc_port: int
    health_port: int
    metrics_port: int
    kube_api_url: str | None  # of the API stand-in that it watches; kubectl can read it, too
    notes: tuple[str, ...]  # what of the manifests it is not given, and why

    @property
    def decision_log(self) -> Path | None:
        """Where it writes its decisions; None for one that writes none."""

    async def start(self) -> None:
        """Start; return when it answers. Raises ProcessError."""

    async def stop(self) -> None:
        """End it in order."""

    def update_endpoints(self, endpoints: Sequence[Endpoint]) -> None:
        """The pool's ready endpoints changed; the picker knows them within 500 ms."""


def file_discovery(endpoints: Sequence[Endpoint]) -> str:
    """The endpoints file of llm-d-router's file-discovery plugin; JSON, which is YAML too."""
    listed = [
        {
            "name": e.name,
            "namespace": e.namespace,
            "address": e.address,
            "port": str(e.port),
            "labels": dict(e.labels),
        }
        for e in endpoints
    ]
    return json.dumps({"endpoints": listed}, indent=1)


def config_text(spec: PickerSpec) -> str:
    """The EndpointPickerConfig that the picker is given; empty where it is given none."""
    if spec.options.config_file is not None:
        return spec.options.config_file.read_text(encoding="utf-8")
    if named := goflags.value_of(spec.flags, "config-file"):
        return Path(named).read_text(encoding="utf-8")
    return goflags.value_of(spec.flags, "config-text") or ""
