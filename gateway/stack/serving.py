"""The configuration of a pod's model server, and why one would not start: what `up` and `lint` ask alike."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from gateway.containers.command import ServerCommand, container_error, server_command
from gateway.errors import ManifestError
from gateway.manifests.inside import inside
from gateway.manifests.load import Manifests
from gateway.sidecar.plan import sidecar_options
from gateway.stack.plan import Plan, ServerPlan, pod_name
from gateway.stack.sidecars import notes_of, pod_ports
from simulator.config.resolve import parse_args
from simulator.config.serve import ServeConfig
from simulator.errors import ConfigError

_ENDPOINT = re.compile(r"\btcp://([A-Za-z0-9][\w.-]*):(\d+)")  # not `*`, a pod's own
_FOREIGN = "--otlp-traces-endpoint: spans do not leave the lab by themselves,"


def server_config(
    manifests: Manifests,
    server: ServerPlan,
    name: str,
    address: str,
    directory: Path,
    *,
    traces: str | None = None,
) -> tuple[ServeConfig, ServerCommand]:
    """What the pod `name` of `server` runs; its volumes are written below `directory`.

    Its spans are posted to `traces` and nowhere else: a collector that its flags name is one of a cluster.

    Raises ManifestError for a container that would not start.
    """
    workload, container = server.workload, server.container
    volumes = inside(directory, workload.namespace, workload.resource.kind.lower(), workload.name)
    command = server_command(manifests, workload, container, name=name, address=address, directory=volumes)
    command = _to_pickers(manifests, workload.namespace, command)
    try:
        config = parse_args(command.flags, command.env)
    except ConfigError as error:
        raise container_error(container, f"the server would not start: {error}") from error
    if config.otlp_traces_endpoint is not None:
        note = (
            f"{_FOREIGN} {config.otlp_traces_endpoint} gets none; `simfleet up --otlp-endpoint` says where to"
        )
        command = replace(command, notes=(*command.notes, note))
    return replace(config, otlp_traces_endpoint=traces, otlp_traces_protocol="http/protobuf"), command


def _to_pickers(manifests: Manifests, namespace: str, command: ServerCommand) -> ServerCommand:
    """KV events that go to the Service of a picker go to the picker: there is no DNS here."""
    notes: list[str] = []

    def place(found: re.Match[str]) -> str:
        name, _, rest = found[1].partition(".")
        space = rest.partition(".")[0] or namespace
        service = manifests.services.get((space, name))
        pickers = {(p.namespace, p.picker.name) for p in manifests.pools.values() if p.picker}
        if service is None or (space, name) not in pickers:
            if not re.fullmatch(r"[\d.]+|localhost", found[1]):
                notes.append(
                    f"{found[0]}: no picker's Service of the manifests has this name: no KV events come"
                )
            return found[0]
        if service.port(int(found[2])) is None:
            notes.append(f"{found[0]}: Service {name} has no port {found[2]}: in a cluster no KV events come")
        return f"tcp://127.0.0.1:{found[2]}"

    flags = tuple(_ENDPOINT.sub(place, flag) for flag in command.flags)
    return replace(command, flags=flags, notes=(*command.notes, *notes))


def ranks_of(server: ServerPlan, config: ServeConfig) -> int:
    """How many ports in a row its data-parallel ranks have: one for all where requests come to one."""
    return config.ranks.num_ports if len(server.targets) == 1 else config.data_parallel_size


@dataclass(frozen=True)
class Tried:
    """Where a pod listens, its sidecar with it, and what is to be told of its containers."""

    ports: tuple[int, ...]
    notes: tuple[str, ...]


def tried(plan: Plan, directory: Path) -> Iterator[tuple[ServerPlan, Tried | ManifestError]]:
    """What comes of the first pod of each server, or why it would not start; nothing is started."""
    for server in plan.servers:
        try:
            yield server, _tried(plan, server, directory)
        except ManifestError as error:
            yield server, error


def _tried(plan: Plan, server: ServerPlan, directory: Path) -> Tried:
    workload, address = server.workload, "127.0.0.2"
    name = pod_name(workload, workload.first_ordinal, plan.stack)
    config, command = server_config(plan.manifests, server, name, address, directory)
    notes = [f"{workload}, container {server.container.name}: {note}" for note in command.notes]
    sidecar = sidecar_options(plan.manifests, workload, name, address)
    ports, _ = pod_ports(server, config.port, ranks_of(server, config), None, sidecar)
    if sidecar is not None:
        notes += notes_of(server, sidecar, ports)
        ports = (*ports, *sidecar.ports)
    return Tried(ports, tuple(notes))
