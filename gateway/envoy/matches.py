"""Matches of a rule as Envoy's route matches, and the order in which they are tried."""

from __future__ import annotations

from typing import Any

from gateway.manifests.gatewayapi import Match, ValueMatch

Json = dict[str, Any]


def build_match(match: Match) -> Json:
    """Envoy's RouteMatch. A prefix matches whole path elements: /v1 matches /v1/x, not /v1x."""
    result: Json = {"case_sensitive": True}
    if match.path_type == "Exact":
        result["path"] = match.path
    elif match.path_type == "RegularExpression":
        result["safe_regex"] = {"regex": match.path}
    elif match.path.rstrip("/") == "":
        result["prefix"] = "/"
    else:
        result["path_separated_prefix"] = match.path.rstrip("/")
    headers = [{"name": h.name, "string_match": _string_match(h)} for h in match.headers]
    if match.method:
        headers.insert(0, {"name": ":method", "string_match": {"exact": match.method}})
    if headers:
        result["headers"] = headers
    if match.query:
        result["query_parameters"] = [{"name": q.name, "string_match": _string_match(q)} for q in match.query]
    return result


def _string_match(match: ValueMatch) -> Json:
    return {"safe_regex": {"regex": match.value}} if match.is_regex else {"exact": match.value}


_PATH_RANK = {"Exact": 3, "PathPrefix": 2, "RegularExpression": 1}


def precedence(match: Match) -> tuple[int, int, int, int, int]:
    """Sort key, largest first, in Istio's order: kind of path, its length, method, headers, parameters."""
    rank = _PATH_RANK[match.path_type]
    length = len(match.path.rstrip("/")) if match.path_type == "PathPrefix" else len(match.path)
    return rank, length, int(match.method is not None), len(match.headers), len(match.query)
