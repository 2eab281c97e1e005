"""Drives the load generator's pieces in a test: one exchange, or a worker's sender, in this process."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from loadgen.client.connection import Pool
from loadgen.client.exchange import Exchange
from loadgen.client.target import parse_target
from loadgen.numbers.jsonl import JsonlWriter
from loadgen.plan.build import build_plan
from loadgen.plan.plan import read_plan_header, write_plan
from loadgen.records.records import Record, RecordsHeader
from loadgen.records.table import read_records
from loadgen.run.jobs import ClosedClass, PlanCursor
from loadgen.run.sender import Sender, Wire
from loadgen.scenario.read import read_scenario

BODY = b'{"model":"m","prompt":"hi","stream":true}'


async def one_exchange(
    url: str,
    *,
    timeout: float = 5.0,
    cancel_after: int | None = None,
    path: str = "/v1/completions",
    keep_text: bool = False,
    pool: Pool | None = None,
) -> Exchange:
    """Send one request and wait for its end."""
    loop = asyncio.get_running_loop()
    own = pool or Pool(loop, parse_target(url))
    done: asyncio.Future[Exchange] = loop.create_future()
    exchange = Exchange(
        own.render(path, {"x-request-id": "t-1"}, BODY),
        done.set_result,
        timeout=timeout,
        keep_times=True,
        keep_text=keep_text,
        cancel_after=cancel_after,
    )
    own.submit(exchange)
    try:
        return await asyncio.wait_for(done, 20)
    finally:
        if pool is None:
            own.close()


async def drive(
    tmp_path: Path,
    text: str,
    url: str,
    *,
    worker: int = 0,
    workers: int = 1,
    max_in_flight: int = 1000,
    wire: Wire | None = None,
    stop_after: float | None = None,
    run: str = "",
) -> list[Record]:
    """Send a scenario's plan (this worker's part) and return the records."""
    plan = tmp_path / "plan.jsonl"
    write_plan(plan, build_plan(read_scenario(text, "test.yaml", tmp_path)))
    header = read_plan_header(plan)
    records = tmp_path / f"records-{worker}.jsonl"
    records.unlink(missing_ok=True)
    writer = JsonlWriter(records)
    loop = asyncio.get_running_loop()
    pool = wire or Pool(loop, parse_target(url))
    fatal: list[Exception] = []
    sender = Sender(
        loop,
        pool,
        PlanCursor(plan, header, worker, workers),
        writer,
        worker=worker,
        chunk_times=True,
        max_in_flight=max_in_flight,
        on_fatal=fatal.append,
        run=run,
    )
    for name, plan_class in header.classes.items():
        if plan_class.users is not None:
            sender.add_closed(ClosedClass(name, plan_class, plan_class.users))
    sender.read_closed()
    sender.fill()
    writer.write(RecordsHeader(worker=worker))
    sender.start(time.monotonic() + 0.01)
    if stop_after is not None:
        loop.call_later(stop_after, sender.stop, "stopped by the test")
    await asyncio.wait_for(asyncio.shield(sender.finished), 30)
    writer.close()
    sender.close()
    if isinstance(pool, Pool):
        pool.close()
    if fatal:
        pytest.fail(f"the sender gave up: {fatal[0]!r}")
    return [record for record in read_records(tmp_path) if record.worker == worker]
