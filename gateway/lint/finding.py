"""What lint says: one finding, and the catalogue of rules it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from kit.yamldoc import Cursor


class Severity(StrEnum):
    """error: traffic fails or a part does not start; warning: works by luck; info: good to know."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True)
class Rule:
    """One thing that lint looks for; `defect` is its number among the page's defects, 0 for none."""

    id: str
    severity: Severity
    title: str
    defect: int = 0


_E, _W, _I = Severity.ERROR, Severity.WARNING, Severity.INFO

RULES = {
    r.id: r
    for r in (
        Rule("schema", _E, "an object that its CRD refuses"),
        Rule("up-refuses", _E, "what `simfleet up` cannot start, or an API server refuses"),
        Rule("container-note", _I, "what of a container stays out of the lab, or is replaced"),
        Rule("not-simulated", _W, "an object or field that changes traffic in a cluster and nothing here"),
        Rule("not-read", _W, "a kind or field that is unknown"),
        Rule("not-run", _W, "pods that serve no model"),
        Rule("gateway-class", _I, "a Gateway of a class that is not Istio's"),
        Rule("pool-api-version", _E, "a pool of an API version that Istio does not read"),
        Rule("pool-selector", _E, "a pool whose selector matches no pod"),
        Rule("pool-target-port", _E, "a target port that no server listens on"),
        Rule("pool-failure-mode", _I, "a pool without an explicit failure mode", 17),
        Rule("picker-missing", _E, "a pool without a picker that can be found"),
        Rule("picker-port", _E, "the picker's Service does not have the port that the pool names"),
        Rule("picker-selector", _E, "the picker's Service selects no pod"),
        Rule("picker-protocol", _E, "the picker's Service port is not marked as HTTP/2"),
        Rule("picker-pool-flags", _E, "the picker is told another pool"),
        Rule("picker-config", _E, "the picker's configuration cannot be read"),
        Rule("picker-inert-setting", _I, "a setting that the reference picker does not act on"),
        Rule("picker-tls", _E, "gateway and picker disagree about TLS"),
        Rule("picker-rbac", _E, "the picker may not watch what it watches", 1),
        Rule(
            "picker-kv-metric", _E, "picker and model servers use different names for the KV cache metric", 2
        ),
        Rule("picker-image", _W, "an image that will not last or is always pulled", 7),
        Rule("picker-probes", _W, "probes that restart a picker which only waits", 9),
        Rule(
            "picker-probe-service",
            _E,
            "a probe asks for a health service that leader election does not have",
            9,
        ),
        Rule("picker-metrics", _W, "the picker's metrics cannot be read", 10),
        Rule("picker-tracing", _I, "the picker exports traces to nobody", 10),
        Rule("picker-log-level", _W, "the picker logs so much that it slows down", 11),
        Rule("picker-service-account", _W, "every pod of the namespace gets the picker's rights", 12),
        Rule("dead-flag", _W, "a flag or variable without effect", 5),
        Rule("destination-rule-host", _I, "a short host name in a DestinationRule", 16),
        Rule("server-env", _W, "an environment variable that the model server does not read", 3),
        Rule("server-image", _W, "a model server image that is always pulled", 7),
        Rule("server-hardening", _W, "a model server without probes, requests or a security context", 13),
        Rule("route-parent", _E, "a route that no listener accepts"),
        Rule("route-backend", _E, "a route to something that is not there"),
        Rule("route-grant", _E, "a reference into another namespace that nothing allows"),
        Rule("route-filter", _E, "a filter with which Istio breaks a route"),
        Rule("route-pools", _W, "a rule with several pools"),
        Rule("route-port", _I, "a port on a reference to a pool"),
        Rule("route-paths", _I, "only some of the API is routed", 14),
    )
}


@dataclass(frozen=True)
class Finding:
    """One finding: which rule, where, what is wrong, what will happen, and the mend."""

    rule: Rule
    file: str
    line: int
    message: str
    consequence: str
    mend: str

    @property
    def sort_key(self) -> tuple[int, str, int, str]:
        order = [Severity.ERROR, Severity.WARNING, Severity.INFO]
        return order.index(self.rule.severity), self.file, self.line, self.rule.id


def find(rule: str, at: Cursor, message: str, consequence: str, mend: str, *keys: str | int) -> Finding:
    """A finding of `rule` at `at`, or at the value under `keys` in it."""
    line = at.document.line_of((*at.path, *keys))
    return Finding(RULES[rule], at.file, line, message, consequence, mend)
