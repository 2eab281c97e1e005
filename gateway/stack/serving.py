"""The configuration of a pod's model server, and why one would not start: what `up` and `lint` ask alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gateway.containers.command import ServerCommand, container_error, server_command
from gateway.errors import ManifestError
from gateway.manifests.inside import inside
from gateway.manifests.load import Manifests
from gateway.stack.plan import Plan, ServerPlan, pod_name
from simulator.config.resolve import parse_args
from simulator.config.serve import ServeConfig
from simulator.errors import ConfigError


def server_config(
    manifests: Manifests, server: ServerPlan, name: str, address: str, directory: Path
) -> tuple[ServeConfig, ServerCommand]:
    """What the pod `name` of `server` runs; its volumes are written below `directory`.

    Raises ManifestError for a container that would not start.
    """
    workload, container = server.workload, server.container
    volumes = inside(directory, workload.namespace, workload.resource.kind.lower(), workload.name)
    command = server_command(manifests, workload, container, name=name, address=address, directory=volumes)
    try:
        return parse_args(command.flags, command.env), command
    except ConfigError as error:
        raise container_error(container, f"the server would not start: {error}") from error


def configs(plan: Plan, directory: Path) -> Iterator[tuple[ServerPlan, ServeConfig | ManifestError]]:
    """What the first pod of each server would run, or why it would not start."""
    for server in plan.servers:
        name = pod_name(server.workload, server.workload.first_ordinal, plan.stack)
        try:
            yield server, server_config(plan.manifests, server, name, "127.0.0.2", directory)[0]
        except ManifestError as error:
            yield server, error
