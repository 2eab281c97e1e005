"""Reads the /metrics of pods and picker into a time series while the load runs.

Whose: addresses as given, the output of `simfleet ps --format json` (a command or a file, read again after
each event, and every few seconds where autoscalers change the pods), or a Prometheus that scrapes them
already. Every look is recorded with its cost.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Literal
from urllib.parse import quote, urlsplit, urlunsplit

import msgspec

from loadgen.client.connection import Pool
from loadgen.client.fetch import fetch
from loadgen.client.target import Target, parse_target
from loadgen.client.urls import user_of, without_user
from loadgen.errors import LoadgenError, TargetError
from loadgen.numbers.jsonl import NO_JSON, JsonlWriter
from loadgen.records.pod_metrics import parse_samples, pod_state
from loadgen.records.rundir import ScrapeLine
from loadgen.run.fleetlist import Fleet, parse_fleet
from loadgen.scenario.redaction import Secrets
from loadgen.scenario.scenario import Scrape

TIMEOUT = 2.0
SETTLE = 3.0  # seconds that the scrape after the run waits at most for pods to have nothing running
FLEET_TIMEOUT = 30.0
FOLLOW = 2.0  # seconds between two looks for the pods of a fleet that scales itself
Phase = Literal["before", "during", "after"]
PROMETHEUS_QUERY = '{__name__=~"vllm:.+|inference_.+|llm_d_.+",__name__!~".+_bucket"}'
POD_LABELS = ("pod", "kubernetes_pod_name", "instance")


@dataclass(slots=True)
class Page:
    """One /metrics page and the connection to it."""

    name: str
    url: str
    pod: str | None
    source: Literal["pod", "epp"]
    target: Target
    path: str
    pool: Pool
    given: bool = False
    """Named by an address or by hand, not by a listing."""
    headers: dict[str, str] = field(default_factory=dict)
    """What a user name and password in the URL ask for."""
    told: bool = False
    """Whether its server was asked for its name and answered."""


class Scraper:
    """All pages of a run. What is read before `begin` waits for t0 and has negative run times."""

    def __init__(
        self, spec: Scrape, writer: JsonlWriter, secrets: Secrets | None = None, target: str | None = None
    ) -> None:
        self._spec = spec
        self._target = target
        self._secrets = secrets or Secrets()
        self._writer = writer
        self.t0 = 0.0
        self._held: list[ScrapeLine] | None = []
        self._pages: dict[str, Page] = {}
        self.states: dict[str, dict[str, float]] = {}
        """Plain values of each pod's last scrape, for the live view."""
        self.fleet: Fleet | None = None
        """What the fleet's listing said last."""
        self.scrapes = self.failures = 0
        self.cost = 0.0

    async def discover(self) -> None:
        """Find the pages; pods that left keep being asked (their refusals are part of the record)."""
        for given in self._spec.pods:
            name, url = split_name(given)
            taken = name is None or name in self._pages  # a pod may have several pages
            self._add(self._free(_host_port(url)) if taken else name or "", url, "pod", name, given=True)
        for url in self._spec.epp:
            self._add(_host_port(url), url, "epp")
        if self._spec.fleet is not None:
            listing = await read_fleet(self._secrets.reveal(self._spec.fleet), self._spec.fleet)
            fleet = parse_fleet(listing, self._spec.fleet, self._spec.stack, self._target)
            self.fleet = fleet
            for member in fleet.members:
                self._add(member.name, member.metrics_url, member.source, member.pod)
        unasked = [page for page in self._pages.values() if page.given and not page.told]
        await asyncio.gather(*map(self._ask_name, unasked))

    async def _ask_name(self, page: Page) -> None:
        """Ask a generating route what nothing is generated for: answers name their pod, refusals too.

        The server's word goes before a name that was given, for it is what the answers of the run will say.
        """
        answer = await fetch(page.pool, "/v1/completions", headers=page.headers, timeout=TIMEOUT)
        page.told = answer.outcome == "ok"
        pod = answer.headers.get("x-inference-pod")
        if not pod:
            return
        page.pod = pod
        if pod not in self._pages:
            self._pages[pod] = self._pages.pop(page.name)
            page.name = pod

    def _add(
        self,
        name: str,
        url: str,
        source: Literal["pod", "epp"],
        pod: str | None = None,
        *,
        given: bool = False,
    ) -> None:
        if "://" not in url:
            url = f"http://{url}"
        if not urlsplit(url).path.strip("/"):
            url = urlunsplit(urlsplit(url)._replace(path="/metrics"))
        real, shown = self._secrets.reveal(url), without_user(url)
        parts = urlsplit(real)
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        pages = self._pages.values()
        if any((page.url, page.path, page.source) == (shown, path, source) for page in pages):
            return
        known = self._pages.get(name)
        if known is not None:
            known.pool.close()
        target = parse_target(f"{parts.scheme}://{parts.netloc}")
        pool = Pool(asyncio.get_running_loop(), target)
        self._pages[name] = Page(name, shown, pod, source, target, path, pool, given, user_of(real))

    def _free(self, name: str) -> str:
        """The name, numbered where another page of the same server has it."""
        numbered = (f"{name}#{number}" for number in itertools.count(2))
        return name if name not in self._pages else next(n for n in numbered if n not in self._pages)

    def begin(self, t0: float) -> None:
        """The run starts at `t0` on the monotonic clock."""
        self.t0 = t0
        held, self._held = self._held or [], None
        for line in held:
            line.t = round(line.t - t0, 6)
            self._writer.write(line)

    async def run(self) -> None:
        """Scrape at each interval until cancelled; a slow page delays only itself."""
        follow = asyncio.create_task(self._follow()) if self.fleet and self.fleet.scales else None
        try:
            await self._run()
        finally:
            if follow is not None:
                follow.cancel()

    async def _follow(self) -> None:
        """Find the pods of a fleet that scales itself; a listing that fails is asked for again."""
        while True:
            await asyncio.sleep(FOLLOW)
            with contextlib.suppress(LoadgenError):
                await self.discover()

    async def _run(self) -> None:
        turn = 0
        while True:
            turn += 1
            await asyncio.sleep(max(0.0, self.t0 + turn * self._spec.interval - monotonic()))
            if monotonic() - self.t0 > (turn + 1) * self._spec.interval:
                turn = int((monotonic() - self.t0) / self._spec.interval)  # late: skip what was missed
            await self.once("during")

    async def once(self, phase: Phase) -> None:
        """One look at every page."""
        if self._spec.prometheus is not None:
            await self._prometheus(self._spec.prometheus, phase)
        await asyncio.gather(*(self._look(page, phase) for page in list(self._pages.values())))
        self._writer.flush()

    async def settled(self) -> None:
        """The look after the run: again until no pod has anything running or waiting."""
        begin = monotonic()
        while True:
            self.states.clear()
            await self.once("after")
            busy = any(state.get("running") or state.get("waiting") for state in self.states.values())
            if not busy or monotonic() - begin > SETTLE:
                return
            await asyncio.sleep(0.1)

    async def _look(self, page: Page, phase: Phase) -> None:
        asked = monotonic()
        answer = await fetch(page.pool, page.path, headers=page.headers, timeout=TIMEOUT)
        good = answer.outcome == "ok" and answer.status == 200
        line = ScrapeLine(
            t=round(asked - self.t0, 6),
            took=round(answer.took, 6),
            source=page.source,
            name=page.name,
            url=page.url,
            pod=page.pod,
            phase=phase,
            bytes=len(answer.body),
        )
        if good:
            line.samples = parse_samples(answer.body.decode(errors="replace"))
        else:
            line.error = answer.error or f"HTTP {answer.status}"
        self._keep(line)

    def _keep(self, line: ScrapeLine) -> None:
        self.scrapes += 1
        self.cost += line.took
        self.failures += line.error is not None
        if line.error is None and line.source == "pod":
            self.states[line.name] = pod_state(line.samples).values
        if self._held is not None:
            self._held.append(line)
        else:
            self._writer.write(line)

    async def _prometheus(self, url: str, phase: Phase) -> None:
        """One instant query, split into a line for each pod."""
        real, url = self._secrets.reveal(url), without_user(url)
        target = parse_target(real)
        pool = Pool(asyncio.get_running_loop(), target)
        asked = monotonic()
        query = f"/api/v1/query?query={quote(PROMETHEUS_QUERY)}"
        answer = await fetch(pool, query, headers=user_of(real), timeout=TIMEOUT)
        pool.close()
        base = ScrapeLine(
            t=round(asked - self.t0, 6), took=round(answer.took, 6), name="prometheus", url=url, phase=phase
        )
        try:
            result = msgspec.json.decode(answer.body, type=_PrometheusAnswer).data.result
        except NO_JSON:
            base.error = answer.error or f"HTTP {answer.status}: no answer to a query"
            self._keep(base)
            return
        for name, samples in _by_pod(result).items():
            line = ScrapeLine(t=base.t, took=base.took, name=name, url=url, phase=phase, samples=samples)
            line.source = "pod" if any(key.startswith("vllm:") for key in samples) else "epp"
            self._keep(line)

    def close(self) -> None:
        """Close the connections."""
        for page in self._pages.values():
            page.pool.close()


class _Series(msgspec.Struct):
    metric: dict[str, str]
    value: tuple[float, str]


class _Result(msgspec.Struct):
    result: list[_Series]


class _PrometheusAnswer(msgspec.Struct):
    data: _Result


def _by_pod(result: list[_Series]) -> dict[str, dict[str, float]]:
    pods: dict[str, dict[str, float]] = {}
    for series in result:
        labels = dict(series.metric)
        name = labels.pop("__name__", "")
        pod = next((labels[key] for key in POD_LABELS if key in labels), "unknown")
        inside = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
        with contextlib.suppress(ValueError):
            pods.setdefault(pod, {})[f"{name}{{{inside}}}"] = float(series.value[1])
    return pods


def split_name(given: str) -> tuple[str | None, str]:
    """NAME=URL as its two halves; a plain URL has no name."""
    name, equals, url = given.partition("=")
    return (name.strip(), url.strip()) if equals and not set(name) & set("/:?") else (None, given)


def _host_port(url: str) -> str:
    return urlsplit(url if "://" in url else f"http://{url}").netloc.rpartition("@")[2]


async def read_fleet(source: str, shown: str | None = None) -> bytes:
    """The bytes of a fleet listing: of a file, or what a shell command prints; `shown` in errors for it."""
    shown = shown or source
    content = _file_content(source)
    if content is not None:
        return content
    process = await asyncio.create_subprocess_shell(
        source, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), FLEET_TIMEOUT)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise LoadgenError(f"scrape.fleet: `{shown}` took more than {FLEET_TIMEOUT:g} s") from None
    if process.returncode != 0:
        words = err.decode(errors="replace").strip()[:300]
        raise TargetError(f"scrape.fleet: `{shown}` ended with exit code {process.returncode}: {words}")
    return out


def _file_content(source: str) -> bytes | None:
    path = Path(source)
    return path.read_bytes() if path.is_file() else None
