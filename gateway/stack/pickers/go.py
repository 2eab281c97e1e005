"""A real endpoint picker: a Go binary that watches a stand-in for the API server, as it watches a cluster.

Which flags it takes is read off the binary's own --help. Only where the configuration itself asks for file
discovery is it told of its endpoints by a file.
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

from gateway.envoy.eds import replace_file
from gateway.errors import ManifestError, StackError
from gateway.kubeapi.podobject import pod
from gateway.kubeapi.serve import KubeApi, kubeconfig
from gateway.kubeapi.store import KINDS, Kind, Store
from gateway.machine.ports import free_port
from gateway.machine.processes import Process
from gateway.machine.readiness import grpc_is_serving, http_get
from gateway.manifests.load import Manifests
from gateway.manifests.workloads import ACTIVE_PORTS
from gateway.stack.pickers import goflags
from gateway.stack.pickers.process import (
    READY_TIMEOUT_S,
    Endpoint,
    PickerProcess,
    PickerSpec,
    config_text,
    file_discovery,
)
from kit.yamldoc import load_value

LLMD_GROUP = "llm-d.ai"
LLMD_API_VERSION = f"{LLMD_GROUP}/v1alpha1"
DISCOVERY = "simfleet-endpoints"
ENDPOINTS_TIMEOUT_S = 5.0
HELP_TIMEOUT_S = 20.0
# What llm-d-router runs without any configuration; it has to stand in the file once a plugin is added.
DEFAULT_CONFIG: dict[str, Any] = {
    "plugins": [{"type": t} for t in ("queue-scorer", "kv-cache-utilization-scorer", "prefix-cache-scorer")],
    "schedulingProfiles": [
        {
            "name": "default",
            "plugins": [
                {"pluginRef": "queue-scorer", "weight": 2},
                {"pluginRef": "kv-cache-utilization-scorer", "weight": 2},
                {"pluginRef": "prefix-cache-scorer", "weight": 3},
            ],
        }
    ],
}
_HELP_FLAG = re.compile(r"^\s{1,8}(?:-\w, )?--?([a-z][a-z0-9-]*)", re.MULTILINE)
_NO_SUCH_FLAG = ("flag provided but not defined", "unknown flag")
_KNOWS_ENDPOINT = re.compile(r"^\w+_per_(?:pod|endpoint)_queue_size\{", re.MULTILINE)


@dataclass(frozen=True)
class Binary:
    """An endpoint picker on disk and the flags that its --help lists."""

    path: Path
    flags: frozenset[str]

    def takes(self, name: str, value: str | None) -> bool:
        """Whether it knows this flag. Deprecated ones work and are not listed: the binary itself is asked."""
        if name in self.flags:
            return True
        done = _ask(self.path, *goflags.join([(name, value)]), "--help")
        return not (done.returncode and any(words in done.stderr + done.stdout for words in _NO_SUCH_FLAG))

    @property
    def is_router(self) -> bool:
        """llm-d-router; its own flags tell it from GIE's picker."""
        return bool(self.flags & {"emit-endpoint-scores", "allow-experimental-plugins", "drain-timeout"})

    @property
    def is_lightweight(self) -> bool:
        """GIE v1.6's round-robin picker, which has no configuration and looks at no metrics."""
        return "config-file" not in self.flags

    @property
    def kind(self) -> str:
        name = "llm-d-router" if self.is_router else "lwepp" if self.is_lightweight else "gie"
        return f"{name} {self.path}"


def inspect(path: Path) -> Binary:
    """Ask the binary for its flags. Raises StackError for what is no endpoint picker."""
    done = _ask(path, "--help")
    flags = frozenset(_HELP_FLAG.findall(done.stdout + done.stderr))
    if not {"grpc-port", "pool-name"} <= flags:
        raise StackError(f"{path} is no endpoint picker: its --help has no grpc-port or no pool-name")
    return Binary(path, flags)


def _ask(path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            [path, *words], capture_output=True, text=True, timeout=HELP_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StackError(f"{path} --help: {error}") from error


def make_external_picker(spec: PickerSpec, binary: Path) -> PickerProcess:
    """The picker process for a binary: by the API stand-in, or by a file where its configuration says so."""
    found = inspect(binary)
    by_file = found.is_router and asks_for_files(config_text(spec))
    return FileDiscoveryPicker(spec, found) if by_file else KubeApiPicker(spec, found)


class _GoPicker:
    """What both kinds have in common: ports, flags, readiness."""

    def __init__(self, spec: PickerSpec, binary: Binary) -> None:
        self.spec = spec
        self.kind = binary.kind
        self.binary = binary
        self.grpc_port, self.health_port, self.metrics_port = free_port(), free_port(), free_port()
        self.kube_api_url: str | None = None
        self.notes: tuple[str, ...] = ()
        self.decision_log: Path | None = None
        self._endpoints: tuple[Endpoint, ...] = ()
        spec.directory.mkdir(parents=True, exist_ok=True)

    def _flags(self, changes: dict[str, str | None]) -> list[str]:
        """The Deployment's flags and those of this machine, as far as the binary knows them."""
        local: dict[str, str | None] = {
            "grpc-port": str(self.grpc_port),
            "grpc-health-port": str(self.health_port),
            "metrics-port": str(self.metrics_port),
            "metrics-endpoint-auth": "false",
            "ha-enable-leader-election": "false",
            # It would serve on for so long after SIGTERM, for a data plane that has not heard of its end yet.
            "drain-timeout": "0s",
        }
        if goflags.value_of(self.spec.flags, "tracing") is None:
            local["tracing"] = "false"
        if goflags.value_of(self.spec.flags, "emit-endpoint-scores") is None:
            local["emit-endpoint-scores"] = "true"  # for the access log; an EPP has no log of decisions
        if goflags.value_of(self.spec.flags, "endpoint-selector") is None:  # one or the other
            local["pool-namespace"], local["pool-name"] = self.spec.pool_key
        local |= changes
        asked = goflags.without(self.spec.flags, local)
        theirs = [(name, value) for name, value in asked if self.binary.takes(name, value)]
        self.notes = tuple(
            f"note: {self.binary.path} has no flag --{name}, which {self.spec.name} is given: left out"
            for name, value in asked
            if (name, value) not in theirs
        )
        ours = [(name, value) for name, value in local.items() if value and self.binary.takes(name, value)]
        return goflags.join([*theirs, *ours])

    async def _until_ready(self, process: Process) -> None:
        await process.until_ready(lambda: grpc_is_serving("127.0.0.1", self.health_port), READY_TIMEOUT_S)
        # The health port opens first; ext_proc follows once the picker has signed itself a certificate.
        await process.until_ready(lambda: _accepts(self.grpc_port), READY_TIMEOUT_S)


async def _accepts(port: int) -> bool:
    """Whether a TCP connection to the port can be made."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


class FileDiscoveryPicker(_GoPicker):
    """llm-d-router 0.9 and later whose configuration asks for endpoints from a file: no Kubernetes API."""

    def __init__(self, spec: PickerSpec, binary: Binary) -> None:
        super().__init__(spec, binary)
        self._endpoints_file = spec.directory / "endpoints.yaml"
        self.update_endpoints(())
        config = spec.directory / "epp-config.yaml"
        text = with_file_discovery(config_text(spec), self._endpoints_file)
        config.write_text(text, encoding="utf-8")
        argv = [str(binary.path), *self._flags({"config-file": str(config), "config-text": None})]
        self.notes += unread_objects(spec)
        self.process = Process(spec.name, argv, spec.log, {**os.environ, **spec.env})

    async def start(self) -> None:
        await self.process.start()
        await self._until_ready(self.process)

    async def stop(self) -> None:
        await self.process.stop()

    def update_endpoints(self, endpoints: Sequence[Endpoint]) -> None:
        self._endpoints = tuple(endpoints)
        replace_file(self._endpoints_file, file_discovery(endpoints))


def asks_for_files(text: str) -> bool:
    """Whether an EndpointPickerConfig takes its endpoints from a file. Raises ManifestError for no YAML."""
    config = load_value(text, "EndpointPickerConfig", ManifestError)
    layer = config.get("dataLayer") if isinstance(config, dict) else None
    discovery = layer.get("discovery") if isinstance(layer, dict) else None
    name = discovery.get("pluginRef") if isinstance(discovery, dict) else None
    plugins = config.get("plugins") if isinstance(config, dict) else None
    types = {p.get("name") or p.get("type"): p.get("type") for p in plugins or () if isinstance(p, dict)}
    return name is not None and str(types.get(name, name)).endswith("file-discovery")


def unread_objects(spec: PickerSpec) -> tuple[str, ...]:
    """A picker without the Kubernetes API does not know of these."""
    return tuple(
        f"note: {resource}: has no effect, {spec.name} takes its endpoints from a file and asks no API"
        for resource in spec.manifests.of_kind("InferenceObjective", "InferenceModelRewrite")
        if resource.namespace == spec.pool_key[0]
    )


def with_file_discovery(text: str, endpoints: Path) -> str:
    """An EndpointPickerConfig that takes its endpoints from a file. Raises ManifestError for what is none."""
    config = load_value(text, "EndpointPickerConfig", ManifestError) or {}
    if not isinstance(config, dict):
        raise ManifestError(f"EndpointPickerConfig: must be a mapping, is {config!r}")
    layer = config.get("dataLayer") or {}
    replaced = (layer.get("discovery") or {}).get("pluginRef")
    if not config.get("plugins"):
        config |= DEFAULT_CONFIG
    kept = [p for p in config["plugins"] if replaced is None or (p.get("name") or p.get("type")) != replaced]
    parameters = {"path": str(endpoints), "watchFile": True}
    plugin: dict[str, Any] = {"name": DISCOVERY, "type": "file-discovery", "parameters": parameters}
    config["apiVersion"] = LLMD_API_VERSION
    config["kind"] = "EndpointPickerConfig"
    config["plugins"] = [*kept, plugin]
    config["dataLayer"] = {**layer, "discovery": {"pluginRef": DISCOVERY}}
    return yaml.safe_dump(config, sort_keys=False)


class KubeApiPicker(_GoPicker):
    """It watches pods, its pool and its objectives through the Kubernetes API."""

    def __init__(self, spec: PickerSpec, binary: Binary) -> None:
        super().__init__(spec, binary)
        self.store = Store(served_kinds(spec.manifests))
        for resource in spec.manifests.resources:
            obj = dict(resource.root.value)
            if self.store.kind_of(obj) is not None:
                namespace = {"namespace": resource.namespace} if resource.namespace else {}
                self.store.apply({**obj, "metadata": {**obj["metadata"], **namespace}})
        self.api = KubeApi(self.store, free_port())
        self.kube_api_url = self.api.url
        config = spec.directory / "kubeconfig"
        config.write_text(kubeconfig(self.api.url), encoding="utf-8")
        changes: dict[str, str | None] = {"kubeconfig": None}
        if (replaced := spec.options.config_file) is not None:
            changes |= {"config-file": str(replaced), "config-text": None}
        env = {**os.environ, **spec.env, "KUBECONFIG": str(config)}
        self.process = Process(spec.name, [str(binary.path), *self._flags(changes)], spec.log, env)

    async def start(self) -> None:
        await self.api.start()
        await self.process.start()
        await self._until_ready(self.process)
        if not self.binary.is_lightweight:  # which tells nothing of what it knows
            await self._until_endpoints()

    async def _until_endpoints(self) -> None:
        """Serving comes before the first pods are known; a request in between would be refused.

        A picker without a metric per endpoint is taken at its word once the time is up.
        """
        for _ in range(int(ENDPOINTS_TIMEOUT_S / 0.05)):
            _, body = await http_get("127.0.0.1", self.metrics_port, "/metrics")
            if len(_KNOWS_ENDPOINT.findall(body.decode(errors="replace"))) >= len(self._endpoints):
                return
            await asyncio.sleep(0.05)

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
            idle = set(self.spec.pool.target_ports) - set(ports)
            active = {ACTIVE_PORTS: ",".join(map(str, ports))} if idle else None
            self.store.apply(
                pod(name, first.namespace, first.address, first.labels, ports, annotations=active)
            )


def served_kinds(manifests: Manifests) -> tuple[Kind, ...]:
    """The kinds that the stand-in serves: of those that moved to llm-d.ai, the old ones while they are used.

    A picker that finds the definitions of both groups reads the objects of llm-d.ai only.
    """
    used = {(r.api_version, r.kind) for r in manifests.resources}

    def is_served(kind: Kind) -> bool:
        if kind.group != LLMD_GROUP:
            return True
        old = next(k for k in KINDS if k.kind == kind.kind and k.group != LLMD_GROUP)
        return (kind.api_version, kind.kind) in used or (old.api_version, old.kind) not in used

    return tuple(kind for kind in KINDS if is_served(kind))
