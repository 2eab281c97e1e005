"""One request of a client, read: which object of which kind it is about, and what it brings."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import msgspec
import yaml

from gateway.cluster.api import protobuf
from gateway.cluster.objects.errors import ApiError, bad_request
from gateway.cluster.objects.writes import Deletion, Write

Object = dict[str, Any]
MOST_BYTES = 3 * 1024 * 1024  # of a body, as kube-apiserver
_YAML = ("application/yaml", "application/apply-patch+yaml")
PATCHES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)


@dataclass(frozen=True)
class Place:
    """A path below a group and version: a kind's list, an object, or a subresource of one."""

    group: str
    version: str
    resource: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""


def place_of(path: str) -> Place | None:
    """Where a path leads; None for one that is of no kind."""
    parts = [unquote(p) for p in path.split("/") if p]
    if parts[:1] == ["api"] and len(parts) >= 3:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[:1] == ["apis"] and len(parts) >= 4:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    namespace = ""
    if rest[0] == "namespaces" and len(rest) >= 3 and (group or rest[2] not in {"status", "finalize"}):
        namespace, rest = rest[1], rest[2:]
    if len(rest) > 3:
        return None
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    return Place(group, version, rest[0], namespace, name, subresource)


@dataclass(frozen=True)
class Ask:
    """A request's method, place, parameters and body."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    @property
    def accept(self) -> str:
        return self.headers.get("accept", "")

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "application/json").partition(";")[0].strip()

    def content(self) -> Any:
        """The body as plain data. Raises ApiError: 400, 413, 415."""
        if len(self.body) > MOST_BYTES:
            words = f"Request entity too large: limit is {MOST_BYTES}"
            raise ApiError(413, "RequestEntityTooLarge", words)
        kind = self.content_type
        try:
            if kind == protobuf.CONTENT_TYPE:
                return protobuf.decode(self.body)
            if kind in _YAML:
                return _plain(yaml.load(self.body, Loader=yaml.CSafeLoader))
            if kind.endswith("json"):
                return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
            raise bad_request(f"the object provided is unrecognized: {error}") from None
        words = (
            "the body of the request was in an unknown format - accepted media types include: "
            "application/json, application/yaml, application/vnd.kubernetes.protobuf"
        )
        raise ApiError(415, "UnsupportedMediaType", words)

    def write(self, subresource: str = "") -> Write:
        """How it writes. Raises ApiError 400, 422 for parameters that cannot be."""
        dry = self.query.get("dryRun", "")
        if dry not in {"", "All"}:
            raise bad_request(f'Invalid value: "{dry}": dryRun: supported values: "All"')
        strict = self.query.get("fieldValidation") or "Warn"
        if strict not in {"Strict", "Warn", "Ignore"}:
            raise bad_request(f'fieldValidation: Unsupported value: "{strict}"')
        agent = self.headers.get("user-agent", "unknown").partition("/")[0]
        return Write(
            manager=self.query.get("fieldManager") or agent,
            field_validation=strict,
            dry_run=dry == "All",
            force=self.query.get("force") == "true",
            subresource=subresource,
        )

    def deletion(self) -> tuple[Deletion, bool]:
        """DeleteOptions of body and query, and whether it is a dry run. Raises ApiError 400."""
        given = self.content() if self.body.strip() else {}
        if not isinstance(given, dict):
            raise bad_request("DeleteOptions is not an object")
        grace = self.query.get("gracePeriodSeconds", given.get("gracePeriodSeconds"))
        if grace is not None and not re.fullmatch(r"\d{1,9}", str(grace)):
            raise bad_request(f"gracePeriodSeconds: Invalid value: {json.dumps(grace)}")
        only_if = given.get("preconditions") or {}
        how = Deletion(
            grace_s=None if grace is None else int(grace),
            propagation=self.query.get("propagationPolicy") or given.get("propagationPolicy") or "",
            uid=only_if.get("uid"),
            version=only_if.get("resourceVersion"),
        )
        dry = self.query.get("dryRun") == "All" or given.get("dryRun") == ["All"]
        return how, dry


def _plain(value: Any) -> Any:
    """YAML's dates as the text that Kubernetes takes them for."""
    return json.loads(json.dumps(value, default=str))
