"""Reads a listing of running pods: the JSON of `simfleet ps --format json`, or anything of that shape.

A listing is an object with `pods` (and `pickers`), a list of pods, or `stacks` of such objects. A pod has a
`name` and says where its metrics are: `metrics_urls`, `metrics_url`, `urls`, `url`, or an `address` (host or
host:port) with `port` or `ports`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from loadgen.errors import TargetError
from loadgen.numbers.jsonl import NO_JSON

URL_KEYS = ("metrics_urls", "metrics_url", "metrics", "urls", "url")


@dataclass(frozen=True, slots=True)
class FleetMember:
    """A pod or picker and its /metrics page."""

    name: str
    metrics_url: str
    source: Literal["pod", "epp"] = "pod"
    pod: str | None = None
    """The name that its answers carry, which the pages of all its ranks share."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """What a listing says: members, the gateway's URL, the pods' URLs, the first picker's decision log."""

    members: list[FleetMember]
    url: str | None = None
    pods: tuple[str, ...] = ()
    decision_log: str | None = None


def parse_fleet(data: bytes, where: str) -> Fleet:
    """Read a listing; TargetError when it holds no pod that can be asked."""
    try:
        document = msgspec.json.decode(data)
    except NO_JSON as error:
        raise TargetError(f"scrape.fleet: {where} gave no JSON: {error}") from error
    stacks = document.get("stacks", [document]) if isinstance(document, dict) else [{"pods": document}]
    members: list[FleetMember] = []
    pods: list[str] = []
    url = log = None
    for stack in filter(lambda item: isinstance(item, dict), _list(stacks)):
        pickers = _list(stack.get("pickers"))
        for item in (*_list(stack.get("pods")), *_list(stack.get("replicas"))):
            members += _members(item, "pod")
        for item in pickers:
            members += _members(item, "epp")
        log = log or next((item["decision_log"] for item in pickers if _logs(item)), None)
        url = url or stack.get("url")
        pods += _urls(stack.get("pods"))
    if not any(member.source == "pod" for member in members):
        raise TargetError(
            f"scrape.fleet: {where} lists no pod with a name and an address (is the fleet up?); "
            f"keys looked at: {', '.join(URL_KEYS)}, address with port or ports"
        )
    return Fleet(members, str(url) if url else None, tuple(pods), str(log) if log else None)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _logs(picker: Any) -> bool:
    return isinstance(picker, dict) and bool(picker.get("decision_log"))


def _urls(items: Any) -> list[str]:
    """Where pods answer requests, one for each of their ranks."""
    found: list[str] = []
    for item in items if isinstance(items, list) else []:
        urls = item.get("urls") if isinstance(item, dict) else None
        found += map(str, urls) if isinstance(urls, list) else []
    return found


def _members(item: Any, source: Literal["pod", "epp"]) -> list[FleetMember]:
    name = item.get("name") if isinstance(item, dict) else None
    if not isinstance(name, str) or not name:
        return []
    pages = _pages(item)
    if len(pages) == 1:
        return [FleetMember(name, pages[0], source, name)]
    return [FleetMember(f"{name}#{rank}", page, source, name) for rank, page in enumerate(pages)]


def _pages(item: dict[str, Any]) -> list[str]:
    """The pages of one pod, one for each of its ranks."""
    for key in URL_KEYS:
        value = item.get(key)
        if isinstance(value, str) and value:
            return [value]
        if isinstance(value, list) and value:
            return [str(page) for page in value]
    return _by_address(item)


def _by_address(item: dict[str, Any]) -> list[str]:
    address = str(item.get("address") or item.get("host") or item.get("ip") or "")
    if not address:
        return []
    if ":" in address and not address.endswith("]"):
        return [address]
    ports = item.get("ports", item.get("port"))
    return [f"{address}:{port}" for port in (ports if isinstance(ports, list) else [ports]) if port]
