"""What `loadgen report` costs: seconds and the most memory, over so many records beside a tenth of them.

    python bench/report.py [--records 1000000] [--plan] [--keep DIR]

The run is written, not made: pods, adapters, sessions, errors and 16 chunk times an answer from one seed.
With --plan its prompts are there too (a shared prefix of 64 words and 32 words of their own each), and the
pods' caches, so that the best hits of caches of that size are found. CPU seconds hold on a busy machine.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.entry import parser
from kit.children import python
from loadgen.numbers.jsonl import JsonlWriter
from loadgen.plan.plan import ClassPlan, PlanHeader, PlanLine, PlannedRequest, SharedText, write_plan
from loadgen.records.records import Record, RecordsHeader, write_records
from loadgen.records.rundir import META, PLAN, SCRAPES, Meta, ScrapeLine, write_meta

T0 = 1_800_000_000.0
RATE = 2000.0
PODS, GROUPS, TOKENS = 50, 200, 16


def records(count: int, seed: int = 1) -> Iterator[Record]:
    """`count` records in order of their intended start, one of a hundred shed."""
    rng = random.Random(seed)
    at = 0.0
    for index in range(count):
        at += rng.expovariate(RATE)
        group = rng.randrange(GROUPS)
        base = Record(
            id=f"chat-{index:07d}",
            cls="chat",
            intended=round(at, 7),
            start=round(at + 0.0001 * rng.random(), 7),
            connected=round(at + 0.0002, 7),
            model="sim",
            group=f"g{group}",
            session=f"s{index // 4}",
            turn=index % 4,
            max_tokens=TOKENS,
            reused=True,
            bytes_out=700,
            outcome="ok",
        )
        first = at + 0.05 + 0.05 * rng.random()
        base.first_byte = base.end = round(first, 7)
        if index % 100 == 0:
            base.outcome, base.status, base.error = "shed_429", 429, "too many requests"
            yield base
            continue
        times = [round(first + 0.006 * step + 0.002 * rng.random(), 6) for step in range(TOKENS)]
        base.status, base.first_token, base.last_token = 200, times[0], times[-1]
        base.end = round(times[-1] + 0.0005, 7)
        base.prompt_tokens, base.cached_tokens, base.output_tokens = 96, rng.choice((0, 64)), TOKENS
        base.pod, base.port, base.namespace = f"sim-{(group + rng.randrange(3)) % PODS}", "8000", "default"
        base.headers = {
            "x-gateway-destination-endpoint": "127.0.0.2:8000",
            "date": "Thu, 01 Jan 2026 00:00:00 GMT",
        }
        base.chunk_times, base.bytes_in = times, 2000
        yield base


def plan(count: int) -> Iterator[PlanLine]:
    """The plan that `records` of the same count fit."""
    yield PlanHeader(scenario="bench", classes={"chat": ClassPlan(process="poisson")}, units=count)
    for group in range(GROUPS):
        yield SharedText(text=group, value=f"group{group:03d} " * 64)
    for index, record in enumerate(records(count)):
        own = " ".join(f"q{index}w{word}" for word in range(32))
        body: list[object] = ['{"model":"sim","prompt":"', int((record.group or "g0")[1:]), own, '"}']
        yield PlannedRequest(
            slot=index,
            id=record.id,
            cls="chat",
            at=record.intended,
            model="sim",
            group=record.group,
            body=body,
        )  # type: ignore[arg-type]  # a list of pieces


def write_scrapes(path: Path, until: float) -> None:
    """What each pod says before and after: a cache for a third of the shared prefixes."""
    writer = JsonlWriter(path)
    for at, phase in ((0.0, "before"), (until, "after")):
        for pod in range(PODS):
            page = {
                "vllm:num_requests_running": 0.0,
                'vllm:cache_config_info{block_size="16",num_gpu_blocks="60"}': 1.0,
            }
            writer.write(
                ScrapeLine(
                    t=at, took=0.01, name=f"sim-{pod}", url=f"http://127.0.0.{pod + 2}:8000/metrics",
                    pod=f"sim-{pod}", phase=phase, samples=page,
                )  # type: ignore[arg-type]  # one of its words
            )  # fmt: skip
    writer.close()


def write_run(path: Path, count: int, *, with_plan: bool) -> Path:
    """A run directory of `count` records."""
    path.mkdir(parents=True, exist_ok=True)
    write_records(path / "records.jsonl", RecordsHeader(t0=T0), records(count))
    if with_plan:
        write_plan(path / PLAN, plan(count))
        write_scrapes(path / SCRAPES, count / RATE)
    write_meta(
        path, Meta(status="finished", scenario="bench", target="http://127.0.0.1:8080", planned=count, t0=T0)
    )
    return path


def cost(path: Path) -> tuple[float, float, float]:
    """(seconds, CPU seconds, most MB resident) of `loadgen report` on a run directory."""
    begin = time.monotonic()
    child = os.spawnv(
        os.P_NOWAIT,
        sys.executable,
        [
            *python(
                "-c",
                f"import os,sys; os.dup2(os.open(os.devnull, 1), 1); "
                f"from loadgen.cli import main; sys.exit(main(['report', {str(path)!r}]))",
            )
        ],
    )
    _, status, usage = os.wait4(child, 0)
    if os.waitstatus_to_exitcode(status) not in (0, 1, 2):
        raise SystemExit(f"loadgen report ended with {status}")
    return time.monotonic() - begin, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    args = parser(__doc__)
    args.add_argument("--records", type=int, default=1_000_000)
    args.add_argument("--plan", action="store_true", help="with the prompts of the run")
    args.add_argument("--keep", type=Path, help="write the runs here and leave them")
    given = args.parse_args()
    with tempfile.TemporaryDirectory() as own:
        folder = given.keep or Path(own)
        found = []
        for count in (given.records // 10, given.records):
            path = folder / f"run-{count}{'-plan' if given.plan else ''}"
            if not (path / META).exists():  # or it was not written to its end
                write_run(path, count, with_plan=given.plan)
            seconds, busy, most = cost(path)
            found.append((busy, most))
            print(
                f"{count:>9} records: {seconds:6.1f} s ({busy:.1f} s of CPU), {most:6.0f} MB at most",
                flush=True,
            )
        time_ratio, memory_ratio = (b / a for a, b in zip(*found, strict=True))
        print(f"ten times the records: x {time_ratio:.1f} CPU time, x {memory_ratio:.1f} memory")


if __name__ == "__main__":
    main()
