"""What a list or watch asks for in its query, as kube-apiserver reads it."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_UNSIGNED = re.compile(r"[0-9]{1,18}")
DEFAULT_SECONDS = 3600.0


class BadQueryError(ValueError):
    """A parameter that cannot be read: HTTP 400."""


@dataclass(frozen=True)
class Query:
    """`version` None: the newest; `limit` 0: all; `after`: (namespace, name) of the item that came last."""

    watch: bool = False
    version: int | None = None
    seconds: float = DEFAULT_SECONDS
    limit: int = 0
    after: tuple[str, str] | None = None
    at: int = 0
    """The store's version when the first part of the list was read."""
    bookmarks: bool = False
    initial: bool = False


def read_query(given: Mapping[str, str]) -> Query:
    """Raises BadQueryError."""
    version = given.get("resourceVersion", "")
    if version and not _UNSIGNED.fullmatch(version):
        raise BadQueryError(f"resourceVersion {version[:50]!r} is not a number")
    at, after = _continued(given.get("continue", ""))
    return Query(
        watch=_is_on(given, "watch"),
        version=int(version or 0) or None,
        seconds=_integer(given, "timeoutSeconds") or DEFAULT_SECONDS,
        limit=max(_integer(given, "limit"), 0),
        after=after,
        at=at,
        bookmarks=_is_on(given, "allowWatchBookmarks"),
        initial=_is_on(given, "sendInitialEvents"),
    )


def place(obj: dict[str, Any]) -> tuple[str, str]:
    """Namespace and name, by which lists are in order."""
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def to_continue(version: int, after: tuple[str, str]) -> str:
    """The token that asks for what comes after (namespace, name) in the list as it was at `version`."""
    return base64.urlsafe_b64encode(json.dumps([version, *after]).encode()).decode().rstrip("=")


def _continued(token: str) -> tuple[int, tuple[str, str] | None]:
    if not token:
        return 0, None
    try:
        version, namespace, name = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        return int(version), (str(namespace), str(name))
    except (binascii.Error, ValueError, TypeError, RecursionError):
        raise BadQueryError("continue key is not valid") from None


def _integer(given: Mapping[str, str], name: str) -> int:
    text = given.get(name, "")
    if text and not _INTEGER.fullmatch(text):
        raise BadQueryError(f"{name} {text[:50]!r} is not a whole number")
    return int(text or 0)


def _is_on(given: Mapping[str, str], name: str) -> bool:
    return given.get(name) in ("true", "1")
