"""Metrics as an adapter would give them to the controller: read from /metrics pages, summed over series."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

from gateway.autoscale.hpa import MetricSpec
from gateway.machine.readiness import http_get

Series = tuple[str, Mapping[str, str], float]  # name, labels, value
Page = tuple[Series, ...]
# How long a page may take; it comes from this machine, whose pods may all be busy.
PAGE_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Source:
    """A pod or picker and its pages, one for each data-parallel rank."""

    name: str
    urls: tuple[str, ...]


async def read_pages(sources: Iterable[Source]) -> dict[str, Page]:
    """The series of each source that answers, by its name."""
    asked = [(source.name, url) for source in sources for url in source.urls]
    answers = await asyncio.gather(*(_read(url) for _, url in asked))
    pages: dict[str, Page] = {}
    for (name, _), series in zip(asked, answers, strict=True):
        if series is not None:
            pages[name] = (*pages.get(name, ()), *series)
    return pages


async def _read(url: str) -> Page | None:
    place = urlsplit(url)
    status, body = await http_get(place.hostname or "", place.port or 80, place.path, PAGE_TIMEOUT_S)
    if status != 200:
        return None
    return parse(body.decode(errors="replace"))


def parse(text: str) -> Page:
    """The series of a page; none of one that is no Prometheus text."""
    try:
        families = list(text_string_to_metric_families(text))
    except (ValueError, IndexError, KeyError):  # whatever the parser stumbles over
        return ()
    return tuple((s.name, s.labels, s.value) for f in families for s in f.samples)


def value_of(metric: MetricSpec, pages: Sequence[Page], about: str | None = None) -> int | None:
    """The metric over all `pages` in thousandths, rounded up; None where no series is it.

    Adapters rename `vllm:x` to `vllm_x`, so both are the same name. A series that says of which pool it is
    (`name`) counts only for that one, called `about`.
    """
    wanted = metric.name.replace(":", "_")
    found = [
        value
        for page in pages
        for name, labels, value in page
        if name.replace(":", "_") == wanted
        and metric.selector.matches(labels)
        and (about is None or labels.get("name", about) == about)
        and math.isfinite(value)
    ]
    return math.ceil(round(sum(found) * 1000, 6)) if found else None
