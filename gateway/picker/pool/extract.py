"""Numbers out of a Prometheus text page, by the EPP's rules, without reading more of it than is asked for.

A family is found by a byte search and its lines are read; the rest of the page is skipped, so a page costs
tens of microseconds. `validate` reads it all, for the rule that one broken line throws the scrape away.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from gateway.picker.compat import Compat
from gateway.picker.errors import ScrapeError
from gateway.picker.pool.endpoints import EndpointMetrics
from gateway.picker.pool.metric_specs import MetricMapping, MetricSpec

RUNNING_ADAPTERS = "running_lora_adapters"
WAITING_ADAPTERS = "waiting_lora_adapters"

_LABELS = rb'\{(?P<labels>(?:[^"}\n]|"(?:[^"\\\n]|\\.)*")*)\}'
_SAMPLE = re.compile(
    rb"(?:" + _LABELS + rb")?[ \t]*(?P<value>[^\s]+)(?:[ \t]+(?P<time>-?\d+))?[ \t]*(?:\n|$)"
)
_LABEL = re.compile(rb'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*,?')
_ESCAPE = re.compile(rb"\\(.)")
_ESCAPES = {b"n": b"\n", b"\\": b"\\", b'"': b'"'}
_AFTER = (b"{", b" ", b"\t")
# A family that moved by less than this since the last page is found without a search through the page.
_NEAR = 2048
_NAME = rb"[a-zA-Z_:][a-zA-Z0-9_:]*+"
_NUMBER = rb"(?:[+-]?(?:\d++\.?\d*+|\.\d++)(?:[eE][+-]?\d++)?+|[+-]?[iI][nN][fF](?:inity)?+|[nN][aA][nN])"
_PAIR = rb'[ \t]*+[a-zA-Z_][a-zA-Z0-9_]*+[ \t]*+=[ \t]*+"(?:[^"\\\n]++|\\[\\n"])*+"[ \t]*+'
_LINE = re.compile(
    rb"[ \t]*+(?:#[^\n]*+|"
    + _NAME
    + rb"(?:\{(?:"
    + _PAIR
    + rb"(?:,"
    + _PAIR
    + rb")*+,?+[ \t]*+)?+\})?+[ \t]*+"
    + _NUMBER
    + rb"(?:[ \t]++-?\d++)?+[ \t]*+)?+\n"
)
_PAGE = re.compile(rb"(?:" + _LINE.pattern + rb")*+")


class Sample(NamedTuple):
    """One series: its labels, value, and explicit timestamp in ms (0 without one)."""

    labels: Mapping[str, str]
    value: float
    timestamp: int


def validate(page: bytes) -> None:
    """ScrapeError naming the first line that is not the text format."""
    match = _PAGE.match(page)
    end = match.end() if match else 0
    if end != len(page):
        number = page.count(b"\n", 0, end) + 1
        line = page[end : end + 120].split(b"\n")[0]
        raise ScrapeError(f"text format parsing error in line {number}: {line.decode('utf-8', 'replace')!r}")


@functools.lru_cache(maxsize=8192)
def _parse_labels(text: bytes) -> dict[str, str]:
    labels = {}
    for name, escaped in _LABEL.findall(text):
        value = _ESCAPE.sub(lambda match: _ESCAPES.get(match[1], match[0]), escaped)
        labels[name.decode()] = value.decode("utf-8", "replace")
    return labels


class Family(NamedTuple):
    """Where a family stands in a page: its `# TYPE` (b"untyped": none) and its first series (-1: none)."""

    name: bytes
    kind: bytes
    start: int


def find_family(page: bytes, name: bytes, hints: dict[bytes, int]) -> Family:
    """Looks first near where the family stood in the page before, which `hints` keeps."""
    mark = b"# TYPE " + name + b" "
    hint = hints.get(name, 0)
    at = page.find(mark, max(hint - _NEAR, 0), hint + _NEAR)
    if at < 0:
        at = page.find(mark)
    if at < 0:
        return Family(name, b"untyped", _first_line(page, name, 0))
    hints[name] = at
    end = page.find(b"\n", at)
    return Family(name, page[at + len(mark) : end].strip(), _first_line(page, name, end + 1))


def samples(page: bytes, family: Family) -> Iterator[Sample]:
    """The series of a family in the order of the page; their lines stand together, as the format demands.

    ScrapeError for a line that is none.
    """
    name, start = family.name, family.start
    length = len(name)
    while start >= 0 and page.startswith(name, start) and page[start + length : start + length + 1] in _AFTER:
        match = _SAMPLE.match(page, start + length)
        if match is None:
            raise ScrapeError(f"text format parsing error in a series of {name.decode()}")
        try:
            value = float(match["value"])
        except ValueError:
            raise ScrapeError(f"expected float as value of {name.decode()}, got {match['value']!r}") from None
        yield Sample(_parse_labels(match["labels"] or b""), value, int(match["time"] or 0))
        start = match.end()


def extract(
    page: bytes,
    mapping: MetricMapping,
    last: EndpointMetrics,
    compat: Compat,
    now: float,
    *,
    hints: dict[bytes, int] | None = None,
) -> tuple[EndpointMetrics, list[str]]:
    """`last` with what the page says put in, and the names of the families that were not there.

    A missing family leaves its number as it was. Raises ScrapeError for a wanted line that cannot be read.
    """
    reader = _Reader(page, compat, {} if hints is None else hints)
    changes: dict[str, Any] = {}
    for field, spec in (
        ("waiting", mapping.queued),
        ("running", mapping.running),
        ("kv_usage", mapping.kv_usage),
        ("block_size", mapping.block_size),
        ("num_blocks", mapping.num_blocks),
    ):
        value = reader.number(spec) if spec else None
        if value is not None:
            changes[field] = value if field == "kv_usage" else _to_int(value)
    if mapping.lora is not None:
        changes.update(reader.adapters(mapping.lora))
    if mapping.cache_info is not None:
        changes.update(reader.cache_info(mapping.cache_info, mapping))
    custom = {key: v for key, spec in mapping.custom.items() if (v := reader.number(spec)) is not None}
    if custom:
        changes["custom"] = {**last.custom, **custom}
    if not changes and not compat.stores_empty:
        return last, reader.missing
    return replace(last, **changes, updated_at=now), reader.missing


class _Reader:
    """One page, read by one release's rules."""

    def __init__(self, page: bytes, compat: Compat, hints: dict[bytes, int]) -> None:
        self._page = page
        self._compat = compat
        self._hints = hints
        self.missing: list[str] = []

    def number(self, spec: MetricSpec) -> float | None:
        """The value of the series that counts; 0 where the page does not call the family a gauge."""
        family = find_family(self._page, spec.name, self._hints)
        sample = self._latest(family, spec)
        if sample is None:
            return None
        return sample.value if self._readable(family) else 0.0

    def adapters(self, spec: MetricSpec) -> dict[str, Any]:
        """The adapters of the newest series; the value of a series is the time it was made."""
        compat = self._compat
        family = find_family(self._page, spec.name, self._hints)
        if family.start < 0:
            self.missing.append(spec.name.decode())
        newest = -1.0 if compat.lora_empty_series else 0.0
        best: Mapping[str, str] | None = None
        for sample in samples(self._page, family):
            labels = sample.labels
            empty = not labels.get(RUNNING_ADAPTERS) and not labels.get(WAITING_ADAPTERS)
            if (empty and not compat.lora_empty_series) or not _matches(labels, spec):
                continue
            value = sample.value if self._readable(family) else 0.0
            if value > newest:
                best, newest = labels, value
        if best is None:
            return {}
        changes: dict[str, Any] = {
            "active_models": _names(best.get(RUNNING_ADAPTERS, ""), compat),
            "waiting_models": _names(best.get(WAITING_ADAPTERS, ""), compat),
        }
        if limit := best.get("max_lora", ""):
            number = _atoi(limit)
            if number is not None or not compat.keeps_unreadable:
                changes["max_active_models"] = number or 0
        return changes

    def cache_info(self, spec: MetricSpec, mapping: MetricMapping) -> dict[str, Any]:
        """Block size and number of blocks from the labels of an info gauge; "None" is not a number."""
        sample = self._latest(find_family(self._page, spec.name, self._hints), spec)
        if sample is None:
            return {}
        changes: dict[str, Any] = {"block_size": 0} if self._compat.keeps_unreadable else {}
        block_size = sample.labels.get(mapping.block_size_label)
        if block_size is not None:
            changes["block_size"] = _atoi(block_size) or 0
        num_blocks = sample.labels.get(mapping.num_blocks_label)
        if num_blocks is not None:
            number = _atoi(num_blocks)
            if number is not None or not self._compat.keeps_unreadable:
                changes["num_blocks"] = number or 0
        return changes

    def _latest(self, family: Family, spec: MetricSpec) -> Sample | None:
        """The matching series with the highest explicit timestamp; the first of equals."""
        best: Sample | None = None
        newest = -1
        for sample in samples(self._page, family):
            if sample.timestamp > newest and _matches(sample.labels, spec):
                best, newest = sample, sample.timestamp
        if best is None:
            self.missing.append(spec.name.decode())
        return best

    def _readable(self, family: Family) -> bool:
        return family.kind == b"gauge" or (family.kind == b"counter" and self._compat.counters_count)


def _first_line(page: bytes, name: bytes, start: int) -> int:
    """Where the first series of `name` at or after `start` begins; -1 if there is none."""
    length = len(name)
    if page.startswith(name, start) and page[start + length : start + length + 1] in _AFTER:
        return start
    at = page.find(b"\n" + name, start)
    while at >= 0:
        if page[at + 1 + length : at + 2 + length] in _AFTER:
            return at + 1
        at = page.find(b"\n" + name, at + 1)
    return -1


def _matches(labels: Mapping[str, str], spec: MetricSpec) -> bool:
    return not spec.labels or all(labels.get(name) == value for name, value in spec.labels.items())


def _to_int(value: float) -> int:
    """Go's int(): towards zero; what does not fit becomes the smallest integer."""
    return int(value) if abs(value) < 2**63 else -(2**63)


def _names(text: str, compat: Compat) -> frozenset[str]:
    if not text:
        return frozenset()
    names = text.split(",")
    if compat.trim_adapters:
        return frozenset(name.strip() for name in names if name.strip())
    return frozenset(names)


def _atoi(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[+-]?[0-9]+", text) else None
