"""A real endpoint picker: a Go binary, told of its endpoints by a file or by a stand-in for the API server.

Which of the two, and which flags it takes, is read off the binary's own --help.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gateway import goflags
from gateway.envoy.eds import replace_file
from gateway.errors import ManifestError, StackError
from gateway.kubeapi.pods import pod
from gateway.kubeapi.serve import KubeApi, kubeconfig
from gateway.kubeapi.store import Store
from gateway.pickerprocess import READY_TIMEOUT_S, Endpoint, PickerProcess, PickerSpec, file_discovery
from gateway.ports import free_port
from gateway.probe import grpc_is_serving, http_get
from gateway.processes import Process

LLMD_API_VERSION = "llm-d.ai/v1alpha1"
DISCOVERY = "simfleet-endpoints"
ENDPOINTS_TIMEOUT_S = 5.0
_HELP_FLAG = re.compile(r"^\s{1,8}(?:-\w, )?--?([a-z][a-z0-9-]+)", re.MULTILINE)
_KNOWS_ENDPOINT = re.compile(r"^\w+_per_(?:pod|endpoint)_queue_size\{", re.MULTILINE)


@dataclass(frozen=True)
class Binary:
    """An endpoint picker on disk and the flags it takes."""

    path: Path
    flags: frozenset[str]

    @property
    def discovers_files(self) -> bool:
        """llm-d-router has a file-discovery plugin; its own flags tell it from GIE's picker."""
        return bool(self.flags & {"emit-endpoint-scores", "allow-experimental-plugins", "drain-timeout"})

    @property
    def kind(self) -> str:
        return f"{'llm-d-router' if self.discovers_files else 'gie'} {self.path}"


def inspect(path: Path) -> Binary:
    """Ask the binary for its flags. Raises StackError for what is no endpoint picker."""
    try:
        done = subprocess.run([path, "--help"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StackError(f"{path} --help: {error}") from error
    flags = frozenset(_HELP_FLAG.findall(done.stdout + done.stderr))
    if not {"grpc-port", "config-file"} <= flags:
        raise StackError(f"{path} is no endpoint picker: its --help has neither grpc-port nor config-file")
    return Binary(path, flags)


def make_external_picker(spec: PickerSpec, binary: Path) -> PickerProcess:
    """The picker process for a binary: by file where it can, else by the API stand-in."""
    found = inspect(binary)
    return FileDiscoveryPicker(spec, found) if found.discovers_files else KubeApiPicker(spec, found)


class _GoPicker:
    """What both kinds have in common: ports, flags, readiness."""

    def __init__(self, spec: PickerSpec, binary: Binary) -> None:
        self.spec = spec
        self.kind = binary.kind
        self.binary = binary
        self.grpc_port, self.health_port, self.metrics_port = free_port(), free_port(), free_port()
        self._endpoints: tuple[Endpoint, ...] = ()
        spec.directory.mkdir(parents=True, exist_ok=True)

    def _flags(self, changes: dict[str, str | None]) -> list[str]:
        """The Deployment's flags, those of this machine, and only what the binary knows."""
        local: dict[str, str | None] = {
            "pool-name": self.spec.pool.name,
            "pool-namespace": self.spec.pool.namespace,
            "grpc-port": str(self.grpc_port),
            "grpc-health-port": str(self.health_port),
            "metrics-port": str(self.metrics_port),
            "metrics-endpoint-auth": "false",
            "ha-enable-leader-election": "false",
        }
        if goflags.value_of(self.spec.flags, "tracing") is None:
            local["tracing"] = "false"
        local |= changes
        flags = goflags.without(self.spec.flags, local)
        flags += [(name, value) for name, value in local.items() if value is not None]
        return goflags.join([(n, v) for n, v in flags if n in self.binary.flags])

    def _config(self) -> Path | None:
        if self.spec.options.config_file is not None:
            return self.spec.options.config_file
        named = goflags.value_of(self.spec.flags, "config-file")
        return Path(named) if named else None

    async def _until_ready(self, process: Process) -> None:
        await process.until_ready(lambda: grpc_is_serving("127.0.0.1", self.health_port), READY_TIMEOUT_S)
        # The health port opens first; ext_proc follows once the picker has signed itself a certificate.
        await process.until_ready(lambda: _accepts(self.grpc_port), READY_TIMEOUT_S)
        await self._until_endpoints()

    async def _until_endpoints(self) -> None:
        """Serving comes before the first pods are known; a request in between would be refused."""
        for _ in range(int(ENDPOINTS_TIMEOUT_S / 0.05)):
            _, body = await http_get("127.0.0.1", self.metrics_port, "/metrics")
            if len(_KNOWS_ENDPOINT.findall(body.decode(errors="replace"))) >= len(self._endpoints):
                return
            await asyncio.sleep(0.05)


async def _accepts(port: int) -> bool:
    """Whether a TCP connection to the port can be made."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


class FileDiscoveryPicker(_GoPicker):
    """llm-d-router 0.9 and later: endpoints from a file, no Kubernetes API."""

    def __init__(self, spec: PickerSpec, binary: Binary) -> None:
        super().__init__(spec, binary)
        self._endpoints_file = spec.directory / "endpoints.yaml"
        self.update_endpoints(())
        config = spec.directory / "epp-config.yaml"
        source = self._config()
        text = source.read_text(encoding="utf-8") if source else ""
        config.write_text(with_file_discovery(text, self._endpoints_file), encoding="utf-8")
        argv = [str(binary.path), *self._flags({"config-file": str(config), "config-text": None})]
        self.process = Process(spec.name, argv, spec.log, {**os.environ, **spec.env})

    async def start(self) -> None:
        await self.process.start()
        await self._until_ready(self.process)

    async def stop(self) -> None:
        await self.process.stop()

    def update_endpoints(self, endpoints: Sequence[Endpoint]) -> None:
        self._endpoints = tuple(endpoints)
        replace_file(self._endpoints_file, file_discovery(endpoints))


def with_file_discovery(text: str, endpoints: Path) -> str:
    """An EndpointPickerConfig that takes its endpoints from a file. Raises ManifestError for what is none."""
    try:
        config = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ManifestError(f"EndpointPickerConfig: not YAML: {error}") from error
    if not isinstance(config, dict):
        raise ManifestError(f"EndpointPickerConfig: must be a mapping, is {config!r}")
    parameters = {"path": str(endpoints), "watchFile": True}
    plugin: dict[str, Any] = {"name": DISCOVERY, "type": "file-discovery", "parameters": parameters}
    config["apiVersion"] = LLMD_API_VERSION
    config["kind"] = "EndpointPickerConfig"
    config["plugins"] = [*(config.get("plugins") or []), plugin]
    config["dataLayer"] = {**(config.get("dataLayer") or {}), "discovery": {"pluginRef": DISCOVERY}}
    return yaml.safe_dump(config, sort_keys=False)


class KubeApiPicker(_GoPicker):
    """GIE's picker: it watches pods, its pool and its objectives through the Kubernetes API."""

    def __init__(self, spec: PickerSpec, binary: Binary) -> None:
        super().__init__(spec, binary)
        self.store = Store()
        for resource in spec.manifests.resources:
            obj = dict(resource.root.value)
            if self.store.kind_of(obj) is not None:
                namespace = {"namespace": resource.namespace} if resource.namespace else {}
                self.store.apply({**obj, "metadata": {**obj["metadata"], **namespace}})
        self.api = KubeApi(self.store, free_port())
        config = spec.directory / "kubeconfig"
        config.write_text(kubeconfig(self.api.url), encoding="utf-8")
        source = self._config()
        changes: dict[str, str | None] = {"kubeconfig": None}
        if source is not None:
            changes |= {"config-file": str(source), "config-text": None}
        env = {**os.environ, **spec.env, "KUBECONFIG": str(config)}
        self.process = Process(spec.name, [str(binary.path), *self._flags(changes)], spec.log, env)

    async def start(self) -> None:
        await self.api.start()
        await self.process.start()
        await self._until_ready(self.process)

    async def stop(self) -> None:
        await self.process.stop()
        await self.api.stop()

    def update_endpoints(self, endpoints: Sequence[Endpoint]) -> None:
        """A pod for each replica with a ready endpoint; what is not among them is gone."""
        old = {e.pod: e for e in self._endpoints}
        self._endpoints = tuple(endpoints)
        new: dict[str, list[Endpoint]] = {}
        for endpoint in endpoints:
            new.setdefault(endpoint.pod, []).append(endpoint)
        for name in old.keys() - new.keys():
            self.store.delete(pod(name, old[name].namespace, "", {}, ()))
        for name, found in new.items():
            first = found[0]
            ports = tuple(e.port for e in found)
            self.store.apply(pod(name, first.namespace, first.address, first.labels, ports))
