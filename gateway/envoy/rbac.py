"""AuthorizationPolicies as Envoy's RBAC filter, as istiod translates them (pilot/pkg/security/authz)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Any

from gateway.manifests.authorization import AuthorizationPolicy, PolicyRule, Values
from gateway.manifests.gatewayapi import Gateway

Json = dict[str, Any]

_FILTER = "envoy.filters.http.rbac"
_TYPE = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"
_TEMPLATE = "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig"
_ANY: Json = {"any": True}
_PERMISSIONS = {"hosts", "methods", "paths", "ports", "destination.ip", "destination.port", "connection.sni"}


def filters(
    policies: Iterable[AuthorizationPolicy], gateway: Gateway, ports: Sequence[tuple[int, int]]
) -> list[Json]:
    """The filters of what applies to `gateway`, DENY before ALLOW; `ports`: (of the listener, local).

    Policies of action AUDIT and CUSTOM and dry runs let everything pass, as they do without their provider.
    """
    mine = [p for p in policies if p.selects(gateway) and not p.dry_run]
    found = []
    for action in ("DENY", "ALLOW"):
        named = {
            f"ns[{policy.namespace}]-policy[{policy.name}]-rule[{i}]": rule
            for policy in mine
            if policy.action == action
            for i, rule in enumerate(_rules(policy, dict(ports)))
        }
        if named:
            rules = {"action": action, "policies": named}
            found.append({"name": _FILTER, "typed_config": {"@type": _TYPE, "rules": rules}})
    return found


def _rules(policy: AuthorizationPolicy, ports: dict[int, int]) -> Iterable[Json]:
    if not policy.rules:  # fits no request: an ALLOW policy then refuses all that no other allows
        yield {"permissions": [{"not_rule": _ANY}], "principals": [{"not_id": _ANY}]}
    for rule in policy.rules:
        yield _rule(rule, ports)


def _rule(rule: PolicyRule, ports: dict[int, int]) -> Json:
    """Conditions count as permissions or principals, and hold beside each operation or source."""
    of_request = [_fits(v, ports) for v in rule.conditions if _is_permission(v)]
    of_source = [_fits(v, ports) for v in rule.conditions if not _is_permission(v)]
    operations = [[*(_fits(v, ports) for v in o), *of_request] for o in rule.operations or ((),)]
    sources = [[*(_fits(v, ports) for v in s), *of_source] for s in rule.sources or ((),)]
    return {
        "permissions": [{"and_rules": {"rules": _flat(found, "rules", "rule")}} for found in operations],
        "principals": [{"and_ids": {"ids": _flat(found, "ids", "id")}} for found in sources],
    }


def _flat(found: list[tuple[list[Json], list[Json]]], many: str, one: str) -> list[Json]:
    result: list[Json] = []
    for any_of, none_of in found:
        if any_of:
            result.append({f"or_{many}": {many: any_of}})
        if none_of:
            result.append({f"not_{one}": {f"or_{many}": {many: none_of}}})
    return result or [_ANY]


def _is_permission(values: Values) -> bool:
    return values.key in _PERMISSIONS or values.key.startswith("experimental.envoy.filters.")


def _fits(values: Values, ports: dict[int, int]) -> tuple[list[Json], list[Json]]:
    """What each of its values asks of a request: (one must hold, none must hold)."""
    return (
        [_one(values.key, text, ports) for text in values.any_of],
        [_one(values.key, text, ports) for text in values.none_of],
    )


def _one(key: str, text: str, ports: dict[int, int]) -> Json:
    if key in {"ports", "destination.port"}:
        return {"destination_port": ports.get(int(text), int(text))}
    if key == "paths":
        return _path(text)
    if key == "methods":
        return {"header": _header(":method", text)}
    if key == "hosts":
        return {"header": _header(":authority", text, ignore_case=True)}
    if key == "connection.sni":
        return {"requested_server_name": _string(text)}
    if key.startswith("request.headers["):
        return {"header": _header(key.partition("[")[2].removesuffix("]"), text)}
    if key.startswith("experimental."):
        name, _, entry = key.removeprefix("experimental.").removesuffix("]").partition("[")
        return {"metadata": {"filter": name, "path": [{"key": entry}], "value": _metadata(text)}}
    address = {
        "destination.ip": "destination_ip",
        "ipBlocks": "direct_remote_ip",
        "source.ip": "direct_remote_ip",
        "remoteIpBlocks": "remote_ip",
        "remote.ip": "remote_ip",
    }.get(key)
    return {address: _range(text)} if address else _identity(key, text)


def _identity(key: str, text: str) -> Json:
    """Who asks, by a certificate or a token: clients here have neither, and nothing of it ever fits."""
    if key.startswith(("request.auth", "requestPrincipals")):
        return {"not_id": _ANY}
    if key in {"namespaces", "source.namespace"}:
        pattern = f".*/ns/{text.replace('*', '.*')}/.*"
        return {"authenticated": {"principal_name": {"safe_regex": {"regex": pattern}}}}
    if key in {"serviceAccounts", "source.serviceAccount"}:
        namespace, slash, account = text.partition("/")
        pattern = f"spiffe://.+/ns/{namespace if slash else '.+'}/(.+/|)sa/{account or text}(/.+)?"
        return {"authenticated": {"principal_name": {"safe_regex": {"regex": pattern}}}}
    return {"authenticated": {"principal_name": _string(text, "spiffe://")}}


def _string(text: str, prefix: str = "") -> Json:
    """`*` is anything but nothing, `x*` a beginning, `*x` an end; `prefix` stands before what is whole."""
    if text == "*":
        return {"safe_regex": {"regex": ".+"}}
    if text.startswith("*"):
        return {"suffix": text[1:]}
    if text.endswith("*"):
        return {"prefix": prefix + text[:-1]}
    return {"exact": prefix + text}


def _header(name: str, text: str, *, ignore_case: bool = False) -> Json:
    if text == "*":
        return {"name": name, "present_match": True}
    return {"name": name, "string_match": {**_string(text), **({"ignore_case": True} if ignore_case else {})}}


def _path(text: str) -> Json:
    if "{*}" in text or "{**}" in text:
        template = text.replace("{**}", "**").replace("{*}", "*")
        config = {"@type": _TEMPLATE, "path_template": template}
        return {"uri_template": {"name": "uri-template", "typed_config": config}}
    return {"url_path": {"path": _string(text)}}


def _metadata(text: str) -> Json:
    if text.startswith("[") and text.endswith("]"):
        return {"list_match": {"one_of": {"string_match": _string(text.strip("[]"))}}}
    return {"string_match": _string(text)}


def _range(text: str) -> Json:
    network = ipaddress.ip_network(text, strict=False)
    return {"address_prefix": str(network.network_address), "prefix_len": network.prefixlen}
