"""Istio's DestinationRule: how clients speak to a host (TLS, connection pools, load balancing)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gateway.manifests.durations import istio_duration
from gateway.manifests.inside import is_inside
from gateway.manifests.resources import Resource, Typed
from kit.yamldoc import Cursor

ROOT_NAMESPACE = "istio-system"
# Where systems keep the authorities that they trust; a gateway's pod has the first.
SYSTEM_AUTHORITIES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)
# Fields of a trafficPolicy that are durations, wherever they stand, and the fewest milliseconds of each.
_DURATIONS = {
    **dict.fromkeys(("connectTimeout", "idleTimeout", "maxConnectionDuration"), 1),
    **dict.fromkeys(("interval", "time", "timeout"), 1),  # of outlier detection and of keep-alives
    **dict.fromkeys(("baseEjectionTime", "warmupDurationSecs", "duration"), 1),
    "ttl": 0,  # a session's cookie
}


@dataclass(frozen=True)
class DestinationRule(Typed):
    """`host` is fully qualified; `policy` is the raw `trafficPolicy`."""

    host: str
    policy: Cursor | None
    export_to: tuple[str, ...]

    def is_visible_from(self, namespace: str) -> bool:
        if not self.export_to or "*" in self.export_to:
            return True
        return namespace in self.export_to or ("." in self.export_to and namespace == self.namespace)

    def matches(self, host: str) -> bool:
        if self.host.startswith("*"):
            return host.endswith(self.host[1:])
        return host == self.host

    def settings(self, part: str, port: int) -> Cursor | None:
        """`part` (tls, connectionPool, outlierDetection, loadBalancer) of the policy for `port`.

        A matching portLevelSettings entry replaces the whole policy, as in Istio: what it leaves out is
        default.
        """
        if self.policy is None:
            return None
        for entry in self.policy.items("portLevelSettings"):
            if entry.at("port", "number").value == port:
                return entry.opt(part)
        return self.policy.opt(part)


def read_destination_rule(resource: Resource) -> DestinationRule:
    spec = resource.root.child("spec")
    for part in (spec, *spec.items("subsets")):
        _check_durations(part.at("trafficPolicy"))
    return DestinationRule(
        resource=resource,
        host=_qualified(spec.text("host"), resource.namespace),
        policy=spec.opt("trafficPolicy"),
        export_to=tuple(spec.strings("exportTo")),
    )


def tls_file(tls: Cursor, key: str) -> str:
    """The file that `key` (caCertificates, clientCertificate, privateKey) of a rule's TLS settings names.

    In a cluster it is a file of the gateway's pod. Here Envoy opens it on this machine, so it has to stand in
    or below the directory of the manifest that names it, links followed, or be the system's authorities.
    Raises ManifestError.
    """
    name = tls.text(key)
    if name in SYSTEM_AUTHORITIES:
        return name
    here = Path(tls.file).parent  # of standard input: the working directory
    path = here / name
    if not is_inside(here, path):
        raise tls.error(
            f"{name} is a path of the gateway's pod, and no file in or below {here.resolve()}: the gateway "
            "here opens only files beside the manifest; put it there, or leave the field out for the "
            "system's authorities",
            key,
        )
    if not path.is_file():
        raise tls.error(f"{path} does not exist, or is no file: no connection could be verified by it", key)
    return str(path.resolve())


def _check_durations(at: Cursor) -> None:
    """Raise ManifestError for a malformed duration anywhere in a policy, also where no cluster uses it."""
    if isinstance(at.value, dict):
        for key in at.value:
            if key in _DURATIONS:
                istio_duration(at, key, _DURATIONS[key])
            _check_durations(at.at(key))
    elif isinstance(at.value, list):
        for i in range(len(at.value)):
            _check_durations(at.at(i))


def _qualified(host: str, namespace: str) -> str:
    """A name without dots is a Service of the rule's own namespace."""
    return host if "." in host or host.startswith("*") else f"{host}.{namespace}.svc.cluster.local"


def rule_for(
    rules: list[DestinationRule], host: str, service_namespace: str, client_namespace: str
) -> DestinationRule | None:
    """The rule that a client in `client_namespace` applies to `host`.

    Istio's order: the client's namespace, the service's, the root namespace; in each, an exact host before
    the longest wildcard.
    """
    for namespace in (client_namespace, service_namespace, ROOT_NAMESPACE):
        found = [
            r
            for r in rules
            if r.namespace == namespace and r.matches(host) and r.is_visible_from(client_namespace)
        ]
        if found:
            return max(found, key=lambda r: (not r.host.startswith("*"), len(r.host)))
    return None
