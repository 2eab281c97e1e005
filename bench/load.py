"""The load generator's own figures: requests per core, CPU per request beside aiohttp, lateness, bias.

    python bench/load.py [--seconds 4] [--rounds 3]

For rates the null server runs on core 0 and the client on core 1. aiohttp, which only this script needs, does
the same closed loop in turns with ours: everything that is compared is measured in the same run.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

import msgspec

from bench.entry import parser
from kit.children import python
from loadgen.client.target import parse_target
from loadgen.numbers.progress import Progress, Report
from loadgen.plan.build import build_plan
from loadgen.plan.plan import write_plan
from loadgen.records.frame import Frame
from loadgen.records.records import Record
from loadgen.records.table import read_records
from loadgen.run.worker import WorkerOrder
from loadgen.scenario.read import read_scenario

CLOSED = """
model: "null"
classes:
  c:
    arrival: {{users: {users}, requests: {requests}}}
    input_tokens: 32
    output_tokens: 8
"""
OPEN = """
model: "null"
classes:
  c:
    arrival: {{process: poisson, rate: {rate}, duration: {seconds}s}}
    input_tokens: 32
    output_tokens: 16
"""


def pinned(core: int | None, *command: str, **options: object) -> subprocess.Popen[str]:
    """A process on one core, or (None) where the kernel likes it best."""

    def pin() -> None:
        if core is not None and (os.cpu_count() or 1) > 1:
            os.sched_setaffinity(0, {core})

    return subprocess.Popen(command, text=True, preexec_fn=pin, **options)  # type: ignore[call-overload,no-any-return]  # noqa: PLW1509


class Server:
    """The null server, on core 0 unless told otherwise."""

    def __init__(self, *flags: str, core: int | None = 0) -> None:
        command = python("-m", "loadgen.client.nullserver", *flags)
        self.process = pinned(core, *command, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline().rsplit(" ", 1)[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stats(self) -> dict[str, float]:
        with urllib.request.urlopen(f"{self.url}/stats") as answer:
            return dict(json.load(answer))

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()


def run_worker(
    folder: Path, scenario: str, server: Server, connections: int, core: int | None = None
) -> tuple[Progress, list[Record]]:
    """One worker; its totals and its records."""
    plan, out = folder / "plan.jsonl", folder / "records.jsonl"
    out.unlink(missing_ok=True)
    write_plan(plan, build_plan(read_scenario(scenario, "bench")))
    order = WorkerOrder(
        plan=str(plan),
        records=str(out),
        worker=0,
        workers=1,
        target=parse_target(server.url),
        connections=connections,
        grace=10.0,
    )
    command = python("-m", "loadgen.run.worker")
    process = pinned(core, *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(msgspec.json.encode(order).decode() + "\n")
    process.stdin.flush()
    assert "ready" in process.stdout.readline()
    process.stdin.write(f"start {time.monotonic() + 0.1!r}\n")
    process.stdin.flush()
    total = Progress()
    for line in process.stdout:
        total.merge(msgspec.json.decode(line, type=Report).progress)
    process.stdin.close()
    process.wait()
    return total, read_records(folder)


def closed_loop(folder: Path, server: Server, requests: int) -> tuple[float, float]:
    """Requests per second and CPU microseconds per request of ours."""
    total, records = run_worker(folder, CLOSED.format(users=64, requests=requests), server, 64, 1)
    assert total.outcomes == {"ok": requests}, total.outcomes
    ends = [record.end or 0.0 for record in records]
    return requests / (max(ends) - min(record.intended for record in records)), total.cpu / requests * 1e6


AIOHTTP = """
import asyncio, json, os, sys, time
import aiohttp
try:
    import uvloop
    uvloop.install()
except ImportError:
    pass
url, requests = sys.argv[1], int(sys.argv[2])
body = json.dumps({"model": "null", "prompt": " word" * 32, "max_tokens": 8, "stream": True,
                   "stream_options": {"include_usage": True}}).encode()
async def user(session, left):
    while left[0] > 0:
        left[0] -= 1
        first, chunks = None, 0
        async with session.post(url, data=body, headers={"content-type": "application/json"}) as answer:
            async for chunk in answer.content.iter_any():
                first = first or time.monotonic()
                chunks += chunk.count(b"\\n\\n")
async def main():
    left = [requests]
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        cpu, begin = time.process_time(), time.monotonic()
        await asyncio.gather(*(user(session, left) for _ in range(64)))
        print(requests / (time.monotonic() - begin), (time.process_time() - cpu) / requests * 1e6)
asyncio.run(main())
"""


def aiohttp_loop(server: Server, requests: int) -> tuple[float, float]:
    """The same of aiohttp on uvloop, which only counts events."""
    command = python("-W", "ignore", "-c", AIOHTTP, f"{server.url}/v1/completions", str(requests))
    process = pinned(1, *command, stdout=subprocess.PIPE)
    out, _ = process.communicate()
    rate, cpu = out.split()
    return float(rate), float(cpu)


def throughput(folder: Path, rounds: int) -> None:
    ours, theirs = [], []
    with Server("--tokens", "8") as server:
        for _ in range(rounds):
            ours.append(closed_loop(folder, server, 40_000))
            theirs.append(aiohttp_loop(server, 8_000))
    for name, results in (("loadgen", ours), ("aiohttp", theirs)):
        rate = statistics.median(rate for rate, _ in results)
        cpu = statistics.median(cpu for _, cpu in results)
        print(
            f"closed loop, 64 in flight, 8-chunk SSE: {name:8} {rate:8.0f} req/s per core, "
            f"{cpu:6.1f} us CPU/request"
        )
    ratio = statistics.median(cpu for _, cpu in theirs) / statistics.median(cpu for _, cpu in ours)
    print(f"CPU per request: aiohttp / loadgen = {ratio:.1f} (ours records every request and token time)")


def lateness(folder: Path, seconds: float, rounds: int) -> None:
    """Nothing is pinned: on a machine that others use, a pinned process waits for its core's time slices."""
    p50s, p99s, most, missed, sent, busy = [], [], [], 0, 0, []
    for _ in range(rounds):
        with Server("--tokens", "8", core=None) as server:
            total, records = run_worker(folder, OPEN.format(rate=2000, seconds=seconds), server, 64)
        late = sorted((record.start or 0.0) - record.intended for record in records)
        p50s.append(late[len(late) // 2])
        p99s.append(late[int(len(late) * 0.99)])
        most.append(late[-1])
        missed, sent = missed + total.missed, sent + len(records)
        busy.append(total.cpu / total.time)
    print(
        f"open loop, 2000 req/s poisson, {rounds} x {seconds:g} s: {sent} requests, start lateness "
        f"p50 {statistics.median(p50s) * 1e3:.3f} ms, p99 {statistics.median(p99s) * 1e3:.3f} ms "
        f"(rounds {', '.join(f'{p * 1e3:.3f}' for p in p99s)}), max {max(most) * 1e3:.2f} ms, "
        f"missed {missed}, client core {statistics.median(busy):.0%}"
    )


def bias(folder: Path, seconds: float, *endings: str) -> None:
    with Server("--tokens", "16", "--ttft-ms", "50", "--itl-ms", "5", *endings, core=None) as server:
        _, records = run_worker(folder, OPEN.format(rate=200, seconds=seconds), server, 32)
        truth = server.stats()
    ttft = statistics.fmean((r.first_token or 0) - (r.start or 0) for r in records)
    intended = statistics.fmean((r.first_token or 0) - r.intended for r in records)
    frame = Frame(records)
    tpot, itl = (float(frame.latency(name)[0].mean()) for name in ("tpot", "itl"))
    print(
        f"answers that end by {'themselves' if endings else 'length'}, "
        f"truth TTFT {truth['ttft'] * 1e3:.3f} ms, TPOT {truth['tpot'] * 1e3:.4f} ms at 200 req/s: "
        f"mean TTFT {ttft * 1e3:.3f} ms (bias {(ttft - truth['ttft']) * 1e3:+.3f}), from the intended start "
        f"{intended * 1e3:.3f} ms, TPOT {tpot * 1e3:.4f} ms (bias {(tpot - truth['tpot']) * 1e3:+.4f}), "
        f"ITL {itl * 1e3:.4f} ms (bias {(itl - truth['tpot']) * 1e3:+.4f})"
    )


def stall(folder: Path) -> None:
    flags = ("--tokens", "4", "--ttft-ms", "5", "--stall-at-ms", "1000", "--stall-ms", "1000")
    with Server(*flags, core=None) as server:
        _, records = run_worker(folder, OPEN.format(rate=200, seconds=3), server, 256)
    first = records[0].intended
    due = [r for r in records if 1.02 <= r.intended - first < 1.98]
    wrong = [r for r in due if abs((r.first_token or 0) - r.intended - (2.0 - (r.intended - first))) > 0.03]
    print(
        f"a server that stalls 1 s: {len(due)} requests due in it, "
        f"{len(due) - len(wrong)} show all of their wait"
    )


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--seconds", type=float, default=4.0)
    options.add_argument("--rounds", type=int, default=3)
    args = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        throughput(folder, args.rounds)
        lateness(folder, args.seconds, args.rounds)
        bias(folder, args.seconds)
        bias(folder, args.seconds, "--eos")
        stall(folder)


if __name__ == "__main__":
    main()
