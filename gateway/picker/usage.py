"""Token usage out of response bodies, as each release reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.picker.compat import Compat

_DONE = b"data: [DONE]"
_PREFIX = b"data: "


@dataclass(frozen=True, slots=True)
class Usage:
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0


def usage_of(response: Any, compat: Compat) -> Usage | None:
    """Of a decoded JSON response; None when it reports none.

    Numbers that are missing count as 0. (GIE up to v1.3 crashes on them.)
    """
    found = response.get("usage") if isinstance(response, dict) else None
    if not isinstance(found, dict):
        return None
    cached = 0
    for key in compat.cached_tokens_keys:
        details = found.get(key)
        if isinstance(details, dict) and "cached_tokens" in details:
            cached = _number(details, "cached_tokens")
            break
    return Usage(
        _number(found, "prompt_tokens") or _number(found, "input_tokens"),
        _number(found, "completion_tokens") or _number(found, "output_tokens"),
        cached,
    )


def usage_of_chunk(chunk: bytes, compat: Compat) -> tuple[Usage | None, bool]:
    """(usage, whether the stream's last event is in it) of one chunk of server-sent events."""
    done = _DONE in chunk
    if (not done and not compat.usage_anywhere) or b'"usage"' not in chunk:
        return None, done
    found = None
    for line in chunk.split(b"\n"):
        if line.startswith(_PREFIX) and b'"usage"' in line:
            try:
                event = msgspec.json.decode(line[len(_PREFIX) :])
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
            found = usage_of(event, compat) or found
    return found, done


def _number(values: Mapping[str, Any], key: str) -> int:
    value = values.get(key)
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0
