"""Which scraped page belongs to which pod of the answers, and what all of them are called.

Answers name a pod in `x-inference-pod`; a page given as `--scrape URL` has only an address. Where nothing
ties the two together they stay two name spaces, and no figure counts both.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from loadgen.records.series import PodSeries, together
from loadgen.records.table import SERVED_HEADERS, Records


def by_pod(pages: Mapping[str, PodSeries], records: Records, target: str) -> dict[str, PodSeries]:
    """The series of pages under the names of their pods; the pages of one pod's ranks become one series."""
    called = names_of(pages, records, target)
    parts: dict[str, list[PodSeries]] = defaultdict(list)
    for name, page in pages.items():
        parts[called.get(name, name)].append(page)
    return {name: together(name, found) for name, found in parts.items()}


def names_of(pages: Mapping[str, PodSeries], records: Records, target: str) -> dict[str, str]:
    """The pod of each page whose pod is certain.

    In this order: the page's own word (a name given for it, or the header of its server), a label of its
    series, the address that a gateway says has answered, the target itself, a port that only one has.
    """
    ported: dict[str, Counter[str]] = defaultdict(Counter)
    served: dict[str, Counter[str]] = defaultdict(Counter)
    for (pod, port), count in records.pairs("pod", "port").items():
        if pod is not None:
            ported[pod][port or ""] += count
    for header in SERVED_HEADERS:
        for (address, pod), count in records.pairs(header, "pod").items():
            if address is not None and pod is not None:
                served[address][pod] += count
    if len(ported) == 1:
        served[urlsplit(target).netloc].update(ported)
    called = {name: pod for name, page in pages.items() if (pod := _own_word(page, ported, served))}
    called |= _by_port(
        {name: page for name, page in pages.items() if name not in called},
        {pod: ports for pod, ports in ported.items() if pod not in called.values()},
    )
    return called


def _own_word(page: PodSeries, pods: Mapping[str, object], served: Mapping[str, Counter[str]]) -> str | None:
    for name in (page.pod, page.name):
        if name in pods:
            return name
    labels = page.labels & pods.keys()
    if len(labels) == 1:
        return next(iter(labels))
    found = served.get(page.address) or ()
    return next(iter(found)) if len(found) == 1 else page.pod


def _by_port(pages: Mapping[str, PodSeries], pods: Mapping[str, Counter[str]]) -> dict[str, str]:
    """Pages and pods that are alone with their port, each among its own."""
    at_port: dict[str, list[str]] = defaultdict(list)
    for name, page in pages.items():
        at_port[page.address.rpartition(":")[2]].append(name)
    of_port: dict[str, list[str]] = defaultdict(list)
    for pod, ports in pods.items():
        if len(ports) == 1:
            of_port[next(iter(ports))].append(pod)
    shared = (port for port in at_port.keys() & of_port.keys() if port)
    return {
        at_port[port][0]: of_port[port][0]
        for port in shared
        if len(at_port[port]) == 1 and len(of_port[port]) == 1
    }


def all_names(pods: Mapping[str, PodSeries], answered: Iterable[str]) -> set[str]:
    """Every pod, counted once: those that answered, and those scraped under names of the same kind.

    A page that only has an address may be a pod that answered under its name; it counts when all that
    answered are found among the pages, so that it must be another.
    """
    named = set(answered)
    if not named:
        return set(pods)
    if not named & pods.keys():
        return named
    whole = named <= pods.keys()
    return named | {name for name, page in pods.items() if whole or name != page.address}
