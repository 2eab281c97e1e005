"""A run directory: the files besides the records, and their lines.

meta.json      Meta: what was run, against what, what the machine can do, how it ended
plan.jsonl     the plan (plan.py)
access.jsonl   the gateways' access log, as far as it is about this run
decisions.jsonl the pickers' log of decisions, likewise
scrapes.jsonl  one ScrapeLine for each look at a /metrics page
events.jsonl   one EventLine for each thing done to the system, by the timeline or by hand

All are 0600: they hold prompts, what answers said, the output of commands. Reports are for passing on.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from loadgen.errors import RecordError, RunError
from loadgen.numbers.jsonl import NO_JSON, read_lines, write_private
from loadgen.numbers.progress import Progress

META = "meta.json"
PLAN = "plan.jsonl"
SCRAPES = "scrapes.jsonl"
EVENTS = "events.jsonl"
SCENARIO = "scenario.yaml"
ACCESS = "access.jsonl"
DECISIONS = "decisions.jsonl"

RECORDS = "records*.jsonl"
# What a run and its report write.
RUN_FILES = (RECORDS, META, PLAN, SCENARIO, SCRAPES, EVENTS, ACCESS, "report.*", "junit.xml")

T = TypeVar("T")


def fresh_directory(path: Path, patterns: Iterable[str] = RUN_FILES) -> None:
    """Make a directory for results; it may be there and hold other files.

    Raises RunError when it holds something that `patterns` names, which would be overwritten, and when it
    cannot be made.
    """
    check_free(path, patterns)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot make {path}: {error.strerror}") from error


def check_free(path: Path, patterns: Iterable[str] = RUN_FILES) -> None:
    """RunError when the directory holds something that `patterns` names; it need not be there."""
    there = sorted(os.listdir(path)) if path.is_dir() else []
    for pattern in patterns:
        if found := next((name for name in there if fnmatch(name, pattern)), None):
            what = "a run already" if pattern == RECORDS else f"{found} already, which would be overwritten"
            raise RunError(f"{path} holds {what}; give another --out")


class ScrapeLine(msgspec.Struct, kw_only=True):
    """One look at one /metrics page.

    t: run time at which it was asked for; took: seconds until it was read; samples: value by series as the
    page writes it (`vllm:num_requests_running{model_name="m"}`), buckets of histograms left out. A failed
    look has an error and no samples. phase: `before` the first start, `during`, `after` the last end.
    """

    t: float
    took: float
    source: Literal["pod", "epp"] = "pod"
    name: str
    url: str
    pod: str | None = None
    """What the pod's answers call it, where that is known."""
    phase: Literal["before", "during", "after"] = "during"
    error: str | None = None
    bytes: int = 0
    samples: dict[str, float] = {}


class EventLine(msgspec.Struct, kw_only=True):
    """Something that happened to the system; `t` is its run time, `took` how long the doing lasted.

    `exit` of a command or call of the timeline is None when the end of the run cut it off.
    """

    t: float
    name: str
    source: Literal["timeline", "mark", "run"] = "timeline"
    did: str | None = None
    took: float | None = None
    exit: int | None = None
    output: str | None = None


class Ceiling(msgspec.Struct, kw_only=True):
    """What this machine's client can do at most, against the built-in null server."""

    rate: float
    """Requests per second of one worker process."""
    cpu: float
    """CPU seconds per request of the worker."""
    tokens: int = 8
    processes: int = 1
    total: float = 0.0
    """Ceiling of all workers together: no more of them than cores."""
    asked: float | None = None
    share: float | None = None
    """Asked rate over `total`."""
    cached: bool = False
    age: float = 0.0


class ClientTimes(msgspec.Struct, kw_only=True):
    """The client's own lag and cost over the run, seconds."""

    late_p50: float | None = None
    late_p99: float | None = None
    late_max: float | None = None
    cpu: float = 0.0
    cpu_per_request: float | None = None


class Meta(msgspec.Struct, kw_only=True):
    """meta.json; written before the run as `running` and again at its end."""

    status: Literal["running", "finished", "interrupted", "failed"] = "running"
    error: str | None = None
    scenario: str = ""
    source: str = ""
    seed: int = 0
    target: str = ""
    arm: str | None = None
    repeat: int | None = None
    command: list[str] = []
    host: str = ""
    versions: dict[str, str] = {}
    processes: int = 1
    slice: tuple[int, int] = (0, 1)
    """Which part of the plan this machine had: part, of how many."""
    planned: int = 0
    """Requests (all turns counted) that this run had to make; of a closed loop by time, those it could."""
    t0: float = 0.0
    t0_monotonic: float = 0.0
    span: float = 0.0
    duration: float | None = None
    """Run time of the last end."""
    models: list[str] | None = None
    """What the target's /v1/models listed; None when it has no such list."""
    runs: list[str] = []
    """Tokens under which requests named themselves to gateways; one for each machine of a merged run."""
    decision_log: str | None = None
    """The picker's log of its decisions, if the scenario or the fleet named one."""
    stack: str | None = None
    """Which of the stacks in the fleet's listing was meant."""
    pools: dict[str, str] = {}
    """The pool of each pod that the listing names."""
    roles: dict[str, str] = {}
    """What each pod does of a request (`prefill`, `decode`), where the listing tells."""
    foreign: dict[str, str] = {}
    """The stack of each pod that the listing names for another stack alone."""
    ceiling: Ceiling | None = None
    client: ClientTimes = msgspec.field(default_factory=ClientTimes)
    totals: Progress = msgspec.field(default_factory=Progress)
    first_errors: dict[str, str] = {}
    warnings: list[str] = []
    simulated: dict[str, str] = {}
    """How a run in virtual time was made (`simfleet simulate`); empty for one against a real target."""


def write_meta(run_dir: Path, meta: Meta) -> None:
    """Replace meta.json whole: a reader sees the old or the next one, never half.

    RunError when it cannot be written.
    """
    path = run_dir / META
    temporary = path.with_suffix(".tmp")
    try:
        write_private(temporary, msgspec.json.format(msgspec.json.encode(meta), indent=2) + b"\n")
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise RunError(f"cannot write {path}: {error.strerror}") from error


def read_meta(run_dir: Path) -> Meta:
    """meta.json of a run; RecordError when there is none or it cannot be read."""
    path = run_dir / META
    try:
        return msgspec.json.decode(path.read_bytes(), type=Meta)
    except OSError as error:
        raise RecordError(f"{run_dir} is not the directory of a run: {error.strerror}: {path}") from error
    except NO_JSON as error:
        raise RecordError(f"{path}: {error}") from error


def read_optional(path: Path, kind: type[T]) -> list[T]:
    """The lines of a JSONL file that a run need not have."""
    return list(read_lines(path, kind)) if path.is_file() else []


def read_scrapes(run_dir: Path) -> list[ScrapeLine]:
    """All scrapes of a run in order of time."""
    return sorted(read_optional(run_dir / SCRAPES, ScrapeLine), key=lambda line: line.t)


def read_events(run_dir: Path) -> list[EventLine]:
    """All events of a run in order of time."""
    return sorted(read_optional(run_dir / EVENTS, EventLine), key=lambda line: line.t)


def new_run_dir(name: str, out: Path | None, plan: Path | None = None) -> Path:
    """A directory for a run; RunError when the one asked for holds files of a run already.

    `plan`: the given plan, which may lie there.
    """
    run_dir = out or Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    suffix = 1
    while out is None and run_dir.exists():
        suffix += 1
        run_dir = run_dir.with_name(f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{suffix}")
    is_there = plan is not None and plan.resolve() == (run_dir / PLAN).resolve()
    fresh_directory(run_dir, [name for name in RUN_FILES if name != PLAN or not is_there])
    return run_dir


def forget(run_dir: Path, out: Path | None, plan: Path | None) -> None:
    """Nothing ran: remove what was written, and a directory of our own naming. A given plan stays."""
    for path in (run_dir / PLAN, run_dir / SCENARIO):
        if plan is None or plan.resolve() != path.resolve():
            path.unlink(missing_ok=True)
    for empty in (run_dir, Path("runs")) if out is None else ():
        with contextlib.suppress(OSError):  # it holds something else
            empty.rmdir()
