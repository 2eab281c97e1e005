"""Durations of manifests: read in the two spellings that objects have, written as Envoy reads them.

Gateway API kinds spell them as GEP-2257 says ("1h30m", whole numbers), Istio's as Go does ("1.5s" too).
Envoy's JSON knows seconds only, so nothing goes there as it was written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from kit.durations import nanoseconds
from kit.yamldoc import Cursor

_GATEWAY_API = re.compile(r"([0-9]{1,5}(h|ms|m|s)){1,4}")
_MS = 10**6


@dataclass(frozen=True, order=True)
class Duration:
    """A length of time, exact; false when it is zero."""

    nanoseconds: int

    def __bool__(self) -> bool:
        return self.nanoseconds != 0

    @property
    def envoy(self) -> str:
        """Seconds as protobuf's JSON has them: "0.1s", "300s", up to nine decimals."""
        seconds, rest = divmod(self.nanoseconds, 10**9)
        return f"{seconds}.{rest:09d}".rstrip("0").rstrip(".") + "s"


def gateway_duration(root: Cursor | None, key: str) -> Duration | None:
    """A duration of a Gateway API object (GEP-2257), None where there is none. Raises ManifestError."""
    if root is None or not root.has(key):
        return None
    text = root.value[key]
    if not isinstance(text, str) or not _GATEWAY_API.fullmatch(text):
        raise root.error(
            "must be a duration in whole h, m, s and ms such as 10s, 500ms or 1h30m (at most four numbers of "
            f"five digits), is {text!r}",
            key,
        )
    return Duration(nanoseconds(text))


def istio_duration(root: Cursor | None, key: str, least_ms: int = 1) -> Duration | None:
    """A duration of an Istio object (Go's spelling), None where there is none.

    Raises ManifestError for what Istio's own validation refuses too: parts of a millisecond, and less than
    `least_ms`.
    """
    if root is None or not root.has(key):
        return None
    text = root.value[key]
    try:
        length = nanoseconds(text) if isinstance(text, str) else -1
    except ValueError:
        length = -1
    if length < least_ms * _MS or length % _MS:
        raise root.error(
            f"must be a duration such as 500ms, 1.5s or 5m ({least_ms}ms or more, in whole milliseconds), "
            f"is {text!r}",
            key,
        )
    return Duration(length)
