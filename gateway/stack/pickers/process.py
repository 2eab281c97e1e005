"""The endpoint picker of a pool as a process: what every kind of picker has in common, and the reference one.

`PickerProcess` is the seam. The reference picker stands here; `gateway.stack.pickers.go` runs a Go binary
behind the same interface.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import yaml

from gateway.envoy.eds import replace_file
from gateway.errors import ManifestError, UsageError
from gateway.manifests.inference import InferencePool
from gateway.manifests.load import Manifests
from gateway.stack import goflags
from gateway.stack.ports import free_port
from gateway.stack.processes import Process
from gateway.stack.readiness import grpc_is_serving
from kit.children import python

GRPC_PORT, HEALTH_PORT, METRICS_PORT = 9002, 9003, 9090
"""The EPP's defaults of --grpc-port, --grpc-health-port and --metrics-port, inside the pod."""
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

    async def start(self) -> None:
        """Start; return when it answers. Raises ProcessError."""

    async def stop(self) -> None:
        """End it in order."""

    def update_endpoints(self, endpoints: Sequence[Endpoint]) -> None:
        """The pool's ready endpoints changed; the picker knows them within 500 ms."""


class ReferencePicker:
    """`python -m gateway.picker`."""

    kind = "reference"
    kube_api_url: str | None = None
    notes: tuple[str, ...] = ()

    def __init__(self, spec: PickerSpec) -> None:
        self.spec = spec
        self.grpc_port, self.health_port, self.metrics_port = free_port(), free_port(), free_port()
        self._endpoints_file = spec.directory / "endpoints.yaml"
        spec.directory.mkdir(parents=True, exist_ok=True)
        self.update_endpoints(())
        self.process = Process(spec.name, self._argv(), spec.log, {**os.environ, **spec.env})

    async def start(self) -> None:
        await self.process.start()
        await self.process.until_ready(
            lambda: grpc_is_serving("127.0.0.1", self.health_port), READY_TIMEOUT_S
        )

    async def stop(self) -> None:
        await self.process.stop()

    def update_endpoints(self, endpoints: Sequence[Endpoint]) -> None:
        replace_file(self._endpoints_file, file_discovery(endpoints))

    def _argv(self) -> list[str]:
        spec, options = self.spec, self.spec.options
        ours = {"grpc-port", "grpc-health-port", "metrics-port", "pool-name", "pool-namespace"}
        ours |= {"endpoints-file", "objectives-file"}
        if options.config_file is not None:
            ours |= {"config-file", "config-text"}
        flags = goflags.without(spec.flags, ours)
        flags += [
            ("pool-name", spec.pool_key[1]),
            ("pool-namespace", spec.pool_key[0]),
            ("grpc-port", str(self.grpc_port)),
            ("grpc-health-port", str(self.health_port)),
            ("metrics-port", str(self.metrics_port)),
            ("endpoints-file", str(self._endpoints_file)),
        ]
        if options.config_file is not None:
            flags.append(("config-file", str(options.config_file)))
        if (objectives := write_objectives(spec)) is not None:
            flags.append(("objectives-file", str(objectives)))
        if options.decision_log is not None:
            flags.append(("decision-log", str(options.decision_log)))
        flags += [("plugin", str(path)) for path in options.plugins]
        return python("-m", "gateway.picker", *goflags.join(flags))


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


def write_objectives(spec: PickerSpec) -> Path | None:
    """InferenceObjectives and InferenceModelRewrites of the pool's namespace as one file of manifests."""
    namespace, _ = spec.pool_key
    found = [
        resource.root.value
        for resource in spec.manifests.of_kind("InferenceObjective", "InferenceModelRewrite")
        if resource.namespace == namespace
    ]
    if not found:
        return None
    path = spec.directory / "objectives.yaml"
    path.write_text(yaml.safe_dump_all(found, sort_keys=False), encoding="utf-8")
    return path


def find_epp(epp: str) -> Path | None:
    """The binary to run, None for the reference picker. `auto`: EPP_BIN, then `epp` on the PATH."""
    if epp == "reference":
        return None
    if epp == "auto":
        named = os.environ.get("EPP_BIN", "").split(os.pathsep)[0] or shutil.which("epp")
        if not named:
            return None
        epp = named
    path = Path(epp)
    if not path.is_file() or not os.access(path, os.X_OK):
        raise UsageError(f"--epp {epp}: not an executable file; give auto, reference or the path of a binary")
    return path


def make_picker(spec: PickerSpec) -> PickerProcess:
    """The picker that the options ask for."""
    check_config_file(spec)
    binary = find_epp(spec.options.epp)
    if binary is None:
        return ReferencePicker(spec)
    from gateway.stack.pickers.go import make_external_picker  # noqa: PLC0415 - only with a binary

    return make_external_picker(spec, binary)


def check_config_file(spec: PickerSpec) -> None:
    """A --config-file that no mounted ConfigMap has crashes the picker in a cluster: say so before."""
    if spec.options.config_file is not None:
        if not spec.options.config_file.is_file():
            raise UsageError(f"--epp-config {spec.options.config_file}: no such file")
        return
    named = goflags.value_of(spec.flags, "config-file")
    if named and not Path(named).is_file():
        raise ManifestError(
            f"the picker of {spec.pool} is given --config-file {named}, which no mounted ConfigMap has: "
            "check volumes, volumeMounts and the ConfigMap's key"
        )
