"""Rules about TLS between gateway and picker, which Istio takes from a DestinationRule."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.lint.facts import Picker
from gateway.lint.finding import Finding, find
from gateway.manifests.destinationrule import DestinationRule, rule_for
from gateway.manifests.inference import InferencePool
from gateway.manifests.load import Manifests
from kit.yamldoc import Cursor

BROKEN = "every request is answered 500 (ext_proc gRPC error 14)"


def check_tls(manifests: Manifests, pool: InferencePool, picker: Picker) -> Iterator[Finding]:
    for written in manifests.destination_rules:
        spec = written.resource.root.child("spec")
        if "." not in spec.text("host") and not spec.text("host").startswith("*"):
            yield find(
                "destination-rule-host",
                spec,
                f"{written}: host {spec.text('host')} is taken as a Service of {written.namespace}",
                "moved to another namespace, or limited by exportTo, the rule matches nothing and TLS is off",
                f"host: {written.host}",
                "host",
            )
    if picker.service is None or picker.container is None or pool.picker is None:
        return
    namespaces = {g.namespace for g in manifests.gateways.values()} or {pool.namespace}
    for namespace in sorted(namespaces):
        host = picker.service.host
        rule = rule_for(manifests.destination_rules, host, pool.namespace, namespace)
        yield from _check_rule(manifests, picker, rule, pool.picker.port or 0)


def _check_rule(
    manifests: Manifests, picker: Picker, rule: DestinationRule | None, port: int
) -> Iterator[Finding]:
    assert picker.service is not None
    host = picker.service.host
    tls = rule.settings("tls", port) if rule else None
    mode = tls.text("mode", "DISABLE") if tls else "DISABLE"
    if not picker.secure:
        if mode != "DISABLE":
            yield _tls(
                picker,
                rule,
                f"{rule} speaks TLS to a picker that serves plain text (--secure-serving=false)",
                "tls.mode DISABLE, or drop --secure-serving=false",
            )
    elif tls is None or mode == "DISABLE":
        near = [r for r in manifests.destination_rules if r.host.split(".")[0] == picker.service.name]
        hint = f" ({near[0]} is for {near[0].host})" if near and rule is None else ""
        yield _tls(
            picker,
            rule,
            f"{picker.workload} serves TLS, and no DestinationRule turns it on for {host}{hint}",
            f"a DestinationRule for host {host} with tls.mode SIMPLE and insecureSkipVerify true",
        )
    elif mode in ("ISTIO_MUTUAL", "MUTUAL"):
        yield _tls(
            picker,
            rule,
            f"{rule} uses {mode}, and the picker has no certificate of the mesh",
            "tls.mode SIMPLE with insecureSkipVerify true",
        )
    elif not tls.flag("insecureSkipVerify", False):
        yield from _check_verification(picker, rule, tls, host)


def _check_verification(
    picker: Picker, rule: DestinationRule | None, tls: Cursor, host: str
) -> Iterator[Finding]:
    """What a gateway that verifies the picker needs: an authority, and a name that it can prove."""
    if "cert-path" not in picker.flags and not tls.has("caCertificates"):
        yield _tls(
            picker,
            rule,
            f"{rule} verifies the picker's certificate, which the picker signs itself",
            "insecureSkipVerify: true, or --cert-path with a certificate that caCertificates and "
            "subjectAltNames cover",
        )
    elif not tls.text("sni", "") and not tls.strings("subjectAltNames"):
        yield _tls(
            picker,
            rule,
            f"{rule} verifies the picker's name and gives none: Istio takes the cluster's, which no "
            "certificate proves",
            f"sni or subjectAltNames with the name in the certificate, such as {host}",
        )


def _tls(picker: Picker, rule: DestinationRule | None, message: str, mend: str) -> Finding:
    assert picker.service is not None
    place = rule.resource.root if rule else picker.service.resource.root
    return find("picker-tls", place, message, BROKEN, mend, "spec")
