"""Durations as Go writes them ("50ms", "1m30s", "2s"), and as people type them ("30", "1 min")."""

from __future__ import annotations

import re

_UNITS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_PART = re.compile(r"(?:([0-9]+)(?:\.([0-9]*))?|\.([0-9]+))(ns|us|µs|μs|ms|s|m|h)")
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+")
_BLANKS = re.compile(r"(?<=[0-9.])\s+(?=[a-zµμ])|(?<=[a-z])\s+(?=[0-9.])")
_MINUTES = re.compile(r"min(?![a-z])")
_LIMIT = 2**63  # Go counts nanoseconds in 64 bits


def nanoseconds(text: str) -> int:
    """A Go duration, exactly; ValueError for anything that time.ParseDuration refuses."""
    sign = -1 if text.startswith("-") else 1
    rest = text[1:] if text[:1] in ("+", "-") else text
    if rest == "0":
        return 0
    total, position = 0, 0
    while match := _PART.match(rest, position):
        whole, fraction, unit = match[1] or "0", match[2] or match[3] or "0", _UNITS[match[4]]
        total += int(whole) * unit + int(fraction) * unit // 10 ** len(fraction)
        position = match.end()
    if not rest or position != len(rest) or total >= _LIMIT:
        raise ValueError(f'{text!r} is not a duration; write it like "50ms", "2s" or "1m30s"')
    return sign * total


def parse_duration(text: str) -> float:
    """Seconds of a Go duration; ValueError for anything that time.ParseDuration refuses."""
    return nanoseconds(text) / 10**9


def parse_seconds(text: str) -> float:
    """Seconds of `30`, `1.5 s`, `1h 30min`: a plain number of seconds, or a Go duration in which blanks and
    `min` may stand. Never negative; ValueError for anything else.
    """
    text = text.strip()
    if _NUMBER.fullmatch(text):
        text += "s"
    if text.startswith(("+", "-")):
        raise ValueError(f"{text!r} is not a length of time; leave the sign out")
    return parse_duration(_MINUTES.sub("m", _BLANKS.sub("", text)))
