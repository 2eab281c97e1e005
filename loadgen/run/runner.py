"""One run, from plan to finished directory: checks, workers, scrapes, timeline, totals.

`execute` is what the command line and the comparison of arms call. The parent process that runs this
sends no load itself: workers do, so a view redrawn or a page parsed delays no request.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from functools import partial
from importlib import metadata
from pathlib import Path
from time import monotonic

import msgspec

from kit.alarm import new_event_loop
from kit.console import complain
from loadgen.client.credentials import api_headers
from loadgen.client.target import Target
from loadgen.errors import LoadgenError, RunError, ScenarioError, TargetError, WorkerError
from loadgen.numbers.exporting import exporting
from loadgen.numbers.jsonl import JsonlWriter, write_private
from loadgen.numbers.progress import Progress, Report
from loadgen.plan.prepare import PlanInfo, prepare_plan
from loadgen.records.rundir import (
    PLAN,
    SCENARIO,
    SCRAPES,
    ClientTimes,
    Meta,
    forget,
    new_run_dir,
    write_meta,
)
from loadgen.run.fleetlist import parse_fleet, url_of
from loadgen.run.gatewaylogs import GatewayLogs
from loadgen.run.live import Snapshot, View, make_view
from loadgen.run.page import live_page
from loadgen.run.probe import wait_ready, way_to
from loadgen.run.scrape import Scraper, read_fleet
from loadgen.run.selftest import WARNING_SHARE, client_ceiling
from loadgen.run.supposed import differences, foreign_pods, warmup_words
from loadgen.run.timeline import Timeline
from loadgen.run.worker import WorkerOrder
from loadgen.run.workers import Crew
from loadgen.scenario.commands import tell_commands
from loadgen.scenario.options import RunOptions
from loadgen.scenario.scenario import Scenario

LEAD = 0.15  # seconds between the order to begin and t0, for the order to reach all workers
HOPELESS = 20  # so many first answers that are all 4xx end a run: the plan does not fit the target
VIEW_EVERY = 0.5


def execute(scenario: Scenario, options: RunOptions) -> Path:
    """Run a scenario; the run's directory. Raises LoadgenError when it could not be run or kept."""
    if options.arm is None:  # a comparison has told already
        tell_commands(scenario, options.command)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:  # ends its tasks in order on Ctrl-C
        return runner.run(_Run(scenario, options).run())


def _version() -> str:
    try:
        return metadata.version("vllm-simfleet")
    except metadata.PackageNotFoundError:  # run from a source tree that is not installed
        return "unknown"


class _Run:
    """The state of one run while it happens."""

    def __init__(self, scenario: Scenario, options: RunOptions) -> None:
        self.scenario = scenario
        self.options = options
        self.meta = Meta(
            scenario=scenario.name,
            source=scenario.source or "",
            seed=scenario.seed,
            arm=options.arm,
            repeat=options.repeat,
            command=scenario.secrets.hide_arguments(options.command),
            host=socket.gethostname(),
            slice=options.slice,
            runs=[os.urandom(4).hex()],
        )
        self.logs = GatewayLogs(self.meta.runs[0])
        self.run_dir = Path()
        self.total = Progress()
        self.in_flight: dict[int, int] = {}
        self.crew: Crew | None = None
        self.hopeless: str | None = None
        self.snapshot: Snapshot | None = None
        self._headers: dict[str, str] = {}
        self._marks: list[tuple[float, int, int]] = []

    async def run(self) -> Path:
        """Everything in order; meta.json says how it ended even when it ended badly.

        A worker that dies or fails ends the run and its status, and leaves it to be reported.
        """
        scenario, options, meta = self.scenario, self.options, self.meta
        meta.target = await self._target_url()
        target, url, meta.target = way_to(meta.target, scenario, self._warn)
        run_dir = self.run_dir = new_run_dir(scenario.name, options.out, options.plan)
        info = prepare_plan(scenario, options.plan, run_dir / PLAN, options.slice[1], options.slice[0])
        write_private(run_dir / SCENARIO, scenario.text.encode())
        self._describe(info)
        for note in info.header.notes:
            self._warn(note)
        self._headers = api_headers(scenario, info, url)
        try:
            known = scenario.secrets.reveal_all({**self._headers, **info.authorization})
            ready = await wait_ready(target, info.models, scenario.ready_timeout, known, http2=scenario.http2)
        except TargetError:
            forget(run_dir, options.out, options.plan)
            raise
        meta.models = ready.models
        if ready.note is not None:
            self._warn(ready.note)
        await self._note_ceiling(info)
        write_meta(run_dir, meta)
        try:
            stack = scenario.scrape.stack if scenario.scrape else None
            async with live_page(meta.target, stack, options.ui, complain):
                with exporting(options.metrics_port, lambda: self.snapshot) as served:
                    if served and not options.quiet:
                        complain(f"loadgen: totals at {served}")
                    await self._load(run_dir, target, info)
        except (LoadgenError, OSError) as error:
            meta.status, meta.error = "failed", scenario.secrets.hide(str(error))
            self._conclude()
            with contextlib.suppress(RunError):  # the disk may be full: the first error is the one to tell
                write_meta(run_dir, meta)
            if isinstance(error, WorkerError):  # what was recorded makes a report, which nobody will trust
                complain(f"loadgen: error: {meta.error}; the report covers what was recorded")
                return run_dir
            if isinstance(error, OSError):
                raise RunError(f"the run failed: {error}") from error
            raise
        self._conclude()
        write_meta(run_dir, meta)
        return run_dir

    async def _target_url(self) -> str:
        """The target; without one (or as fleet:gateway) that of the fleet that is scraped."""
        target, scrape = self.scenario.target, self.scenario.scrape
        if target is not None and not target.startswith("fleet:"):
            return target
        if scrape is None or scrape.fleet is None:
            raise ScenarioError("no target: give --target URL (or `target:` in the scenario)")
        listing = await read_fleet(self.scenario.secrets.reveal(scrape.fleet), scrape.fleet)
        fleet = parse_fleet(listing, scrape.fleet, scrape.stack)
        return url_of(fleet, target)

    # --- before ---------------------------------------------------------------------------------

    def _describe(self, info: PlanInfo) -> None:
        meta = self.meta
        meta.versions = {
            "loadgen": _version(),
            "python": sys.version.split()[0],
            "numpy": info.header.numpy,
            "msgspec": msgspec.__version__,
        }
        meta.seed = info.header.seed
        meta.span = info.header.span
        meta.processes = info.processes
        if info.processes < self.scenario.processes:
            self._warn(f"{info.processes} worker processes, not {self.scenario.processes}: each needs a user")
        meta.planned = info.planned
        if words := warmup_words(self.scenario.warmup, info.header.span):
            self._warn(words)

    def _warn(self, text: str) -> None:
        self.meta.warnings.append(text := self.scenario.secrets.hide(text))
        if not self.options.quiet:
            complain(f"loadgen: {text}")

    async def _note_ceiling(self, info: PlanInfo) -> None:
        if not self.options.selftest:
            return
        stream = any(plan.stream for plan in info.header.classes.values())
        ceiling = await client_ceiling(
            info.tokens, stream=stream, processes=self.meta.processes, asked=info.rate
        )
        self.meta.ceiling = ceiling
        if ceiling.share is not None and ceiling.share > WARNING_SHARE:
            self._warn(
                f"{info.rate:.0f} requests/s asked are {ceiling.share:.0%} of what this client can do here "
                f"({ceiling.total:.0f}/s, processes: {ceiling.processes}): use --processes or more machines"
            )

    # --- during ---------------------------------------------------------------------------------

    async def _load(self, run_dir: Path, target: Target, info: PlanInfo) -> None:
        scenario, meta = self.scenario, self.meta
        delay = max(LEAD, (self.options.start_at or 0.0) - time.time())
        crew = self.crew = Crew(self._orders(run_dir, target, *self.options.slice), self._on_report)
        scrape = JsonlWriter(run_dir / SCRAPES) if scenario.scrape is not None else None
        scraper = None
        if scenario.scrape and scrape:
            scraper = Scraper(scenario.scrape, scrape, scenario.secrets, meta.target)
        again = partial(self._discover, scraper) if scraper else None
        timeline = Timeline(scenario.timeline, run_dir, self.options.env, again, scenario.secrets)
        view = make_view(quiet=self.options.quiet)
        try:
            await crew.start()
            if scraper is not None:
                await self._look_before(scraper, timeline)
            meta.t0_monotonic = t0 = monotonic() + delay
            meta.t0 = time.time() + delay
            write_meta(run_dir, meta)
            crew.begin(t0)
            if scraper is not None:
                scraper.begin(t0)
            await self._watch(crew, scraper, timeline, view, info)
            if scraper is not None:
                await scraper.settled()
            await self.logs.settled(self.total.attempts)
        finally:
            self.logs.close()
            view.close()
            await crew.close()
            timeline.close()
            for item in (scraper, scrape):
                if item is not None:
                    item.close()
        if self.hopeless is not None:
            raise TargetError(self.hopeless)
        for failure in timeline.failures:
            self._warn(failure)
        meta.status = "interrupted" if crew.stopped else "finished"

    async def _look_before(self, scraper: Scraper, timeline: Timeline) -> None:
        await self._discover(scraper)
        for words in differences(self.scenario, scraper.fleet) if scraper.fleet else ():
            self._warn(words)
        await scraper.once("before")
        timeline.env |= {"SIMFLEET_STACK": self.meta.stack} if self.meta.stack else {}

    async def _discover(self, scraper: Scraper) -> None:
        """Find the pages; a packaged scenario's listing may not fit a target given by hand."""
        try:
            await scraper.discover()
        except TargetError as error:
            named = self.scenario.scrape is not None and self.scenario.scrape.stack is not None
            if named or self.scenario.target is None or self.scenario.target.startswith("fleet:"):
                raise
            self._warn(f"no scrapes: {error}")
        self._follow_logs(scraper)

    def _follow_logs(self, scraper: Scraper) -> None:
        """What the fleet says of itself, and the logs of its gateways and pickers."""
        meta, fleet, scrape = self.meta, scraper.fleet, self.scenario.scrape
        logs = self.logs.find(fleet, scrape.decision_log if scrape else None, self.run_dir)
        meta.decision_log = logs[0] if logs else None
        if fleet is not None:
            meta.stack, meta.pools = fleet.stack, {**meta.pools, **fleet.pools}
            meta.roles = {**meta.roles, **fleet.roles}
            meta.foreign = foreign_pods(fleet)

    def _orders(self, run_dir: Path, target: Target, part: int, parts: int) -> list[WorkerOrder]:
        scenario, processes = self.scenario, self.meta.processes
        burst = max(
            (spec.arrival.size for spec in scenario.classes if spec.arrival.process == "burst"), default=0
        )
        users = sum(spec.arrival.users for spec in scenario.classes if spec.arrival.process == "closed")
        wanted = scenario.connections or min(256, max(4, burst, users))
        return [
            WorkerOrder(
                plan=str(run_dir / PLAN),
                records=str(run_dir / ("records.jsonl" if processes == 1 else f"records-{index}.jsonl")),
                worker=part * processes + index,
                workers=parts * processes,
                target=target,
                chunk_times=scenario.chunk_times,
                max_in_flight=-(-scenario.max_in_flight // processes),
                connections=-(-wanted // (parts * processes)),
                idle_timeout=scenario.idle_timeout,
                grace=scenario.grace,
                http2=scenario.http2,
                t0_wall=time.time() + LEAD,
                headers=self._headers,
                secrets=scenario.secrets.values,
                run=self.meta.runs[0],
                traced=self.options.traceparent,
            )
            for index in range(processes)
        ]

    async def _watch(
        self, crew: Crew, scraper: Scraper | None, timeline: Timeline, view: View, info: PlanInfo
    ) -> None:
        loop, meta = asyncio.get_running_loop(), self.meta
        closed = any(plan.users is not None for plan in info.header.classes.values())
        planned = None if any(plan.wrap for plan in info.header.classes.values()) else info.planned
        self.snapshot = Snapshot(self.scenario.name, planned, info.header.span, closed)
        self.snapshot.asked = info.rate
        side = [loop.create_task(timeline.run(meta.t0_monotonic)), loop.create_task(self.logs.run())]
        if scraper is not None:
            side.append(loop.create_task(scraper.run()))
        side.append(loop.create_task(self._show(view, scraper)))
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, crew.stop)
        try:
            await crew.wait()
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
            for task in side:
                if task.done() and not task.cancelled() and task.exception() is not None:
                    self._warn(f"watching failed: {task.exception()}")
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task

    async def _show(self, view: View, scraper: Scraper | None) -> None:
        snapshot = self.snapshot
        assert snapshot is not None
        while True:
            await asyncio.sleep(VIEW_EVERY)
            snapshot.total = self.total
            snapshot.time = max(0.0, monotonic() - self.meta.t0_monotonic)
            snapshot.in_flight = sum(self.in_flight.values())
            self._note_recent(snapshot)
            if scraper is not None and scraper.scrapes:
                snapshot.states = scraper.states
                snapshot.scrape_note = (
                    f"scrapes {scraper.scrapes}, failed {scraper.failures}, "
                    f"{scraper.cost / scraper.scrapes * 1000:.1f} ms each"
                )
            view.update(snapshot)

    def _note_recent(self, snapshot: Snapshot) -> None:
        now = monotonic()
        self._marks.append((now, self.total.attempts, self.total.done))
        self._marks = [mark for mark in self._marks if now - mark[0] <= 3.0]
        first = self._marks[0]
        snapshot.recent_seconds = max(VIEW_EVERY, now - first[0])
        snapshot.recent = Progress(attempts=self.total.attempts - first[1], done=self.total.done - first[2])

    def _on_report(self, report: Report) -> None:
        progress = report.progress
        self.total.merge(progress)
        self.in_flight[progress.worker] = progress.in_flight
        for outcome, words in report.first_errors.items():
            self.meta.first_errors.setdefault(outcome, words)
        refused = self.total.outcomes.get("rejected_4xx", 0)
        if (
            self.hopeless is None
            and refused >= HOPELESS
            and refused == self.total.done
            and self.crew is not None
        ):
            words = self.meta.first_errors.get("rejected_4xx", "")
            self.hopeless = f"the first {refused} answers are all refusals: {words}"
            self.crew.stop()

    # --- after ----------------------------------------------------------------------------------

    def _conclude(self) -> None:
        meta, total = self.meta, self.total
        meta.totals = total
        meta.warnings += self.logs.notes
        meta.duration = total.time or None
        meta.client = ClientTimes(
            late_p50=total.late.quantile(0.5),
            late_p99=total.late.quantile(0.99),
            late_max=total.late.most if total.late.counts else None,
            cpu=total.cpu,
            cpu_per_request=total.cpu / total.done if total.done else None,
        )
        busy = total.cpu / (total.time * meta.processes) if total.time else 0.0
        if busy > WARNING_SHARE and meta.status == "finished" and total.time > 1:
            self._warn(f"the workers used {busy:.0%} of a core each: the client may be what was measured")
