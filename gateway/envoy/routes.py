"""Routes of one listener port: virtual hosts by hostname, in each the rules in the order they are tried."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.envoy import extproc
from gateway.envoy.compat import LATEST, TABLE, Istio
from gateway.envoy.matches import build_match, precedence
from gateway.envoy.rewrites import (
    CORS_FILTER,
    cors,
    header_changes,
    host_rewrite,
    mirrors,
    path_rewrite,
    redirect,
)
from gateway.manifests.attach import Attachment
from gateway.manifests.durations import Duration
from gateway.manifests.gatewayapi import FILTERS, Filter, Match, Retry, Route, Rule, read_backend
from gateway.manifests.inference import InferencePool
from gateway.manifests.load import Manifests
from gateway.manifests.references import Backend, resolve_backend
from kit.yamldoc import Cursor

Json = dict[str, Any]

_PREVIOUS_HOSTS = "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"


@dataclass
class RouteBuilder:
    """Translates routes as `istio` does, and remembers the backends that they lead to."""

    manifests: Manifests
    istio: Istio = TABLE[LATEST]
    backends: dict[str, Backend] = field(default_factory=dict)  # by cluster name

    def virtual_hosts(self, attachments: Iterable[Attachment], name: str) -> list[Json]:
        """The virtual hosts of one port; `name` keeps their names apart from other ports'."""
        entries: dict[str, list[tuple[Any, Json]]] = {}
        for attachment in attachments:
            for hostname in attachment.hostnames:
                entries.setdefault(hostname, []).extend(self._entries(attachment.route, name))
        return [
            {
                "name": f"{hostname}:{name}",
                "domains": [hostname],
                "include_request_attempt_count": True,
                "routes": [route for _, route in sorted(found, key=lambda entry: entry[0])],
            }
            for hostname, found in entries.items()
        ]

    def _entries(self, route: Route, port: str) -> Iterable[tuple[Any, Json]]:
        """(sort key, Envoy route) of every match. Ties go to the name, then to the order in the route."""
        for i, rule in enumerate(route.rules):
            for j, match in enumerate(rule.matches):
                rank = tuple(-n for n in precedence(match))
                name = f"{route.namespace}.{route.name}.{i}"
                made = self._route(route, rule, match)
                if "route" in made:
                    made["decorator"] = {"operation": _operation(made, f"{route.name}-{i}", port)}
                yield (rank, route.key, i, j), {"name": name, **made}

    def _route(self, route: Route, rule: Rule, match: Match) -> Json:
        result: Json = {"match": build_match(match)}
        unknown = [f.type for f in rule.filters if f.type not in FILTERS]
        backends = [resolve_backend(self.manifests, route, ref) for ref in rule.backends]
        live = [b for b in backends if b.ref.weight > 0]
        if (action := redirect(rule.filters, match)) is not None:
            return {**result, "redirect": action, **header_changes(rule.filters)}
        if unknown or not live:
            return {**result, "direct_response": {"status": 500}}
        filters = rule.filters + (live[0].ref.filters if len(live) == 1 else ())
        result.update(header_changes(filters))
        config = self._filter_config(route, rule, backends)
        if config:
            result["typed_per_filter_config"] = config
        result["route"] = {
            **self._destination(live),
            **path_rewrite(filters, match, loses_slash=self.istio.root_loses_slash),
            **self._behaviour(route, rule, filters),
        }
        return result

    def _filter_config(self, route: Route, rule: Rule, backends: Sequence[Backend]) -> Json:
        """Route level: CORS, and the picker where one serves the whole rule."""
        config = cors(rule.filters, answers_foreign=self.istio.answers_foreign_preflights)
        pool = self._rule_pool(backends)
        if self.istio.grpc_has_no_picker and route.is_grpc:
            return config
        if self.istio.cors_drops_picker and CORS_FILTER in config:
            return config
        return {**config, **(extproc.route_override(pool) if pool else {})}

    def _rule_pool(self, backends: Sequence[Backend]) -> InferencePool | None:
        if self.istio.last_pool_picks:
            return backends[-1].pool
        live = [b for b in backends if b.ref.weight > 0]
        return live[0].pool if len(live) == 1 else None

    def _destination(self, live: Sequence[Backend]) -> Json:
        if len(live) == 1:
            return {"cluster": self._use(live[0])}
        return {"weighted_clusters": {"clusters": [self._weighted(b) for b in live]}}

    def _weighted(self, backend: Backend) -> Json:
        entry: Json = {
            "name": self._use(backend),
            "weight": backend.ref.weight,
            **header_changes(backend.ref.filters),
        }
        if backend.pool is not None and not self.istio.last_pool_picks:
            entry["typed_per_filter_config"] = extproc.route_override(backend.pool)
        return entry

    def _use(self, backend: Backend) -> str:
        """The cluster's name; for a reference that does not resolve one that does not exist."""
        if backend.cluster is not None:
            self.backends[backend.cluster] = backend
        return backend.destination

    def _behaviour(self, route: Route, rule: Rule, filters: Sequence[Filter]) -> Json:
        """Timeouts, retries, mirrors and the host of a RouteAction."""
        retries = _retry_policy(rule.retry)
        timeout = rule.request_timeout or Duration(0)
        if rule.backend_timeout and rule.retry is not None and retries is not None:
            retries["per_try_timeout"] = rule.backend_timeout.envoy
        elif rule.backend_timeout:
            timeout = min(filter(None, (timeout, rule.backend_timeout)))
        result: Json = {
            "timeout": timeout.envoy,
            "max_grpc_timeout": timeout.envoy,  # of a client's grpc-timeout; 0s: it holds as it is
            "cluster_not_found_response_code": "INTERNAL_SERVER_ERROR",
        }
        if retries is not None:
            result["retry_policy"] = retries
        if host := host_rewrite(filters):
            result["host_rewrite_literal"] = host
        if policies := [self._mirror(route, ref, fraction) for ref, fraction in mirrors(filters)]:
            result["request_mirror_policies"] = policies
        return result

    def _mirror(self, route: Route, ref: Cursor, fraction: Json) -> Json:
        """A mirror that does not resolve names a cluster that does not exist: Envoy sends nothing."""
        backend = resolve_backend(self.manifests, route, read_backend(ref, route.namespace))
        return {
            "cluster": self._use(backend),
            "runtime_fraction": fraction,
            "disable_shadow_host_suffix_append": True,
        }


def _operation(made: Json, rule: str, port: str) -> str:
    """What istiod calls a route in traces: host, port and path of its cluster; of several, the rule's name.

    Model servers get it as `x-envoy-decorator-operation`.
    """
    match = made["match"]
    path = "/*"
    if "prefix" in match:
        path = f"{match['prefix']}*"
    elif "path_separated_prefix" in match:
        path = f"{match['path_separated_prefix']}/*"
    elif "path" in match:
        path = str(match["path"])
    elif "safe_regex" in match:
        path = str(match["safe_regex"]["regex"])
    parts = str(made["route"].get("cluster", "")).split("|")
    if len(parts) == 4:
        return f"{parts[3]}:{parts[1]}{path}"
    return f"{rule}-istio-autogenerated-k8s-gateway:{port}{path}"


def _retry_policy(retry: Retry | None) -> Json | None:
    """Istio's default policy, changed by what the rule's `retry` says."""
    policy: Json = {
        "retry_on": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
        "num_retries": 2,
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {"@type": _PREVIOUS_HOSTS},
            }
        ],
        "host_selection_retry_max_attempts": "5",
    }
    if retry is None:
        return policy
    if retry.attempts <= 0:
        return None
    policy["num_retries"] = retry.attempts
    if retry.codes:
        policy["retriable_status_codes"] = list(retry.codes)
    if retry.backoff is not None:
        policy["retry_back_off"] = {"base_interval": retry.backoff.envoy}
    return policy
