"""A finished (or broken off) run, read whole from its directory, for everything that reports on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from loadgen.errors import LoadgenError
from loadgen.plan.plan import PlanHeader, read_plan_header
from loadgen.records.frame import Frame, natural_order
from loadgen.records.pod_metrics import named_pods, pod_state
from loadgen.records.podnames import all_names, by_pod
from loadgen.records.records import RecordsHeader, read_header, record_files
from loadgen.records.rundir import (
    PLAN,
    SCENARIO,
    EventLine,
    Meta,
    ScrapeLine,
    read_events,
    read_meta,
    read_scrapes,
)
from loadgen.records.series import PodSeries
from loadgen.records.table import Records, read_records
from loadgen.scenario.overlay import LAID_OVER
from loadgen.scenario.read import read_scenario
from loadgen.scenario.scenario import Scenario

T = TypeVar("T")
PREFILL = "prefill"


@dataclass
class RunData:
    """One run; `records` are all of them, `frame` those that the figures are about (warm-up left out)."""

    path: Path
    records: Records
    header: RecordsHeader
    meta: Meta = field(default_factory=Meta)
    scenario: Scenario | None = None
    events: list[EventLine] = field(default_factory=list)
    scrapes: list[ScrapeLine] = field(default_factory=list)
    plan_header: PlanHeader | None = None
    notes: list[str] = field(default_factory=list)
    """What could not be read and is therefore missing from the report."""

    @cached_property
    def warmup(self) -> float:
        return self.scenario.warmup if self.scenario else 0.0

    @cached_property
    def frame(self) -> Frame:
        return Frame(self.records.take(self.records.numbers("intended") >= self.warmup))

    @cached_property
    def pods(self) -> dict[str, PodSeries]:
        """Series of the scraped pods, under the names that answers give them wherever these are known."""
        pages = pod_series(line for line in self.scrapes if line.source == "pod")
        found = by_pod(pages, self.records, self.meta.target)
        return {name: found[name] for name in natural_order(found)}

    @cached_property
    def pod_names(self) -> list[str]:
        """Every pod that answered or was scraped, none of them twice."""
        return natural_order(all_names(self.pods, self.records.distinct("pod") - {""}))

    @cached_property
    def roles(self) -> dict[str, str]:
        """`prefill`, `decode` or another role of each pod that has one.

        As the listing told, else by the counters: a pod that finished requests of one token each, none of
        which it answered here, prefilled them for those that did.
        """
        answering = self.records.distinct("pod") - {""}
        found = dict(self.meta.roles)
        for name, pod in self.known_pods.items():
            served, tokens = pod.grew("succeeded"), pod.grew("output_tokens")
            if name not in found and name not in answering and answering and served and served == tokens:
                found[name] = PREFILL
        if PREFILL in found.values():
            found = {**dict.fromkeys(answering, "decode"), **found}
        return {name: found[name] for name in natural_order(found)}

    @cached_property
    def answerers(self) -> list[str]:
        """Every pod that answers clients: those that only prefill do not."""
        prefilling = {name for name, role in self.roles.items() if role == PREFILL}
        prefilling -= self.records.distinct("pod")
        return [name for name in self.pod_names if name not in prefilling]

    @cached_property
    def known_pods(self) -> dict[str, PodSeries]:
        """The scraped pods that go by the names of the answers, or all when answers name none."""
        return {name: self.pods[name] for name in self.pod_names if name in self.pods}

    @property
    def t0(self) -> float:
        return self.meta.t0 or self.header.t0

    @property
    def marks(self) -> list[tuple[float, str]]:
        """Events as (run time, name)."""
        return [(event.t, event.name) for event in self.events if event.source != "run"]


def load_run(path: Path, scenario: Scenario | None = None) -> RunData:
    """Read a run directory; RecordError when it holds no records. Other files may be missing or torn."""
    records = read_records(path)
    run = RunData(path, records, _header(path))
    run.meta = _or_note(run, lambda: read_meta(path)) or Meta(status="interrupted")
    run.events = _or_note(run, lambda: read_events(path)) or []
    run.scrapes = _or_note(run, lambda: read_scrapes(path)) or []
    if (path / PLAN).is_file():
        run.plan_header = _or_note(run, lambda: read_plan_header(path / PLAN))
    run.scenario = scenario or _scenario(run)
    return run


def _header(path: Path) -> RecordsHeader:
    """The header of the first file that has one: a worker that died at once left an empty file."""
    files = record_files(path)
    return read_header(next((file for file in files if file.stat().st_size), files[0]))


def _scenario(run: RunData) -> Scenario | None:
    file = run.path / SCENARIO
    text = run.plan_header.yaml if run.plan_header else ""
    try:
        text = file.read_text(encoding="utf-8") if file.is_file() else text
    except (OSError, UnicodeDecodeError) as error:
        run.notes.append(f"{file}: cannot be read: {error}")
    source = run.meta.source or (run.plan_header.source if run.plan_header else "") or str(file)
    if not text.strip():
        return None
    where = str(file) if text.startswith(LAID_OVER) else source  # the lines are those of this text
    return _or_note(run, lambda: read_scenario(text, where, Path(source).parent))


def _or_note(run: RunData, read: Callable[[], T]) -> T | None:
    """What `read` gives; when the file is unusable a note instead, for records alone make a report."""
    try:
        return read()
    except LoadgenError as error:
        run.notes.append(str(error))
        return None


def pod_series(lines: Iterable[ScrapeLine]) -> dict[str, PodSeries]:
    """Scrapes by page; a failed one stands as a gap."""
    out: dict[str, PodSeries] = {}
    for line in lines:
        series = out.setdefault(line.name, PodSeries(line.name))
        state = pod_state(line.samples)
        series.add(line.t, state.values, state.running_adapters, line.took)
        series.max_lora = state.max_lora or series.max_lora
        series.block_size = state.block_size or series.block_size
        series.num_gpu_blocks = state.num_gpu_blocks or series.num_gpu_blocks
        series.address = urlsplit(line.url).netloc or series.address
        series.pod = line.pod or series.pod
        if line.error is None:
            series.phases |= {line.phase}
            if not series.labels:
                series.labels = named_pods(line.samples)
    return out
