"""What `simfleet up` would say of the same manifests: it and lint read them by one plan."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path

from gateway.envoy.config import EnvoyOptions, build, listener_ports
from gateway.errors import ManifestError
from gateway.lint.finding import Finding, find
from gateway.manifests.told.unread import Why
from gateway.stack.pickers.process import PickerOptions
from gateway.stack.pickerset import PickerSet
from gateway.stack.plan import Plan
from gateway.stack.serving import tried
from kit.yamldoc import Cursor

_RULES = {
    Why.NOT_SIMULATED: ("not-simulated", "give it no weight in what the lab shows, or leave it out"),
    Why.NOT_READ: ("not-read", "mend the name, or leave it out: nothing acts on it here"),
    Why.NOT_RUN: ("not-run", "leave it out, or point a pool or Service at a model server"),
    Why.RUN_ELSE: ("gateway-class", "gatewayClassName: istio where that is meant"),
}


def check(plan: Plan, said: AbstractSet[str]) -> Iterator[Finding]:
    """What is not read, what would not start, and target ports on which nothing listens.

    `said`: the rules that have spoken; a picker or gateway that fails by one of them is not told of twice.
    """
    for found in plan.unread:
        rule, mend = _RULES[found.why]
        root = found.resource.root
        yield find(rule, root, f"{found.why}: {found.object}", found.consequence, mend, *found.path)
    with tempfile.TemporaryDirectory(prefix="simfleet-lint-") as folder:
        yield from _check_servers(plan, Path(folder) / "volumes")
        if "picker-config" not in said:
            yield from _check_pickers(plan, Path(folder))
        if "picker-tls" not in said:
            yield from _check_gateways(plan, Path(folder))


def _check_servers(plan: Plan, volumes: Path) -> Iterator[Finding]:
    for server, found in tried(plan, volumes):
        if isinstance(found, ManifestError):
            yield _refused(server.container.root, found)
            continue
        for note in found.notes:
            yield find(
                "container-note",
                server.container.root,
                note,
                "`simfleet up` runs it so",
                "nothing, where what stays out does not matter to the lab",
            )
        active = server.workload.active_ports  # a picker chooses no others
        missing = [p for p in server.targets if p not in found.ports and (active is None or p in active)]
        for port in missing:
            if server.pool is not None:
                at = server.pool.resource.root.child("spec")
                keys: tuple[str | int, ...] = ("targetPorts", server.targets.index(port), "number")
            else:
                at, keys = server.container.root, ("ports",)
            yield find(
                "pool-target-port",
                at,
                f"{server.pool or server.service} targets port {port}; pods of {server.workload} "
                f"listen on {', '.join(map(str, found.ports))}",
                "connections to the pod are refused: 503 (upstream connect error), and the picker has no "
                "metrics",
                "make targetPorts, containerPort and --port the same number",
                *keys,
            )


def _check_pickers(plan: Plan, folder: Path) -> Iterator[Finding]:
    pickers = PickerSet(plan, folder, PickerOptions(epp="reference"), lambda _: None)
    for picker in plan.pickers:
        try:
            pickers.spec_of(picker)
        except ManifestError as error:
            yield _refused(picker.container.root, error)


def _check_gateways(plan: Plan, folder: Path) -> Iterator[Finding]:
    for gateway in plan.gateways:
        ports = {port: port for port in listener_ports(gateway)}
        try:
            build(plan.manifests, gateway, EnvoyOptions(folder, ports, admin_port=1))
        except ManifestError as error:
            yield _refused(gateway.resource.root, error)


def _refused(at: Cursor, error: ManifestError) -> Finding:
    found = find(
        "up-refuses",
        at,
        error.message,
        "`simfleet up` refuses these manifests; in a cluster the container fails as it starts, or the object "
        "is refused",
        "mend what the message names",
    )
    return found if error.line is None else replace(found, file=error.file or at.file, line=error.line)
