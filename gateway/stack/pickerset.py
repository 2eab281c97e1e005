"""The pickers of a stack: made from their Deployments, told the endpoints, found by name."""

from __future__ import annotations

import asyncio
import hashlib
import posixpath
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.containers.command import picker_words
from gateway.containers.environment import PodIdentity, environment
from gateway.containers.mounts import mount_files
from gateway.envoy.eds import Address
from gateway.errors import ManifestError
from gateway.machine.ports import free_port
from gateway.manifests.inference import InferencePool
from gateway.manifests.inside import inside, is_inside
from gateway.manifests.resources import selects
from gateway.manifests.workloads import Service, ServicePort
from gateway.stack.pickers import goflags
from gateway.stack.pickers.make import make_picker
from gateway.stack.pickers.process import (
    GRPC_PORT,
    HEALTH_PORT,
    METRICS_PORT,
    PickerOptions,
    PickerProcess,
    PickerSpec,
)
from gateway.stack.plan import PickerPlan, Plan, container_port, pod_name
from gateway.stack.pods import PodTable


@dataclass
class PickerHandle:
    """A picker of the stack: its plan, its process, and the pool that its flags name (None: no such pool)."""

    plan: PickerPlan
    process: PickerProcess
    pool: InferencePool | None
    closed_port: int  # where a Service port leads that the picker does not listen on
    digest: str = ""  # of all that it was started with

    @property
    def name(self) -> str:
        return self.process.spec.name

    @property
    def failure_mode(self) -> str:
        return self.plan.pool.picker.failure_mode if self.plan.pool.picker else "FailClose"

    def describe(self) -> str:
        tls = "TLS" if self.process.spec.secure else "plaintext"
        return f"picker   {self.name}  {self.process.kind}, gRPC 127.0.0.1:{self.process.grpc_port} ({tls})"

    def local_port(self, inner: int | None) -> int:
        """The port on this machine for one inside the pod; one that refuses where the pod has no listener."""
        spec = self.process.spec
        known = {
            spec.inner_port("metrics-port", METRICS_PORT): self.process.metrics_port,
            spec.inner_port("grpc-health-port", HEALTH_PORT): self.process.health_port,
            spec.inner_port("grpc-port", GRPC_PORT): self.process.grpc_port,
        }
        return known.get(inner or 0, self.closed_port)


class PickerSet:
    """All pickers of one stack."""

    def __init__(
        self, plan: Plan, directory: Path, options: PickerOptions, report: Callable[[str], None]
    ) -> None:
        self._plan = plan
        self._directory = directory
        self._options = options
        self._report = report
        self._handles: list[PickerHandle] = []

    def __iter__(self) -> Iterator[PickerHandle]:
        return iter(self._handles)

    def __len__(self) -> int:
        return len(self._handles)

    def make(self) -> None:
        """Write the files of every picker and make its process, not yet started."""
        for picker in self._plan.pickers:
            self._handles.append(self.make_one(picker))

    def make_one(self, picker: PickerPlan) -> PickerHandle:
        """One picker, not yet started nor among those of the stack. Raises ManifestError."""
        spec = self.spec_of(picker, several=len(self._plan.pickers) > 1)
        pool = self._pool_of(spec, picker)
        return PickerHandle(picker, make_picker(spec), pool, free_port(), digest(spec))

    def retarget(self, plan: Plan) -> None:
        """Go on with another plan: its pools, and its objects for the pickers to come."""
        self._plan = plan
        by_workload = {p.workload.key: p for p in plan.pickers}
        for handle in self._handles:
            handle.plan = by_workload.get(handle.plan.workload.key, handle.plan)
            handle.pool = plan.manifests.pools.get(handle.process.spec.pool_key)

    def digest_of(self, picker: PickerPlan) -> str:
        """What the picker of a plan would be started with; its mounted files are written anew."""
        return digest(self.spec_of(picker, several=len(self._plan.pickers) > 1))

    def name_of(self, picker: PickerPlan) -> str:
        """Its pod's name, which tells one template from another."""
        return pod_name(picker.workload, 0, self._plan.stack)

    def swap(self, old: PickerHandle | None, new: PickerHandle | None) -> None:
        """Put `new` in the place of `old`; either may be nobody."""
        if old is not None:
            self._handles.remove(old)
        if new is not None:
            self._handles.append(new)

    def spec_of(self, picker: PickerPlan, *, several: bool = False) -> PickerSpec:
        """What its process is made of, its files written. Raises ManifestError for what cannot start."""
        manifests, workload = self._plan.manifests, picker.workload
        name = pod_name(workload, 0, self._plan.stack)
        directory = inside(self._directory / "pickers", name)
        labels, annotations = workload.pod_labels, workload.pod_annotations
        identity = PodIdentity(
            name, workload.namespace, "127.0.0.1", labels, annotations, workload.service_account
        )
        env = environment(manifests, workload, picker.container, identity)
        places = mount_files(manifests, workload, picker.container, directory / "volumes")
        words = picker_words(picker.container, env, places)
        options = self._options
        if several and options.decision_log is not None:
            log = options.decision_log
            path = log.with_name(f"{log.stem}-{picker.pool.name}{log.suffix}")
            options = PickerOptions(options.epp, options.config_file, path, options.plugins)
        given = goflags.split(words)
        if options.config_file is not None:  # in place of whatever the manifests name
            given = goflags.without(given, {"config-file", "config-text"})
        flags = local_files(given, directory, picker)
        log_file = self._directory / "pickers" / f"{name}.log"
        return PickerSpec(
            name, picker.pool, flags, env, directory, log_file, manifests, options, picker.container.image
        )

    def _pool_of(self, spec: PickerSpec, picker: PickerPlan) -> InferencePool | None:
        """The pool that the flags name; a picker told of a pool that does not exist knows no endpoints."""
        pool = self._plan.manifests.pools.get(spec.pool_key)
        if pool is None:
            told = "/".join(spec.pool_key)
            self._report(
                f"note: {picker.workload} is told of pool {told}, which does not exist: it will know no "
                "endpoints"
            )
        return pool

    def update(self, pods: PodTable) -> None:
        """Tell every picker the endpoints of its pool."""
        for handle in self._handles:
            handle.process.update_endpoints(pods.choices(handle.pool) if handle.pool else [])

    def behind(self, service: Service, port: ServicePort) -> list[Address]:
        """Where a Service port leads to among the pickers that run."""
        return [
            ("127.0.0.1", handle.local_port(container_port(handle.plan.container, port)))
            for handle in self._handles
            if handle.process.process.is_running
            and handle.plan.workload.namespace == service.namespace
            and selects(service.selector, handle.plan.workload.pod_labels)
        ]

    def find(self, name: str) -> PickerHandle | None:
        """The picker whose pod or Deployment is called so."""
        return next((h for h in self._handles if name in {h.name, h.plan.workload.name}), None)

    async def stop(self) -> None:
        await asyncio.gather(*(handle.process.stop() for handle in self._handles))


def digest(spec: PickerSpec) -> str:
    """Of flags, variables, mounted files and objectives: a picker with another one is another picker."""
    seen = hashlib.sha256(repr((spec.name, spec.flags, sorted(spec.env.items()), spec.pool_key)).encode())
    mounted = spec.directory / "volumes"
    for path in sorted(p for p in mounted.rglob("*") if p.is_file()) if mounted.is_dir() else ():
        seen.update(str(path).encode() + path.read_bytes())
    for resource in spec.manifests.of_kind("InferenceObjective", "InferenceModelRewrite"):
        if resource.namespace == spec.pool_key[0]:
            seen.update(repr(resource.root.value.get("spec")).encode() + resource.name.encode())
    return seen.hexdigest()


_READ = ("config-file", "cert-path", "plugin")
_WRITTEN = ("decision-log",)
Flags = tuple[tuple[str, str | None], ...]


def local_files(flags: Sequence[tuple[str, str | None]], directory: Path, picker: PickerPlan) -> Flags:
    """The flags of a picker, whose files all lie in its directory: what is mounted there, what it writes.

    Raises ManifestError for a file that is read and that nothing mounted has: the same path of this machine
    is another file.
    """
    found: list[tuple[str, str | None]] = []
    for name, value in flags:
        if name in _READ and value and not (is_inside(directory, Path(value)) and Path(value).exists()):
            raise ManifestError(
                f"the picker of {picker.pool} is given --{name} {value}, which no mounted ConfigMap or "
                "Secret has: check volumes, volumeMounts and the keys",
                picker.workload.resource.root.file,
                picker.container.root.line,
            )
        if name in _WRITTEN and value and not is_inside(directory, Path(value)):
            path = inside(directory, "written", posixpath.normpath(f"/{value}").lstrip("/"))
            path.parent.mkdir(parents=True, exist_ok=True)
            found.append((name, str(path)))
        else:
            found.append((name, value))
    return tuple(found)
