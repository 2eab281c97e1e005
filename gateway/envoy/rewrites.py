"""Filters of a rule that change a request or answer it: headers, rewrites, redirects, mirrors, CORS."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from gateway.manifests.gatewayapi import Filter, Match
from kit.yamldoc import Cursor

Json = dict[str, Any]

CORS_FILTER = "envoy.filters.http.cors"
_ANY_ORIGIN = r"^[a-zA-Z][a-zA-Z0-9+.-]*://[^/\s?#]+$"  # a scheme and a host, not `null`
_REDIRECT_CODES = {
    301: "MOVED_PERMANENTLY",
    302: "FOUND",
    303: "SEE_OTHER",
    307: "TEMPORARY_REDIRECT",
    308: "PERMANENT_REDIRECT",
}


def header_changes(filters: Sequence[Filter]) -> Json:
    """request_/response_headers_to_add and _to_remove for a route or a weighted cluster."""
    result: Json = {}
    for item in filters:
        side = {"RequestHeaderModifier": "request", "ResponseHeaderModifier": "response"}.get(item.type)
        if side is None:
            continue
        changes = [(h, "OVERWRITE_IF_EXISTS_OR_ADD") for h in item.root.items("set")]
        changes += [(h, "APPEND_IF_EXISTS_OR_ADD") for h in item.root.items("add")]
        added = [
            {"header": {"key": h.text("name"), "value": h.text("value")}, "append_action": action}
            for h, action in changes
            if side == "response" or h.text("name").lower() != "host"
        ]
        if added:
            result.setdefault(f"{side}_headers_to_add", []).extend(added)
        if removed := item.root.strings("remove"):
            result.setdefault(f"{side}_headers_to_remove", []).extend(removed)
    return result


def host_rewrite(filters: Sequence[Filter]) -> str | None:
    """The new Host: Envoy has it apart from other headers. URLRewrite wins, wherever it stands."""
    host = None
    for item in filters:
        if item.type == "URLRewrite" and item.root.has("hostname"):
            return item.root.text("hostname")
        if item.type == "RequestHeaderModifier" and host is None:
            named = (h for h in item.root.items("set") if h.text("name").lower() == "host")
            host = next((header.text("value") for header in named), None)
    return host


def path_rewrite(filters: Sequence[Filter], match: Match, *, loses_slash: bool = False) -> Json:
    """prefix_rewrite or regex_rewrite of a RouteAction; `loses_slash`: the one behind a new root is lost."""
    for item in filters:
        path = item.root.opt("path") if item.type == "URLRewrite" else None
        if path is not None:
            rewrite = _rewrite(path, match)
            if (
                loses_slash
                and not match.path.rstrip("/")
                and len(new := rewrite.get("prefix_rewrite", "")) > 1
            ):
                rewrite["prefix_rewrite"] = new.rstrip("/")  # istio#60182: /x goes to /prex
            return rewrite
    return {}


def _rewrite(path: Cursor, match: Match) -> Json:
    if path.text("type") == "ReplaceFullPath":
        return _regex("/.*", path.text("replaceFullPath"))
    new = path.text("replacePrefixMatch")
    old = match.path.rstrip("/")
    if not old:
        return {"prefix_rewrite": new.rstrip("/") + "/"}
    if new.rstrip("/"):
        return {"prefix_rewrite": new.rstrip("/")}
    return _regex(rf"^{re.escape(old)}(/?)(.*)", r"/\2")  # /v1/x to /x, where a prefix would give //x


def _regex(pattern: str, substitution: str) -> Json:
    return {"regex_rewrite": {"pattern": {"regex": pattern}, "substitution": substitution}}


def redirect(filters: Sequence[Filter], match: Match) -> Json | None:
    """A RedirectAction, None without RequestRedirect.

    ManifestError for a status code that the API does not allow.
    """
    item = next((f for f in filters if f.type == "RequestRedirect"), None)
    if item is None:
        return None
    root = item.root
    code = root.number("statusCode", 302)
    if code not in _REDIRECT_CODES:
        raise root.error(f"must be one of {sorted(_REDIRECT_CODES)}, is {code}", "statusCode")
    action: Json = {"response_code": _REDIRECT_CODES[code]}
    if scheme := root.text("scheme", ""):
        action["scheme_redirect"] = scheme
    if hostname := root.text("hostname", ""):
        action["host_redirect"] = hostname
    if port := root.number("port", 0):
        action["port_redirect"] = port
    path = root.opt("path")
    if path is not None and path.text("type") == "ReplaceFullPath":
        action["path_redirect"] = path.text("replaceFullPath")
    elif path is not None:
        action.update(_rewrite(path, match))
    return action


def cors(filters: Sequence[Filter], *, answers_foreign: bool = True) -> Json:
    """`typed_per_filter_config` of a CORS filter, empty without one.

    `answers_foreign`: a preflight of an origin that is not allowed ends here, not at the model server.
    """
    item = next((f for f in filters if f.type == "CORS"), None)
    if item is None:
        return {}
    root = item.root
    policy: Json = {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy",
        "filter_enabled": {"default_value": {"numerator": 100}},
        "allow_origin_string_match": [_origin(origin) for origin in root.strings("allowOrigins")],
        "allow_credentials": root.flag("allowCredentials", False),
        **({"forward_not_matching_preflights": False} if answers_foreign else {}),
    }
    for key, name in (
        ("allowMethods", "allow_methods"),
        ("allowHeaders", "allow_headers"),
        ("exposeHeaders", "expose_headers"),
    ):
        if values := root.strings(key):
            policy[name] = ",".join(values)
    policy["max_age"] = str(root.number("maxAge", 5))
    return {CORS_FILTER: policy}


def _origin(origin: str) -> Json:
    if origin == "*":
        return {"safe_regex": {"regex": _ANY_ORIGIN}}
    if "*" not in origin:
        return {"exact": origin}
    return {"safe_regex": {"regex": f"^{re.escape(origin)}$".replace(r"\*", ".*")}}


def mirrors(filters: Sequence[Filter]) -> list[tuple[Cursor, Json]]:
    """(backendRef, runtime_fraction) of every RequestMirror."""
    found = []
    for item in filters:
        if item.type == "RequestMirror":
            fraction: Json = {"numerator": 100, "denominator": "HUNDRED"}
            if item.root.has("percent"):
                fraction = {"numerator": item.root.number("percent"), "denominator": "HUNDRED"}
            elif (written := item.root.opt("fraction")) is not None:
                share = written.number("numerator") / written.number("denominator", 100)
                fraction = {"numerator": round(share * 1_000_000), "denominator": "MILLION"}
            found.append((item.root.child("backendRef"), {"default_value": fraction}))
    return found
