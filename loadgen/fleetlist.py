"""Reads a listing of running pods: the JSON of `simfleet ps --format json`, or anything of that shape.

Accepted: a list of objects, or an object that holds such a list under `pods`, `replicas`, `items`,
`processes` or `endpoints`. An object is a pod when it has a name and says where it listens: `metrics`
(URL), `url`, `address` (host or host:port), or `host`/`ip` with `port` or `ports`.
"""

from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from loadgen.errors import TargetError

LISTS: Final = ("pods", "replicas", "items", "processes", "endpoints")
EPP_KINDS: Final = ("epp", "picker", "endpoint-picker")
OTHER_KINDS: Final = ("gateway", "envoy", "kubeapi", "prometheus", "service")


@dataclass(frozen=True, slots=True)
class FleetMember:
    """A pod or picker and its /metrics page."""

    name: str
    metrics_url: str
    source: Literal["pod", "epp"] = "pod"


def parse_fleet(data: bytes, where: str) -> list[FleetMember]:
    """The members of a listing; TargetError when it holds none that can be asked."""
    try:
        document = msgspec.json.decode(data)
    except msgspec.MsgspecError as error:
        raise TargetError(f"scrape.fleet: {where} gave no JSON: {error}") from error
    items: list[Any] = []
    if isinstance(document, list):
        items = document
    elif isinstance(document, dict):
        for key in LISTS:
            value = document.get(key)
            if isinstance(value, list):
                items += value
        for key in ("epp", "picker"):
            if isinstance(document.get(key), dict):
                items.append({"kind": "epp", "name": key, **document[key]})
    members = [member for item in items if isinstance(item, dict) for member in _members(item)]
    if not members:
        raise TargetError(
            f"scrape.fleet: {where} lists no pod with a name and an address (keys looked at: metrics, url, "
            "address, host or ip with port or ports)"
        )
    return members


def _members(item: dict[str, Any]) -> list[FleetMember]:
    kind = str(item.get("kind") or item.get("role") or item.get("type") or "").lower()
    if kind in OTHER_KINDS:
        return []
    source: Literal["pod", "epp"] = "epp" if kind in EPP_KINDS else "pod"
    name = str(item.get("name") or item.get("pod") or "")
    if not name:
        return []
    for key in ("metrics", "metrics_url", "url"):
        if isinstance(item.get(key), str) and item[key]:
            return [FleetMember(name, str(item[key]), source)]
    address = str(item.get("address") or item.get("host") or item.get("ip") or "")
    if not address:
        return []
    if ":" in address and not address.endswith("]"):
        return [FleetMember(name, address, source)]
    found = item.get("ports") if item.get("ports") is not None else item.get("port")
    ports = found if isinstance(found, list) else [found]
    numbers = [int(text) for text in map(str, ports) if text.isdigit()]
    if len(numbers) == 1:
        return [FleetMember(name, f"{address}:{numbers[0]}", source)]
    return [FleetMember(f"{name}:{number}", f"{address}:{number}", source) for number in numbers]
