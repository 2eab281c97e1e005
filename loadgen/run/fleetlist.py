"""Reads a listing of running pods: the JSON of `simfleet ps --format json`, or anything of that shape.

A listing is an object with `pods` (and `pickers`, `gateways`), a list of pods, or `stacks` of such objects. A
pod has a `name` and says where its metrics are: `metrics_urls`, `metrics_url`, `urls`, `url`, or an `address`
(host or host:port) with `port` or `ports`. A run is about one stack; which one is never guessed.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from loadgen.errors import ScenarioError, TargetError
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
class Server:
    """What a listing tells of a pod's model server; None where it does not."""

    name: str
    args: tuple[str, ...] | None = None
    latency: str | None = None
    """Kind of its latency model; `zero` for none."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """What a listing says of one stack: members, the gateway's URL, the pods' URLs, where logs are written.

    pools: the pool of each pod whose pool is told; others: pods of the stacks that were not meant.
    """

    members: list[FleetMember]
    url: str | None = None
    pods: tuple[str, ...] = ()
    decision_logs: tuple[str, ...] = ()
    access_logs: tuple[str, ...] = ()
    stack: str | None = None
    pools: dict[str, str] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)
    roles: dict[str, str] = field(default_factory=dict)
    """`prefill` or `decode` of each pod that only does one, where the listing tells."""
    servers: tuple[Server, ...] = ()
    scales: bool = False
    """Whether autoscalers change its pods while a run goes on."""


def parse_fleet(data: bytes, where: str, name: str | None = None, target: str | None = None) -> Fleet:
    """Read a listing; of several stacks the one called `name`, else the one that `target` is a gateway of.

    TargetError when it holds no pod that can be asked, when nothing says which stack is meant, and when the
    target belongs to another stack.
    """
    stacks = _stacks(data, f"scrape.fleet: {where} gave no JSON")
    stack = _meant(stacks, where, name, target)
    items = [item for key in ("pods", "replicas") for item in _mappings(stack.get(key))]
    pickers = _mappings(stack.get("pickers"))
    members = [member for item in items for member in _members(item, "pod")]
    members += [member for item in pickers for member in _members(item, "epp")]
    if not any(member.source == "pod" for member in members):
        raise TargetError(
            f"scrape.fleet: {where} lists no pod with a name and an address (is the fleet up?); "
            f"keys looked at: {', '.join(URL_KEYS)}, address with port or ports"
        )
    return Fleet(
        members,
        url=next(iter(_texts([stack], "url")), None),
        pods=tuple(_urls(stack.get("pods"))),
        decision_logs=_texts(pickers, "decision_log"),
        access_logs=_texts(_mappings(stack.get("gateways")), "access_log"),
        stack=_name(stack),
        pools=_pools(items),
        roles=_roles(items),
        others=_others(stacks, stack),
        servers=tuple(_server(pod) for pod in items if pod.get("name")),
        scales=bool(stack.get("autoscalers")),
    )


def _stacks(data: bytes, failed: str) -> list[dict[str, Any]]:
    """The stacks of a listing; a list alone is the pods of one. TargetError with `failed` for no JSON."""
    try:
        document = msgspec.json.decode(data)
    except NO_JSON as error:
        raise TargetError(f"{failed}: {error}") from error
    return _mappings(
        document.get("stacks", [document]) if isinstance(document, dict) else [{"pods": document}]
    )


def _at(stacks: list[dict[str, Any]], target: str | None) -> list[dict[str, Any]]:
    """Those that the target is a gateway or pod of."""
    return [stack for stack in stacks if target is not None and _netloc(target) in _netlocs(stack)]


def _roles(items: list[dict[str, Any]]) -> dict[str, str]:
    return {str(item["name"]): role for item in items if item.get("name") and (role := _role(item))}


def stack_at(data: bytes, target: str, name: str | None = None) -> tuple[str | None, list[str]]:
    """The stack called `name`, or the one that `target` is a gateway or pod of, and the names of all.

    TargetError when the listing is no JSON.
    """
    stacks = _stacks(data, "the listing of stacks is no JSON")
    names = [found for stack in stacks if (found := _name(stack))]
    at_target = [found for stack in _at(stacks, target) if (found := _name(stack))]
    if name is not None:
        return (name if name in names else None), names
    return next(iter(at_target), None), names


def url_of(fleet: Fleet, target: str | None) -> str:
    """What `fleet:gateway` (also None) or `fleet:pod` stands for; ScenarioError where there is none."""
    urls = fleet.pods if target == "fleet:pod" else (fleet.url,)
    if target not in (None, "fleet:gateway", "fleet:pod") or not urls or urls[0] is None:
        raise ScenarioError(f"target {target!r}: the fleet lists no such URL (fleet:gateway or fleet:pod)")
    return urls[0]


def _server(pod: dict[str, Any]) -> Server:
    args, latency = pod.get("args"), pod.get("latency")
    return Server(
        str(pod["name"]),
        tuple(map(str, args)) if isinstance(args, list) else None,
        str(latency) if latency else None,
    )


def _pools(pods: list[dict[str, Any]]) -> dict[str, str]:
    return {str(pod["name"]): str(pod["pool"]) for pod in pods if pod.get("pool")}


ROLE_LABEL = "llm-d.ai/role"
_KV_ROLES = {"kv_producer": "prefill", "kv_consumer": "decode"}


def _role(pod: dict[str, Any]) -> str | None:
    """What a pod does of a request: as the listing says, its label, or its --kv-transfer-config."""
    labels = pod.get("labels")
    told = pod.get("role") or (labels.get(ROLE_LABEL) if isinstance(labels, dict) else None)
    if told:
        return str(told)
    words = [str(word) for word in _list(pod.get("args"))]
    for word, following in pairwise([*words, ""]):
        flag, equals, value = word.partition("=")
        if flag.replace("_", "-") == "--kv-transfer-config":
            with contextlib.suppress(*NO_JSON):
                return _KV_ROLES.get(_transfer.decode(value if equals else following).kv_role)
    return None


class _Transfer(msgspec.Struct):
    kv_role: str = ""


_transfer = msgspec.json.Decoder(_Transfer)


def _others(stacks: list[dict[str, Any]], meant: dict[str, Any]) -> dict[str, str]:
    """The stack of each pod that is not of the one which is meant."""
    rest = [stack for stack in stacks if stack is not meant]
    return {pod: _name(stack) or "another" for stack in rest for pod in _pod_names(stack)}


def _meant(stacks: list[dict[str, Any]], where: str, name: str | None, target: str | None) -> dict[str, Any]:
    """The stack that a run is about."""
    names = ", ".join(_name(stack) or "one without a name" for stack in stacks)
    at_target = _at(stacks, target)
    if name is not None:
        return _called(
            name, stacks, at_target, f"scrape.fleet: {where} lists no stack {name!r}; there are: {names}"
        )
    if not stacks:
        return {}
    found = at_target if len(at_target) == 1 else stacks
    if len(found) > 1:
        raise TargetError(f"scrape.fleet: {where} lists {len(stacks)} stacks: {names}; say which with --name")
    return found[0]


def _called(
    name: str, stacks: list[dict[str, Any]], at_target: list[dict[str, Any]], unknown: str
) -> dict[str, Any]:
    """The stack of that name; TargetError when there is none, or when the target is another's."""
    found = next((stack for stack in stacks if _name(stack) == name), None)
    if found is None:
        raise TargetError(unknown)
    if at_target and found not in at_target:
        other = _name(at_target[0])
        raise TargetError(
            f"the target belongs to stack {other}, not to {name}: leave --target out for {name}'s gateway, "
            f"or give --name {other}"
        )
    return found


def _name(stack: dict[str, Any]) -> str | None:
    name = stack.get("name")
    return str(name) if name else None


def _netloc(url: str) -> str:
    return urlsplit(url if "://" in url else f"http://{url}").netloc.rpartition("@")[2]


def _netlocs(stack: dict[str, Any]) -> set[str]:
    """Where a stack takes requests: its gateways and its pods."""
    listeners = [x for g in _mappings(stack.get("gateways")) for x in _mappings(g.get("listeners"))]
    urls = [*_texts(listeners, "url"), *_urls(stack.get("pods")), str(stack.get("url") or "")]
    return {_netloc(url) for url in urls} - {""}


def _pod_names(stack: dict[str, Any]) -> list[str]:
    return [str(pod["name"]) for pod in _mappings(stack.get("pods")) if pod.get("name")]


def _mappings(value: Any) -> list[dict[str, Any]]:
    return [item for item in _list(value) if isinstance(item, dict)]


def _texts(items: list[dict[str, Any]], key: str) -> tuple[str, ...]:
    return tuple(str(item[key]) for item in items if item.get(key))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


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
