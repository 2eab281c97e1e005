"""A worker that dies or cannot write: the report covers what was recorded, and nobody trusts it."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kit.children import python
from loadgen.judge.report import Report, read_report
from loadgen.records.records import RecordsHeader, write_records
from loadgen.records.rundata import load_run
from loadgen.records.rundir import Meta, read_meta, write_meta
from loadgen.records.table import read_records
from loadgen.report.verdict import finish
from tests.loadgen.fakes import FakeServer, Reply, Seen, good_stream

pytestmark = pytest.mark.usefixtures("patient")


async def answers(_: Seen, reply: Reply) -> None:
    await reply.send(good_stream(2))


def workers_of(parent: int) -> list[int]:
    """The process ids of a run's workers."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [
        int(pid) for pid in children if b"loadgen.run.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


async def poll(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came so far"
        await asyncio.sleep(0.02)


async def killed_run(out: Path) -> tuple[int, str]:
    """A run of two workers, one of them killed once both have recorded something; exit code and errors."""
    async with FakeServer(answers) as server:
        flags = ["run", "--target", server.url, "--model", "m", "--rate", "100", "--duration", "60s"]
        flags += ["--processes", "2", "--no-selftest", "-q", "-o", str(out)]
        process = await asyncio.create_subprocess_exec(
            *python("-m", "loadgen.cli", *flags),
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )  # fmt: skip
        try:
            files = [out / f"records-{worker}.jsonl" for worker in (0, 1)]
            await poll(lambda: all(file.is_file() and file.stat().st_size > 1000 for file in files))
            os.kill(workers_of(process.pid)[0], signal.SIGKILL)
            _, errors = await asyncio.wait_for(process.communicate(), 60)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode is not None
        return process.returncode, errors.decode()


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, str]:
    out = tmp_path_factory.mktemp("killed") / "run"
    return out, *asyncio.run(killed_run(out))


def test_a_killed_worker_leaves_a_report_that_fails(killed: tuple[Path, int, str]) -> None:
    out, code, errors = killed
    why = "a worker died in the middle of the run (killed by SIGKILL)"
    assert code == 2
    assert f"loadgen: error: {why}; the report covers what was recorded" in errors
    assert "Traceback" not in errors
    meta, report = read_meta(out), read_report(out / "report.json")
    assert (meta.status, meta.error) == ("failed", why)
    assert (report.trusted, report.exit_code) == (False, 2)
    assert report.run.requests == len(read_records(out)) > 0
    assert report.outcomes.counts["ok"] > 0
    assert f"the run failed: {why}; figures cover what was recorded" in (out / "report.md").read_text()


def test_what_a_run_records_is_its_users_alone(killed: tuple[Path, int, str]) -> None:
    out, *_ = killed
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()}
    recorded = {name for name in modes if not name.startswith(("report.", "junit."))}
    assert recorded >= {"plan.jsonl", "records-0.jsonl", "records-1.jsonl", "scenario.yaml", "meta.json"}
    assert {name: oct(modes[name]) for name in recorded if modes[name] != 0o600} == {}


def report_of_nothing(path: Path) -> Report:
    write_meta(path, Meta(status="failed", error="a worker died", planned=5, scenario="s"))
    assert finish(path) == 2
    return read_report(path / "report.json")


@pytest.mark.parametrize("whole", [True, False])
def test_a_worker_that_died_at_once_left_nothing_to_report(tmp_path: Path, *, whole: bool) -> None:
    """Its file is empty, or has a header; the other's makes the report."""
    (tmp_path / "records-0.jsonl").touch()
    write_records(tmp_path / "records-1.jsonl", RecordsHeader(t0=7.0, workers=2), [])
    if whole:
        write_records(tmp_path / "records-0.jsonl", RecordsHeader(t0=7.0, workers=2), [])
    assert load_run(tmp_path).header.t0 == 7.0
    report = report_of_nothing(tmp_path)
    assert (report.run.requests, report.run.workers, report.trusted) == (0, 2, False)
