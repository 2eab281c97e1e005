"""The reference picker as a process of its own: `python -m gateway.picker`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import yaml

from gateway.envoy.eds import replace_file
from gateway.machine.ports import free_port
from gateway.machine.processes import Process
from gateway.machine.readiness import grpc_is_serving
from gateway.picker.compat import of_image
from gateway.stack.pickers import goflags
from gateway.stack.pickers.process import READY_TIMEOUT_S, Endpoint, PickerSpec, file_discovery
from kit.children import python

# The log in a picker's directory, which goes when the stack does; brief, for it is always written.
DECISIONS = "decisions.jsonl"


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

    @property
    def decision_log(self) -> Path:
        """Where its decisions are written: by the command line, by its own flags, else beside its files."""
        told = goflags.value_of(self.spec.flags, "decision-log")
        return self.spec.options.decision_log or (Path(told) if told else self.spec.directory / DECISIONS)

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
        if goflags.value_of(spec.flags, "compat") is None and (release := of_image(spec.image)) is not None:
            flags.append(("compat", release.name))
        if (objectives := write_objectives(spec)) is not None:
            flags.append(("objectives-file", str(objectives)))
        if not goflags.value_of(spec.flags, "decision-log") or options.decision_log is not None:
            flags.append(("decision-log", str(self.decision_log)))
            flags += [] if options.decision_log is not None else [("decision-log-brief", "true")]
        if options.otlp_traces is not None:
            flags.append(("otlp-traces", options.otlp_traces))
        flags += [("plugin", str(path)) for path in options.plugins]
        return python("-m", "gateway.picker", *goflags.join(flags))


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
