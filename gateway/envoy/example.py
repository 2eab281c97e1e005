"""The request that shows that a gateway works: the page's, at the address where this machine listens."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from gateway.manifests.attach import Attachment
from gateway.manifests.gatewayapi import POOL_GROUP, BackendRef, Match
from gateway.manifests.load import Key

PROMPT = "What do reviewers think about The Comedy of Errors?"
_GENERATING = ("/v1/completions", "/v1/chat/completions")


@dataclass(frozen=True)
class Example:
    """A request to a route that leads to a pool."""

    url: str
    body: str
    headers: dict[str, str] = field(default_factory=dict)

    def command(self) -> str:
        """A command line that can be pasted into a shell."""
        words = ["curl", "-s", "-i", self.url]
        for name, value in self.headers.items():
            words += ["-H", f"{name}: {value}"]
        return " ".join([*map(shlex.quote, words), "-d", shlex.quote(self.body)])


def example(
    attachments: Sequence[Attachment],
    url: str,
    model: str,
    services: Mapping[Key, str] = MappingProxyType({}),
) -> Example | None:
    """A request through the first route of `attachments` that a completion fits; None when there is none.

    A route to a pool comes before one to a Service of `services`, which says the model behind each.
    """
    rules = [(attachment, rule) for attachment in attachments for rule in attachment.route.rules]
    to_pools = [(a, r, model) for a, r in rules if any(_is_pool(b) for b in r.backends)]
    to_services = [
        (a, r, services[b.namespace, b.name])
        for a, r in rules
        for b in r.backends[:1]
        if b.kind == "Service" and (b.namespace, b.name) in services
    ]
    for attachment, rule, asked in (*to_pools, *to_services):
        for match in rule.matches:
            path = _path(match)
            if path is not None and match.method in {None, "POST"}:
                return Example(url + path, _body(path, asked), _headers(attachment, match))
    return None


def _is_pool(backend: BackendRef) -> bool:
    return (backend.group, backend.kind) == (POOL_GROUP, "InferencePool")


def _path(match: Match) -> str | None:
    """A generating path that the match covers, before anything rewrites it."""
    if match.path_type == "RegularExpression":
        return None
    prefix = match.path.rstrip("/")
    if match.path_type == "Exact":
        return prefix if prefix.endswith(_GENERATING) else None
    for path in _GENERATING:
        if path == prefix or path.startswith(prefix + "/"):
            return path
    return prefix if prefix.endswith(_GENERATING) else prefix + _GENERATING[0]


def _body(path: str, model: str) -> str:
    request: dict[str, object] = {"model": model}
    if path.endswith("chat/completions"):
        request["messages"] = [{"role": "user", "content": PROMPT}]
    else:
        request["prompt"] = PROMPT
    return json.dumps({**request, "max_tokens": 100, "temperature": 0})


def _headers(attachment: Attachment, match: Match) -> dict[str, str]:
    headers = {h.name: h.value for h in match.headers if not h.is_regex}
    host = attachment.hostnames[0]
    if host != "*":
        headers["Host"] = host.replace("*", "www", 1)
    return headers
