"""Worker processes: begun, listened to and ended; what one cannot do is the run's own error."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from loadgen.client.target import parse_target
from loadgen.errors import RunError
from loadgen.numbers.progress import Progress, Report
from loadgen.plan.build import build_plan
from loadgen.plan.plan import write_plan
from loadgen.records.records import Record
from loadgen.records.table import read_records
from loadgen.run.worker import WorkerOrder
from loadgen.run.workers import Crew
from loadgen.scenario.read import read_scenario
from tests.loadgen.fakes import FakeServer, Reply, Seen, good_stream

TEXT = "model: m\nclasses: {a: {arrival: {process: burst, size: 6}, prompt: x}}"


async def answers(_: Seen, reply: Reply) -> None:
    await reply.send(good_stream(2))


def orders(folder: Path, url: str, workers: int) -> list[WorkerOrder]:
    write_plan(folder / "plan.jsonl", build_plan(read_scenario(TEXT, "x.yaml")))
    return [
        WorkerOrder(
            plan=str(folder / "plan.jsonl"),
            records=str(folder / f"records-{worker}.jsonl"),
            worker=worker,
            workers=workers,
            target=parse_target(url),
            grace=20.0,
        )
        for worker in range(workers)
    ]


def test_two_workers_send_each_request_once_and_their_reports_add_up(tmp_path: Path) -> None:
    async def main() -> tuple[list[Record], Progress]:
        total = Progress()
        final: list[Report] = []

        def listen(report: Report) -> None:
            total.merge(report.progress)
            final.extend([report] if report.final else [])

        async with FakeServer(answers) as server:
            crew = Crew(orders(tmp_path, server.url, 2), listen)
            try:
                await crew.start()
                crew.begin(time.monotonic() + 0.05)
                await asyncio.wait_for(crew.wait(), 60)
            finally:
                await crew.close()
            assert len(server.seen) == 6
        assert sorted(report.progress.worker for report in final) == [0, 1]
        return read_records(tmp_path), total

    records, total = asyncio.run(main())
    assert [record.outcome for record in records] == ["ok"] * 6
    assert {record.id: record.worker for record in records} == {f"a-{n:06d}": n % 2 for n in range(6)}
    assert (total.sent, total.done, total.outcomes, total.pods) == (6, 6, {"ok": 6}, {"pod-0": 6})


def test_a_worker_that_cannot_read_its_plan_is_the_runs_error(tmp_path: Path) -> None:
    async def main() -> None:
        made = orders(tmp_path, "http://127.0.0.1:1", 1)
        (tmp_path / "plan.jsonl").write_text("no plan\n")
        crew = Crew(made, lambda _: None)
        try:
            await crew.start()
        finally:
            await crew.close()

    with pytest.raises(RunError, match=r"plan\.jsonl:1: is not a plan of `loadgen plan`"):
        asyncio.run(main())


def test_a_broken_line_of_the_plan_ends_the_run_with_its_place(tmp_path: Path) -> None:
    async def main() -> None:
        made = orders(tmp_path, "http://127.0.0.1:1", 1)
        with (tmp_path / "plan.jsonl").open("a") as file:
            file.write('{"slot":9,\n')
        crew = Crew(made, lambda _: None)
        try:
            await crew.start()
            crew.begin(time.monotonic() + 0.05)
            await asyncio.wait_for(crew.wait(), 60)
        finally:
            await crew.close()

    with pytest.raises(RunError, match=r"plan\.jsonl:8: not a line of a plan"):
        asyncio.run(main())
