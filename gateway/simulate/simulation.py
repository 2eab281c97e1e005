"""One run: manifests, picker, engines and load put together in a world, and the world run to its end."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter  # the real clock: `time.perf_counter` is the world's while it runs

from gateway.picker.app import Picker
from gateway.simulate.calls import Call, Job
from gateway.simulate.client import Client
from gateway.simulate.clock import START, run_in, virtual_time
from gateway.simulate.feed import Feed
from gateway.simulate.picking import PickerChoice, RunDecisions, make_picker
from gateway.simulate.replicas.pods import Fleet
from gateway.simulate.replicas.ranks import Rank
from gateway.simulate.rundir import RunDirectory
from gateway.simulate.timeline import Event, Timeline
from gateway.simulate.way import Delays, Way
from gateway.stack.plan import Plan
from gateway.stack.pods import PodState
from simulator.replay.lab import few_collections
from simulator.replay.world import World

LEAD = 1.0  # seconds that a fleet stands before the first request, so that every endpoint has been scraped
_SHOWN_EVERY = 0.5  # real seconds between two lines of progress

Progress = Callable[[int, int, float], None]  # requests done, planned, virtual seconds
Watcher = Callable[[World, Fleet, float], None]  # told of the world, the fleet and t0 before the start


@dataclass(frozen=True, slots=True)
class Setting:
    """How to simulate, as opposed to what. Times in seconds."""

    picker: PickerChoice = field(default_factory=PickerChoice)
    gateway_delay: float = 0.0012
    scrape_every: float = 1.0  # of the run's directory
    decisions: str = "brief"  # none, brief, all
    events: Sequence[Event] = ()
    seed: int = 0
    watcher: Watcher | None = None


@dataclass(slots=True)
class Result:
    """What a run left besides its directory. `ended` holds every request with its last attempt."""

    ended: list[tuple[Job, Call]] = field(default_factory=list)
    seconds: float = 0.0  # virtual, from t0 to the last end
    wall: float = 0.0  # real seconds of simulating
    steps: int = 0
    notes: list[str] = field(default_factory=list)
    path: Path | None = None


class Simulation:
    """`run` once. `keep` False: ended requests are not kept, only recorded."""

    def __init__(self, plan: Plan, feed: Feed, setting: Setting, *, keep: bool = True) -> None:
        self._plan, self._feed, self._setting, self._keep = plan, feed, setting, keep
        self.result = Result()
        self._directory: RunDirectory | None = None
        self._t0 = START + LEAD
        self._done = 0
        self._shown = perf_counter()
        self._progress: Progress | None = None

    def run(
        self, open_directory: Callable[[float], RunDirectory] | None = None, progress: Progress | None = None
    ) -> Result:
        """To the end of the feed. Raises GatewayError for manifests, pickers and plans that cannot be run."""
        self._progress = progress
        begun = perf_counter()
        delays = Delays.of(self._setting.gateway_delay)
        world = World(START, delays.feedback if self._feed.has_feedback else None)
        with (
            tempfile.TemporaryDirectory(prefix="simfleet-simulate-") as scratch,
            virtual_time(world),
            few_collections(),
        ):
            run_in(world, self._main(world, delays, Path(scratch), open_directory))
        self.result.wall = perf_counter() - begun
        return self.result

    async def _main(
        self,
        world: World,
        delays: Delays,
        scratch: Path,
        open_directory: Callable[[float], RunDirectory] | None,
    ) -> None:
        setting, feed = self._setting, self._feed
        finished = asyncio.get_running_loop().create_future()
        unseen: set[Rank] = set()
        picker = make_picker(self._plan, setting.picker, world, unseen, scratch)
        directory = self._directory = open_directory(self._t0) if open_directory is not None else None
        log = None
        if directory is not None and setting.decisions != "none":
            log = RunDecisions(directory.decisions, brief=setting.decisions == "brief")
        way = Way(world, picker.direct(log), feed, delays, "simulated")
        fleet = self._fleet(world, picker, unseen, scratch, way)
        timeline = Timeline(fleet, directory.event if directory is not None else lambda _: None)
        timeline.start(world, list(setting.events), self._t0)
        if setting.watcher is not None:
            setting.watcher(world, fleet, self._t0)
        self._watch(world, fleet)

        def end() -> None:
            if not finished.done():
                finished.set_result(None)
                world.interrupted = True

        client = Client(world, feed, send=way.send, record=self._record, skip=self._skip, finished=end)
        world.at(self._t0, client.start, self._t0)
        status = "failed"
        try:
            await finished
            status = "finished"
        except asyncio.CancelledError:
            status = "interrupted"
            raise
        finally:
            self._conclude(world, fleet, way, timeline, status)
            if log is not None:
                log.close()

    def _fleet(self, world: World, picker: Picker, unseen: set[Rank], scratch: Path, way: Way) -> Fleet:
        fleet = Fleet(
            self._plan,
            world,
            picker,
            unseen,
            directory=scratch,
            seed=self._setting.seed,
            speaks=self._feed.needs_text,
            on_output=way.on_output,
            on_lost=way.on_lost,
        )
        way.fleet = fleet
        fleet.start()
        return fleet

    def _record(self, job: Job, call: Call) -> None:
        self._done += 1
        if self._directory is not None:
            self._directory.record(job, call)
        if self._keep:
            self.result.ended.append((job, call))
        self.result.seconds = (call.end or 0.0) - self._t0
        if self._progress is not None and not self._done % 64:
            now = perf_counter()
            if now - self._shown > _SHOWN_EVERY:
                self._shown = now
                self._progress(self._done, self._feed.planned, self.result.seconds)

    def _skip(self, job: Job, why: str) -> None:
        if self._directory is not None:
            self._directory.skip(job, why)

    def _watch(self, world: World, fleet: Fleet) -> None:
        """Looks at every replica for the directory, first just before the start."""
        directory, every = self._directory, self._setting.scrape_every
        if directory is None:
            return

        def look(number: int) -> None:
            phase = "before" if number < 0 else "during"
            directory.look(fleet.ranks.values(), world.now, phase)
            world.at(self._t0 + max(0.0, (number + 1) * every), look, number + 1)

        world.at(self._t0 - every / 2, look, -1)

    def _conclude(self, world: World, fleet: Fleet, way: Way, timeline: Timeline, status: str) -> None:
        result, directory = self.result, self._directory
        result.steps += sum(station.steps for station in world.stations)
        result.notes += [
            f"{count} requests asked for {what}, which is not simulated" for what, count in way.undone.items()
        ]
        result.notes += timeline.failures
        if directory is not None:
            directory.look(fleet.ranks.values(), world.now, "after")
            pools = {
                pod.name: pod.pool.name for pod in fleet if pod.pool and pod.state is not PodState.KILLED
            }
            result.path = directory.close(pools, result.notes, status)


__all__ = ["Event", "Progress", "Result", "Setting", "Simulation"]
