"""How much load this machine's client can make: a short closed loop against the built-in null server.

The answer is kept for some minutes in the user's cache directory, by interpreter, version and answer size.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from kit.children import python
from loadgen.client.target import parse_target
from loadgen.errors import RunError
from loadgen.numbers.progress import Progress, Report
from loadgen.plan.build import build_plan
from loadgen.plan.plan import write_plan
from loadgen.records.rundir import Ceiling
from loadgen.run.worker import WorkerOrder
from loadgen.run.workers import Crew
from loadgen.scenario.read import read_scenario

KEPT_SECONDS = 600.0
SECONDS = 0.8
SIZES = (8, 32, 128, 512)
WARNING_SHARE = 0.7
SCENARIO = """
name: ceiling
model: "null"
classes:
  ceiling:
    arrival: {{users: 64, duration: {seconds}s}}
    input_tokens: 64
    output_tokens: {tokens}
    stream: {stream}
"""


def cache_file() -> Path:
    """Where ceilings are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "loadgen" / "ceiling.json"


class _Kept(msgspec.Struct):
    at: float
    ceiling: Ceiling


def _key(tokens: int, stream: bool) -> str:
    return f"{platform.node()} {sys.version_info[:3]} {os.cpu_count()} {tokens} {stream}"


def _read_cache() -> dict[str, _Kept]:
    try:
        return msgspec.json.decode(cache_file().read_bytes(), type=dict[str, _Kept])
    except (OSError, msgspec.MsgspecError):
        return {}


def _write_cache(kept: dict[str, _Kept]) -> None:
    path = cache_file()
    with contextlib.suppress(OSError):  # a cache that cannot be written costs a second at the next run
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.encode(kept))


def nearest_size(tokens: float) -> int:
    """The measured answer size that stands for answers of so many tokens."""
    return next((size for size in SIZES if tokens <= size * 2), SIZES[-1])


async def client_ceiling(
    tokens: float, *, stream: bool, processes: int, asked: float | None, fresh: bool = False
) -> Ceiling:
    """This machine's ceiling for answers of about `tokens` tokens, measured or remembered."""
    size = nearest_size(tokens)
    kept = _read_cache()
    known = kept.get(_key(size, stream))
    age = time.time() - known.at if known is not None else KEPT_SECONDS
    if known is None or fresh or not 0 <= age < KEPT_SECONDS:
        ceiling = await measure(size, stream=stream)
        _write_cache({**kept, _key(size, stream): _Kept(time.time(), ceiling)})
    else:
        ceiling = known.ceiling
        ceiling.cached, ceiling.age = True, round(age, 1)
    ceiling.processes = processes
    ceiling.total = min(processes, os.cpu_count() or 1) / ceiling.cpu
    ceiling.asked = asked
    ceiling.share = asked / ceiling.total if asked is not None else None
    return ceiling


async def measure(tokens: int, *, stream: bool = True, seconds: float = SECONDS) -> Ceiling:
    """Run the closed loop, 64 in flight, one worker; RunError when nothing answers."""
    server = await asyncio.create_subprocess_exec(
        *python("-m", "loadgen.client.nullserver", "--tokens", str(tokens)),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert server.stdout is not None
        line = (await server.stdout.readline()).decode()
        if "listening on" not in line:
            raise RunError("the null server of the self-test did not start")
        port = int(line.rsplit(" ", 1)[1])
        text = SCENARIO.format(seconds=seconds, tokens=tokens, stream=str(stream).lower())
        with tempfile.TemporaryDirectory(prefix="loadgen-") as folder:
            done, cpu = await _closed_loop(Path(folder), text, port)
    finally:
        server.terminate()
        await server.wait()
    if not done:
        raise RunError("the self-test against the null server got no answer")
    return Ceiling(rate=done / seconds, cpu=cpu / done, tokens=tokens)


async def _closed_loop(folder: Path, text: str, port: int) -> tuple[int, float]:
    write_plan(folder / "plan.jsonl", build_plan(read_scenario(text, "ceiling")))
    order = WorkerOrder(
        plan=str(folder / "plan.jsonl"),
        records=str(folder / "records.jsonl"),
        worker=0,
        workers=1,
        target=parse_target(f"http://127.0.0.1:{port}"),
        connections=64,
        grace=5.0,
    )
    total = Progress()

    def listen(report: Report) -> None:
        total.merge(report.progress)

    crew = Crew([order], listen)
    try:
        await crew.start()
        crew.begin(time.monotonic() + 0.02)
        await crew.wait()
    finally:
        await crew.close()
    return total.outcomes.get("ok", 0), total.cpu
